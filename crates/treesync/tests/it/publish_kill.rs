//! SIGKILL of a publisher at every step, and of the one that comes after it: nothing that was told is lost.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use treesync::apply::{Copy, CopyOptions};
use treesync::index::{Index, IndexOptions};
use treesync::model::Rules;
use treesync::publish::{EngineObserver, EngineStep, PublishOptions, Publisher, Step};
use treesync::tree::Root;

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};
use crate::keeper::{Keeper, LONG};
use crate::rsync;
use crate::stage::source::assert_equal;
use crate::stage::{is_root_or_skipped, path};

const VICTIM: &str = "publish_kill::the_publisher_that_is_killed";
/// How long a victim waits for its copy before it dies: what is told arrives within milliseconds.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Kills this process before its n-th step; at even steps when the copy has all that was told, at odd ones at once.
struct KillAt {
    step: u64,
    seen: AtomicU64,
    publisher: OnceLock<Weak<Publisher>>,
    /// The last generation that the copy has.
    followed: AtomicU64,
}

impl EngineObserver for KillAt {
    fn before(&self, _: EngineStep) {
        if self.seen.fetch_add(1, Ordering::SeqCst) != self.step {
            return;
        }
        let begun = Instant::now();
        while self.step.is_multiple_of(2) && begun.elapsed() < LAST_WORDS {
            let told = self.publisher.get().and_then(Weak::upgrade).map_or(0, |publisher| publisher.position().generation);
            if self.followed.load(Ordering::SeqCst) >= told {
                break;
            }
            std::thread::yield_now();
        }
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    }
}

/// The source is read when it is asked to settle, so that all victims take the same steps.
fn calm(observer: Option<Arc<dyn EngineObserver>>) -> PublishOptions {
    let mut options = PublishOptions { audit_interval: Duration::ZERO, ..PublishOptions::default() };
    options.feed.windows.quiet = LONG;
    options.feed.windows.longest = LONG;
    match observer {
        Some(observer) => PublishOptions { observer, ..options },
        None => options,
    }
}

fn open_copy(folder: &Path, name: &str) -> Copy {
    Copy::open(Root::open(&folder.join(name)).unwrap(), CopyOptions::default()).unwrap()
}

/// Does nothing unless it is told whom to serve: then it publishes a source that changes, with a copy that follows, and
/// is killed on the way.
#[test]
fn the_publisher_that_is_killed() {
    let (Some(folder), Some(step)) = (std::env::var_os("TREESYNC_VICTIM"), std::env::var("TREESYNC_VICTIM_STEP").ok()) else { return };
    let folder = PathBuf::from(folder);
    let step = step.parse().unwrap();
    let observer = Arc::new(KillAt { step, seen: AtomicU64::new(0), publisher: OnceLock::new(), followed: AtomicU64::new(0) });
    let publisher = Arc::new(Publisher::start(&folder.join("source"), calm(Some(observer.clone()))).unwrap());
    observer.publisher.set(Arc::downgrade(&publisher)).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let following = {
        let (publisher, folder, is_over) = (publisher.clone(), folder.clone(), is_over.clone());
        std::thread::spawn(move || follow(publisher, &folder, &observer, &is_over))
    };
    change(&publisher, &folder.join("source"), step);
    is_over.store(true, Ordering::SeqCst);
    following.join().unwrap();
    drop(publisher);
}

/// Writes down each generation before it is applied: a killed process loses nothing that it wrote.
fn follow(publisher: Arc<Publisher>, folder: &Path, observer: &KillAt, is_over: &AtomicBool) {
    let mut told = fs::OpenOptions::new().append(true).create(true).open(folder.join("told")).unwrap();
    let mut keeper = Keeper::new(open_copy(folder, "following"), publisher);
    while !is_over.load(Ordering::SeqCst) {
        let Some(step) = keeper.hear(Duration::from_millis(5)) else { continue };
        let (epoch, generation) = match &step {
            Step::Batch(batch) => (batch.epoch, batch.to),
            Step::Manifest(part) => (part.position.epoch, part.position.generation),
            Step::InSync(position) => (position.epoch, position.generation),
            Step::Ahead(_) => continue,
        };
        // One call: half a line would be half a number.
        told.write_all(format!("{epoch} {generation}\n").as_bytes()).unwrap();
        keeper.take(&step);
        observer.followed.store(keeper.copy.position().map_or(0, |position| position.generation), Ordering::SeqCst);
    }
}

