//! Visits a tree in the order of paths: a directory, then what is in it, then its next sibling.

use super::{Lookup, NodeKind, Root, Stat, TreeError};
use crate::model::TreePath;
use rustix::io::Errno;
use std::vec;

/// One path that a walk met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Visit {
    /// Where.
    pub path: TreePath,
    /// What stands there.
    pub stat: Stat,
}

/// A walk, the start itself included. Names that vanish meanwhile are left out; mount points are visited and not
/// entered. Holds the names of the directories between the start and the current path, and a few descriptors.
#[derive(Debug)]
pub struct Walk<'r> {
    lookup: Lookup<'r>,
    start: Option<TreePath>,
    /// Directories being walked, outermost first, with the names that are still to come.
    levels: Vec<(TreePath, vec::IntoIter<Vec<u8>>)>,
    /// A directory whose names come next, unless the caller does not want them.
    pending: Option<TreePath>,
}

impl<'r> Walk<'r> {
    /// From a path down.
    pub fn new(root: &'r Root, start: TreePath) -> Self {
        Self { lookup: root.lookup(), start: Some(start), levels: Vec::new(), pending: None }
    }

    /// Does not enter the directory that was visited last.
    pub fn skip_below(&mut self) {
        self.pending = None;
    }

    /// For reading what was visited, without opening its directory again.
    pub fn lookup(&mut self) -> &mut Lookup<'r> {
        &mut self.lookup
    }

    fn enter(&mut self) -> Result<(), TreeError> {
        let Some(directory) = self.pending.take() else { return Ok(()) };
        match self.lookup.names(&directory) {
            Ok(names) => self.levels.push((directory, names.into_iter())),
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn visit(&mut self, path: TreePath, stat: Stat) -> Visit {
        if stat.kind == NodeKind::Directory {
            self.pending = Some(path.clone());
        }
        Visit { path, stat }
    }

    fn step(&mut self) -> Result<Option<Visit>, TreeError> {
        if let Some(start) = self.start.take() {
            let stat = self.lookup.stat(&start)?;
            return Ok(stat.map(|stat| self.visit(start, stat)));
        }
        self.enter()?;
        while let Some((directory, names)) = self.levels.last_mut() {
            let Some(name) = names.next() else {
                self.levels.pop();
                continue;
            };
            let directory = directory.clone();
            // Deeper than a path may be: it cannot travel, and the index says so by its absence.
            let Ok(path) = directory.join(&name) else { continue };
            let opened = match self.lookup.directory(&directory) {
                Err(error) if error.is_absent() => {
                    self.levels.pop();
                    continue;
                }
                opened => opened?,
            };
            match Stat::at(&opened, &name) {
                Ok(stat) => return Ok(Some(self.visit(path, stat))),
                Err(Errno::NOENT | Errno::STALE) => {}
                Err(error) => return Err(self.lookup.failed(&path, "read the state of", error)),
            }
        }
        Ok(None)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Visit, TreeError>;

    /// After an error the walk goes on behind it, without the directory that could not be read.
    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
