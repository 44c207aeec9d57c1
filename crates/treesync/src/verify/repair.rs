//! Turns what a comparison found into batches that make the copy equal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::compare::{Difference, Finding};
use crate::model::{Batch, Position, Put, Structural, TreePath};

/// Makes a batch of each part of a comparison.
///
/// A path that differs brings the directory that it is in, whose time the repair would otherwise change; and all names
/// of its file, since a file with several names is made once. Names of one file can be anywhere, so those that differ
/// wait for the last part.
#[derive(Default)]
pub struct Repairer {
    /// Directories around the last path, the root first.
    around: Vec<Put>,
    groups: HashMap<u64, Group>,
    /// Directories of names that wait, and of their parents.
    directories: BTreeMap<TreePath, Put>,
}

#[derive(Default)]
struct Group {
    names: Vec<Put>,
    is_different: bool,
    lacks_bytes: bool,
}

impl Repairer {
    /// The batch for the next part. `puts` are those that were compared, `found` what differs, `position` that of the
    /// manifest.
    pub fn batch(&mut self, puts: &[Put], found: &[(Finding, Option<&Put>)], position: Position, is_last_part: bool) -> Batch {
        let mut changed: BTreeMap<TreePath, Put> = BTreeMap::new();
        let mut removed: BTreeSet<&TreePath> = BTreeSet::new();
        let mut differences = found.iter().peekable();
        for put in puts {
            while let Some((finding, _)) = differences.next_if(|(finding, put_of)| put_of.is_none() && finding.path < put.path) {
                removed.insert(&finding.path);
                self.touch_parent(&finding.path, &mut changed);
            }
            let difference = differences.next_if(|(finding, _)| finding.path == put.path).map(|(finding, _)| finding.difference);
            self.enter(put);
            self.take(put, difference, position, &mut changed);
        }
        for (finding, _) in differences {
            removed.insert(&finding.path);
            self.touch_parent(&finding.path, &mut changed);
        }
        if is_last_part {
            self.put_groups(position, &mut changed);
        }
        let generation = position.generation;
        let structure = removed.into_iter().map(|path| Structural::Remove { generation, path: path.clone() }).collect();
        let Position { source, epoch, .. } = position;
        Batch { source, epoch, from: 0, to: generation, is_last_part, structure, puts: changed.into_values().collect() }
    }

    /// Keeps the directories around a path.
    fn enter(&mut self, put: &Put) {
        while self.around.pop_if(|directory| !put.path.is_below(&directory.path)).is_some() {}
        if put.entry.is_directory() {
            self.around.push(Put { content_generation: 0, ..put.clone() });
        }
    }

    fn take(&mut self, put: &Put, difference: Option<Difference>, position: Position, changed: &mut BTreeMap<TreePath, Put>) {
        let lacks_bytes = matches!(difference, Some(Difference::Missing | Difference::Kind | Difference::Content | Difference::Unstable));
        if put.entry.link_group != 0 {
            let group = self.groups.entry(put.entry.link_group).or_default();
            group.names.push(put.clone());
            group.is_different |= difference.is_some();
            group.lacks_bytes |= lacks_bytes;
            self.directories.extend(self.around.iter().map(|directory| (directory.path.clone(), directory.clone())));
        } else if difference.is_some() {
            let content_generation = if lacks_bytes { position.generation } else { 0 };
            changed.insert(put.path.clone(), Put { content_generation, ..put.clone() });
            self.touch_parent(&put.path, changed);
        }
    }

    fn touch_parent(&self, path: &TreePath, changed: &mut BTreeMap<TreePath, Put>) {
        let parent = path.parent();
        if let Some(directory) = self.around.iter().rfind(|directory| Some(&directory.path) == parent.as_ref()) {
            changed.entry(directory.path.clone()).or_insert_with(|| directory.clone());
        }
    }

    fn put_groups(&mut self, position: Position, changed: &mut BTreeMap<TreePath, Put>) {
        for group in std::mem::take(&mut self.groups).into_values().filter(|group| group.is_different) {
            let content_generation = if group.lacks_bytes { position.generation } else { 0 };
            for name in group.names {
                if let Some(directory) = name.path.parent().and_then(|parent| self.directories.get(&parent)) {
                    changed.entry(directory.path.clone()).or_insert_with(|| directory.clone());
                }
                changed.insert(name.path.clone(), Put { content_generation, ..name });
            }
        }
    }
}
