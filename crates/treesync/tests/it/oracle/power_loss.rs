//! The filesystem of a source is shut down at any moment, as by a loss of power, while a publisher takes its changes in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use treesync::apply::{Copy, CopyOptions};
use treesync::index::{Index, IndexOptions};
use treesync::model::{Position, RuleOptions, Rules};
use treesync::publish::{EngineObserver, EngineStep, PublishOptions, Publisher};
use treesync::tree::Root;

use super::operation::Operation;
use super::{number, sequence};
use crate::keeper::Keeper;
use crate::rsync;
use crate::stage::images::{Image, ImageKind, Shutdown, shut_down};

/// Losses of power on each filesystem. TREESYNC_POWER_LOSSES asks for more.
const TRIALS: u64 = 40;
/// Sparse: it takes the memory that is written.
const SIZE_MIB: u64 = 512;
/// Steps of a publisher within which power is lost; what a trial does takes about so many.
const STEPS: u64 = 24;
/// How long after a step power is lost at most: longer than most steps take.
const LATER_MAX_US: u64 = 2_000;
/// The copy that missed several losses catches up after so many.
const LATE_EVERY: u64 = 5;

/// Shuts the filesystem down a while after the n-th step of a publisher.
struct LoseAt {
    mount: PathBuf,
    how: Shutdown,
    step: u64,
    later: Duration,
    seen: AtomicU64,
    is_lost: Mutex<bool>,
    /// As `is_lost`, for who must not wait.
    is_over: AtomicBool,
}

impl LoseAt {
    fn lose(&self) {
        let mut is_lost = self.is_lost.lock().unwrap();
        if !std::mem::replace(&mut *is_lost, true) {
            shut_down(&self.mount, self.how);
            self.is_over.store(true, Ordering::SeqCst);
        }
    }
}

struct Observed(Arc<LoseAt>);

impl EngineObserver for Observed {
    fn before(&self, _: EngineStep) {
        let loss = &self.0;
        if loss.seen.fetch_add(1, Ordering::SeqCst) != loss.step {
            return;
        }
        if loss.later.is_zero() {
            return loss.lose();
        }
        let loss = loss.clone();
        std::thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < loss.later {
                std::hint::spin_loop();
            }
            loss.lose();
        });
    }
}

fn rules() -> Rules {
    Rules::new(RuleOptions { allow_setuid: true, ..RuleOptions::default() }).unwrap()
}

fn publish(source: &Path, observer: Option<Arc<dyn EngineObserver>>) -> Option<Arc<Publisher>> {
    let mut options = PublishOptions { rules: rules(), audit_interval: Duration::ZERO, ..PublishOptions::default() };
    if let Some(observer) = observer {
        options.observer = observer;
    }
    Publisher::start(source, options).ok().map(Arc::new)
}

fn keeper(copy: &Path, publisher: &Arc<Publisher>) -> Keeper {
    let options = CopyOptions { rules: Arc::new(rules()), ..CopyOptions::default() };
    Keeper::new(Copy::open(Root::open(copy).unwrap(), options).unwrap(), publisher.clone())
}

/// Changes a source until power is lost; a copy follows on the way. The last position that was said to be durable.
fn live(source: &Path, copy: &Path, loss: &Arc<LoseAt>, operations: &[Operation], mut dice: u64) -> Option<Position> {
    let publisher = publish(source, Some(Arc::new(Observed(loss.clone()))))?;
    let mut durable = None;
    for operation in operations {
        operation.run(source);
        dice = dice.rotate_right(3);
        match dice % 8 {
            0 => durable = publisher.checkpoint().ok().or(durable),
            1 | 2 => {
                if let Ok(position) = publisher.settle() {
                    follow_if_it_lives(copy, &publisher, position, loss);
                }
            }
            _ => {}
        }
        if loss.is_over.load(Ordering::SeqCst) {
            break;
        }
    }
    durable = publisher.checkpoint().ok().or(durable);
    loss.lose();
    durable
}

