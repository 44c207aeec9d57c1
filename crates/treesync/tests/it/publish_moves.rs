//! Directories that move while a publisher reads them for the first time: copies get all that is in them in the end.

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};
use crate::keeper::LONG;
use crate::stage::is_root_or_skipped;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use treesync::model::Rules;
use treesync::publish::{DetectionWish, EngineObserver, EngineStep, PublishOptions, Publisher};
use treesync::tree::Root;

/// More than one commit takes, which is 4,096.
const MANY: usize = 6_000;

type Deed = Box<dyn FnOnce() + Send>;

/// Does something before the next commit.
#[derive(Default)]
struct BeforeCommit(Mutex<Option<Deed>>);

impl EngineObserver for BeforeCommit {
    fn before(&self, step: EngineStep) {
        let deed = if step == EngineStep::Commit { self.0.lock().unwrap().take() } else { None };
        if let Some(deed) = deed {
            deed();
        }
    }
}

fn fill(directory: &Path, content: &str) {
    fs::create_dir_all(directory).unwrap();
    for number in 0..MANY {
        fs::write(directory.join(format!("f{number:04}")), content).unwrap();
    }
}

/// A directory `staging/big` comes into the source as `current`, and something is done when the first of its files are about to
/// be committed.
fn follows_when(test: &str, stage: impl FnOnce(&Path, &Path), deed: impl FnOnce(&Path) + Send + 'static) {
    if !is_root_or_skipped(test) {
        return;
    }
    let (source, staging): (TempDir, TempDir) = (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    stage(source.path(), staging.path());
    let observer = Arc::new(BeforeCommit::default());
    let mut options = PublishOptions { observer: observer.clone(), ..PublishOptions::default() };
    // Nothing is due until it is asked for.
    options.feed.windows.quiet = LONG;
    options.feed.windows.longest = LONG;
    let publisher = Publisher::start(source.path(), options).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let path = source.path().to_owned();
    *observer.0.lock().unwrap() = Some(Box::new(move || deed(&path)));
    fs::rename(staging.path().join("big"), source.path().join("current")).unwrap();
    follower.settle(&publisher);
    assert!(observer.0.lock().unwrap().is_none(), "it was committed at once");
    assert_same(&follower.copy.tree, &truth(&Root::open(source.path()).unwrap(), &Rules::default()), "all that is below");
}

#[test]
fn a_directory_that_is_exchanged_while_it_is_read_keeps_its_own_files() {
    let stage = |source: &Path, staging: &Path| {
        fill(&staging.join("big"), "new");
        fill(&source.join("other"), "another one");
    };
    follows_when("a_directory_that_is_exchanged_while_it_is_read_keeps_its_own_files", stage, |source| {
        renameat_with(CWD, source.join("current"), CWD, source.join("other"), RenameFlags::EXCHANGE).unwrap();
    });
}

#[test]
fn a_directory_that_is_renamed_while_it_is_read_comes_whole() {
    let stage = |_: &Path, staging: &Path| fill(&staging.join("big"), "new");
    follows_when("a_directory_that_is_renamed_while_it_is_read_comes_whole", stage, |source| {
        fs::rename(source.join("current"), source.join("renamed")).unwrap();
    });
}

#[test]
fn a_directory_comes_whole_when_one_above_it_is_renamed_while_it_is_read() {
    let stage = |_: &Path, staging: &Path| {
        fill(&staging.join("big/one/two"), "new");
        fs::write(staging.join("big/z-last"), "after them").unwrap();
    };
    follows_when("a_directory_comes_whole_when_one_above_it_is_renamed_while_it_is_read", stage, |source| {
        fs::rename(source.join("current/one"), source.join("one")).unwrap();
        fs::rename(source.join("current"), source.join("renamed")).unwrap();
    });
}

/// Without a feed nobody tells where a directory went; the comparison that meets it there also sees what it has lost.
#[test]
fn what_is_removed_from_a_directory_that_moved_goes_with_one_comparison() {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |path: &str| source.path().join(path);
    for directory in ["a/deep", "a/kept"] {
        fs::create_dir_all(at(directory)).unwrap();
        fs::write(at(directory).join("file"), directory).unwrap();
    }
    let options = PublishOptions { detection: DetectionWish::Poll, poll_interval: Duration::from_hours(1), ..PublishOptions::default() };
    let publisher = Publisher::start(source.path(), options).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    fs::rename(at("a"), at("z")).unwrap();
    fs::remove_dir_all(at("z/deep")).unwrap();
    follower.settle(&publisher);
    assert_same(&follower.copy.tree, &truth(&Root::open(source.path()).unwrap(), &Rules::default()), "after one comparison");
}
