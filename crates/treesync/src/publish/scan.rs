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
    entering: Option<(TreePath, Expected)>,
    levels: Vec<Level>,
    /// Directories that were not where the index has them. They may have moved to where the scan comes later. Without paths:
    /// what is above them may move as well.
    missing: Vec<At>,
    /// Names compared so far.
    pub compared: u64,
    /// Files that changed in every try, or could not be read. To be read later.
    pub hot: Vec<At>,
    /// Directories that were not compared to their end, since they were elsewhere by then. To be compared where they are.
    pub unfinished: Vec<Identity>,
}

/// Which directory is to be entered. Another one may stand at its path by then.
enum Expected {
    Any,
    This(Identity),
    /// The one of this number in the index.
    Numbered(u64),
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
    /// Of the whole source.
    pub fn whole() -> Self {
        Self::from(TreePath::root(), Expected::Any)
    }

    /// Of all below a directory; the directory itself is the caller's to observe.
    pub fn below(path: TreePath, identity: Identity) -> Self {
        let expected = if path.is_root() { Expected::Any } else { Expected::This(identity) };
        Self::from(path, expected)
    }

    fn from(path: TreePath, expected: Expected) -> Self {
        let (levels, missing, hot, unfinished) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { entering: Some((path, expected)), levels, missing, compared: 0, hot, unfinished }
    }

    /// Goes on with another reader. Directories that it was in and that are elsewhere by now are left unfinished: what stands
    /// at their paths is not theirs.
    pub fn resume(&mut self, reader: &mut Reader) -> Result<(), PublishError> {
        for (depth, level) in self.levels.iter().enumerate() {
            // One that cannot be opened any more stays: each name in it is noted as such.
            let is_other = match reader.identity(&level.path) {
                Ok(opened) => opened.is_none_or(|(identity, _)| identity != level.identity),
                Err(PublishError::Tree(_)) => false,
                Err(error) => return Err(error),
            };
            // The root is the source, wherever it is.
            if is_other && !level.path.is_root() {
                self.leave(depth);
                break;
            }
        }
        Ok(())
    }

    fn leave(&mut self, depth: usize) {
        self.unfinished.extend(self.levels.drain(depth..).map(|level| level.identity));
    }

