//! Notices what other processes change on a copy: the kernel says which names, and who.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::feed::{Dirty, Feed, FeedOptions, Windows};
use crate::model::{Rules, TreePath};
use crate::tree::Root;

/// Paths that are remembered, so that each is told once; a copy with more is not as it should be anyway.
const PATHS_MAX: usize = 10_000;

/// Told at once: nothing is read for it.
const AT_ONCE: Windows =
    Windows { quiet: Duration::ZERO, longest: Duration::ZERO, kept_open: Duration::ZERO, ahead: Duration::ZERO, names_max: PATHS_MAX };

/// What others have changed on one copy since it was opened, or compared with its source.
pub(super) struct Drift {
    feed: Feed,
    paths: BTreeSet<TreePath>,
    is_news: bool,
}

impl Drift {
    /// None, with a warning, where the kernel does not tell.
    pub(super) fn watch(root: &Root, wake: Box<dyn Fn() + Send>) -> Option<Self> {
        let options = FeedOptions { windows: AT_ONCE, leaves_out_own: true, ..FeedOptions::default() };
        match Feed::start(root, options, wake) {
            // That there is none so far is news as well.
            Ok(feed) => Some(Self { feed, paths: BTreeSet::new(), is_news: true }),
            Err(error) => {
                tracing::warn!(copy = %root.path().display(), %error, "nobody looks for changes that others make to the copy");
                None
            }
        }
    }

    /// The copy was compared with its source: what differed is repaired.
    pub(super) fn forget(&mut self) {
        self.paths.clear();
        self.is_news = true;
    }

    /// Paths that were not told before, and how many there are in all. The root stands for more than can be told.
    pub(super) fn take(&mut self, rules: &Rules) -> Option<(Vec<TreePath>, u64)> {
        let due = self.feed.take();
        let mut found: Vec<TreePath> = due.dirty.into_iter().filter_map(|dirty| self.path_of(dirty)).collect();
        if due.is_everything {
            found.push(TreePath::root());
        }
        found.retain(|path| !rules.is_kept_on_copy(path) && self.paths.len() < PATHS_MAX && self.paths.insert(path.clone()));
        let is_news = std::mem::take(&mut self.is_news) || !found.is_empty();
        is_news.then_some((found, self.paths.len() as u64))
    }

    /// None: it is not below the root, or gone with its directory, whose own name is told then.
    fn path_of(&self, dirty: Dirty) -> Option<TreePath> {
        let Dirty::Name(at) = dirty else { return None };
        self.feed.path_of(at.parent.as_ref()?)?.join(&at.name).ok()
    }
}
