//! The feed on real filesystems: everything that happens is told, without comparing anything.

use crate::copy_model::assert_same;
use crate::disk::{Disk, Format};
use crate::follower::{Follower, truth};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix::fs::{CWD, RenameFlags, XattrFlags, renameat_with};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use treesync::feed::{FeedOptions, Windows};
use treesync::model::{Entry, RuleOptions, Rules};
use treesync::publish::{Detection, PublishOptions, Publisher, Step};
use treesync::tree::Root;

const FORMATS: [Format; 4] = [Format::Ext4, Format::Xfs, Format::Btrfs, Format::Tmpfs];

/// No comparison but the first one.
fn fed() -> PublishOptions {
    PublishOptions { audit_interval: Duration::ZERO, ..PublishOptions::default() }
}

/// What a program may do to a tree; paths are three levels of a few names.
#[derive(Clone, Debug)]
enum Act {
    Write(PathBuf, u8),
    Append(PathBuf, u8),
    Truncate(PathBuf, u64),
    Replace(PathBuf, u8),
    Directory(PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Symlink(PathBuf, u8),
    Remove(PathBuf),
    Mode(PathBuf, u32),
    Attribute(PathBuf, u8),
    Pause,
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(0..4_u8, 1..4).prop_map(|names| names.iter().map(|name| format!("n{name}")).collect())
}

fn any_act() -> impl Strategy<Value = Act> {
    let path = any_path;
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, byte)| Act::Write(path, byte)),
        2 => (path(), any::<u8>()).prop_map(|(path, byte)| Act::Append(path, byte)),
        1 => (path(), 0..20_000_u64).prop_map(|(path, length)| Act::Truncate(path, length)),
        3 => (path(), any::<u8>()).prop_map(|(path, byte)| Act::Replace(path, byte)),
        5 => path().prop_map(Act::Directory),
        6 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        2 => (path(), path()).prop_map(|(one, other)| Act::Exchange(one, other)),
        3 => (path(), path()).prop_map(|(from, to)| Act::Link(from, to)),
        1 => (path(), any::<u8>()).prop_map(|(path, target)| Act::Symlink(path, target)),
        3 => path().prop_map(Act::Remove),
        2 => (path(), 0..0o777_u32).prop_map(|(path, mode)| Act::Mode(path, mode)),
        1 => (path(), any::<u8>()).prop_map(|(path, value)| Act::Attribute(path, value)),
        1 => Just(Act::Pause),
    ]
}

/// Does it, if the kernel lets it be done here.
fn act(root: &Path, act: &Act) {
    let at = |path: &PathBuf| root.join(path);
    let write = |path: &PathBuf, options: &mut OpenOptions, byte: u8| {
        options.open(at(path)).and_then(|mut file| file.write_all(&[byte; 100])).is_ok()
    };
    let _ = match act {
        Act::Write(path, byte) => write(path, OpenOptions::new().write(true).create(true).truncate(true), *byte),
        Act::Append(path, byte) => write(path, OpenOptions::new().append(true), *byte),
        Act::Truncate(path, length) => OpenOptions::new().write(true).open(at(path)).and_then(|file| file.set_len(*length)).is_ok(),
        Act::Replace(path, byte) => {
            let fresh = at(path).with_extension("fresh");
            fs::write(&fresh, [*byte; 50]).and_then(|()| fs::rename(&fresh, at(path))).is_ok() || fs::remove_file(fresh).is_ok()
        }
        Act::Directory(path) => fs::create_dir_all(at(path)).is_ok(),
        Act::Rename(from, to) => fs::rename(at(from), at(to)).is_ok(),
        Act::Exchange(one, other) => renameat_with(CWD, at(one), CWD, at(other), RenameFlags::EXCHANGE).is_ok(),
        Act::Link(from, to) => fs::hard_link(at(from), at(to)).is_ok(),
        Act::Symlink(path, target) => symlink(format!("t{target}"), at(path)).is_ok(),
        Act::Remove(path) => fs::remove_file(at(path)).is_ok() || fs::remove_dir_all(at(path)).is_ok(),
        Act::Mode(path, mode) => !at(path).is_symlink() && fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)).is_ok(),
        Act::Attribute(path, value) => {
            !at(path).is_symlink() && rustix::fs::setxattr(at(path), "user.test", &[*value], XattrFlags::empty()).is_ok()
        }
        Act::Pause => {
            std::thread::sleep(Duration::from_millis(30));
            true
        }
    };
}

