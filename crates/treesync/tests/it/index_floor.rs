//! The floor of the index: below it only a manifest can tell what changed.

use std::path::Path;
use treesync::index::{At, Below, Found, Identity, Index, IndexOptions, Observation, Retention, Stamp};
use treesync::model::{ContentHash, Entry, Kind, Mtime, Position};
use treesync::tree::Root;

const DAY_SECONDS: u64 = 24 * 3600;

fn entry(kind: Kind) -> Entry {
    Entry { kind, mode: 0, uid: 0, gid: 0, mtime: Mtime::default(), link_target: vec![], xattrs: vec![], link_group: 0 }
}

fn root() -> Identity {
    Identity(b"root".as_slice().into())
}

fn seen(name: &str, is_there: bool) -> Observation {
    let file = Kind::File { size_bytes: 1, content: ContentHash::of(b"x") };
    let stamp = Stamp { inode: 7, link_count: 1, ctime: Mtime::default() };
    let found = Found { entry: entry(file), stamp, identity: None, below: Below::Unsaid, blocks: vec![], inline: None };
    Observation { at: At { parent: Some(root()), name: name.into() }, found: is_there.then_some(found), is_forced: false }
}

/// An index with a root, and a way to make and remove a file once a day.
fn index(folder: &Path, retention: Retention) -> Index {
    let (index, _) = Index::open(&Root::open(folder).unwrap(), &IndexOptions { retention, ..IndexOptions::default() }).unwrap();
    let found = Found {
        entry: entry(Kind::Directory),
        stamp: Stamp::default(),
        identity: Some(root()),
        below: Below::Compared,
        blocks: vec![],
        inline: None,
    };
    index.commit(vec![Observation { at: At { parent: None, name: vec![] }, found: Some(found), is_forced: false }], 0).unwrap();
    index
}

fn make_and_remove(index: &Index, day: u64) -> u64 {
    index.commit(vec![seen("file", true)], day * DAY_SECONDS).unwrap();
    index.commit(vec![seen("file", false)], day * DAY_SECONDS).unwrap().batch.unwrap().to
}

fn can_catch_up(index: &Index, generation: u64) -> bool {
    index.catch_up(&Position { generation, ..index.position().unwrap() }).unwrap().is_some()
}

#[test]
fn changes_older_than_is_kept_are_forgotten_and_newer_ones_are_not() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let index = index(folder.path(), Retention { age_seconds: 14 * DAY_SECONDS, ..Retention::default() });
    let removals: Vec<u64> = (1..=30).map(|day| make_and_remove(&index, day)).collect();
    // On day 30 that of day 16 is 14 days old, which is kept.
    let floor = index.view().unwrap().floor().unwrap();
    assert_eq!(floor, removals[14]);
    assert!(can_catch_up(&index, floor) && can_catch_up(&index, removals[29]));
    assert!(!can_catch_up(&index, floor - 1));
    assert!(can_catch_up(&index, 0), "an empty copy needs no log");
    assert_eq!(index.view().unwrap().structural_change_count().unwrap(), 15);
}

#[test]
fn no_more_changes_are_kept_than_told() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let index = index(folder.path(), Retention { changes: 5, ..Retention::default() });
    let removals: Vec<u64> = (1..=8).map(|_| make_and_remove(&index, 1)).collect();
    assert_eq!(index.view().unwrap().structural_change_count().unwrap(), 5);
    assert_eq!(index.view().unwrap().floor().unwrap(), removals[2]);
}

#[test]
fn a_position_of_another_history_or_of_the_future_cannot_catch_up() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let index = index(folder.path(), Retention::default());
    let position = index.position().unwrap();
    let others = [
        Position { epoch: position.epoch + 1, ..position },
        Position { source: treesync::model::SourceId([1; 16]), ..position },
        Position { generation: position.generation + 1, ..position },
    ];
    assert!(others.iter().all(|other| index.catch_up(other).unwrap().is_none()));
    assert!(index.catch_up(&position).unwrap().unwrap().next_part().unwrap().is_none(), "nothing is missing");
}
