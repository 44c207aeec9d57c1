//! Copies on disk are compared with a manifest, told apart and repaired, judged by rsync.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps, XattrFlags};
use tokio::sync::mpsc;
use treesync::apply::{CopyOptions, MarkerState, read_marker};
use treesync::session::{Notice, Session, Verdict, Verifier, copy_at};
use treesync::tree::Root;
use treesync::verify::{Difference, Level};
use treesync::wire::{Address, Client};

use crate::rsync;
use crate::stage::is_root_or_skipped;
use crate::still::{Still, position};
use crate::wire::Served;

const LONG: Duration = Duration::from_mins(2);

/// A source with each kind of entry.
fn furnish(root: &Path) {
    let at = |path: &str| root.join(path);
    for directory in ["a/b/c", "empty", "links"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    for (path, text) in [("a/one", "1"), ("a/b/two", "22"), ("a/b/c/three", "333"), ("top", "4444"), ("a-z", "5")] {
        std::fs::write(at(path), text).unwrap();
    }
    std::fs::write(at("large"), vec![7; 1_500_000]).unwrap();
    symlink("nowhere/at all", at("a/link")).unwrap();
    std::fs::write(at("links/first"), "linked").unwrap();
    for other in ["a/linked", "links/second", "zzz"] {
        std::fs::hard_link(at("links/first"), at(other)).unwrap();
    }
    std::fs::set_permissions(at("a/b"), std::fs::Permissions::from_mode(0o700)).unwrap();
    rustix::fs::setxattr(at("a/one"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    std::os::unix::fs::chown(at("top"), Some(1234), Some(4321)).unwrap();
    age(&at("a/one"), 100);
    age(&at("a/b"), 200);
}

/// Sets the time of change far back, so that it cannot be equal by chance.
fn age(path: &Path, seconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

struct World {
    folder: tempfile::TempDir,
    served: Served,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        furnish(&source);
        let served = Served::start(Still(source), Address::Unix(folder.path().join("socket")), None).await;
        Self { folder, served }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn copy(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn session(&self, copies: &[&PathBuf], adopt: bool, notices: mpsc::UnboundedSender<Notice>) -> Session {
        let options = CopyOptions { adopt, ..CopyOptions::default() };
        let copies = copies.iter().map(|copy| (copy.display().to_string(), copy_at((*copy).clone(), options.clone()))).collect();
        Session::start(self.served.followed_by(copies, self.folder.path()), notices).unwrap()
    }

    /// Subscribes until all copies are in sync; gives what was told.
    async fn sync(&self, copies: &[&PathBuf], adopt: bool) -> Vec<Notice> {
        let (sender, mut notices) = mpsc::unbounded_channel();
        let session = self.session(copies, adopt, sender);
        let (mut told, mut in_sync) = (Vec::new(), BTreeSet::new());
        while in_sync.len() < copies.len() {
            let notice = tokio::time::timeout(LONG, notices.recv()).await.unwrap_or_else(|_| panic!("not in sync: {told:?}")).unwrap();
            if let Notice::InSync { copy, .. } = &notice {
                in_sync.insert(copy.clone());
            }
            let is_problem = matches!(notice, Notice::Behind { .. });
            told.push(notice);
            if is_problem {
                break;
            }
        }
        session.stop().await.unwrap();
        told
    }

    async fn verify(&self, copy: &Path, level: Level, repair: bool) -> (Verdict, Vec<(String, Difference)>) {
        let client = Client::connect(&self.served.address, None).await.unwrap();
        let (sender, mut findings) = mpsc::unbounded_channel();
        let options = CopyOptions { adopt: repair, ..CopyOptions::default() };
        let verdict = Verifier { directory: copy.to_owned(), options, level, progress: None }.run(&client, repair, sender).await.unwrap();
        let mut found = Vec::new();
        while let Some(finding) = findings.recv().await {
            found.push((finding.path.to_string(), finding.difference));
        }
        (verdict, found)
    }
}

fn can_run(test: &str) -> bool {
    is_root_or_skipped(test) && rsync::is_there_or_skipped(test)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_copies_are_filled_and_then_known_to_be_equal() {
    if !can_run("empty_copies_are_filled_and_then_known_to_be_equal") {
        return;
    }
    let world = World::new().await;
    let copies = [world.copy("one"), world.copy("two")];
    world.sync(&[&copies[0], &copies[1]], false).await;
    for copy in &copies {
        rsync::assert_equal(&world.source(), copy);
        let marker = read_marker(&Root::open(copy).unwrap()).unwrap().unwrap();
        assert_eq!((marker.position, marker.state), (position(), MarkerState::Clean));
        for level in [Level::Marker, Level::Metadata, Level::Content] {
            let (verdict, found) = world.verify(copy, level, false).await;
            assert_eq!((verdict.differences, found, verdict.copy), (0, vec![], Some(position())), "{level:?}");
        }
    }
    let told = world.sync(&[&copies[0], &copies[1]], false).await;
    assert!(!told.iter().any(|notice| matches!(notice, Notice::Visible { .. })), "nothing was to be done: {told:?}");
}

/// All below the hidden directory, in order.
fn hidden(copy: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![copy.join(".treesync")]);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            waiting.extend(entry.file_type().unwrap().is_dir().then(|| entry.path()));
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_leaves_nothing_that_others_have_hidden_where_no_comparison_looks() {
    if !can_run("a_repair_leaves_nothing_that_others_have_hidden_where_no_comparison_looks") {
        return;
    }
    let world = World::new().await;
    let copy = world.copy("one");
    world.sync(&[&copy], false).await;
    world.verify(&copy, Level::Metadata, true).await;
    let clean = hidden(&copy);
    let own = copy.join(".treesync");
    for folder in ["mine/below", "marker.next/below", "stage.next"] {
        std::fs::create_dir_all(own.join(folder)).unwrap();
    }
    let inside = ["mine/below/secret", "marker.next/below/secret", "stage.next/secret", "stage/secret", "trash/secret"];
    for planted in ["secret", "secret.next", "marker", "intent", "index", "index.damaged", "origin.new"].into_iter().chain(inside) {
        std::fs::write(own.join(planted), "of an earlier user").unwrap();
    }
    let (verdict, found) = world.verify(&copy, Level::Metadata, true).await;
    assert_eq!((verdict.differences, found, verdict.is_repaired), (0, vec![], true), "the tree itself was equal");
    assert_eq!(hidden(&copy), clean);
    world.sync(&[&copy], false).await;
    rsync::assert_equal(&world.source(), &copy);
}

/// Spoils a copy in one way; the paths that differ then, at the level of metadata.
type Spoil = (&'static str, fn(&Path), &'static [(&'static str, Difference)]);

const SPOILS: [Spoil; 10] = [
    (
        "a file less",
        |copy| std::fs::remove_file(copy.join("a/b/two")).unwrap(),
        &[("a/b/two", Difference::Missing), ("a/b", Difference::Metadata)],
    ),
    (
        "a tree more",
        |copy| std::fs::create_dir_all(copy.join("more/and/more")).unwrap(),
        &[("more", Difference::Extra), (".", Difference::Metadata)],
    ),
    ("other bytes", |copy| std::fs::write(copy.join("top"), "other").unwrap(), &[("top", Difference::Content)]),
    (
        "another mode",
        |copy| std::fs::set_permissions(copy.join("a-z"), std::fs::Permissions::from_mode(0o600)).unwrap(),
        &[("a-z", Difference::Metadata)],
    ),
    ("another time", |copy| age(&copy.join("empty"), 7), &[("empty", Difference::Metadata)]),
    ("no attribute", |copy| rustix::fs::removexattr(copy.join("a/one"), "user.note").unwrap(), &[("a/one", Difference::Metadata)]),
    (
        "a file for a directory",
        |copy| {
            std::fs::remove_dir_all(copy.join("a/b")).unwrap();
            std::fs::write(copy.join("a/b"), "not a directory").unwrap();
        },
        &[
            ("a", Difference::Metadata),
            ("a/b", Difference::Kind),
            ("a/b/c", Difference::Missing),
            ("a/b/c/three", Difference::Missing),
            ("a/b/two", Difference::Missing),
        ],
    ),
    (
        "a directory for a link",
        |copy| {
            std::fs::remove_file(copy.join("a/link")).unwrap();
            std::fs::create_dir_all(copy.join("a/link/below")).unwrap();
        },
        &[("a", Difference::Metadata), ("a/link", Difference::Kind)],
    ),
    (
        "a link that leads out",
        |copy| {
            std::fs::remove_dir_all(copy.join("a/b/c")).unwrap();
            symlink("/etc", copy.join("a/b/c")).unwrap();
        },
        &[("a/b", Difference::Metadata), ("a/b/c", Difference::Kind), ("a/b/c/three", Difference::Missing)],
    ),
    (
        "a link less",
        |copy| {
            std::fs::remove_file(copy.join("links/second")).unwrap();
            std::fs::copy(copy.join("links/first"), copy.join("links/second")).unwrap();
            age(&copy.join("links/second"), 1);
        },
        &[("links", Difference::Metadata), ("links/second", Difference::Metadata)],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_difference_is_found_where_it_is_and_repaired() {
    if !can_run("each_difference_is_found_where_it_is_and_repaired") {
        return;
    }
    let world = World::new().await;
    let copy = world.copy("copy");
    world.sync(&[&copy], false).await;
    for (name, spoil, expected) in SPOILS {
        spoil(&copy);
        assert!(!rsync::differences(&world.source(), &copy, true).is_empty(), "{name}: rsync sees it");
        let (verdict, found) = world.verify(&copy, Level::Metadata, false).await;
        let expected: BTreeSet<(String, Difference)> =
            expected.iter().map(|(path, difference)| ((*path).to_owned(), *difference)).collect();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{name}");
        assert_eq!(verdict.differences, expected.len() as u64, "{name}");
        let (verdict, _) = world.verify(&copy, Level::Metadata, true).await;
        assert!(verdict.is_repaired, "{name}");
        rsync::assert_equal(&world.source(), &copy);
        let (verdict, found) = world.verify(&copy, Level::Content, false).await;
        assert_eq!((verdict.differences, found), (0, vec![]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bytes_under_the_same_size_and_time_are_found_by_content_alone() {
    if !can_run("other_bytes_under_the_same_size_and_time_are_found_by_content_alone") {
        return;
    }
    let world = World::new().await;
    let copy = world.copy("copy");
    world.sync(&[&copy], false).await;
    std::fs::write(copy.join("a/one"), "!").unwrap();
    age(&copy.join("a/one"), 100);
    assert_eq!(world.verify(&copy, Level::Metadata, false).await.0.differences, 0);
    let (_, found) = world.verify(&copy, Level::Content, false).await;
    assert_eq!(found, [("a/one".to_owned(), Difference::Content)]);
    world.verify(&copy, Level::Content, true).await;
    rsync::assert_equal(&world.source(), &copy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_somebody_else_are_refused_and_made_equal_only_when_adopted() {
    if !can_run("files_of_somebody_else_are_refused_and_made_equal_only_when_adopted") {
        return;
    }
    let world = World::new().await;
    let copy = world.copy("copy");
    std::fs::create_dir(copy.join("a")).unwrap();
    std::fs::write(copy.join("precious"), "precious").unwrap();
    let told = world.sync(&[&copy], false).await;
    let problem = |notice: &Notice| matches!(notice, Notice::Behind { problem, .. } if problem.contains(&copy.display().to_string()) && problem.contains("adopt"));
    assert!(told.iter().any(problem), "{told:?}");
    assert_eq!(std::fs::read_dir(&copy).unwrap().count(), 2, "nothing was touched");
    world.sync(&[&copy], true).await;
    rsync::assert_equal(&world.source(), &copy);
}

async fn in_sync(notices: &mut mpsc::UnboundedReceiver<Notice>) {
    while !matches!(tokio::time::timeout(LONG, notices.recv()).await.unwrap().unwrap(), Notice::InSync { .. }) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_follows_is_verified_repaired_and_follows_on() {
    if !can_run("a_copy_that_follows_is_verified_repaired_and_follows_on") {
        return;
    }
    let world = World::new().await;
    let copy = world.copy("copy");
    let (sender, mut notices) = mpsc::unbounded_channel();
    let session = world.session(&[&copy], false, sender);
    in_sync(&mut notices).await;
    std::fs::write(copy.join("top"), "spoilt").unwrap();
    let name = copy.display().to_string();
    for (repair, differences) in [(false, 1), (true, 1), (false, 0)] {
        let verifier = Verifier { directory: copy.clone(), options: CopyOptions::default(), level: Level::Content, progress: None };
        let (findings, _) = mpsc::unbounded_channel();
        let verdict = session.verify(&name, verifier, repair, findings).await.unwrap();
        assert_eq!((verdict.differences, verdict.is_repaired, verdict.copy), (differences, repair, Some(position())));
        in_sync(&mut notices).await;
    }
    rsync::assert_equal(&world.source(), &copy);
    session.remove(&name).await.unwrap();
    let owned = treesync::apply::Copy::open(Root::open(&copy).unwrap(), CopyOptions::default());
    assert!(owned.is_ok(), "nobody holds the copy any more: {:?}", owned.err());
    session.stop().await.unwrap();
}
