//! Directories whose mtime an apply disturbs, and what it was.

use crate::model::{Mtime, TreePath};
use std::collections::BTreeMap;
use std::ops::Bound;

/// By path as of the changes so far; it moves with its directory.
#[derive(Default, Debug)]
pub(super) struct Touched {
    mtimes: BTreeMap<TreePath, Option<Mtime>>,
}

impl Touched {
    pub(super) fn knows(&self, directory: &TreePath) -> bool {
        self.mtimes.contains_key(directory)
    }

    /// `None`: there is nothing to set back, since it is new.
    pub(super) fn add(&mut self, directory: TreePath, mtime: Option<Mtime>) {
        self.mtimes.entry(directory).or_insert(mtime);
    }

    /// It is gone, with all below.
    pub(super) fn remove(&mut self, path: &TreePath) {
        self.take(path);
    }

    pub(super) fn shift(&mut self, from: &TreePath, to: &TreePath) {
        for (path, mtime) in self.take(from) {
            self.mtimes.insert(path.moved(from, to), mtime);
        }
    }

    /// A path and all below are next to each other in the order of paths.
    fn take(&mut self, path: &TreePath) -> Vec<(TreePath, Option<Mtime>)> {
        let from = self.mtimes.range((Bound::Included(path), Bound::Unbounded));
        let paths: Vec<TreePath> =
            from.map(|(known, _)| known).take_while(|known| *known == path || known.is_below(path)).cloned().collect();
        paths.into_iter().filter_map(|path| self.mtimes.remove_entry(&path)).collect()
    }

    /// Those to set back, the deepest first.
    pub(super) fn into_times(self) -> impl Iterator<Item = (TreePath, Mtime)> {
        self.mtimes.into_iter().rev().filter_map(|(path, mtime)| Some((path, mtime?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_and_goes_with_its_directory() {
        let path = |text: &str| TreePath::parse(text).expect("a good path");
        let mtime = |seconds| Some(Mtime { seconds, nanoseconds: 0 });
        let mut touched = Touched::default();
        for (at, (text, time)) in
            [("a", mtime(0)), ("a/b", mtime(1)), ("a-b", mtime(2)), ("c", None), ("d/e", mtime(4))].into_iter().enumerate()
        {
            touched.add(path(text), time);
            touched.add(path(text), mtime(100 + i64::try_from(at).expect("small")));
        }
        touched.shift(&path("a"), &path("x"));
        touched.remove(&path("d"));
        assert!(touched.knows(&path("x/b")) && !touched.knows(&path("a/b")));
        let times: Vec<(String, i64)> = touched.into_times().map(|(path, mtime)| (path.to_string(), mtime.seconds)).collect();
        assert_eq!(times, [("x/b".to_owned(), 1), ("x".to_owned(), 0), ("a-b".to_owned(), 2)]);
    }
}
