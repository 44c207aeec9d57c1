//! What was replaced or removed, and what was staged in vain, goes.

use super::scene::options;
use crate::stage::Tree;
use crate::stage::images::{Image, ImageKind};
use crate::stage::source::{FolderContents, assert_equal, batch};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;
use treesync::apply::{ContentError, Contents, Copy};
use treesync::model::Wanted;

/// Bytes that never come.
struct NoBytes;

impl Contents for NoBytes {
    fn open(&self, _: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        Err(ContentError::Failed(std::io::Error::other("the line is cut")))
    }
}

fn names_in(copy: &Path, hidden: &str) -> usize {
    std::fs::read_dir(copy.join(".treesync").join(hidden)).unwrap().count()
}

#[test]
fn an_apply_that_fails_again_and_again_leaves_nothing_behind() {
    let (source, folder) = (Tree::new(), Tree::new());
    for number in 0..50 {
        std::fs::create_dir_all(source.at(format!("directory-{number}/below"))).unwrap();
    }
    source.write("file", "its bytes");
    let first = batch(0, 1).put_all(&source).build();
    let mut copy = Copy::open(folder.root(), options(None)).unwrap();
    for attempt in 0..20 {
        let error = copy.apply(&first, &NoBytes).unwrap_err();
        assert!(error.to_string().contains("the line is cut"), "{error}");
        let left = (names_in(folder.folder(), "stage"), names_in(folder.folder(), "trash"));
        assert_eq!(left, (0, 0), "names in stage and trash after attempt {attempt}");
        if attempt % 3 == 0 {
            // As a session does after each failure.
            drop(copy);
            copy = Copy::open(folder.root(), options(None)).unwrap();
        }
    }
    copy.apply(&first, &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
}

/// A copy with one replaced file, whose bytes of before nobody has removed yet.
fn with_a_replaced_file(source: &Tree, folder: &Tree) -> Copy {
    source.write("file", "first");
    let mut copy = Copy::open(folder.root(), options(None)).unwrap();
    copy.apply(&batch(0, 1).put_all(source).build(), &FolderContents(&source.root())).unwrap();
    source.write("file", "second");
    copy.apply(&batch(1, 2).put_all(source).build(), &FolderContents(&source.root())).unwrap();
    copy
}

#[test]
fn what_was_replaced_goes_when_the_copy_rests_or_is_opened_again() {
    let (source, folder) = (Tree::new(), Tree::new());
    let mut copy = with_a_replaced_file(&source, &folder);
    assert_eq!(names_in(folder.folder(), "stage"), 1, "it waits");
    assert!(copy.has_trash() && copy.empty_trash(10).unwrap() && !copy.has_trash());
    assert_eq!((names_in(folder.folder(), "stage"), names_in(folder.folder(), "trash")), (0, 0));
    drop(copy);
    let folder = Tree::new();
    drop(with_a_replaced_file(&source, &folder));
    assert!(Copy::open(folder.root(), options(None)).unwrap().empty_trash(10).unwrap());
    assert_eq!((names_in(folder.folder(), "stage"), names_in(folder.folder(), "trash")), (0, 0));
}

#[test]
fn a_crash_between_two_stages_is_made_good_by_the_next_open() {
    let (source, folder) = (Tree::new(), Tree::new());
    drop(with_a_replaced_file(&source, &folder));
    let own = |name: &str| folder.at(".treesync").join(name);
    std::fs::rename(own("stage"), own("trash/7")).unwrap();
    std::fs::DirBuilder::new().mode(0o700).create(own("stage.next")).unwrap();
    let mut copy = Copy::open(folder.root(), options(None)).unwrap();
    for generation in 2..4 {
        source.write("file", format!("at {generation}"));
        let next = batch(generation, generation + 1).put_all(&source).build();
        copy.apply(&next, &FolderContents(&source.root())).unwrap();
    }
    assert!(copy.empty_trash(usize::MAX).unwrap());
    assert_equal(&source.root(), &folder.root());
    assert_eq!((names_in(folder.folder(), "stage"), names_in(folder.folder(), "trash")), (0, 0));
}

#[test]
fn a_file_of_which_one_name_is_replaced_has_one_name_less_at_once() {
    let (source, folder) = (Tree::new(), Tree::new());
    source.write("a", "both");
    std::fs::hard_link(source.at("a"), source.at("b")).unwrap();
    let mut copy = Copy::open(folder.root(), options(None)).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    std::fs::remove_file(source.at("a")).unwrap();
    source.write("a", "its own");
    copy.apply(&batch(1, 2).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    // With the number of names.
    assert_equal(&source.root(), &folder.root());
}

#[test]
fn what_cannot_be_removed_does_not_keep_the_rest_in_the_trash() {
    let Some(image) = Image::new(ImageKind::Ext4, 16, &[]) else { return };
    let mut copy = Copy::open(image.root(), options(None)).unwrap();
    let trash = image.path().join(".treesync/trash");
    let in_trash = |name: String| {
        std::fs::create_dir_all(trash.join("7")).unwrap();
        std::fs::write(trash.join("7").join(name), "").unwrap();
    };
    (0..30).map(|number| format!("immutable-{number}")).for_each(in_trash);
    let change = |how: &str| {
        let files = (0..30).map(|number| trash.join(format!("7/immutable-{number}")));
        assert!(Command::new("chattr").arg(how).args(files).status().unwrap().success(), "chattr {how}");
    };
    change("+i");
    (0..30).map(|number| format!("removable-{number}")).for_each(in_trash);
    let mut slices = 0;
    while !copy.empty_trash(10).unwrap() {
        slices += 1;
        assert!(slices < 10, "it never ends");
    }
    let left: Vec<_> = std::fs::read_dir(trash.join("7")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() == 30 && left.iter().all(|name| name.to_string_lossy().starts_with("immutable")), "{left:?}");
    assert!(!copy.has_trash(), "what stays is no work");
    change("-i");
}
