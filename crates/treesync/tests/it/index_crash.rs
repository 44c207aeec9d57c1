//! The index after SIGKILL at any moment: what a commit returned is there, and everything agrees with itself.

use crate::copy_model::CopyModel;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use treesync::index::{At, Below, Found, Identity, Index, IndexOptions, Observation, Opened, Stamp};
use treesync::model::{ContentHash, Entry, Kind, Mtime, Position};
use treesync::tree::Root;

/// Tells the test below that it is the process that is killed.
const CHILD: &str = "TREESYNC_TEST_INDEX_FOLDER";

fn found(inode: u64, bytes: u64) -> Found {
    let identity = (bytes == 0).then(|| Identity(inode.to_be_bytes().into()));
    let kind =
        if identity.is_some() { Kind::Directory } else { Kind::File { size_bytes: 8, content: ContentHash::of(&bytes.to_be_bytes()) } };
    let entry = Entry { kind, mode: 0, uid: 0, gid: 0, mtime: Mtime::default(), link_target: vec![], xattrs: vec![], link_group: 0 };
    let stamp = Stamp { inode, link_count: 1, ctime: Mtime { seconds: 1, nanoseconds: 0 } };
    Found { entry, stamp, identity, below: Below::Compared, blocks: vec![], inline: None }
}

/// Observations of one commit: some files change, some come and go, a directory moves to and fro.
fn observations(generation: u64) -> Vec<Observation> {
    let root = Identity(1_u64.to_be_bytes().into());
    let directory = Identity(2_u64.to_be_bytes().into());
    let at = |parent: &Identity, name: String| At { parent: Some(parent.clone()), name: name.into_bytes() };
    let names = [format!("d{}", generation % 2), format!("d{}", (generation + 1) % 2)];
    let mut seen = vec![
        Observation { at: At { parent: None, name: vec![] }, found: Some(found(1, 0)), is_forced: false },
        Observation { at: at(&root, names[0].clone()), found: Some(found(2, 0)), is_forced: false },
        Observation { at: at(&root, names[1].clone()), found: None, is_forced: false },
    ];
    for number in 0..50 {
        let is_there = !(generation + number).is_multiple_of(3);
        let found = is_there.then(|| found(100 + number, generation + number));
        seen.push(Observation { at: at(&directory, number.to_string()), found, is_forced: false });
    }
    seen
}

/// Commits until it is killed, and says each generation when it is durable.
fn commit_for_ever(folder: &Path) -> ! {
    let (index, _) = Index::open(&Root::open(folder).unwrap(), &IndexOptions::default()).unwrap();
    loop {
        let generation = index.position().unwrap().generation;
        index.commit(observations(generation + 1), 0).unwrap();
        println!("generation {}", index.position().unwrap().generation);
    }
}

#[test]
fn a_commit_that_returned_survives_a_kill_at_any_moment() {
    if let Some(folder) = std::env::var_os(CHILD) {
        commit_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for trial in 0..25_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "index_crash::a_commit_that_returned_survives_a_kill_at_any_moment", "--nocapture", "--test-threads=1"]);
        let mut child = child.env(CHILD, folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after a number of commits that differs, in the middle of the next one.
        let mut said = 0;
        for _ in 0..=trial % 7 {
            let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains("generation ")).unwrap();
            said = line.rsplit(' ').next().unwrap().parse().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_micros(trial * 311 % 3000));
        child.kill().unwrap();
        child.wait().unwrap();
        let (index, opened) = Index::open(&Root::open(folder.path()).unwrap(), &IndexOptions::default()).unwrap();
        let position = index.position().unwrap();
        assert!(matches!(opened, Opened::Unclean | Opened::New), "{opened:?}");
        assert!(position.generation >= said && position.generation > last, "said {said}, is {}", position.generation);
        assert_eq!(position.epoch, 1);
        last = position.generation;
        assert_agrees_with_itself(&index, position);
    }
}

/// The list of everything, and all changes since the empty tree, are one tree.
fn assert_agrees_with_itself(index: &Index, position: Position) {
    let mut copy = CopyModel::default();
    let mut parts = index.catch_up(&Position { generation: 0, ..position }).unwrap().unwrap();
    while let Some(part) = parts.next_part().unwrap() {
        copy.apply(&part);
    }
    let mut manifest = index.view().unwrap().manifest();
    let mut listed = Vec::new();
    while let Some(part) = manifest.next_part().unwrap() {
        listed.extend(part.puts.into_iter().map(|put| (put.path, put.entry)));
    }
    assert_eq!(copy.tree.into_iter().collect::<Vec<_>>(), listed);
    assert!(listed.len() > 30);
}