/// Random acts, many rounds on one filesystem: after each, the copy is the source, and comparing everything finds nothing more.
fn follows_random_acts(format: Format, below: &str, cases: u32) {
    let Some(disk) = Disk::new(format, "the feed tells everything") else { return };
    let root = disk.path().join(below);
    fs::create_dir_all(&root).unwrap();
    let publisher = Publisher::start(&root, fed()).unwrap();
    assert_eq!(publisher.status().detection, Detection::Fanotify, "{format:?}");
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let follower = std::cell::RefCell::new(follower);
    let cases = std::env::var("TREESYNC_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&prop::collection::vec(any_act(), 1..60), |acts| {
        for one in &acts {
            act(&root, one);
        }
        let mut follower = follower.borrow_mut();
        let position = follower.settle(&publisher);
        assert_same(&follower.copy.tree, &truth(&Root::open(&root).unwrap(), &Rules::default()), &format!("{format:?}"));
        let compared = publisher.rescan().unwrap();
        if compared == position {
            Ok(())
        } else {
            Err(TestCaseError::fail(format!("{format:?}: the feed did not tell what was found at {compared}")))
        }
    });
    assert_eq!(publisher.status().overflows, 0);
    result.unwrap();
}

#[test]
fn everything_is_told_on_ext4() {
    follows_random_acts(Format::Ext4, "", 60);
}

#[test]
fn everything_is_told_on_xfs() {
    follows_random_acts(Format::Xfs, "", 60);
}

#[test]
fn everything_is_told_on_btrfs() {
    follows_random_acts(Format::Btrfs, "", 60);
}

#[test]
fn everything_is_told_on_tmpfs() {
    follows_random_acts(Format::Tmpfs, "", 60);
}

#[test]
fn a_directory_of_a_filesystem_is_followed_as_well_as_the_whole() {
    follows_random_acts(Format::Ext4, "below/the/root", 20);
}

#[test]
fn a_directory_that_moves_is_one_change_on_every_filesystem() {
    for format in FORMATS {
        let Some(disk) = Disk::new(format, "a directory that moves is one change") else { continue };
        let at = |path: &str| disk.path().join(path);
        fs::create_dir_all(at("from/deep")).unwrap();
        fs::create_dir(at("to")).unwrap();
        for number in 0..200 {
            fs::write(at("from/deep").join(number.to_string()), "x").unwrap();
        }
        let publisher = Publisher::start(&disk.path(), fed()).unwrap();
        let mut follower = Follower::fresh(&publisher);
        follower.settle(&publisher);
        fs::rename(at("from/deep"), at("to/there")).unwrap();
        publisher.settle().unwrap();
        let Step::Batch(batch) = follower.step() else { panic!("{format:?}: a batch comes next") };
        assert_eq!(batch.structure.len(), 1, "{format:?}: {:?}", batch.structure);
        assert!(batch.puts.len() <= 3, "{format:?}: only directories whose times changed: {:?}", batch.puts);
        assert_same(&follower.copy.tree, &truth(&Root::open(&disk.path()).unwrap(), &Rules::default()), "after the move");
    }
}

#[test]
fn files_are_told_ahead_of_their_batch_to_who_wants_to_know() {
    let Some(disk) = Disk::new(Format::Ext4, "files are told ahead") else { return };
    let at = |path: &str| disk.path().join(path);
    fs::write(at("same"), "same").unwrap();
    // So long that only what is read ahead can come before.
    let windows = Windows { quiet: Duration::from_hours(1), longest: Duration::from_hours(1), ..Windows::default() };
    let feed = FeedOptions { windows, ..FeedOptions::default() };
    let publisher = Publisher::start(&disk.path(), PublishOptions { feed, ..PublishOptions::default() }).unwrap();
    let before = publisher.settle().unwrap();
    let mut steps = publisher.subscribe(Some(before)).unwrap();
    steps.want_ahead();
    let mut next = || steps.next(Duration::from_mins(1)).unwrap().expect("something comes in time");
    assert!(matches!(next(), Step::InSync(_)));
    // The publisher looks who listens after each request.
    publisher.settle().unwrap();
    publisher.settle().unwrap();
    drop(fs::File::options().append(true).open(at("same")).unwrap());
    fs::write(at("small"), "small").unwrap();
    fs::write(at("large"), vec![1; 1024 * 1024]).unwrap();
    let Step::Ahead(ahead) = next() else { panic!("the small file comes ahead") };
    let told: Vec<_> = ahead.puts().iter().map(|put| (put.path.to_string(), put.inline.as_deref())).collect();
    assert_eq!(told, [("small".to_owned(), Some(&b"small"[..]))]);
    let after = publisher.settle().unwrap();
    assert_eq!(ahead.generation() + 1, after.generation);
    let Step::Batch(batch) = next() else { panic!("then the batch") };
    let small = batch.puts.iter().find(|put| put.path.as_bytes() == b"small").unwrap();
    assert_eq!(small.entry, ahead.puts()[0].entry, "it is what was told");
}

