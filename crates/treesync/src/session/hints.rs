//! Files that a copy may make ahead of the batch that they are likely to be in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Ahead;

/// Files that wait for a copy at most. A publisher tells no more of one batch.
const WAITING_MAX: usize = 4096;
/// Memory that they take at most. A publisher tells 4 MiB of bytes of one batch.
const WAITING_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The hints of a copy. They are no orders: a copy looks at them while it has nothing else to do.
#[derive(Clone, Default)]
pub(super) struct Hints(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Each with the number of its files that are done.
    waiting: Mutex<VecDeque<(Arc<Ahead>, usize)>>,
    /// When the last one came, until what was made of them is written.
    last: Mutex<Option<Instant>>,
    /// The copy is told that there are some.
    is_told: AtomicBool,
}

impl Hints {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(Arc<Ahead>, usize)>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one; false when it has no files, or there are too many.
    pub(super) fn add(&self, ahead: Arc<Ahead>) -> bool {
        let mut waiting = self.waiting();
        let (mut count, mut bytes) = (ahead.puts().len(), ahead.bytes());
        for (ahead, _) in waiting.iter() {
            count += ahead.puts().len();
            bytes += ahead.bytes();
        }
        if ahead.puts().is_empty() || count > WAITING_MAX || bytes > WAITING_MAX_BYTES {
            return false;
        }
        waiting.push_back((ahead, 0));
        *self.last() = Some(Instant::now());
        true
    }

    /// How long none came; none when all is written that was made.
    pub(super) fn calm(&self) -> Option<Duration> {
        self.last().map(|last| last.elapsed())
    }

    /// All is written that was made.
    pub(super) fn note_written(&self) {
        *self.last() = None;
    }

    /// Whether the copy is to be told: it is not told twice before it listens.
    pub(super) fn tell(&self) -> bool {
        !self.0.is_told.swap(true, Ordering::AcqRel)
    }

    /// Whether an order to look at them may be among those that wait.
    pub(super) fn is_told(&self) -> bool {
        self.0.is_told.load(Ordering::Acquire)
    }

    /// The copy is not told any more.
    pub(super) fn untell(&self) {
        self.0.is_told.store(false, Ordering::Release);
    }

    /// The next that is of use to a copy at a generation, and how many of its files are done; others are dropped.
    pub(super) fn take(&self, generation: u64) -> Option<(Arc<Ahead>, usize)> {
        let mut waiting = self.waiting();
        waiting.retain(|(ahead, _)| ahead.generation() >= generation);
        if waiting.front().is_some_and(|(ahead, _)| ahead.generation() == generation) { waiting.pop_front() } else { None }
    }

    /// Gives one back of which so many files are done.
    pub(super) fn give_back(&self, ahead: Arc<Ahead>, done: usize) {
        if done < ahead.puts().len() {
            self.waiting().push_front((ahead, done));
        }
    }

    pub(super) fn clear(&self) {
        self.waiting().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AHEAD_FILE_MAX_BYTES, ContentHash, Entry, Kind, Mtime, Put, TreePath};

    fn hint(generation: u64, files: usize) -> Arc<Ahead> {
        hint_of(generation, files, 0)
    }

    fn hint_of(generation: u64, files: usize, size_bytes: u64) -> Arc<Ahead> {
        let bytes = vec![7; usize::try_from(size_bytes).expect("it fits")];
        let kind = Kind::File { size_bytes, content: ContentHash::of(&bytes) };
        let inline = Some(bytes.into());
        let mtime = Mtime::default();
        let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 };
        let path = TreePath::parse("f").expect("a good path");
        let put = Put { path, entry, content_generation: 0, inline, held_at: None, delta: None, data_bytes: None };
        Arc::new(Ahead::new(generation, vec![put; files]).expect("good hints"))
    }

    #[test]
    fn a_copy_is_told_once_and_gets_what_fits_its_generation() {
        let hints = Hints::default();
        assert!([1, 2, 3].iter().all(|generation| hints.add(hint(*generation, 2))));
        assert_eq!([hints.tell(), hints.tell()], [true, false]);
        let (taken, done) = hints.take(2).expect("one of generation 2");
        assert_eq!((taken.generation(), done), (2, 0), "the one before is of no use any more");
        hints.give_back(taken, 1);
        assert_eq!(hints.take(2).map(|(_, done)| done), Some(1));
        assert!(hints.take(2).is_none(), "the next is for later");
        assert!(hints.take(3).is_some() && hints.take(3).is_none());
        hints.untell();
        assert!(hints.tell() && hints.calm().is_some());
        hints.note_written();
        assert_eq!(hints.calm(), None);
    }

    #[test]
    fn a_publisher_that_tells_without_end_fills_no_memory() {
        for (size_bytes, most) in [(0, WAITING_MAX / 10), (AHEAD_FILE_MAX_BYTES, 12)] {
            let (hints, hint) = (Hints::default(), hint_of(1, 10, size_bytes));
            let taken = (0..1000).filter(|_| hints.add(hint.clone())).count();
            let waiting: Vec<_> = std::iter::from_fn(|| hints.take(1)).collect();
            let bytes: u64 = waiting.iter().flat_map(|(ahead, _)| ahead.puts()).filter_map(|put| Some(put.entry.file()?.0)).sum();
            assert_eq!((taken, waiting.len(), bytes), (most, most, most as u64 * 10 * size_bytes), "files of {size_bytes} bytes");
            assert!(bytes <= WAITING_MAX_BYTES as u64);
        }
        assert!(!Hints::default().add(hint(1, 0)), "any number of hints without files would be few files");
    }
}
