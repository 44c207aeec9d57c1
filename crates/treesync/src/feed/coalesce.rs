//! Gathers what may have changed until it is calm, or has waited long enough. Pure: time comes in.

use crate::index::{At, Identity};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

/// Something that may have changed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Dirty {
    /// A name: what it names, or its state.
    Name(At),
    /// A directory's own state, wherever it is.
    Directory(Identity),
    /// All names of what a handle is of.
    Handle(Identity),
}

/// What an event says of a file's writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Writer {
    /// It still has the file open: more will come.
    Busy,
    /// It is done, or it was no write.
    Done,
}

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// Since the last event.
    pub quiet: Duration,
    /// Since the first event, however many follow.
    pub longest: Duration,
    /// For files that stay open after a write.
    pub kept_open: Duration,
    /// Names that are held at most; more, and the whole tree is compared instead.
    pub names_max: usize,
}

impl Default for Windows {
    /// 20 ms is the gap that an unpacking archive or a build does not leave; 1 s is as stale as a copy may get by waiting;
    /// a log file that stays open is worth a copy each 5 s. 200,000 names are about 30 MB.
    fn default() -> Self {
        let (quiet, longest, kept_open) = (Duration::from_millis(20), Duration::from_secs(1), Duration::from_secs(5));
        Self { quiet, longest, kept_open, names_max: 200_000 }
    }
}

/// What is due.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// Each once, in order.
    pub dirty: Vec<Dirty>,
    /// Events were lost: everything may have changed.
    pub is_everything: bool,
}

/// Events that wait. Times are durations since any one moment.
#[derive(Clone, Debug)]
pub struct Coalescer {
    windows: Windows,
    dirty: BTreeSet<Dirty>,
    first: Duration,
    last: Duration,
    /// Files being written and since when, the oldest first; those that were closed meanwhile are no longer in `open`.
    since: VecDeque<(Duration, Dirty)>,
    open: HashSet<Dirty>,
    is_everything: bool,
}

impl Coalescer {
    /// Nothing waits.
    pub fn new(windows: Windows) -> Self {
        let (dirty, since, open) = (BTreeSet::new(), VecDeque::new(), HashSet::new());
        Self { windows, dirty, first: Duration::ZERO, last: Duration::ZERO, since, open, is_everything: false }
    }

    /// Notes an event.
    pub fn add(&mut self, dirty: Dirty, writer: Writer, now: Duration) {
        if self.is_everything {
            return;
        }
        if writer == Writer::Busy {
            if !self.dirty.contains(&dirty) && self.open.insert(dirty.clone()) {
                self.since.push_back((now, dirty));
            }
        } else {
            self.open.remove(&dirty);
            if self.dirty.is_empty() {
                self.first = now;
            }
            self.last = now;
            self.dirty.insert(dirty);
        }
        if self.dirty.len() + self.since.len() > self.windows.names_max {
            self.add_everything();
        }
    }

    /// Notes that events were lost.
    pub fn add_everything(&mut self) {
        self.dirty.clear();
        self.since.clear();
        self.open.clear();
        self.is_everything = true;
    }

    /// When something is due; none when nothing waits.
    pub fn due_at(&mut self) -> Option<Duration> {
        if self.is_everything {
            return Some(Duration::ZERO);
        }
        while self.since.front().is_some_and(|(_, dirty)| !self.open.contains(dirty)) {
            self.since.pop_front();
        }
        let calm = (!self.dirty.is_empty()).then(|| (self.last + self.windows.quiet).min(self.first + self.windows.longest));
        let open = self.since.front().map(|(since, _)| *since + self.windows.kept_open);
        [calm, open].into_iter().flatten().min()
    }

    /// Takes what is due; nothing when it is too early.
    pub fn take(&mut self, now: Duration) -> Due {
        let Some(due_at) = self.due_at().filter(|due_at| *due_at <= now) else { return Due::default() };
        if due_at <= now {
            // What is written to by now goes along: the batch is made anyway, and files kept open are not many.
            while self.since.front().is_some_and(|(since, _)| *since + self.windows.kept_open <= now) {
                self.take_oldest_open();
            }
        }
        Due { dirty: std::mem::take(&mut self.dirty).into_iter().collect(), is_everything: std::mem::take(&mut self.is_everything) }
    }

