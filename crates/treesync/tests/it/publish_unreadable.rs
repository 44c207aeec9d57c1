//! What cannot be published is passed by, is counted and named, and holds up nothing else.

use crate::disk::{Disk, Format};
use crate::follower::Follower;
use crate::stage::{is_root_or_skipped, path};
use std::fs;
use std::os::unix::net::UnixListener;
use treesync::model::{ContentHash, Entry};
use treesync::publish::{PublishOptions, Publisher};

#[test]
fn a_damaged_inode_is_left_as_it_was_told_and_the_rest_is_published() {
    let test = "a_damaged_inode_is_left_as_it_was_told_and_the_rest_is_published";
    let Some(mut disk) = Disk::new(Format::Ext4, test) else { return };
    let source = disk.path();
    fs::create_dir(source.join("folder")).unwrap();
    for name in ["bad", "folder/file", "good"] {
        fs::write(source.join(name), "old").unwrap();
    }
    let publisher = Publisher::start(&source, PublishOptions::default()).unwrap();
    let mut follower = Follower::fresh(&publisher);
    let before = follower.settle(&publisher);
    let copy = follower.copy.clone();
    drop((follower, publisher));
    disk.unmount();
    disk.damage("bad");
    disk.damage("folder");
    disk.mount();
    fs::write(source.join("good"), "new").unwrap();

    let publisher = Publisher::start(&source, PublishOptions::default()).unwrap();
    let mut follower = Follower::new(&publisher, Some(before), copy);
    let position = publisher.settle().unwrap();
    follower.reach(position);
    let content_of = |name: &str| follower.copy.tree.get(&path(name)).and_then(Entry::file).map(|(_, content)| content);
    assert_eq!(content_of("good"), Some(ContentHash::of(b"new")));
    for name in ["bad", "folder/file"] {
        assert_eq!(content_of(name), Some(ContentHash::of(b"old")), "{name} is kept as it was told last");
    }
    let status = publisher.status();
    assert_eq!((status.unreadable, status.scans), (2, 1));
    let error = status.last_error.unwrap();
    assert!(error.contains("folder") || error.contains("bad"), "{error}");
    drop((follower, publisher));
    disk.unmount();
}

#[test]
fn devices_fifos_and_sockets_are_counted_and_passed_by() {
    if !is_root_or_skipped("devices_fifos_and_sockets_are_counted_and_passed_by") {
        return;
    }
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| source.path().join(name);
    let make = |name: &str, kind| {
        let null = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(rustix::fs::CWD, at(name), kind, rustix::fs::Mode::from_raw_mode(0o600), null).unwrap();
    };
    fs::create_dir(at("below")).unwrap();
    make("below/device", rustix::fs::FileType::CharacterDevice);
    make("fifo", rustix::fs::FileType::Fifo);
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::write(at("file"), "travels").unwrap();
    let publisher = Publisher::start(source.path(), PublishOptions::default()).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    assert_eq!(publisher.status().skipped, 3, "each counts once");
    assert!(follower.copy.tree.keys().map(ToString::to_string).eq(["", "below", "file"].map(|name| path(name).to_string())));
    publisher.rescan().unwrap();
    assert_eq!(publisher.status().skipped, 3, "what the last comparison passed by, not all of them");
}
