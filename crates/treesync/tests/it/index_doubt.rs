//! Bytes that were told and that the disk lost with the power: they are read again, also when the publisher that was to do so
//! died on the way.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use treesync::index::{At, Below, Found, Index, IndexOptions, Observation};
use treesync::model::{ContentHash, Kind, Mtime, Rules};
use treesync::publish::{DetectionWish, EngineObserver, EngineStep, PublishOptions, Publisher};
use treesync::tree::Root;

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};
use crate::stage::path;

const BOOT: &[u8] = b"the run of the host that ended with its power";

/// Ends a publisher before its n-th step, as a death would: nothing is noted.
struct DieAt {
    step: usize,
    seen: AtomicUsize,
}

impl EngineObserver for DieAt {
    fn before(&self, step: EngineStep) {
        assert_ne!(self.seen.fetch_add(1, Ordering::SeqCst), self.step, "it dies before {step:?}");
    }
}

fn polled() -> PublishOptions {
    PublishOptions { detection: DetectionWish::Poll, poll_interval: Duration::from_hours(1), ..PublishOptions::default() }
}

fn open(source: &Path) -> Index {
    Index::open(&Root::open(source).unwrap(), &IndexOptions::default()).unwrap().0
}

/// A source whose index was told bytes of `late` that are not on the disk: its inode and ctime are those of the row.
fn source_that_lost_bytes() -> tempfile::TempDir {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    for name in ["kept", "late"] {
        fs::write(source.path().join(name), name).unwrap();
    }
    // So young a ctime would not be trusted, and the file read in any case.
    std::thread::sleep(Duration::from_millis(50));
    Publisher::start(source.path(), polled()).unwrap().checkpoint().unwrap();
    let index = open(source.path());
    let view = index.view().unwrap();
    let (row, root) = (view.row(&path("late")).unwrap().unwrap(), view.row(&path("")).unwrap().unwrap());
    let parent = view.identity_of(root.directory).unwrap();
    drop(view);
    let mut entry = row.entry.clone();
    entry.kind = Kind::File { size_bytes: 4, content: ContentHash::of(b"lost") };
    let found = Found { entry, stamp: row.stamp, identity: None, below: Below::Unsaid, blocks: vec![], inline: None };
    let observation = Observation { at: At { parent, name: b"late".to_vec() }, found: Some(found), is_forced: false };
    index.begin_use(BOOT).unwrap();
    assert!(index.commit(vec![observation], 0).unwrap().batch.is_some(), "it was told");
    source
}

/// Whether it died before it had settled.
fn dies(source: &Path, step: usize) -> bool {
    let observer = Arc::new(DieAt { step, seen: AtomicUsize::new(0) });
    let options = PublishOptions { observer, ..polled() };
    let lived = catch_unwind(AssertUnwindSafe(|| {
        let publisher = Publisher::start(source, options).unwrap();
        publisher.checkpoint().is_ok()
    }));
    !lived.unwrap_or(false)
}

#[test]
fn lost_bytes_are_noticed_although_the_publisher_dies_at_any_step_before() {
    let mut deaths = 0;
    for step in 0.. {
        let source = source_that_lost_bytes();
        let is_dead = dies(source.path(), step);
        deaths += usize::from(is_dead);
        let publisher = Publisher::start(source.path(), polled()).unwrap();
        let position = publisher.checkpoint().unwrap();
        let mut fresh = Follower::fresh(&publisher);
        fresh.reach(position);
        let truth = truth(&Root::open(source.path()).unwrap(), &Rules::default());
        assert_same(&fresh.copy.tree, &truth, &format!("it died before step {step}"));
        if !is_dead {
            break;
        }
    }
    assert!(deaths > 8, "every step was a trial: {deaths}");
}

/// However late it can be read: a disk that refuses to, for example, is asked again by a later scan.
#[test]
fn a_row_of_lost_bytes_forgets_the_ctime_that_would_have_it_passed_by() {
    let source = source_that_lost_bytes();
    let index = open(source.path());
    let ctime = |name: &str| index.view().unwrap().row(&path(name)).unwrap().unwrap().stamp.ctime;
    let kept = ctime("kept");
    assert_ne!(ctime("late"), Mtime::default());
    index.begin_use(b"next").unwrap();
    assert_eq!((ctime("kept"), ctime("late")), (kept, Mtime::default()));
}

#[test]
fn what_is_in_doubt_stays_so_until_the_source_is_durable() {
    let source = source_that_lost_bytes();
    let durable = open(source.path()).view().unwrap().durable_generation().unwrap();
    for boot in [&b"next"[..], b"next", b"third"] {
        assert_eq!(open(source.path()).begin_use(boot).unwrap(), Some(durable));
    }
    let index = open(source.path());
    index.set_durable(index.position().unwrap().generation).unwrap();
    assert_eq!(index.begin_use(b"third").unwrap(), None);
    index.set_clean(true).unwrap();
    assert_eq!(index.begin_use(b"fourth").unwrap(), None, "it was closed in order");
}
