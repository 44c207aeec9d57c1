//! A published source and its copies: one that follows each batch, one that catches up, one that is compared anew.

use std::path::Path;
use std::sync::Arc;

use treesync::apply::{Copy, CopyOptions};
use treesync::model::{RuleOptions, Rules};
use treesync::publish::{PublishOptions, Publisher};
use treesync::tree::Root;

use super::ground::{Ground, Kind};
use super::operation::Operation;
use crate::keeper::{Keeper, LONG};
use crate::rsync;

/// The copy that catches up does so after this many sequences, so that it lacks several generations; the one that is
/// compared anew, after that many.
const CATCH_UP_EVERY: u64 = 3;
const COMPARE_EVERY: u64 = 12;

pub(super) struct World {
    // Before the publisher and the copies are gone, the ground is not.
    following: Keeper,
    behind: Keeper,
    compared: Keeper,
    catch_up_every: u64,
    publisher: Arc<Publisher>,
    ground: Ground,
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
        let at = |name: &str| Keeper::new(open(&ground.path().join(name)), publisher.clone());
        let (following, behind, compared) = (at("following"), at("behind"), at("compared"));
        let catch_up_every = super::number("TREESYNC_ORACLE_CATCH_UP_EVERY", CATCH_UP_EVERY).max(1);
        Self { following, behind, compared, catch_up_every, publisher, ground }
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
        self.following.follow(position);
        self.check("following")?;
        if number.is_multiple_of(self.catch_up_every) {
            self.behind.ask_since(self.behind.copy.position());
            self.behind.follow(position);
            self.check("behind")?;
        }
        if number.is_multiple_of(COMPARE_EVERY) {
            self.compared.ask_since(None);
            self.compared.follow(position);
            self.check("compared")?;
        }
        Ok(())
    }

    fn check(&self, copy: &str) -> Result<(), String> {
        let differences = rsync::differences(&self.ground.path().join("source"), &self.ground.path().join(copy), true);
        if differences.is_empty() { Ok(()) } else { Err(format!("the copy {copy} differs:\n{differences}")) }
    }
}
