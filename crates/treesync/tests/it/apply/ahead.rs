//! Files that are staged ahead of their batch: taken when they are what it wants, and never seen otherwise.

use super::scene::options;
use crate::stage::Tree;
use crate::stage::source::{NoContents, assert_equal, batch};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use treesync::apply::Copy;
use treesync::model::{Ahead, Batch, Put};

const FILES: usize = 200;

/// A source with files in some directories, and a copy that equals it.
struct Pair {
    source: Tree,
    folder: Tree,
    copy: Copy,
}

impl Pair {
    fn new() -> Self {
        Self::of(Tree::new(), Tree::new())
    }

    fn of(source: Tree, folder: Tree) -> Self {
        write(&source, "first");
        let mut copy = Copy::open(folder.root(), options(None)).unwrap();
        copy.apply(&with_bytes(batch(0, 1).put_all(&source).build(), &source), &NoContents).unwrap();
        write(&source, "second");
        Self { source, folder, copy }
    }

    /// All changes, with their bytes.
    fn batch(&self) -> Batch {
        with_bytes(batch(1, 2).put_all(&self.source).build(), &self.source)
    }

    fn files(&self) -> Vec<Put> {
        self.batch().puts.into_iter().filter(|put| put.entry.file().is_some()).collect()
    }

    fn inode(&self, put: &Put) -> u64 {
        inode(&self.folder.folder().join(put.path.as_os_str()))
    }

    fn names_in(&self, hidden: &str) -> usize {
        std::fs::read_dir(self.folder.at(".treesync").join(hidden)).unwrap().count()
    }
}

fn write(source: &Tree, text: &str) {
    for file in 0..FILES {
        source.write(format!("directory-{}/file-{file}", file % 7), format!("{text} {file}"));
    }
}

fn with_bytes(mut batch: Batch, source: &Tree) -> Batch {
    for put in batch.puts.iter_mut().filter(|put| put.entry.file().is_some()) {
        put.inline = Some(std::fs::read(source.folder().join(put.path.as_os_str())).unwrap().into());
    }
    batch
}

fn hint(files: &[Put]) -> Ahead {
    Ahead::new(1, files.to_vec()).unwrap()
}

fn inode(at: &Path) -> u64 {
    std::fs::symlink_metadata(at).unwrap().ino()
}

/// Inodes of all files below a directory.
fn inodes(directory: &Path) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let at = entry.unwrap().path();
        found.extend(if at.is_dir() { inodes(&at) } else { BTreeSet::from([inode(&at)]) });
    }
    found
}

#[test]
fn what_was_staged_ahead_is_published_and_not_made_again() {
    let mut pair = Pair::new();
    let (before, files) = (inodes(pair.folder.folder()), pair.files());
    assert_eq!(pair.copy.stage_ahead(&hint(&files), 0, &|| true).unwrap(), FILES);
    let staged: BTreeSet<u64> = inodes(&pair.folder.at(".treesync/stage"));
    assert_eq!((staged.len(), inodes(&pair.folder.at("directory-0")).is_subset(&before)), (FILES, true), "nobody sees them");
    pair.copy.write_ahead(&|| true).unwrap();
    pair.copy.apply(&pair.batch(), &NoContents).unwrap();
    assert!(files.iter().all(|put| staged.contains(&pair.inode(put))), "each file is one that was staged");
    assert_equal(&pair.source.root(), &pair.folder.root());
    assert!(pair.copy.empty_trash(usize::MAX).unwrap());
    assert_eq!((pair.names_in("stage"), pair.names_in("trash")), (0, 0));
}

#[test]
fn what_turns_out_otherwise_is_made_anew_and_the_rest_goes() {
    let mut pair = Pair::new();
    let mut files = pair.files();
    files[0].entry.mtime.seconds += 1;
    files[1].entry.mode = 0o600;
    files[2].inline = Some("other 12345".into());
    files[2].entry.kind = crate::scripted::file(b"other 12345");
    let staged = |pair: &Pair| inodes(&pair.folder.at(".treesync/stage"));
    assert_eq!(pair.copy.stage_ahead(&hint(&files[..20]), 0, &|| true).unwrap(), 20);
    let ahead = staged(&pair);
    pair.copy.apply(&pair.batch(), &NoContents).unwrap();
    assert_equal(&pair.source.root(), &pair.folder.root());
    let taken: Vec<bool> = files[..21].iter().map(|put| ahead.contains(&pair.inode(put))).collect();
    assert_eq!(taken, (0..21).map(|file| (3..20).contains(&file)).collect::<Vec<_>>());
    assert!(pair.copy.has_trash() && pair.copy.empty_trash(usize::MAX).unwrap());
    assert_eq!((pair.names_in("stage"), pair.names_in("trash")), (0, 0));
}

