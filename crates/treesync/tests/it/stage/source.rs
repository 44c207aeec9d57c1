//! A source folder whose entries become batches, and a comparison of two folders.

use super::{Tree, path};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use treesync::apply::{ContentError, Contents};
use treesync::model::{Batch, Put, RuleOptions, Rules, SourceId, Structural, TreePath, Wanted};
use treesync::tree::{NodeKind, Reading, Root, Walk};

pub const SOURCE: SourceId = SourceId([0xab; 16]);

/// What the tests let travel: everything that a test may look at.
pub fn open_rules() -> Rules {
    Rules::new(RuleOptions { allow_setuid: true, allow_capabilities: true, ..RuleOptions::default() }).unwrap()
}

/// Bytes are read from a source folder, as they are now.
pub struct FolderContents<'r>(pub &'r Root);

impl Contents for FolderContents<'_> {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        let (mut file, _) = self.0.lookup().open_file(&wanted.path).map_err(|_| ContentError::Gone)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(wanted.offset_bytes))?;
        Ok(Box::new(file.take(wanted.length_bytes)))
    }
}

/// No bytes are to be had.
pub struct NoContents;

impl Contents for NoContents {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        panic!("bytes of {} were asked for", wanted.path)
    }
}

/// The same bytes for whatever is asked.
pub struct FixedContents(pub Vec<u8>);

impl Contents for FixedContents {
    fn open(&self, _: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}

/// A batch of history, built step by step.
#[derive(Clone)]
pub struct BatchBuilder(Batch);

pub fn batch(from: u64, to: u64) -> BatchBuilder {
    let (structure, puts) = (Vec::new(), Vec::new());
    BatchBuilder(Batch { source: SOURCE, epoch: 1, from, to, is_last_part: true, structure, puts })
}

impl BatchBuilder {
    /// Puts a path as it is in the source now; its bytes are new with this batch.
    pub fn put(mut self, source: &Tree, at: &str) -> Self {
        self.0.puts.push(put_of(&source.root(), &path(at), self.0.to));
        self
    }

    /// Puts everything that is in the source now.
    pub fn put_all(mut self, source: &Tree) -> Self {
        let root = source.root();
        let paths = Walk::new(&root, TreePath::root()).map(|visit| visit.unwrap());
        let travelling = paths.filter(|visit| visit.stat.kind.travels() && open_rules().travels(&visit.path));
        self.0.puts.extend(travelling.map(|visit| put_of(&root, &visit.path, self.0.to)));
        self
    }

    /// Changes the put that was added last.
    pub fn with(mut self, change: impl FnOnce(&mut Put)) -> Self {
        change(self.0.puts.last_mut().unwrap());
        self
    }

    pub fn remove(mut self, at: &str) -> Self {
        self.0.structure.push(Structural::Remove { generation: self.0.to, path: path(at) });
        self
    }

    pub fn rename(mut self, from: &str, to: &str) -> Self {
        self.0.structure.push(Structural::RenameDirectory { generation: self.0.to, from: path(from), to: path(to) });
        self
    }

    pub fn inner_part(mut self) -> Self {
        self.0.is_last_part = false;
        self
    }

    pub fn epoch(mut self, epoch: u64) -> Self {
        self.0.epoch = epoch;
        self
    }

    pub fn source(mut self, source: SourceId) -> Self {
        self.0.source = source;
        self
    }

    /// Sorted, as a source sends it.
    pub fn build(mut self) -> Batch {
        self.0.puts.sort_by(|one, next| one.path.cmp(&next.path));
        self.0.puts.dedup_by(|next, one| one.path == next.path);
        self.0
    }
}

fn put_of(root: &Root, at: &TreePath, generation: u64) -> Put {
    let Reading::Entry(entry, _) = root.lookup().read_entry(at, &open_rules()).unwrap() else { panic!("{at} does not travel") };
    Put { path: at.clone(), entry: *entry, content_generation: generation, inline: None, held_at: None, delta: None, data_bytes: None }
}

/// One line for each path of a folder, with everything that must be equal; hard links by the first of their names.
pub fn listing(root: &Root) -> Vec<String> {
    let mut first_names: BTreeMap<u64, TreePath> = BTreeMap::new();
    let mut lines = Vec::new();
    let visits: Vec<_> = Walk::new(root, TreePath::root()).map(|visit| visit.unwrap()).collect();
    for visit in visits {
        if visit.stat.kind == NodeKind::MountPoint || !open_rules().travels(&visit.path) {
            continue;
        }
        let Reading::Entry(mut entry, stat) = root.lookup().read_entry(&visit.path, &open_rules()).unwrap() else {
            lines.push(format!("{:?} {:?}", visit.path, visit.stat.kind));
            continue;
        };
        let first = first_names.entry(stat.identity.inode).or_insert_with(|| visit.path.clone()).clone();
        entry.link_group = u64::from(entry.link_group != 0);
        lines.push(format!("{:?} {entry:?} first name {first:?}", visit.path));
    }
    lines
}

/// Fails with the differing lines alone.
#[track_caller]
pub fn assert_equal(source: &Root, copy: &Root) {
    let (source, copy) = (listing(source), listing(copy));
    let missing: Vec<_> = source.iter().filter(|line| !copy.contains(line)).collect();
    let extra: Vec<_> = copy.iter().filter(|line| !source.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "only at the source:\n{missing:#?}\nonly on the copy:\n{extra:#?}");
}