    /// Takes all that waits, due or not.
    pub fn take_all(&mut self) -> Due {
        while !self.since.is_empty() {
            self.take_oldest_open();
        }
        Due { dirty: std::mem::take(&mut self.dirty).into_iter().collect(), is_everything: std::mem::take(&mut self.is_everything) }
    }

    fn take_oldest_open(&mut self) {
        if let Some((_, dirty)) = self.since.pop_front()
            && self.open.remove(&dirty)
        {
            self.dirty.insert(dirty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: u64) -> Dirty {
        Dirty::Handle(Identity(number.to_be_bytes().into()))
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn coalescer() -> Coalescer {
        Coalescer::new(Windows::default())
    }

    #[test]
    fn a_burst_is_taken_once_when_it_is_calm() {
        let mut waiting = coalescer();
        for at in [0, 5, 19, 30] {
            waiting.add(name(at % 2), Writer::Done, ms(at));
        }
        assert_eq!(waiting.take(ms(49)).dirty, []);
        assert_eq!(waiting.due_at(), Some(ms(50)));
        assert_eq!(waiting.take(ms(50)).dirty, [name(0), name(1)]);
        assert_eq!(waiting.due_at(), None);
    }

    #[test]
    fn a_source_that_is_never_calm_is_taken_each_second() {
        let mut waiting = coalescer();
        let mut taken = Vec::new();
        for at in (0..3000).step_by(10) {
            waiting.add(name(0), Writer::Done, ms(at));
            if !waiting.take(ms(at)).dirty.is_empty() {
                taken.push(at);
            }
        }
        assert_eq!(taken, [1000, 2010]);
    }

    #[test]
    fn a_file_that_stays_open_waits_five_seconds_and_one_that_is_closed_does_not() {
        let mut waiting = coalescer();
        waiting.add(name(1), Writer::Busy, ms(0));
        waiting.add(name(2), Writer::Busy, ms(100));
        waiting.add(name(1), Writer::Busy, ms(200));
        waiting.add(name(2), Writer::Done, ms(300));
        assert_eq!(waiting.take(ms(320)).dirty, [name(2)]);
        assert_eq!(waiting.due_at(), Some(ms(5000)));
        assert_eq!(waiting.take(ms(5000)).dirty, [name(1)]);
        assert_eq!(waiting.due_at(), None);
    }

    #[test]
    fn lost_events_and_too_many_names_mean_everything() {
        let mut waiting = Coalescer::new(Windows { names_max: 2, ..Windows::default() });
        waiting.add(name(1), Writer::Done, ms(0));
        waiting.add(name(2), Writer::Busy, ms(0));
        assert!(!waiting.take(ms(20)).is_everything);
        for number in 3..6 {
            waiting.add(name(number), Writer::Done, ms(30));
        }
        assert_eq!(waiting.take(ms(30)), Due { dirty: vec![], is_everything: true });
        assert_eq!(waiting.due_at(), None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_waits_longer_than_it_may(events in prop::collection::vec((0..400_u64, 0..6_u64, any::<bool>()), 1..80)) {
            let mut waiting = coalescer();
            let mut now = 0;
            let mut untaken: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
            for (pause, number, is_busy) in events {
                for _ in 0..=pause / 10 {
                    now += 10;
                    for dirty in waiting.take(ms(now)).dirty {
                        let Dirty::Handle(Identity(bytes)) = dirty else { unreachable!("only handles were added") };
                        let number = u64::from_be_bytes(bytes[..].try_into().expect("eight bytes"));
                        let since = untaken.remove(&number).expect("it was added");
                        prop_assert!(now - since <= 6_010, "{number} waited {} ms", now - since);
                    }
                }
                waiting.add(name(number), if is_busy { Writer::Busy } else { Writer::Done }, ms(now));
                untaken.entry(number).or_insert(now);
            }
            let rest: Vec<Dirty> = waiting.take_all().dirty;
            prop_assert_eq!(rest, untaken.into_keys().map(name).collect::<Vec<_>>());
        }
    }
}
