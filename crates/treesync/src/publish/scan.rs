//! Compares a directory and all below with the index, in steps, in the order of paths.

use super::PublishError;
use super::reader::{Reader, Seen};
use crate::index::{At, Below, Identity, Observation, Row, View};
use crate::model::TreePath;
use crate::tree::{NodeKind, Stat, TreeError};
use std::collections::VecDeque;

/// Rows that are looked at together.
const PAGE: usize = 512;

/// How a step of a scan ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// There is more.
    More,
    /// What was observed must be committed before the next step: it decides which rows are below.
    Commit,
    /// The scan is done.
    Done,
}

/// A scan. What it meets that differs from the index becomes observations; so does what is gone.
pub(super) struct Scan {
    /// A directory whose names come next.
    entering: Option<TreePath>,
    levels: Vec<Level>,
    /// Directories that were not where the index has them. They may have moved to where the scan comes later.
    missing: Vec<(TreePath, At)>,
    /// Names compared so far.
    pub compared: u64,
    /// Files that changed in every try, or could not be read. To be read later.
    pub hot: Vec<At>,
}

struct Level {
    path: TreePath,
    identity: Identity,
    names: std::iter::Peekable<std::vec::IntoIter<Vec<u8>>>,
    rows: Rows,
}

/// The rows of a directory, by pages.
struct Rows {
    directory: Option<u64>,
    page: VecDeque<(Vec<u8>, Row)>,
    last: Option<Vec<u8>>,
}

impl Rows {
    fn fill(&mut self, view: &View) -> Result<(), PublishError> {
        if let Some(directory) = self.directory.filter(|_| self.page.is_empty()) {
            self.page = view.children(directory, self.last.as_deref(), PAGE)?.into();
            match self.page.back() {
                Some((last, _)) => self.last = Some(last.clone()),
                None => self.directory = None,
            }
        }
        Ok(())
    }
}

impl Scan {
    /// Of all below a directory; the directory itself is the caller's to observe.
    pub fn below(path: TreePath) -> Self {
        Self { entering: Some(path), levels: Vec::new(), missing: Vec::new(), compared: 0, hot: Vec::new() }
    }

    /// Goes on with another reader. Directories that it was in and that are elsewhere by now are left: what stands at their
    /// paths is not theirs. Whoever hears that they moved has them compared.
    pub fn resume(&mut self, reader: &mut Reader) -> Result<(), PublishError> {
        for (depth, level) in self.levels.iter().enumerate() {
            // One that cannot be opened any more stays: each name in it is noted as such.
            let is_other = match reader.identity(&level.path) {
                Ok(opened) => opened.is_none_or(|(identity, _)| identity != level.identity),
                Err(PublishError::Tree(_)) => false,
                Err(error) => return Err(error),
            };
            if is_other && depth > 0 {
                self.levels.truncate(depth);
                break;
            }
        }
        Ok(())
    }

    /// Looks at one name more, or enters or leaves a directory.
    pub fn step(&mut self, reader: &mut Reader, view: &View, out: &mut Vec<Observation>) -> Result<Step, PublishError> {
        if let Some(path) = self.entering.take() {
            self.enter(path, reader, view)?;
            return Ok(Step::More);
        }
        let Some(level) = self.levels.last_mut() else { return self.look_for_missing(reader, view, out) };
        level.rows.fill(view)?;
        let row_name = level.rows.page.front().map(|(name, _)| name.as_slice());
        let (name, row) = match (level.names.peek().map(Vec::as_slice), row_name) {
            (None, None) => {
                self.levels.pop();
                return Ok(Step::More);
            }
            (Some(name), Some(known)) if name == known => (level.names.next(), level.rows.page.pop_front()),
            (Some(name), Some(known)) if name < known => (level.names.next(), None),
            (Some(_), None) => (level.names.next(), None),
            (_, Some(_)) => (None, level.rows.page.pop_front()),
        };
        self.compared += 1;
        let is_there = name.is_some();
        let Some(name) = name.or_else(|| row.as_ref().map(|(name, _)| name.clone())) else { return Ok(Step::More) };
        self.compare(name, row.as_ref().map(|(_, row)| row), is_there, reader, view, out)
    }

    /// A directory that cannot be listed stays as it was told last, but the root must be readable.
    fn enter(&mut self, path: TreePath, reader: &mut Reader, view: &View) -> Result<(), PublishError> {
        let is_root = path.is_root();
        match self.enter_readable(path, reader, view) {
            Err(PublishError::Tree(error)) if !is_root => reader.pass_by(&error),
            entered => entered,
        }
    }