    /// Looks at one name more, or enters or leaves a directory.
    pub fn step(&mut self, reader: &mut Reader, view: &View, out: &mut Vec<Observation>) -> Result<Step, PublishError> {
        if let Some((path, expected)) = self.entering.take() {
            self.enter(path, expected, reader, view)?;
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
    fn enter(&mut self, path: TreePath, expected: Expected, reader: &mut Reader, view: &View) -> Result<(), PublishError> {
        let is_root = path.is_root();
        match self.enter_readable(path, expected, reader, view) {
            Err(PublishError::Tree(error)) if !is_root => reader.pass_by(&error),
            entered => entered,
        }
    }

    fn enter_readable(&mut self, path: TreePath, expected: Expected, reader: &mut Reader, view: &View) -> Result<(), PublishError> {
        let identity = reader.identity(&path)?.map(|(identity, _)| identity);
        let known = identity.as_ref().map(|identity| view.directory_of(identity)).transpose()?.flatten();
        let expected = match expected {
            Expected::Any => None,
            Expected::This(expected) => Some(expected),
            Expected::Numbered(directory) if known == Some(directory) => None,
            Expected::Numbered(directory) => view.identity_of(directory)?,
        };
        if let Some(expected) = expected.filter(|expected| identity.as_ref() != Some(expected)) {
            self.unfinished.push(expected);
            return Ok(());
        }
        let Some(identity) = identity else { return Ok(()) };
        let names = match reader.lookup().names(&path) {
            Ok(names) => names,
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let rows = Rows { directory: known, page: VecDeque::new(), last: None };
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
                self.missing.push(At { parent: Some(parent), name });
                return Ok(Step::More);
            }
            return self.observe(path, At { parent: Some(parent), name }, row, reader, view, out);
        };
        if let Some(row) = row.filter(|row| is_same(row, &stat)) {
            if stat.kind == NodeKind::Directory {
                self.entering = Some((path, Expected::Numbered(row.directory)));
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
        let found = match reader.read_at(&path, &at)? {
            Seen::Absent if row.is_none() => return Ok(Step::More),
            Seen::Absent => None,
            Seen::Found(found) => Some(*found),
            Seen::Hot => {
                self.hot.push(at);
                return Ok(Step::More);
            }
            Seen::Elsewhere => {
                self.leave_parent(at);
                return Ok(Step::More);
            }
        };
        let mut step = Step::More;
        let mut observation = Observation { at, found, is_forced: false };
        if let Some(found) = observation.found.as_mut()
            && let Some(identity) = found.identity.clone()
        {
            found.below = Below::Compared;
            let known = view.directory_of(&identity)?;
            self.entering = Some((path, Expected::This(identity)));
            // As it is in the index now: the row at hand may be from before the last commits.
            if known.is_none() && view.row_of(&observation.at)?.is_some_and(|row| row.directory != 0) {
                // It takes the place, and the rows, of another directory.
                step = Step::Commit;
            }
        }
        out.push(observation);
        Ok(step)
    }

    /// Leaves the directory of a name, which is not where it was.
    fn leave_parent(&mut self, at: At) {
        match self.levels.iter().position(|level| Some(&level.identity) == at.parent.as_ref()) {
            Some(depth) => self.leave(depth),
            None => self.unfinished.extend(at.parent),
        }
    }

    /// Directories that have not turned up elsewhere are gone, if they still are.
    fn look_for_missing(&mut self, reader: &mut Reader, view: &View, out: &mut Vec<Observation>) -> Result<Step, PublishError> {
        let is_directory = |observation: &Observation| observation.found.as_ref().is_some_and(|found| found.identity.is_some());
        if !self.missing.is_empty() && out.iter().any(is_directory) {
            // Where one is that moved, the index knows when that is committed: what is missing may be in it.
            return Ok(Step::Commit);
        }
        let Some(at) = self.missing.pop() else { return Ok(Step::Done) };
        let Some(row) = view.row_of(&at)?.filter(|row| row.directory != 0) else { return Ok(Step::More) };
        match reader.path_of(&at, view) {
            Ok(Some(path)) => self.observe(path, at, Some(&row), reader, view, out),
            // What it was in is gone, or outside: that is seen where it was.
            Ok(None) => Ok(Step::More),
            Err(PublishError::Tree(error)) => {
                reader.pass_by(&error)?;
                self.hot.push(at);
                Ok(Step::More)
            }
            Err(error) => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::engine::Engine;
    use crate::publish::{DetectionWish, PublishOptions};
    use crate::tree::{Root, Stop};
    use std::fs;
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    /// What the first step that meets the files of `x` is followed by, before the next one, with all descriptors closed as when
    /// there are many: what is observed of `x`, and what is left unfinished.
    fn observed_after(deed: impl FnOnce(&std::path::Path)) -> (Vec<Observation>, Vec<Identity>, Identity) {
        let source = tempfile::tempdir_in("/dev/shm").unwrap();
        let at = |path: &str| source.path().join(path);
        for directory in ["other", "x/d"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in ["other/one", "other/two", "x/d/below", "x/one", "x/two"] {
            fs::write(at(file), file).unwrap();
        }
        let stop = Stop::default();
        let root = Arc::new(Root::open(source.path()).unwrap().until(stop.clone()));
        let (sender, messages) = channel();
        let options = PublishOptions { detection: DetectionWish::Poll, ..PublishOptions::default() };
        let mut engine = Engine::open((root.clone(), stop), options, &sender, messages).unwrap();
        engine.settle().unwrap();

        let shared = engine.shared();
        let view = shared.index().unwrap().view().unwrap();
        let mut reader = Reader::new(&root, &shared, None, 0);
        let (identity, _) = reader.identity(&TreePath::parse("x").unwrap()).unwrap().unwrap();
        let mut scan = Scan::below(TreePath::parse("x").unwrap(), identity.clone());
        let mut observations = Vec::new();
        // It enters x, meets x/d, enters that, meets what is below, and leaves it.
        for _ in 0..5 {
            assert_eq!(scan.step(&mut reader, &view, &mut observations).unwrap(), Step::More);
        }
        assert_eq!(scan.levels.len(), 1, "x/d is compared, the files of x are not");
        // So young that all is read again.
        observations.clear();
        deed(source.path());
        reader.lookup().forget();
        while scan.step(&mut reader, &view, &mut observations).unwrap() != Step::Done {}
        (observations, scan.unfinished, identity)
    }

    #[test]
    fn files_of_a_directory_that_moves_are_not_taken_for_gone() {
        let (observations, unfinished, moved) = observed_after(|source| fs::rename(source.join("x"), source.join("y")).unwrap());
        assert!(observations.is_empty(), "{observations:?}");
        assert_eq!(unfinished, [moved], "it is to be compared where it is");
    }

    #[test]
    fn files_of_another_directory_at_the_same_path_are_not_taken_for_those_of_the_first() {
        let (observations, unfinished, moved) = observed_after(|source| {
            fs::rename(source.join("x"), source.join("y")).unwrap();
            fs::rename(source.join("other"), source.join("x")).unwrap();
        });
        assert!(observations.is_empty(), "{observations:?}");
        assert_eq!(unfinished, [moved], "it is to be compared where it is");
    }
}