/// Bytes of a source that died on the way cannot be had; the copy stays where it is then, as after a crash of its own.
fn follow_if_it_lives(copy: &Path, publisher: &Arc<Publisher>, position: Position, loss: &LoseAt) {
    let followed = catch_unwind(AssertUnwindSafe(|| keeper(copy, publisher).follow(position)));
    assert!(followed.is_ok() || *loss.is_lost.lock().unwrap(), "the copy failed while the source was well");
}

/// What was said to be durable is in the index, before anybody reads the source again.
fn assert_durable(source: &Path, durable: Option<Position>) {
    let Some(durable) = durable else { return };
    let (index, _) = Index::open(&Root::open(source).unwrap(), &IndexOptions::default()).unwrap();
    let position = index.position().unwrap();
    assert!(
        position.is_comparable_to(&durable) && position.generation >= durable.generation,
        "{durable} was durable, the index is at {position}"
    );
}

/// A publisher that starts again has the source as it is now, and brings copies there, wherever they were.
fn assert_copies_converge(source: &Path, copies: &[PathBuf]) {
    let publisher = publish(source, None).expect("it starts again");
    let settled = publisher.settle().unwrap();
    // A copy that is ahead of what was left begins a new epoch.
    for copy in copies {
        let mut keeper = keeper(copy, &publisher);
        keeper.follow(publisher.position());
        rsync::assert_equal(source, copy);
    }
    let compared = publisher.rescan().unwrap();
    assert_eq!(compared.generation, settled.generation, "a comparison of everything finds what the start did not");
}

fn lose_power(kind: ImageKind) {
    let name = format!("losses of power of a source on {kind:?}");
    if !rsync::is_there_or_skipped(&name) {
        return;
    }
    let Some(image) = Image::new(kind, SIZE_MIB, &[]) else { return };
    let fresh = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().into();
    let seed = number("TREESYNC_POWER_LOSS_SEED", fresh);
    let trials = number("TREESYNC_POWER_LOSSES", TRIALS);
    eprintln!("{name}: {trials} trials, TREESYNC_POWER_LOSS_SEED={seed}");
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let [following, late] = ["following", "late"].map(|copy| folder.path().join(copy));
    let source = image.path().join("source");
    for path in [&following, &late, &source] {
        std::fs::create_dir(path).unwrap();
    }
    drop(publish(&source, None));
    rustix::fs::syncfs(std::fs::File::open(&source).unwrap()).unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut on_the_way = 0;
    for trial in 0..trials {
        let how = if random.next_u64().is_multiple_of(2) { Shutdown::DropJournal } else { Shutdown::FlushJournal };
        let step = random.next_u64() % STEPS;
        let later = Duration::from_micros((random.next_u64() % (2 * LATER_MAX_US)).saturating_sub(LATER_MAX_US));
        // A write through a mapping of a filesystem that is shut down ends the process.
        let mut operations = sequence(seed, trial);
        operations.retain(|operation| !matches!(operation, Operation::MapAndWrite { .. }));
        let (is_lost, is_over) = (Mutex::new(false), AtomicBool::new(false));
        let loss = Arc::new(LoseAt { mount: image.path(), how, step, later, seen: AtomicU64::new(0), is_lost, is_over });
        let durable = live(&source, &following, &loss, &operations, random.next_u64());
        on_the_way += u64::from(loss.seen.load(Ordering::SeqCst) > step);
        image.remount();
        let tried = catch_unwind(AssertUnwindSafe(|| {
            assert_durable(&source, durable);
            let copies = [following.clone(), late.clone()];
            assert_copies_converge(&source, if trial % LATE_EVERY == LATE_EVERY - 1 { &copies } else { &copies[..1] });
        }));
        assert!(tried.is_ok(), "TREESYNC_POWER_LOSS_SEED={seed}, trial {trial}: {how:?} {later:?} after step {step}, then {operations:?}");
    }
    eprintln!("{name}: {on_the_way} of {trials} while the publisher was at work");
    assert!(on_the_way > trials / 2, "power is lost on the way: {on_the_way} of {trials}");
}

#[test]
fn copies_equal_a_source_on_ext4_that_lost_power_at_any_moment() {
    lose_power(ImageKind::Ext4);
}

#[test]
fn copies_equal_a_source_on_xfs_that_lost_power_at_any_moment() {
    lose_power(ImageKind::Xfs);
}
