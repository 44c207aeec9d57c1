//! Two states of a source, and batches that lead from one to the other and back, with every kind of operation in them.

use crate::stage::Tree;
use crate::stage::source::{BatchBuilder, FolderContents, batch, listing, open_rules};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use treesync::apply::{Applied, Copy, CopyError, CopyOptions, Observer};
use treesync::model::{Ahead, Batch, Put, TreePath};
use treesync::tree::{NodeKind, Root, Walk};

/// Files that are replaced in each batch.
const REPLACED: usize = 24;

/// The two states: odd generations are the first, even ones the second.
pub struct Scene {
    /// Nothing but files that are replaced, all of them staged ahead.
    is_all_ahead: bool,
    states: [Tree; 2],
    listings: [Vec<String>; 2],
    bytes: [BTreeMap<TreePath, Vec<u8>>; 2],
}

impl Scene {
    pub fn new() -> Self {
        Self::of(false)
    }

    /// Where a batch finds all that it needs staged and written.
    pub fn all_ahead() -> Self {
        Self::of(true)
    }

    fn of(is_all_ahead: bool) -> Self {
        let make = if is_all_ahead { files } else { state };
        let states = [make(b'a'), make(b'b')];
        states.iter().zip(*b"ab").for_each(|(tree, letter)| set_times(tree, letter));
        let listings = [listing(&states[0].root()), listing(&states[1].root())];
        let bytes = [bytes_of(&states[0].root()), bytes_of(&states[1].root())];
        Self { is_all_ahead, states, listings, bytes }
    }

    fn index(generation: u64) -> usize {
        usize::from(generation.is_multiple_of(2))
    }

    fn state(&self, generation: u64) -> &Tree {
        &self.states[Self::index(generation)]
    }

    /// From a generation to the next.
    pub fn batch_after(&self, generation: u64) -> Batch {
        let next = self.state(generation + 1);
        let builder = batch(generation, generation + 1);
        if generation == 0 || self.is_all_ahead {
            return builder.put_all(next).build();
        }
        let moved = |builder: BatchBuilder| match Self::index(generation + 1) {
            1 => builder.rename("moves-a", "t").rename("swap/x", "swap/t").rename("swap/y", "swap/x").rename("swap/t", "swap/y"),
            _ => builder.rename("moves-b", "t").rename("swap/x", "swap/t").rename("swap/y", "swap/x").rename("swap/t", "swap/y"),
        };
        let (old, new) = if Self::index(generation + 1) == 1 { ("only-a", "moves-b") } else { ("only-b", "moves-a") };
        let builder = moved(builder).rename("t", new).remove(old).put_all(next);
        let mut batch = builder.build();
        // What moved with its directory is not put, as a source would not put it.
        batch.puts.retain(|put| !put.path.names().any(|name| name.starts_with(b"still")));
        batch.puts.iter_mut().for_each(|put| keep_bytes(put, generation));
        batch
    }

    /// Stages half of the files ahead, and one that the batch does not want; or just all.
    pub fn apply(&self, copy: &mut Copy) -> Result<Applied, CopyError> {
        let generation = copy.position().map_or(0, |position| position.generation);
        let batch = self.batch_after(generation);
        let ahead = self.ahead_of(&batch);
        assert_eq!(copy.stage_ahead(&ahead, 0, &|| true)?, ahead.puts().len());
        copy.write_ahead(&|| true)?;
        copy.apply(&batch, &FolderContents(&self.state(generation + 1).root()))
    }

    fn ahead_of(&self, batch: &Batch) -> Ahead {
        let bytes = &self.bytes[Self::index(batch.to)];
        let is_new = |put: &&Put| put.content_generation == batch.to && put.entry.file().is_some() && put.entry.link_group == 0;
        let with_bytes = |put: &Put| Put { inline: Some(bytes[&put.path].clone().into()), ..put.clone() };
        let step = if self.is_all_ahead { 1 } else { 2 };
        let mut ahead: Vec<Put> = batch.puts.iter().filter(is_new).step_by(step).map(with_bytes).collect();
        ahead.iter_mut().take(usize::from(!self.is_all_ahead)).for_each(|put| put.entry.mode ^= 0o111);
        Ahead::new(batch.from, ahead).unwrap()
    }

