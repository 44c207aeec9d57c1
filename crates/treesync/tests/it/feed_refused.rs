//! Where the kernel does not tell of changes, the source is polled, and the status says why.

use crate::disk::{Disk, Format};
use crate::follower::Follower;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use treesync::feed::FeedOptions;
use treesync::publish::{Detection, PublishOptions, Publisher};

/// Follows a source that nobody tells of; gives the reason that the status has for it.
fn reason_for_polling(source: &Path, feed: FeedOptions) -> String {
    let options = PublishOptions { poll_interval: Duration::from_millis(50), feed, ..PublishOptions::default() };
    let publisher = Publisher::start(source, options).unwrap();
    let Detection::Poll { reason } = publisher.status().detection else { panic!("the kernel tells of {}", source.display()) };
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    fs::create_dir(source.join("d")).unwrap();
    fs::write(source.join("d/file"), "x").unwrap();
    while follower.copy.tree.len() < 3 {
        follower.step();
    }
    reason
}

/// Does something on a thread of its own that may do less.
fn without<T: Send>(missing: CapabilitySet, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(missing);
            set_capabilities(None, sets).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn a_filesystem_that_cannot_be_marked_is_polled() {
    let Some(disk) = Disk::new(Format::Tmpfs, "polling stands in for the feed") else { return };
    let at = |path: &str| disk.path().join(path);
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir(at(folder)).unwrap();
    }
    let layers = format!("lowerdir={},upperdir={},workdir={}", at("lower").display(), at("upper").display(), at("work").display());
    let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(at("merged")).output().unwrap();
    if !mounted.status.success() {
        let problem = String::from_utf8_lossy(&mounted.stderr);
        assert!(std::env::var_os("CI").is_none(), "an overlay is needed, and CI must run everything: {problem}");
        eprintln!("SKIPPED polling on an overlay: {problem}");
        return;
    }
    let reason = reason_for_polling(&at("merged"), FeedOptions::default());
    assert!(reason.contains("overlay") && reason.contains("fanotify"), "{reason}");
    let unmounted = Command::new("umount").arg(at("merged")).output().unwrap();
    assert!(unmounted.status.success(), "{}", String::from_utf8_lossy(&unmounted.stderr));
}

#[test]
fn without_the_capability_for_the_feed_a_source_is_polled() {
    let Some(disk) = Disk::new(Format::Ext4, "polling stands in for a capability") else { return };
    // The kernel asks for it at another call when the queue is bounded.
    for (name, has_bounded_queue) in [("unbounded", false), ("bounded", true)] {
        let source = disk.path().join(name);
        fs::create_dir(&source).unwrap();
        let feed = FeedOptions { has_bounded_queue, ..FeedOptions::default() };
        let reason = without(CapabilitySet::SYS_ADMIN, || reason_for_polling(&source, feed));
        assert!(reason.contains("fanotify_") && reason.contains("CAP_SYS_ADMIN"), "{reason}");
    }
}
