//! Copies that a newer version of treesync wrote: this one leaves them alone, and says so.

use crate::stage::source::{FolderContents, NoContents, assert_equal, batch, listing, open_rules};
use crate::stage::{Tree, is_root_or_skipped};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use treesync::apply::{Copy, CopyOptions, Observer, Step, read_marker};

const XATTR: &str = "trusted.treesync.marker";
/// The digit of the version in an intent.
const INTENT_VERSION_AT: usize = 7;

fn options(adopt: bool) -> CopyOptions {
    CopyOptions { rules: Arc::new(open_rules()), adopt, ..CopyOptions::default() }
}

/// Stops an apply when its first operation is about to be published.
struct Stop;

impl Observer for Stop {
    fn before(&self, step: Step) -> std::io::Result<()> {
        if step == Step::Operation(0) { Err(std::io::Error::other("enough")) } else { Ok(()) }
    }
}

/// A copy in the middle of an apply, and its source.
fn interrupted() -> (Tree, Tree) {
    let (source, folder) = (Tree::new(), Tree::new());
    source.write("dir/file", "first");
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    drop(copy);
    source.write("dir/file", "second");
    let mut copy = Copy::open(folder.root(), CopyOptions { observer: Arc::new(Stop), ..options(false) }).unwrap();
    copy.apply(&batch(1, 2).put(&source, "dir/file").build(), &FolderContents(&source.root())).unwrap_err();
    (source, folder)
}

/// Everything in the hidden directory with its bytes.
fn hidden(folder: &Tree) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.at(".treesync")]);
    while let Some(directory) = waiting.pop() {
        for path in std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            waiting.extend(path.is_dir().then(|| path.clone()));
            found.push((path.clone(), std::fs::read(path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

/// As a version to come would write it: that is whole, has other fields, and only begins with its number.
fn mark_newer(folder: &Path) {
    let mut bytes = vec![2, 1, 2, 3];
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    rustix::fs::setxattr(folder, XATTR, &bytes, rustix::fs::XattrFlags::REPLACE).unwrap();
}

#[track_caller]
fn assert_refused(folder: &Tree, what: &str) {
    for adopt in [false, true] {
        let message = Copy::open(folder.root(), options(adopt)).err().unwrap().to_string();
        let parts = [&*folder.folder().to_string_lossy(), what, "version 2", "reads up to 1", "update", "remove .treesync"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_copy_whose_marker_is_of_a_newer_version_is_left_alone() {
    if !is_root_or_skipped("a_copy_whose_marker_is_of_a_newer_version_is_left_alone") {
        return;
    }
    let (_source, folder) = interrupted();
    mark_newer(folder.folder());
    let before = (hidden(&folder), listing(&folder.root()));
    assert_refused(&folder, "its marker");
    assert_eq!((hidden(&folder), listing(&folder.root())), before, "the intent and the stage of the newer version are there");
    assert!(read_marker(&folder.root()).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn a_copy_in_the_middle_of_an_apply_of_a_newer_version_is_left_alone() {
    let (_source, folder) = interrupted();
    let mut intent = std::fs::read(folder.at(".treesync/intent")).unwrap();
    intent[INTENT_VERSION_AT] += 1;
    std::fs::write(folder.at(".treesync/intent"), intent).unwrap();
    let before = (hidden(&folder), listing(&folder.root()));
    assert_refused(&folder, "its intent");
    assert_eq!((hidden(&folder), listing(&folder.root())), before);
}

#[test]
fn without_its_hidden_directory_a_newer_copy_is_adopted_and_compared_afresh() {
    if !is_root_or_skipped("without_its_hidden_directory_a_newer_copy_is_adopted_and_compared_afresh") {
        return;
    }
    let (source, folder) = interrupted();
    mark_newer(folder.folder());
    std::fs::remove_dir_all(folder.at(".treesync")).unwrap();
    let message = Copy::open(folder.root(), options(false)).err().unwrap().to_string();
    assert!(message.contains("adopt"), "{message}");
    for _ in 0..2 {
        let mut copy = Copy::open(folder.root(), options(true)).unwrap();
        assert_eq!((copy.position(), copy.is_empty()), (None, false));
        assert!(copy.apply(&batch(1, 2).build(), &NoContents).unwrap_err().problem.is_cured_by_repair());
    }
    let mut copy = Copy::open(folder.root(), options(true)).unwrap();
    copy.repair(&batch(0, 3).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
    assert_eq!(copy.position().unwrap().generation, 3);
}
