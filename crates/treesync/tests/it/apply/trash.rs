//! What was replaced or removed, and what was staged in vain, goes.

use super::scene::options;
use crate::stage::Tree;
use crate::stage::images::{Image, ImageKind};
use crate::stage::source::{FolderContents, assert_equal, batch};
use std::io::Read;
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
