//! What whoever is root in a pod can put into the hidden directory of a copy: nothing is waited for, and nothing stops an apply.

use crate::stage::Tree;
use crate::stage::source::{FolderContents, assert_equal, batch, open_rules};
use rustix::fs::{CWD, FileType};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use treesync::apply::{Copy, CopyOptions, Observer, Step, read_marker};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn options() -> CopyOptions {
    CopyOptions { rules: Arc::new(open_rules()), ..CopyOptions::default() }
}

struct StopAt(Step);

impl Observer for StopAt {
    fn before(&self, step: Step) -> std::io::Result<()> {
        if step == self.0 { Err(std::io::Error::other("enough")) } else { Ok(()) }
    }
}

/// A copy at generation 1, and its source.
fn synced() -> (Tree, Tree) {
    let (source, folder) = (Tree::new(), Tree::new());
    source.write("dir/file", "first");
    let mut copy = Copy::open(folder.root(), options()).unwrap();
    copy.apply(&batch(0, 1).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
    (source, folder)
}

/// Changes the file of a copy that is at the generation before.
fn change(copy: &mut Copy, source: &Tree, to: u64) {
    source.write("dir/file", to.to_string());
    copy.apply(&batch(to - 1, to).put(source, "dir/file").build(), &FolderContents(&source.root())).unwrap();
    assert_eq!(copy.position().unwrap().generation, to);
}

type Plant = fn(&Path);

fn fifo(at: &Path) {
    rustix::fs::mknodat(CWD, at, FileType::Fifo, 0o600.into(), 0).unwrap();
}

fn socket(at: &Path) {
    drop(std::os::unix::net::UnixListener::bind(at).unwrap());
}

fn link_to_itself(at: &Path) {
    symlink(at, at).unwrap();
}

fn full_directory(at: &Path) {
    std::fs::create_dir_all(at.join("below")).unwrap();
}

const PLANTS: [Plant; 4] = [fifo, socket, link_to_itself, full_directory];

/// What is done, or a panic when it waits for ever.
fn within_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = channel();
    std::thread::spawn(move || sender.send(work()));
    done.recv_timeout(LONG).unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn what_is_planted_for_an_intent_is_not_waited_for_and_moved_out_of_the_way() {
    for plant in PLANTS {
        let (source, folder) = synced();
        let intent = folder.at(".treesync/intent");
        plant(&intent);
        let mut copy = Copy::open(folder.root(), options()).unwrap();
        change(&mut copy, &source, 2);
        plant(&intent);
        change(&mut copy, &source, 3);
        plant(&intent);
        copy.repair(&batch(0, 4).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
        assert_equal(&source.root(), &folder.root());
    }
}

#[test]
fn what_took_the_place_of_an_intent_that_was_to_be_finished_means_a_repair() {
    for plant in PLANTS {
        let (source, folder) = synced();
        let mut copy = Copy::open(folder.root(), CopyOptions { observer: Arc::new(StopAt(Step::Operation(0))), ..options() }).unwrap();
        source.write("dir/file", "second");
        copy.apply(&batch(1, 2).put(&source, "dir/file").build(), &FolderContents(&source.root())).unwrap_err();
        drop(copy);
        std::fs::remove_file(folder.at(".treesync/intent")).unwrap();
        plant(&folder.at(".treesync/intent"));
        let root = folder.root();
        let mut copy = within_time("a copy is opened", || Copy::open(root, options()).unwrap());
        assert!(copy.unusable().unwrap().contains("lost"));
        copy.repair(&batch(0, 2).put_all(&source).build(), &FolderContents(&source.root())).unwrap();
        assert_equal(&source.root(), &folder.root());
    }
}

#[test]
fn what_is_planted_for_the_note_of_a_clone_is_none() {
    for plant in PLANTS {
        let (source, folder) = synced();
        plant(&folder.at(".treesync/clone"));
        let root = folder.root();
        let open = || Copy::open(root, CopyOptions { accept_clone: true, ..options() }).unwrap();
        let mut copy = within_time("a copy is opened", open);
        change(&mut copy, &source, 2);
    }
}

#[test]
fn a_fifo_for_a_marker_is_not_waited_for_by_who_asks() {
    let folder = Tree::new();
    std::fs::create_dir(folder.at(".treesync")).unwrap();
    fifo(&folder.at(".treesync/marker"));
    let root = folder.root();
    assert_eq!(within_time("the marker is asked for", move || read_marker(&root).unwrap()), None);
}

#[test]
fn numbers_of_the_trash_that_others_have_used_up_stop_no_removal() {
    let (source, folder) = synced();
    for number in [u64::MAX, u64::MAX - 1, 0, 1] {
        std::fs::create_dir_all(folder.at(format!(".treesync/trash/{number}/below/it"))).unwrap();
    }
    let mut copy = Copy::open(folder.root(), options()).unwrap();
    source.write("gone/file", "x");
    copy.apply(&batch(1, 2).put(&source, "gone").put(&source, "gone/file").build(), &FolderContents(&source.root())).unwrap();
    std::fs::remove_dir_all(source.at("gone")).unwrap();
    copy.apply(&batch(2, 3).remove("gone").put(&source, "").build(), &FolderContents(&source.root())).unwrap();
    assert_equal(&source.root(), &folder.root());
    while !copy.empty_trash(1).unwrap() {}
    assert_eq!(std::fs::read_dir(folder.at(".treesync/trash")).unwrap().count(), 0);
}
