//! Repair: what a comparison found is applied wherever the copy is.

use crate::stage::Tree;
use crate::stage::source::{FolderContents, NoContents, assert_equal, batch, open_rules};
use rustix::fs::XattrFlags;
use std::sync::Arc;
use treesync::apply::{Copy, CopyOptions, MarkerState};
use treesync::model::SourceId;

fn options(adopt: bool) -> CopyOptions {
    CopyOptions { rules: Arc::new(open_rules()), adopt, ..CopyOptions::default() }
}

#[test]
fn an_adopted_directory_becomes_a_copy_and_keeps_the_bytes_that_are_right() {
    let source = Tree::new();
    source.write("same", "same");
    source.write("differs", "right");
    let folder = Tree::new();
    folder.write("differs", "wrong");
    folder.write("extra/below", "x");
    std::fs::copy(source.at("same"), folder.at("same")).unwrap();
    let mut copy = Copy::open(folder.root(), options(true)).unwrap();
    let held = |put: &mut treesync::model::Put| put.content_generation = 0;
    let found = batch(0, 7).remove("extra").put(&source, "same").with(held).put(&source, "differs").put(&source, "").build();
    let applied = copy.repair(&found, &FolderContents(&source.root())).unwrap();
    assert_eq!(applied.received_bytes, 5, "only those that differ");
    assert_equal(&source.root(), &folder.root());
    assert_eq!(copy.position().unwrap().generation, 7);
    drop(copy);
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    source.write("same", "newer");
    copy.apply(&batch(7, 8).put(&source, "same").build(), &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
}

#[test]
fn between_two_parts_of_a_repair_the_copy_is_at_no_position() {
    let source = Tree::new();
    source.write("a", "a");
    source.write("b", "b");
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    copy.apply(&batch(0, 1).build(), &NoContents).unwrap();
    copy.repair(&batch(0, 5).put(&source, "a").inner_part().build(), &FolderContents(&source.root())).unwrap();
    assert_eq!((copy.position(), copy.marker().unwrap().state), (None, MarkerState::Repairing));
    drop(copy);
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    assert_eq!(copy.position(), None);
    assert!(copy.apply(&batch(1, 2).build(), &NoContents).unwrap_err().problem.is_cured_by_repair());
    copy.repair(&batch(0, 5).put(&source, "b").put(&source, "").build(), &FolderContents(&source.root())).unwrap();
    assert_eq!(copy.position().unwrap().generation, 5);
    assert_equal(&source.root(), &folder.root());
}

#[test]
fn a_copy_of_another_source_becomes_one_of_this() {
    let source = Tree::new();
    source.write("new", "n");
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    copy.apply(&batch(0, 9).source(SourceId([1; 16])).build(), &NoContents).unwrap();
    copy.repair(&batch(0, 2).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    let position = copy.position().unwrap();
    assert_eq!((position.source, position.generation), (crate::stage::source::SOURCE, 2));
    assert_equal(&source.root(), &folder.root());
}

#[test]
fn a_damaged_marker_is_said_and_mended_by_a_repair() {
    let source = Tree::new();
    source.write("file", "f");
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    drop(copy);
    match rustix::fs::setxattr(folder.folder(), "trusted.treesync.marker", b"rubbish", XattrFlags::REPLACE) {
        Ok(()) => {}
        // Without CAP_SYS_ADMIN the marker is a file.
        Err(_) => std::fs::write(folder.at(".treesync/marker"), "rubbish").unwrap(),
    }
    let mut copy = Copy::open(folder.root(), options(false)).unwrap();
    assert_eq!((copy.position(), copy.unusable()), (None, Some("its marker is damaged")));
    let error = copy.apply(&batch(1, 2).build(), &NoContents).unwrap_err();
    assert!(error.problem.is_cured_by_repair() && error.to_string().contains("damaged"), "{error}");
    copy.repair(&batch(0, 2).build(), &NoContents).unwrap();
    assert_eq!((copy.position().unwrap().generation, copy.unusable()), (2, None));
}