/// Changes of each kind, taken in one after the other. Each can be done again on what a death left.
fn change(publisher: &Publisher, source: &Path, round: u64) {
    let at = |name: &str| source.join(name);
    let write = |name: &str| fs::write(at(name), format!("{name} of round {round}")).unwrap();
    publisher.settle().unwrap();
    fs::create_dir_all(at("new/deep")).unwrap();
    ["new/one", "new/deep/two", "kept", "linked"].into_iter().for_each(write);
    publisher.settle().unwrap();
    let other = at(&format!("moved-{}", round % 3));
    let _ = fs::remove_dir_all(&other);
    fs::rename(at("new"), &other).unwrap();
    let _ = fs::remove_file(at("link"));
    fs::hard_link(at("linked"), at("link")).unwrap();
    publisher.settle().unwrap();
    publisher.push(&path("kept"), false).unwrap();
    fs::create_dir_all(at("short/lived")).unwrap();
    write("short/lived/file");
    publisher.checkpoint().unwrap();
    publisher.delete(&path("short"), false).unwrap();
    write("last");
    publisher.checkpoint().unwrap();
}

/// Whether it was killed, rather than done.
fn victim(folder: &Path, step: u64) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", VICTIM, "--quiet"]).env("TREESYNC_VICTIM", folder).env("TREESYNC_VICTIM_STEP", step.to_string());
    let status = command.stdout(Stdio::null()).status().unwrap();
    let is_killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    assert!(is_killed || status.success(), "{status}");
    is_killed
}

/// The index, before anybody reads the source again, has every generation that was told.
fn assert_nothing_told_is_lost(folder: &Path, context: &str) {
    let (index, _) = Index::open(&Root::open(&folder.join("source")).unwrap(), &IndexOptions::default()).unwrap();
    let position = index.position().unwrap();
    let told = fs::read_to_string(folder.join("told")).unwrap_or_default();
    let told = told
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(epoch, generation)| (epoch.parse().unwrap(), generation.parse().unwrap()));
    let last: (u64, u64) = told.max().unwrap_or_default();
    assert!((position.epoch, position.generation) >= last, "{context}: {last:?} was told, and the index is at {position}");
}

/// The next publisher has the source as it is, and brings every copy there, wherever it was.
fn assert_copies_converge(folder: &Path, copies: &[&str], context: &str) {
    let source = folder.join("source");
    fs::write(source.join("while-nobody-looked"), context).unwrap();
    let publisher = Arc::new(Publisher::start(&source, calm(None)).unwrap());
    let position = publisher.settle().unwrap();
    let mut fresh = Follower::fresh(&publisher);
    fresh.reach(position);
    assert_same(&fresh.copy.tree, &truth(&Root::open(&source).unwrap(), &Rules::default()), context);
    for name in copies {
        let mut keeper = Keeper::new(open_copy(folder, name), publisher.clone());
        keeper.follow(position);
        assert_equal(&Root::open(&source).unwrap(), &Root::open(&folder.join(name)).unwrap());
    }
}

#[test]
fn a_publisher_that_is_killed_at_any_step_has_told_nothing_that_the_next_one_lacks() {
    let test = "a_publisher_that_is_killed_at_any_step_has_told_nothing_that_the_next_one_lacks";
    if !is_root_or_skipped(test) || !rsync::is_there_or_skipped(test) {
        return;
    }
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = folder.path();
    for name in ["source", "following", "late"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::write(folder.join("source/from the start"), "here").unwrap();
    let mut killed = 0;
    for step in 0.. {
        let was_killed = victim(folder, step);
        assert_nothing_told_is_lost(folder, &format!("killed at step {step}"));
        // Killed again while it makes good what the first left.
        let again = step * 7 % 40;
        killed += u64::from(was_killed) + u64::from(victim(folder, again));
        let context = format!("killed at steps {step} and {again}");
        assert_nothing_told_is_lost(folder, &context);
        // One was told all until the death; one has missed several deaths.
        let is_late_up = step.is_multiple_of(4) || !was_killed;
        assert_copies_converge(folder, if is_late_up { &["following", "late"] } else { &["following"] }, &context);
        if !was_killed {
            break;
        }
    }
    for copy in ["following", "late"] {
        rsync::assert_equal(&folder.join("source"), &folder.join(copy));
    }
    assert!(killed > 60, "every step was a trial: {killed}");
    eprintln!("{killed} kills of a publisher");
}
