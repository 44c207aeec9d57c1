//! A publisher on a real filesystem: what its subscribers are told is what stands there.

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;
use treesync::model::Rules;
use treesync::publish::{DetectionWish, PublishOptions, Publisher};
use treesync::tree::Root;

/// A source in memory, polled only when it is asked.
fn polled() -> PublishOptions {
    PublishOptions { detection: DetectionWish::Poll, poll_interval: std::time::Duration::from_hours(1), ..PublishOptions::default() }
}

fn source() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn assert_copy_is_source(follower: &Follower, source: &Path, what: &str) {
    assert_same(&follower.copy.tree, &truth(&Root::open(source).unwrap(), &Rules::default()), what);
}

#[test]
fn a_copy_follows_files_directories_links_and_modes() {
    let source = source();
    let at = |path: &str| source.path().join(path);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/one"), "one").unwrap();
    fs::write(at("a/b/two"), "two").unwrap();
    let publisher = Publisher::start(source.path(), polled()).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    assert_copy_is_source(&follower, source.path(), "at first");
    assert_eq!(follower.copy.tree.len(), 6);

    fs::rename(at("a/b"), at("moved")).unwrap();
    fs::hard_link(at("a/one"), at("moved/c/link")).unwrap();
    std::os::unix::fs::symlink("../a", at("moved/symlink")).unwrap();
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o2750)).unwrap();
    follower.settle(&publisher);
    assert_copy_is_source(&follower, source.path(), "after moving and linking");

    fs::remove_file(at("a/one")).unwrap();
    fs::remove_dir_all(at("moved")).unwrap();
    fs::write(at("moved"), "a file now").unwrap();
    follower.settle(&publisher);
    assert_copy_is_source(&follower, source.path(), "after removing");
    assert_eq!(follower.manifests, 1, "only at first");
}
