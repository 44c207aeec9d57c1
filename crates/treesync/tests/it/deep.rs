//! Trees that are deeper than a path may be.

use crate::copy_model::CopyModel;
use crate::follower::Follower;
use crate::stage::source::{NoContents, batch, listing, open_rules};
use crate::stage::{Tree, path};
use rustix::fs::{CWD, Mode, OFlags};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use treesync::apply::{Copy, CopyOptions};
use treesync::model::{PATH_MAX_BYTES, PATH_MAX_NAMES, TreePath};
use treesync::publish::{DetectionWish, PublishOptions, Publisher};

const VICTIM: &str = "deep::the_process_that_is_given_the_deepest_path";

/// So many names of one byte.
fn deep(names: usize) -> String {
    vec!["d"; names].join("/")
}

/// Does nothing unless it is told of a copy: then a directory of it moves as deep as a path may be, on a thread with the usual stack.
#[test]
fn the_process_that_is_given_the_deepest_path() {
    let Some(folder) = std::env::var_os("TREESYNC_DEEP") else { return };
    // A hostile source does not let a process take the memory of its host.
    let limit = rustix::process::Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
    let open = || Copy::open(treesync::tree::Root::open(Path::new(&folder)).unwrap(), options()).unwrap();
    let (mut copy, to) = (open(), deep(PATH_MAX_NAMES));
    copy.apply(&batch(1, 2).rename("dir", &to).build(), &NoContents).unwrap();
    assert_eq!(copy.position().unwrap().generation, 2);
}

fn options() -> CopyOptions {
    CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() }
}

fn with_directory() -> (Deep, Copy) {
    let (source, folder) = (Tree::new(), Deep(Tree::within_memory()));
    std::fs::create_dir(source.at("dir")).unwrap();
    let mut copy = Copy::open(folder.0.root(), options()).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &NoContents).unwrap();
    (folder, copy)
}

#[test]
fn a_rename_to_the_deepest_path_harms_neither_the_process_nor_the_copy() {
    let (folder, copy) = with_directory();
    drop(copy);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", VICTIM, "--quiet"]).env("TREESYNC_DEEP", folder.0.folder()).env("RUST_MIN_STACK", (2 << 20).to_string());
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(TreePath::parse(deep(PATH_MAX_NAMES + 1)).unwrap_err().to_string().contains("names"));
}

#[test]
fn renames_that_need_more_directories_than_any_source_has_are_refused() {
    let (folder, mut copy) = with_directory();
    let before = listing(&folder.0.root());
    // Each of the directories on the way has a path of its own: together 32 MiB.
    let to = vec!["fifteen letters"; PATH_MAX_NAMES - 1].join("/");
    let error = copy.apply(&batch(1, 2).rename("dir", &to).build(), &NoContents).unwrap_err();
    assert!(error.problem.is_cured_by_repair() && error.to_string().contains("directories"), "{error}");
    assert_eq!((listing(&folder.0.root()), copy.position().unwrap().generation), (before, 1));
}

/// A tree that is removed at the end though it is deep: what the standard library removes, it holds open level by level.
struct Deep(Tree);

impl Drop for Deep {
    fn drop(&mut self) {
        Command::new("rm").arg("-rf").arg(self.0.folder()).status().unwrap();
    }
}

/// Names of 255 bytes: a path of them is soon too long, and an index of them small.
fn long(names: usize) -> String {
    vec!["d".repeat(255); names].join("/")
}

/// So many of them make the longest path.
const LONGEST: usize = (PATH_MAX_BYTES + 1) / 256;

/// Makes a chain of such directories below another directory.
fn dig(below: &Path, names: usize) {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut at = rustix::fs::openat(CWD, below, flags, Mode::empty()).unwrap();
    for _ in 0..names {
        rustix::fs::mkdirat(&at, long(1), Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, long(1), flags, Mode::empty()).unwrap();
    }
}

fn depth(copy: &CopyModel) -> usize {
    copy.tree.keys().map(|path| path.names().count()).max().unwrap()
}

fn polled(source: &Deep) -> Publisher {
    let options = PublishOptions { detection: DetectionWish::Poll, poll_interval: Duration::from_hours(1), ..PublishOptions::default() };
    Publisher::start(source.0.folder(), options).unwrap()
}

#[test]
fn what_is_too_deep_in_a_source_is_left_out_and_told() {
    let source = Deep(Tree::within_memory());
    dig(source.0.folder(), LONGEST + 20);
    let publisher = polled(&source);
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    assert_eq!(depth(&follower.copy), LONGEST);
    let status = publisher.status();
    assert!(status.unreadable > 0);
    assert!(status.last_error.as_deref().is_some_and(|error| error.contains("names")), "{:?}", status.last_error);
}

#[test]
fn a_directory_that_moves_too_deep_does_not_stop_a_publisher() {
    let source = Deep(Tree::within_memory());
    dig(source.0.folder(), 10);
    std::fs::create_dir_all(source.0.at("other/in")).unwrap();
    dig(&source.0.at("other/in"), LONGEST - 5);
    let publisher = polled(&source);
    let mut follower = Follower::fresh(&publisher);
    let before = follower.settle(&publisher);
    let away = follower.copy.clone();
    let (there, deep_there) = (format!("{}/other", long(10)), format!("{}/other", long(5)));
    std::fs::rename(source.0.at("other"), source.0.at(&there)).unwrap();
    publisher.rescan().unwrap();
    follower.settle(&publisher);
    assert!(follower.copy.tree.contains_key(&path(&there)) && !follower.copy.tree.contains_key(&path("other")));
    let mut fresh = Follower::fresh(&publisher);
    fresh.settle(&publisher);
    assert!(fresh.copy.tree.keys().all(|path| path.as_bytes().len() <= PATH_MAX_BYTES), "a list has what has a path");
    // What it lacks since then has no path, and so has what changed there.
    let mut late = Follower::new(&publisher, Some(before), away);
    late.settle(&publisher);
    std::fs::rename(source.0.at(&there), source.0.at(&deep_there)).unwrap();
    publisher.rescan().unwrap();
    fresh.settle(&publisher);
    assert!(fresh.copy.tree.contains_key(&path(&deep_there)));
}
