//! A copy in memory that applies batches exactly as ARCHITECTURE.md says, and is offended by every promise that is not kept.

use std::collections::BTreeMap;
use treesync::model::{Batch, Entry, Kind, Put, Structural, TreePath};

/// Paths and their states. Ordered as batches are.
pub type Tree = BTreeMap<TreePath, Entry>;

/// A copy at a generation.
#[derive(Clone, Debug, Default)]
pub struct CopyModel {
    pub tree: Tree,
    pub generation: u64,
    pub structure_generation: u64,
}

impl CopyModel {
    /// Applies a batch, or a part of a catch-up.
    #[track_caller]
    pub fn apply(&mut self, batch: &Batch) {
        assert!(batch.from <= self.generation, "a batch from {} for a copy at {}", batch.from, self.generation);
        assert!(batch.puts.is_sorted_by(|one, next| one.path < next.path), "puts are sorted and each path comes once");
        let before = self.tree.clone();
        for change in &batch.structure {
            if change.generation() > self.structure_generation.max(self.generation) {
                self.replay(change);
            }
        }
        self.structure_generation = batch.to;
        for put in &batch.puts {
            self.put(put, &before);
        }
        if batch.is_last_part {
            self.generation = batch.to;
        }
        assert_groups_are_one_file(&self.tree);
    }

    fn replay(&mut self, change: &Structural) {
        match change {
            Structural::Remove { path, .. } => self.tree.retain(|at, _| at != path && !at.is_below(path)),
            Structural::RenameDirectory { from, to, .. } => self.rename(from, to),
        }
    }

    fn rename(&mut self, from: &TreePath, to: &TreePath) {
        let Some(entry) = self.tree.get(from) else { return };
        assert!(entry.is_directory(), "{from:?} is renamed as a directory");
        let mut parent = to.parent();
        while let Some(path) = parent.filter(|path| !path.is_root()) {
            let made = self.tree.entry(path.clone()).or_insert_with(made_in_passing);
            assert!(made.is_directory(), "{path:?} is a file where {to:?} moves");
            parent = path.parent();
        }
        assert!(!self.tree.contains_key(to), "{to:?} was not removed before {from:?} moved there");
        let moved: Tree = self.tree.extract_if(.., |path, _| path == from || path.is_below(from)).collect();
        self.tree.extend(moved.into_iter().map(|(path, entry)| (path.moved(from, to), entry)));
    }

    #[track_caller]
    fn put(&mut self, put: &Put, before: &Tree) {
        if let Some(parent) = put.path.parent() {
            let is_there = self.tree.get(&parent).is_some_and(Entry::is_directory);
            assert!(is_there, "{:?} is put before its directory", put.path);
        }
        if let Kind::File { content, .. } = put.entry.kind {
            let held = |tree: &Tree, path: &TreePath| tree.get(path).and_then(Entry::file).map(|(_, content)| content);
            if put.content_generation <= self.generation {
                assert_eq!(
                    held(&self.tree, &put.path),
                    Some(content),
                    "{:?} shall hold its bytes since {}",
                    put.path,
                    put.content_generation
                );
            }
            if let Some(held_at) = &put.held_at {
                assert_eq!(held(before, held_at), Some(content), "{held_at:?} shall hold the bytes of {:?}", put.path);
            }
        }
        if let Some(old) = self.tree.get(&put.path).filter(|old| old.is_directory() != put.entry.is_directory()) {
            assert!(!old.is_directory(), "{:?} was a directory and its removal is not in the log", put.path);
        }
        self.tree.insert(put.path.clone(), put.entry.clone());
    }
}

fn made_in_passing() -> Entry {
    Entry {
        kind: Kind::Directory,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: treesync::model::Mtime::default(),
        link_target: vec![],
        xattrs: vec![],
        link_group: 0,
    }
}

/// All names of a group have one state.
#[track_caller]
fn assert_groups_are_one_file(tree: &Tree) {
    let mut groups: BTreeMap<u64, &Entry> = BTreeMap::new();
    for (path, entry) in tree.iter().filter(|(_, entry)| entry.link_group != 0) {
        let first = groups.entry(entry.link_group).or_insert(entry);
        assert_eq!(*first, entry, "{path:?} is another state of its file");
    }
}

/// Says which paths differ: whole trees cannot be read by anyone.
#[track_caller]
pub fn assert_same(copy: &Tree, expected: &Tree, what: &str) {
    let paths: std::collections::BTreeSet<&TreePath> = copy.keys().chain(expected.keys()).collect();
    let differing: Vec<_> = paths.into_iter().filter(|path| copy.get(*path) != expected.get(*path)).collect();
    let shown: Vec<String> =
        differing.iter().map(|path| format!("{path:?}: {:?} instead of {:?}", copy.get(*path), expected.get(*path))).collect();
    assert!(shown.is_empty(), "{what}:\n{}", shown.join("\n"));
}