    fn enter_readable(&mut self, path: TreePath, reader: &mut Reader, view: &View) -> Result<(), PublishError> {
        let Some((identity, _)) = reader.identity(&path)? else { return Ok(()) };
        let names = match reader.lookup().names(&path) {
            Ok(names) => names,
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let rows = Rows { directory: view.directory_of(&identity)?, page: VecDeque::new(), last: None };
        self.levels.push(Level { path, identity, names: names.into_iter().peekable(), rows });
        Ok(())
    }

    fn compare(
        &mut self,
        name: Vec<u8>,
        row: Option<&Row>,
        is_there: bool,
        reader: &mut Reader,
        view: &View,
        out: &mut Vec<Observation>,
    ) -> Result<Step, PublishError> {
        let Some(level) = self.levels.last() else { return Ok(Step::More) };
        let path = match level.path.join(&name) {
            Ok(path) => path,
            // Longer or deeper than a path may be: it does not travel.
            Err(error) => {
                reader.note_left_out(&error);
                return Ok(Step::More);
            }
        };
        let parent = level.identity.clone();
        let travels = is_there && reader.rules().travels(&path);
        let stat = match travels.then(|| reader.lookup().stat(&path)).transpose() {
            Ok(stat) => stat.flatten(),
            // Not what the index has: that is seen where it is read.
            Err(TreeError::NotBelow { .. }) => None,
            Err(error) => {
                reader.pass_by(&error)?;
                self.hot.push(At { parent: Some(parent), name });
                return Ok(Step::More);
            }
        };
        let Some(stat) = stat.filter(|stat| stat.kind.travels()) else {
            if row.as_ref().is_some_and(|row| row.directory != 0) {
                self.missing.push((path, At { parent: Some(parent), name }));
                return Ok(Step::More);
            }
            return self.observe(path, At { parent: Some(parent), name }, row, reader, view, out);
        };
        if row.as_ref().is_some_and(|row| is_same(row, &stat)) {
            if stat.kind == NodeKind::Directory {
                self.entering = Some(path);
            }
            return Ok(Step::More);
        }
        self.observe(path, At { parent: Some(parent), name }, row, reader, view, out)
    }

    fn observe(
        &mut self,
        path: TreePath,
        at: At,
        row: Option<&Row>,
        reader: &mut Reader,
        view: &View,
        out: &mut Vec<Observation>,
    ) -> Result<Step, PublishError> {
        let found = match reader.read(&path)? {
            Seen::Absent if row.is_none() => return Ok(Step::More),
            Seen::Absent => None,
            Seen::Found(found) => Some(*found),
            Seen::Hot => {
                self.hot.push(at);
                return Ok(Step::More);
            }
        };
        let mut step = Step::More;
        let mut observation = Observation { at, found, is_forced: false };
        if let Some(found) = observation.found.as_mut().filter(|found| found.identity.is_some()) {
            self.entering = Some(path);
            found.below = Below::Compared;
            let known = found.identity.as_ref().map(|identity| view.directory_of(identity)).transpose()?.flatten();
            // As it is in the index now: the row at hand may be from before the last commits.
            if known.is_none() && view.row_of(&observation.at)?.is_some_and(|row| row.directory != 0) {
                // It takes the place, and the rows, of another directory.
                step = Step::Commit;
            }
        }
        out.push(observation);
        Ok(step)
    }

    /// Directories that have not turned up elsewhere are gone, if they still are.
    fn look_for_missing(&mut self, reader: &mut Reader, view: &View, out: &mut Vec<Observation>) -> Result<Step, PublishError> {
        let Some((path, at)) = self.missing.pop() else { return Ok(Step::Done) };
        match view.row_of(&at)?.filter(|row| row.directory != 0) {
            Some(row) => self.observe(path, at, Some(&row), reader, view, out),
            None => Ok(Step::More),
        }
    }
}

/// Whether a row is of this inode as it is now. ctime is set by the kernel alone, at every change.
fn is_same(row: &Row, stat: &Stat) -> bool {
    let is_directory = stat.kind == NodeKind::Directory;
    let has_size = row.entry.file().is_none_or(|(size_bytes, _)| size_bytes == stat.size_bytes);
    row.stamp.inode == stat.identity.inode
        && row.stamp.ctime == stat.ctime
        && row.entry.mtime == stat.mtime
        && (row.directory != 0) == is_directory
        && (is_directory || row.stamp.link_count == stat.links)
        && has_size
}
