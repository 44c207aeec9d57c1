//! A source whose disk is full: its publisher says so, and goes on when there is room. One that ends says why.

use crate::copy_model::assert_same;
use crate::disk::{Disk, Format};
use crate::follower::{Follower, truth};
use crate::keeper::LONG;
use crate::stage::path;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use treesync::model::{RuleOptions, Rules};
use treesync::publish::{Phase, PublishOptions, PublishStatus, Publisher};
use treesync::tree::Root;

/// So many that their rows want some megabytes of the index.
const LINKS: u32 = 20_000;

/// Makes what takes room in the index alone: a short link is in its inode, and the directory has had room for more names before.
fn make_links(source: &Path, links: u32) {
    for number in 0..links {
        symlink("nowhere", source.join(format!("link {number}"))).unwrap();
    }
}

/// Takes all that is free on the disk of a file.
fn fill(at: &Path) {
    let file = fs::File::create(at).unwrap();
    let mut length = 0;
    for size in [1 << 20, 4096] {
        let bytes = vec![1; size];
        while file.write_all_at(&bytes, length).is_ok() {
            length += size as u64;
        }
    }
    // What was only promised a block, has one by now or never.
    let _ = file.sync_all();
}

fn wait_until(publisher: &Publisher, what: &str, is_so: impl Fn(&PublishStatus) -> bool) -> PublishStatus {
    let begun = Instant::now();
    loop {
        let status = publisher.status();
        if is_so(&status) {
            return status;
        }
        assert!(begun.elapsed() < LONG, "not {what}: {status:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_stops_a_publisher_until_there_is_room_and_it_says_so() {
    let Some(disk) = Disk::new(Format::Ext4, "a_full_disk_stops_a_publisher_until_there_is_room_and_it_says_so") else { return };
    let source = disk.path();
    let rules = Rules::new(RuleOptions { exclude: vec!["filler".to_owned()], ..RuleOptions::default() }).unwrap();
    // More than later: other names share blocks of the directory with them, and none may have to be split then.
    let links_before = LINKS + LINKS / 8;
    make_links(&source, links_before);
    for number in 0..links_before {
        fs::remove_file(source.join(format!("link {number}"))).unwrap();
    }
    fs::write(source.join("file"), "here").unwrap();
    let publisher = Publisher::start(&source, PublishOptions { rules: rules.clone(), ..PublishOptions::default() }).unwrap();
    let mut follower = Follower::fresh(&publisher);
    let before = follower.settle(&publisher);

    fill(&source.join("filler"));
    make_links(&source, LINKS);
    let status = wait_until(&publisher, "stalled", |status| status.stalled.is_some());
    let names_it = |text: &str| text.contains("is full") && text.contains(&*source.to_string_lossy());
    assert!(status.stalled.as_deref().is_some_and(names_it) && status.last_error == status.stalled, "{status:?}");
    assert_eq!((status.phase, status.end_reason), (Phase::Scanning, None));
    let refused = publisher.push(&path("file"), false).unwrap_err().to_string();
    assert!(names_it(&refused), "{refused}");

    fs::remove_file(source.join("filler")).unwrap();
    let status = wait_until(&publisher, "following again", |status| status.phase == Phase::Following);
    assert_eq!((status.stalled, status.last_error), (None, None));
    fs::write(source.join("last"), "it goes on").unwrap();
    let after = follower.settle(&publisher);
    assert_same(&follower.copy.tree, &truth(&Root::open(&source).unwrap(), &rules), "what changed on the full disk, and after");
    assert_eq!((after.source, after.epoch), (before.source, before.epoch), "nothing that was told was lost");
    drop((follower, publisher));
}

#[test]
fn a_publisher_that_has_ended_says_why() {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    let publisher = Publisher::start(source.path(), PublishOptions::default()).unwrap();
    publisher.settle().unwrap();
    assert_eq!(publisher.status().end_reason, None);
    publisher.let_go(Duration::from_mins(1)).unwrap();
    let status = publisher.status();
    assert_eq!((status.phase, status.end_reason.as_deref()), (Phase::Ended, Some("it was stopped")));
}
