//! A published source and its copies: one that follows each batch, one that catches up, one that is compared anew.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use treesync::apply::{ContentError, Contents, Copy, CopyOptions};
use treesync::model::{Position, RuleOptions, Rules, Wanted};
use treesync::publish::{PublishOptions, Publisher, Step, Subscription};
use treesync::tree::Root;
use treesync::verify::{Comparer, Repairer};

use super::ground::{Ground, Kind};
use super::operation::Operation;
use crate::rsync;

const LONG: Duration = Duration::from_secs(30);
/// Bytes that change while they are asked for can be gone a few times, while the source settles.
const GONE_MAX: u32 = 5;
/// The copy that catches up does so after this many sequences, so that it lacks several generations; the one that is
/// compared anew, after that many.
const CATCH_UP_EVERY: u64 = 3;
const COMPARE_EVERY: u64 = 12;

pub(super) struct World {
    // Before the publisher and the copies are gone, the ground is not.
    following: Copy,
    subscription: Subscription,
    behind: Copy,
    compared: Copy,
    catch_up_every: u64,
    publisher: Arc<Publisher>,
    ground: Ground,
}

struct FromSource(Arc<Publisher>);

impl Contents for FromSource {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn std::io::Read + Send>, ContentError> {
        match self.0.read(wanted) {
            Ok(Some(reader)) => Ok(Box::new(reader)),
            Ok(None) => Err(ContentError::Gone),
            Err(error) => Err(ContentError::Failed(std::io::Error::other(error))),
        }
    }
}

/// All that rsync compares travels.
fn rules() -> Rules {
    Rules::new(RuleOptions { allow_setuid: true, ..RuleOptions::default() }).unwrap()
}

fn open(path: &Path) -> Copy {
    let options = CopyOptions { rules: Arc::new(rules()), ..CopyOptions::default() };
    Copy::open(Root::open(path).unwrap(), options).unwrap()
}

impl World {
    pub(super) fn new(kind: Kind, is_calm: bool) -> Self {
        let ground = Ground::new(kind, 512);
        for name in ["source", "following", "behind", "compared"] {
            std::fs::create_dir(ground.path().join(name)).unwrap();
        }
        let mut options = PublishOptions { rules: rules(), ..PublishOptions::default() };
        if is_calm {
            // The source is looked at only when it is asked to settle: the same operations are then read in the same way.
            options.feed.windows.quiet = LONG;
            options.feed.windows.longest = LONG;
        }
        let publisher = Arc::new(Publisher::start(&ground.path().join("source"), options).unwrap());
        let at = |name: &str| open(&ground.path().join(name));
        let (following, behind, compared) = (at("following"), at("behind"), at("compared"));
        let subscription = publisher.subscribe(None).unwrap();
        let catch_up_every = super::number("TREESYNC_ORACLE_CATCH_UP_EVERY", CATCH_UP_EVERY).max(1);
        Self { following, subscription, behind, compared, catch_up_every, publisher, ground }
    }

    /// Does the operations, with a look in the middle of them. How many did something.
    pub(super) fn run(&mut self, operations: &[Operation], number: u64) -> u64 {
        let source = self.ground.path().join("source");
        let middle = operations.len() / 2;
        let mut effective = 0;
        for (index, operation) in operations.iter().enumerate() {
            effective += u64::from(operation.run(&source));
            if index == middle && number.is_multiple_of(2) {
                self.publisher.settle().unwrap();
            }
        }
        effective
    }

    /// What rsync would do to any copy.
    pub(super) fn judge(&mut self, number: u64) -> Result<(), String> {
        let position = self.publisher.settle().unwrap();
        let contents = FromSource(self.publisher.clone());
        follow(&mut self.following, &mut self.subscription, position, &contents);
        self.check("following")?;
        if number.is_multiple_of(self.catch_up_every) {
            let mut subscription = self.publisher.subscribe(self.behind.position()).unwrap();
            follow(&mut self.behind, &mut subscription, position, &contents);
            self.check("behind")?;
        }
        if number.is_multiple_of(COMPARE_EVERY) {
            let mut subscription = self.publisher.subscribe(None).unwrap();
            follow(&mut self.compared, &mut subscription, position, &contents);
            self.check("compared")?;
        }
        Ok(())
    }

    fn check(&self, copy: &str) -> Result<(), String> {
        let differences = rsync::differences(&self.ground.path().join("source"), &self.ground.path().join(copy), true);
        if differences.is_empty() { Ok(()) } else { Err(format!("the copy {copy} differs:\n{differences}")) }
    }
}

/// Takes steps until the copy is at a position.
fn follow(copy: &mut Copy, subscription: &mut Subscription, position: Position, contents: &FromSource) {
    let begun = Instant::now();
    let (mut comparing, mut times_gone) = (None, 0);
    while copy.position() != Some(position) || comparing.is_some() {
        assert!(begun.elapsed() < LONG, "the copy is at {:?} and not at {position}", copy.position());
        match subscription.next(Duration::from_millis(100)).unwrap() {
            Some(Step::Batch(batch)) => match copy.apply(&batch, contents) {
                // Large files that changed since: the copy asks anew from where it is.
                Err(error) if error.problem.is_gone() => {
                    times_gone += 1;
                    assert!(times_gone < GONE_MAX, "the source is at rest and never has the bytes: {error}");
                    *subscription = contents.0.subscribe(copy.position()).unwrap();
                }
                applied => drop(applied.unwrap()),
            },
            Some(Step::Manifest(part)) => {
                let (mut comparer, mut repairer) = comparing.take().unwrap_or_else(|| (Comparer::new(true), Repairer::default()));
                let mut found = comparer.compare(copy.root(), copy.rules(), &part.puts).unwrap();
                if part.is_last_part {
                    let extra = comparer.finish(copy.root(), copy.rules()).unwrap();
                    found.extend(extra.into_iter().map(|finding| (finding, None)));
                }
                let batch = repairer.batch(&part.puts, &found, part.position, part.is_last_part);
                copy.repair(&batch, contents).unwrap();
                comparing = (!part.is_last_part).then_some((comparer, repairer));
            }
            Some(Step::InSync(_)) | None => {}
        }
    }
    copy.make_durable().unwrap();
}