#[test]
fn what_happens_beside_the_root_is_none_of_its_business() {
    let Some(disk) = Disk::new(Format::Ext4, "events outside are ignored") else { return };
    let at = |path: &str| disk.path().join(path);
    fs::create_dir_all(at("root")).unwrap();
    fs::create_dir_all(at("root-too/a")).unwrap();
    let publisher = Publisher::start(&at("root"), fed()).unwrap();
    let before = publisher.settle().unwrap();
    fs::write(at("root-too/a/file"), "x").unwrap();
    fs::rename(at("root-too/a"), at("root-too/b")).unwrap();
    assert_eq!(publisher.settle().unwrap(), before);
    fs::rename(at("root-too/b"), at("root/b")).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    assert_eq!(follower.copy.tree.len(), 3, "what moves in is found with all below");
    fs::rename(at("root/b"), at("root-too/b")).unwrap();
    follower.settle(&publisher);
    assert_eq!(follower.copy.tree.len(), 1, "what moves out is gone");
}

#[test]
fn a_queue_that_overflows_is_noticed_and_everything_is_compared() {
    let Some(disk) = Disk::new(Format::Tmpfs, "an overflow is noticed") else { return };
    let feed = FeedOptions { has_bounded_queue: true, ..FeedOptions::default() };
    let limit = Path::new("/proc/sys/fs/fanotify/max_queued_events");
    let usual = fs::read(limit).unwrap();
    // The limit is taken when a group is made; others have no limit.
    fs::write(limit, "4").unwrap();
    let publisher = Publisher::start(&disk.path(), PublishOptions { feed, ..fed() });
    fs::write(limit, usual).unwrap();
    let publisher = publisher.unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let started = Instant::now();
    while publisher.status().overflows == 0 {
        for number in 0..100 {
            fs::write(disk.path().join(number.to_string()), "x").unwrap();
            fs::remove_file(disk.path().join(number.to_string())).unwrap();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "four events are overtaken at once");
    }
    fs::write(disk.path().join("last"), "x").unwrap();
    follower.settle(&publisher);
    assert_same(&follower.copy.tree, &truth(&Root::open(&disk.path()).unwrap(), &Rules::default()), "after an overflow");
}

#[test]
fn more_names_than_are_held_mean_that_everything_is_compared() {
    let Some(disk) = Disk::new(Format::Tmpfs, "a full set of names is noticed") else { return };
    let feed = FeedOptions { windows: Windows { names_max: 50, ..Windows::default() }, ..FeedOptions::default() };
    let publisher = Publisher::start(&disk.path(), PublishOptions { feed, ..fed() }).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    for number in 0..500 {
        fs::write(disk.path().join(number.to_string()), "x").unwrap();
    }
    follower.settle(&publisher);
    assert_eq!(follower.copy.tree.len(), 501);
    assert!(publisher.status().overflows > 0);
}

#[test]
fn a_file_that_stays_open_is_told_before_it_is_closed() {
    let Some(disk) = Disk::new(Format::Ext4, "a file that stays open is told") else { return };
    let windows = Windows { kept_open: Duration::from_millis(200), ..Windows::default() };
    let publisher =
        Publisher::start(&disk.path(), PublishOptions { feed: FeedOptions { windows, ..FeedOptions::default() }, ..fed() }).unwrap();
    let mut file = File::create(disk.path().join("log")).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    file.write_all(b"a line").unwrap();
    file.flush().unwrap();
    let size = |follower: &Follower| follower.copy.tree.values().find_map(Entry::file).map(|(size_bytes, _)| size_bytes);
    while size(&follower) != Some(6) {
        follower.step();
    }
    drop(file);
}

#[test]
fn moving_a_directory_changes_which_paths_are_excluded() {
    let Some(disk) = Disk::new(Format::Tmpfs, "exclusions follow a move") else { return };
    let at = |path: &str| disk.path().join(path);
    fs::create_dir_all(at("a/cache")).unwrap();
    fs::write(at("a/cache/x"), "x").unwrap();
    let rules = Rules::new(RuleOptions { exclude: vec!["/b/cache".to_owned()], ..RuleOptions::default() }).unwrap();
    let publisher = Publisher::start(&disk.path(), PublishOptions { rules: rules.clone(), ..fed() }).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    assert_eq!(follower.copy.tree.len(), 4);
    for (from, to, count) in [("a", "b", 2), ("b", "c", 4)] {
        fs::rename(at(from), at(to)).unwrap();
        follower.settle(&publisher);
        assert_eq!(follower.copy.tree.len(), count, "after {from} became {to}");
        assert_same(&follower.copy.tree, &truth(&Root::open(&disk.path()).unwrap(), &rules), "after a move");
    }
}
