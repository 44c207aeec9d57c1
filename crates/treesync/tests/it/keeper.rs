//! A copy on disk that takes the steps of a publisher in the same process.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treesync::apply::{ContentError, Contents, Copy};
use treesync::model::{Position, Wanted};
use treesync::publish::{Publisher, Step, Subscription};
use treesync::verify::{Comparer, Repairer};

pub(crate) const LONG: Duration = Duration::from_mins(2);
/// Bytes that change while they are asked for can be gone a few times, while the source settles.
const GONE_MAX: u32 = 5;

struct FromSource<'p>(&'p Publisher);

impl Contents for FromSource<'_> {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        match self.0.read(wanted) {
            Ok(Some(reader)) => Ok(Box::new(reader)),
            Ok(None) => Err(ContentError::Gone),
            Err(error) => Err(ContentError::Failed(std::io::Error::other(error))),
        }
    }
}

pub(crate) struct Keeper {
    // Before the publisher is gone, the copy is not.
    pub(crate) copy: Copy,
    subscription: Subscription,
    comparing: Option<(Comparer, Repairer)>,
    times_gone: u32,
    publisher: Arc<Publisher>,
}

impl Keeper {
    /// From where the copy is.
    pub(crate) fn new(copy: Copy, publisher: Arc<Publisher>) -> Self {
        let subscription = publisher.subscribe(copy.position()).unwrap();
        Self { copy, subscription, comparing: None, times_gone: 0, publisher }
    }

    /// Asks anew for what follows a position; none: for everything.
    pub(crate) fn ask_since(&mut self, since: Option<Position>) {
        self.subscription = self.publisher.subscribe(since).unwrap();
    }

    /// What the publisher tells next, in this time.
    pub(crate) fn hear(&mut self, timeout: Duration) -> Option<Step> {
        self.subscription.next(timeout).unwrap()
    }

    /// Does to the copy what was told.
    pub(crate) fn take(&mut self, step: &Step) {
        let publisher = self.publisher.clone();
        let contents = FromSource(&publisher);
        match step {
            Step::Batch(batch) => match self.copy.apply(batch, &contents) {
                // Large files that changed since: the copy asks anew from where it is.
                Err(error) if error.problem.is_gone() => {
                    self.times_gone += 1;
                    self.ask_since(self.copy.position());
                }
                applied => drop(applied.unwrap()),
            },
            Step::Manifest(part) => {
                let (mut comparer, mut repairer) = self.comparing.take().unwrap_or_else(|| (Comparer::new(true), Repairer::default()));
                let mut found = comparer.compare(self.copy.root(), self.copy.rules(), &part.puts).unwrap();
                if part.is_last_part {
                    let extra = comparer.finish(self.copy.root(), self.copy.rules()).unwrap();
                    found.extend(extra.into_iter().map(|finding| (finding, None)));
                }
                let batch = repairer.batch(&part.puts, &found, part.position, part.is_last_part);
                self.copy.repair(&batch, &contents).unwrap();
                self.comparing = (!part.is_last_part).then_some((comparer, repairer));
            }
            Step::InSync(_) | Step::Ahead(_) => {}
        }
    }

    /// Takes steps until the copy is at a position, durably.
    pub(crate) fn follow(&mut self, position: Position) {
        let begun = Instant::now();
        self.times_gone = 0;
        while self.copy.position() != Some(position) || self.comparing.is_some() {
            assert!(begun.elapsed() < LONG, "the copy is at {:?} and not at {position}", self.copy.position());
            if let Some(step) = self.hear(Duration::from_millis(100)) {
                self.take(&step);
            }
            assert!(self.times_gone < GONE_MAX, "the source is at rest and never has the bytes that it tells of");
        }
        self.copy.make_durable().unwrap();
    }
}