    /// Before anything is recovered, every file has the bytes of one of the two states.
    #[track_caller]
    pub fn assert_no_torn_file(&self, folder: &Path) {
        for (path, bytes) in bytes_of(&Root::open(folder).unwrap()) {
            let is_good = self.bytes.iter().any(|state| state.values().any(|good| *good == bytes));
            assert!(is_good, "{path} is torn: {} bytes", bytes.len());
        }
    }

    /// The copy is what its marker says.
    #[track_caller]
    pub fn assert_at(&self, root: &Root, generation: u64) {
        let (is, expected) = (listing(root), &self.listings[Self::index(generation)]);
        if generation == 0 {
            assert_eq!(is.len(), 1, "an empty copy: {is:#?}");
            return;
        }
        let missing: Vec<_> = expected.iter().filter(|line| !is.contains(line)).collect();
        let extra: Vec<_> = is.iter().filter(|line| !expected.contains(line)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "generation {generation} lacks\n{missing:#?}\nand has\n{extra:#?}");
    }
}

pub fn options(observer: Option<Arc<dyn Observer>>) -> CopyOptions {
    let options = CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() };
    match observer {
        Some(observer) => CopyOptions { observer, ..options },
        None => options,
    }
}

/// Files of which only the metadata differs keep their bytes.
fn keep_bytes(put: &mut Put, generation: u64) {
    if put.path.as_bytes().starts_with(b"mode") || put.path.as_bytes().starts_with(b"link") {
        put.content_generation = generation.min(1);
    }
}

fn files(letter: u8) -> Tree {
    let tree = Tree::new();
    for number in 0..REPLACED {
        tree.write(format!("dir-{}/file-{number}", number % 3), vec![letter; 100 + number * 1500]);
    }
    tree
}

fn state(letter: u8) -> Tree {
    let tree = files(letter);
    let is_a = letter == b'a';
    let (own, moving) = if is_a { ("only-a", "moves-a") } else { ("only-b", "moves-b") };
    tree.write(format!("{own}/deep/er"), [letter]);
    for still in ["still/one", "still/two/three"] {
        name_itself(&tree, &format!("{moving}/{still}"));
    }
    // The two swap places: x of the one state is y of the other.
    let (x, y) = if is_a { ("swap/x", "swap/y") } else { ("swap/y", "swap/x") };
    name_itself(&tree, &format!("{x}/still-x/still"));
    name_itself(&tree, &format!("{y}/still-y/still"));
    let mode = tree.write("mode", "same bytes");
    std::fs::set_permissions(&mode, PermissionsExt::from_mode(if is_a { 0o640 } else { 0o755 })).unwrap();
    let linked = tree.write("link-1", "linked");
    std::fs::hard_link(&linked, tree.at(if is_a { "link-2" } else { "link-3" })).unwrap();
    if is_a {
        tree.write("link-3", "linked");
        tree.write("kind", "a file");
        symlink("somewhere", tree.at("symlink")).unwrap();
    } else {
        tree.write("link-2", "linked");
        tree.write("kind/is/a/directory", "b");
        symlink("elsewhere", tree.at("symlink")).unwrap();
    }
    tree
}

fn name_itself(tree: &Tree, at: &str) {
    tree.write(at, at.rsplit('/').next().unwrap());
}

/// Times that every run makes the same: those of one state, but for what is the same in both.
fn set_times(tree: &Tree, letter: u8) {
    let root = tree.root();
    let paths: Vec<TreePath> = Walk::new(&root, TreePath::root()).map(|visit| visit.unwrap().path).collect();
    for path in paths.iter().rev() {
        let bytes = path.as_bytes();
        let is_same = path.names().any(|name| name.starts_with(b"still")) || bytes.starts_with(b"mode") || bytes.starts_with(b"link");
        let tv_sec = 1_600_000_000 + if is_same { 0 } else { i64::from(letter) };
        let time = rustix::fs::Timespec { tv_sec, tv_nsec: 123_456_789 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let at = tree.folder().join(path.as_os_str());
        rustix::fs::utimensat(rustix::fs::CWD, at, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn bytes_of(root: &Root) -> BTreeMap<TreePath, Vec<u8>> {
    let visits = Walk::new(root, TreePath::root()).map(|visit| visit.unwrap());
    let files = visits.filter(|visit| visit.stat.kind == NodeKind::File);
    files.map(|visit| (visit.path.clone(), std::fs::read(root.path().join(visit.path.as_os_str())).unwrap())).collect()
}
