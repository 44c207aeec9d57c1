//! A full disk, or one without inodes: the copy stays as it is, and says what is missing.

use super::scene::options;
use crate::keeper::Keeper;
use crate::stage::Tree;
use crate::stage::images::{Image, ImageKind};
use crate::stage::source::{FolderContents, NoContents, assert_equal, batch, listing};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use treesync::apply::{ContentError, Contents, Copy, CopyError, Problem};
use treesync::model::{Position, Wanted};
use treesync::publish::{PublishOptions, Publisher, Step};

fn fill(mount: &Path) {
    let filler = mount.join(".treesync/filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    rustix::fs::syncfs(&file).unwrap();
}

/// By truncation: a child that another test has just forked may still hold the file, and with it what removal would free.
fn make_room(image: &Image) {
    let filler = image.path().join(".treesync/filler");
    std::fs::OpenOptions::new().write(true).truncate(true).open(&filler).unwrap();
    std::fs::remove_file(filler).unwrap();
}

/// A copy at generation 1, its source, and what is to come: a new file and a replaced one.
fn scene(image: &Image) -> (Tree, Copy, treesync::model::Batch) {
    let source = Tree::new();
    source.write("dir/file", "first");
    let mut copy = Copy::open(image.root(), options(None)).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    source.write("dir/file", vec![2; 100_000]);
    source.write("dir/new", vec![3; 100_000]);
    let next = batch(1, 2).put(&source, "dir/file").put(&source, "dir/new").put(&source, "dir").build();
    (source, copy, next)
}

fn full_disk(kind: ImageKind, size_mib: u64) {
    let Some(image) = Image::new(kind, size_mib, &[]) else { return };
    let (source, mut copy, next) = scene(&image);
    let before = listing(&image.root());
    fill(&image.path());
    let error: CopyError = copy.apply(&next, &FolderContents(&source.root())).unwrap_err();
    assert!(matches!(error.problem, Problem::NoSpace { needed, .. } if needed > 200_000), "{error}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!((listing(&image.root()), copy.position().unwrap().generation), (before, 1));
    make_room(&image);
    copy.apply(&next, &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &image.root());
}

#[test]
fn a_full_ext4_is_left_as_it_is_and_goes_on_when_there_is_room() {
    full_disk(ImageKind::Ext4, 16);
}

#[test]
fn a_full_xfs_is_left_as_it_is_and_goes_on_when_there_is_room() {
    full_disk(ImageKind::Xfs, 300);
}

/// Somebody else fills the disk while bytes come.
struct FillingContents<'s>(FolderContents<'s>, PathBuf);

impl Contents for FillingContents<'_> {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        fill(&self.1);
        self.0.open(wanted)
    }
}

#[test]
fn a_disk_that_fills_up_while_files_are_staged_is_left_as_it_is() {
    let Some(image) = Image::new(ImageKind::Ext4, 16, &[]) else { return };
    let (source, mut copy, next) = scene(&image);
    let before = listing(&image.root());
    let root = source.root();
    let error = copy.apply(&next, &FillingContents(FolderContents(&root), image.path())).unwrap_err();
    assert!(error.to_string().contains("dir/file") && error.to_string().contains("No space"), "{error}");
    assert_eq!((listing(&image.root()), copy.position().unwrap().generation), (before, 1));
    assert_eq!(std::fs::read_dir(image.path().join(".treesync/stage")).unwrap().count(), 0, "what was staged is given back");
    make_room(&image);
    copy.apply(&next, &FolderContents(&root)).unwrap();
    assert_equal(&root, &image.root());
}

#[test]
fn an_ext4_without_inodes_is_left_as_it_is_and_goes_on_when_there_are_some() {
    let Some(image) = Image::new(ImageKind::Ext4, 16, &["-N", "64"]) else { return };
    let (source, mut copy, next) = scene(&image);
    let before = listing(&image.root());
    let fillers = image.path().join(".treesync/fillers");
    std::fs::create_dir(&fillers).unwrap();
    (0..1000).take_while(|number| std::fs::File::create(fillers.join(format!("{number}"))).is_ok()).for_each(drop);
    let error = copy.apply(&next, &FolderContents(&source.root())).unwrap_err();
    assert!(matches!(error.problem, Problem::NoInodes { needed: 2, free: 0 }), "{error}");
    assert_eq!((listing(&image.root()), copy.position().unwrap().generation), (before, 1));
    std::fs::remove_dir_all(fillers).unwrap();
    copy.apply(&next, &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &image.root());
}

const MIB: u64 = 1 << 20;

/// A source in memory with a file that has data in each of its first blocks of 1 MiB and is a hole from there on.
fn sparse_source(size_mib: u64, data_mib: u64) -> Tree {
    let source = Tree::within_memory();
    let file = std::fs::File::create(source.at("sparse")).unwrap();
    file.set_len(size_mib * MIB).unwrap();
    for number in 0..data_mib {
        file.write_all_at(&[7; 4096], number * MIB).unwrap();
    }
    source
}

#[test]
fn a_sparse_file_that_is_larger_than_the_disk_needs_room_for_its_data_alone() {
    let Some(image) = Image::new(ImageKind::Ext4, 24, &[]) else { return };
    let source = sparse_source(100, 4);
    let publisher = Arc::new(Publisher::start(source.folder(), PublishOptions::default()).unwrap());
    let mut keeper = Keeper::new(Copy::open(image.root(), options(None)).unwrap(), publisher.clone());
    keeper.follow(publisher.settle().unwrap());
    assert_equal(&source.root(), &image.root());
    // An edit in place, which is a patch where the copy cannot clone.
    let file = std::fs::OpenOptions::new().write(true).open(source.at("sparse")).unwrap();
    file.write_all_at(b"edited", 70 * MIB).unwrap();
    drop(file);
    keeper.follow(publisher.settle().unwrap());
    assert_equal(&source.root(), &image.root());
    let blocks = std::fs::metadata(image.path().join("sparse")).unwrap().blocks();
    assert!(blocks * 512 < 8 * MIB, "{blocks} blocks of 512 bytes");
}

#[test]
fn a_sparse_file_with_more_data_than_the_disk_has_room_for_is_refused_before_it_is_asked_for() {
    let Some(image) = Image::new(ImageKind::Ext4, 24, &[]) else { return };
    let source = sparse_source(100, 40);
    let publisher = Publisher::start(source.folder(), PublishOptions::default()).unwrap();
    let position = publisher.settle().unwrap();
    let mut copy = Copy::open(image.root(), options(None)).unwrap();
    let mut parts = publisher.subscribe(Some(Position { generation: 0, ..position })).unwrap();
    let Some(Step::Batch(batch)) = parts.next(std::time::Duration::from_secs(10)).unwrap() else { panic!("changes") };
    let error = copy.apply(&batch, &NoContents).unwrap_err();
    assert!(matches!(error.problem, Problem::NoSpace { needed, .. } if needed > 40 * MIB && needed < 50 * MIB), "{error}");
}
