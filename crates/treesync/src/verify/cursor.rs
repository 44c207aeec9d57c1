//! A place in a walk of a copy, which may change between two steps.

use std::vec;

use crate::model::TreePath;
use crate::tree::{Lookup, NodeKind, Stat, TreeError};

/// The directory that filesystems make for themselves at their root (mke2fs(8)).
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Visits a tree in the order of paths, as [`crate::tree::Walk`], without holding the tree: so what was visited can be
/// repaired before the walk goes on. Names that vanish or come after their directory was entered are left out.
#[derive(Default, Debug)]
pub(super) struct Cursor {
    is_started: bool,
    levels: Vec<(TreePath, vec::IntoIter<Vec<u8>>)>,
    pending: Option<TreePath>,
}

impl Cursor {
    /// Does not enter the directory that was visited last.
    pub(super) fn skip_below(&mut self) {
        self.pending = None;
    }

    pub(super) fn next(&mut self, lookup: &mut Lookup<'_>) -> Result<Option<(TreePath, Stat)>, TreeError> {
        if !self.is_started {
            self.is_started = true;
            return self.visit(TreePath::root(), lookup);
        }
        if let Some(directory) = self.pending.take() {
            match lookup.names(&directory) {
                Ok(names) => self.levels.push((directory, names.into_iter())),
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            }
        }
        while let Some((directory, names)) = self.levels.last_mut() {
            let Some(name) = names.next() else {
                self.levels.pop();
                continue;
            };
            if directory.is_root() && name == LOST_AND_FOUND {
                continue;
            }
            // A path too deep to travel is on no source.
            let Ok(path) = directory.join(&name) else { continue };
            if let Some(visit) = self.visit(path, lookup)? {
                return Ok(Some(visit));
            }
        }
        Ok(None)
    }

    fn visit(&mut self, path: TreePath, lookup: &mut Lookup<'_>) -> Result<Option<(TreePath, Stat)>, TreeError> {
        let Some(stat) = lookup.stat(&path)? else { return Ok(None) };
        if stat.kind == NodeKind::Directory {
            self.pending = Some(path.clone());
        }
        Ok(Some((path, stat)))
    }
}
