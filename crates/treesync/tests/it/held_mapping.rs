//! Writes through a mapping that is held: no event tells of them, so the check of the feed must find them.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use treesync::model::Rules;
use treesync::publish::{PublishOptions, Publisher};
use treesync::tree::Root;

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};
use crate::keeper::LONG;
use crate::oracle::ground::{Ground, Kind};
use crate::stage::is_root_or_skipped;

const LENGTH: usize = 64 * 1024;

/// A file that is mapped, and closed.
struct Mapping(*mut u8);

impl Mapping {
    fn of(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        #[expect(unsafe_code, reason = "a write through a mapping is what is to be tried; nothing else knows of the mapping")]
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let start = libc::mmap(std::ptr::null_mut(), LENGTH, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(start, libc::MAP_FAILED);
            Self(start.cast())
        }
    }

    fn fill(&self, byte: u8) {
        #[expect(unsafe_code, reason = "the mapping has this length, and nobody else writes to it")]
        unsafe {
            self.0.write_bytes(byte, LENGTH);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "nothing uses the mapping any more")]
        unsafe {
            libc::munmap(self.0.cast(), LENGTH);
        }
    }
}

fn finds_writes_through_a_held_mapping(kind: Kind) {
    let ground = Ground::new(kind, 512);
    let source = ground.path();
    fs::write(source.join("mapped"), vec![1; LENGTH]).unwrap();
    // The page is clean from here on, so that the next write to it sets the times of the file.
    rustix::fs::syncfs(fs::File::open(&source).unwrap()).unwrap();
    let options = PublishOptions { audit_interval: Duration::from_millis(200), audit_names_per_second: 1_000, ..PublishOptions::default() };
    let publisher = Publisher::start(&source, options).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let before = publisher.status().drift_of_feed;

    let mapping = Mapping::of(&source.join("mapped"));
    mapping.fill(2);
    let begun = Instant::now();
    while publisher.status().drift_of_feed == before {
        assert!(begun.elapsed() < LONG, "no check found the write: {:?}", publisher.status());
        std::thread::yield_now();
    }
    let is_as_the_source = |follower: &Follower, when: &str| {
        assert_same(&follower.copy.tree, &truth(&Root::open(&source).unwrap(), &Rules::default()), when);
    };
    follower.settle(&publisher);
    is_as_the_source(&follower, "while the file is mapped");
    // To a page that is not yet written back, another write leaves no trace at all but this: the end of the mapping.
    mapping.fill(3);
    drop(mapping);
    follower.settle(&publisher);
    is_as_the_source(&follower, "when the mapping is gone");
}

#[test]
fn a_check_finds_what_was_written_through_a_held_mapping_on_ext4() {
    if is_root_or_skipped("a_check_finds_what_was_written_through_a_held_mapping_on_ext4") {
        finds_writes_through_a_held_mapping(Kind::Ext4);
    }
}

#[test]
fn a_check_finds_what_was_written_through_a_held_mapping_on_xfs() {
    if is_root_or_skipped("a_check_finds_what_was_written_through_a_held_mapping_on_xfs") {
        finds_writes_through_a_held_mapping(Kind::Xfs);
    }
}