#[test]
fn a_copy_stops_staging_ahead_when_it_has_other_things_to_do() {
    let mut pair = Pair::new();
    let files = pair.files();
    let left = std::cell::Cell::new(5);
    let is_free = || left.replace(left.get() - 1) > 0;
    assert_eq!(pair.copy.stage_ahead(&hint(&files), 0, &is_free).unwrap(), 5);
    assert_eq!(pair.copy.stage_ahead(&hint(&files), 5, &|| true).unwrap(), FILES);
    pair.copy.apply(&pair.batch(), &NoContents).unwrap();
    assert_equal(&pair.source.root(), &pair.folder.root());
}

#[test]
fn what_nobody_asks_for_goes_when_the_copy_rests_or_is_opened_again() {
    let mut pair = Pair::new();
    let files = pair.files();
    pair.copy.stage_ahead(&hint(&files), 0, &|| true).unwrap();
    assert!(pair.copy.has_trash() && pair.copy.empty_trash(usize::MAX).unwrap() && !pair.copy.has_trash());
    assert_eq!((pair.names_in("stage"), pair.names_in("trash")), (0, 0));
    pair.copy.stage_ahead(&hint(&files), 0, &|| true).unwrap();
    drop(pair.copy);
    pair.copy = Copy::open(pair.folder.root(), options(None)).unwrap();
    assert_eq!(pair.names_in("stage"), 0);
    pair.copy.apply(&pair.batch(), &NoContents).unwrap();
    assert_equal(&pair.source.root(), &pair.folder.root());
}

#[test]
fn a_publisher_that_tells_without_end_does_not_fill_the_stage() {
    let mut pair = Pair::new();
    let hint = hint(&pair.files());
    for _ in 0..30 {
        assert_eq!(pair.copy.stage_ahead(&hint, 0, &|| true).unwrap(), FILES);
    }
    assert_eq!(inodes(&pair.folder.at(".treesync/stage")).len(), 4096);
    pair.copy.apply(&pair.batch(), &NoContents).unwrap();
    assert_equal(&pair.source.root(), &pair.folder.root());
}

#[test]
fn a_copy_that_never_rests_removes_what_is_staged_in_vain() {
    let mut pair = Pair::of(Tree::within_memory(), Tree::within_memory());
    let mut vain = pair.files();
    for put in &mut vain {
        put.entry.mode = 0o600;
    }
    let hint = hint(&vain);
    for generation in 1..9 {
        for _ in 0..4096 / FILES {
            assert_eq!(pair.copy.stage_ahead(&hint, 0, &|| true).unwrap(), FILES);
        }
        write(&pair.source, &format!("at {generation}"));
        let next = with_bytes(batch(generation, generation + 1).put_all(&pair.source).build(), &pair.source);
        pair.copy.apply(&next, &NoContents).unwrap();
        let waiting = inodes(&pair.folder.at(".treesync")).len();
        assert!(waiting < 25_000, "{waiting} files that nobody needs after {generation} batches");
    }
    assert_equal(&pair.source.root(), &pair.folder.root());
}

#[test]
fn a_shelf_that_could_not_be_made_is_made_for_the_next_file() {
    let mut pair = Pair::new();
    let hint = hint(&pair.files());
    assert_eq!(pair.copy.stage_ahead(&hint, 0, &|| false).unwrap(), 0);
    // The first of them is in its way.
    let shelf = pair.folder.at(".treesync/stage/shelf-67108864");
    std::fs::create_dir(&shelf).unwrap();
    assert!(pair.copy.stage_ahead(&hint, 0, &|| true).is_err());
    std::fs::remove_dir(&shelf).unwrap();
    assert_eq!(pair.copy.stage_ahead(&hint, 0, &|| true).unwrap(), FILES);
    pair.copy.apply(&pair.batch(), &NoContents).unwrap();
    assert_equal(&pair.source.root(), &pair.folder.root());
}

#[test]
fn a_copy_without_a_position_stages_nothing_ahead() {
    let pair = Pair::new();
    let folder = Tree::new();
    let mut copy = Copy::open(folder.root(), options(None)).unwrap();
    assert_eq!(copy.stage_ahead(&hint(&pair.files()), 0, &|| true).unwrap(), FILES);
    assert_eq!(std::fs::read_dir(folder.at(".treesync/stage")).unwrap().count(), 0);
}
