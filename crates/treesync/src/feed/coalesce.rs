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
    /// It closed the file, which most likely has its bytes now.
    Closed,
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
    /// Since a file was closed, before it is read ahead of the rest.
    pub ahead: Duration,
    /// Names that are held at most; more, and the whole tree is compared instead.
    pub names_max: usize,
}

impl Default for Windows {
    /// 20 ms is the gap that an unpacking archive or a build does not leave; 1 s is as stale as a copy may get by waiting;
    /// a log file that stays open is worth a copy each 5 s. 2 ms gather some files to be read ahead together, and leave the
    /// copies most of the 20 ms. 200,000 names are about 30 MB.
    fn default() -> Self {
        let (quiet, longest, kept_open) = (Duration::from_millis(20), Duration::from_secs(1), Duration::from_secs(5));
        Self { quiet, longest, kept_open, ahead: Duration::from_millis(2), names_max: 200_000 }
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
    ahead: Ahead,
}

/// Names in a burst that are read ahead at most; what is beyond waits for quiet.
const AHEAD_MAX: usize = 4096;

/// Files that can be read before the burst that they are in is over.
#[derive(Clone, Debug, Default)]
struct Ahead {
    is_wanted: bool,
    /// Closed, and not taken yet.
    waiting: Vec<At>,
    since: Duration,
    /// All of this burst, so that each is read ahead once.
    known: HashSet<At>,
}

impl Coalescer {
    /// Nothing waits.
    pub fn new(windows: Windows) -> Self {
        let (dirty, since, open) = (BTreeSet::new(), VecDeque::new(), HashSet::new());
        let (first, last) = (Duration::ZERO, Duration::ZERO);
        Self { windows, dirty, first, last, since, open, is_everything: false, ahead: Ahead::default() }
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
            if let (Dirty::Name(at), Writer::Closed, true) = (&dirty, writer, self.ahead.is_wanted) {
                self.add_ahead(at, now);
            }
            self.dirty.insert(dirty);
        }
        if self.dirty.len() + self.since.len() > self.windows.names_max {
            self.add_everything();
        }
    }

    fn add_ahead(&mut self, at: &At, now: Duration) {
        if self.ahead.known.len() < AHEAD_MAX && self.ahead.known.insert(at.clone()) {
            if self.ahead.waiting.is_empty() {
                self.ahead.since = now;
            }
            self.ahead.waiting.push(at.clone());
        }
    }

    /// From now on keeps, or does not keep, what can be read ahead.
    pub fn want_ahead(&mut self, is_wanted: bool) {
        if self.ahead.is_wanted != is_wanted {
            self.ahead = Ahead { is_wanted, ..Ahead::default() };
        }
    }

    /// When something can be read ahead; none when nothing waits for that.
    pub fn ahead_at(&self) -> Option<Duration> {
        (!self.ahead.waiting.is_empty()).then(|| self.ahead.since + self.windows.ahead)
    }

    /// Takes what can be read ahead. It is due all the same when it is calm.
    pub fn take_ahead(&mut self, now: Duration) -> Vec<At> {
        let is_time = self.ahead_at().is_some_and(|at| at <= now);
        if is_time { std::mem::take(&mut self.ahead.waiting) } else { Vec::new() }
    }

    fn take_dirty(&mut self) -> Vec<Dirty> {
        self.ahead = Ahead { is_wanted: self.ahead.is_wanted, ..Ahead::default() };
        std::mem::take(&mut self.dirty).into_iter().collect()
    }

    /// Notes that events were lost.
    pub fn add_everything(&mut self) {
        self.take_dirty();
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
        Due { dirty: self.take_dirty(), is_everything: std::mem::take(&mut self.is_everything) }
    }

    /// Takes all that waits, due or not.
    pub fn take_all(&mut self) -> Due {
        while !self.since.is_empty() {
            self.take_oldest_open();
        }
        self.take_done()
    }

    /// Takes all that waits but files that are written to.
    pub fn take_done(&mut self) -> Due {
        Due { dirty: self.take_dirty(), is_everything: std::mem::take(&mut self.is_everything) }
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
    fn a_closed_file_is_read_ahead_once_in_a_burst_and_is_due_all_the_same() {
        let closed = |number| At { parent: None, name: vec![number] };
        let mut waiting = coalescer();
        waiting.add(Dirty::Name(closed(0)), Writer::Closed, ms(0));
        assert_eq!(waiting.ahead_at(), None, "nobody wants it");
        waiting.want_ahead(true);
        waiting.add(Dirty::Name(closed(1)), Writer::Done, ms(1));
        waiting.add(Dirty::Name(closed(1)), Writer::Closed, ms(2));
        waiting.add(Dirty::Name(closed(2)), Writer::Closed, ms(3));
        assert_eq!((waiting.ahead_at(), waiting.take_ahead(ms(3))), (Some(ms(4)), vec![]));
        assert_eq!(waiting.take_ahead(ms(4)), [closed(1), closed(2)]);
        waiting.add(Dirty::Name(closed(1)), Writer::Closed, ms(5));
        assert_eq!(waiting.ahead_at(), None, "it was read in this burst");
        assert_eq!(waiting.take(ms(25)).dirty, [0, 1, 2].map(|number| Dirty::Name(closed(number))));
        waiting.add(Dirty::Name(closed(1)), Writer::Closed, ms(30));
        assert_eq!(waiting.ahead_at(), Some(ms(32)));
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
