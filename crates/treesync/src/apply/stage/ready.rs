//! Files that were staged ahead of the batch that they are likely to be in.

use crate::apply::plan::{Bytes, Make};
use crate::model::{Entry, Put, TreePath};
use crate::tree::Identity;
use std::borrow::Cow;
use std::collections::HashMap;

/// Numbers of files that are staged ahead begin here, those of a plan at zero. A multiple of the names on a shelf.
const FIRST: u64 = 1 << 32;

/// A file in the stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::apply) struct Ready {
    /// Its number there.
    pub(in crate::apply) number: u64,
    pub(in crate::apply) identity: Identity,
}

/// Files in the stage that no batch has asked for yet, by their whole state: thousands may have the same bytes.
#[derive(Default)]
pub(in crate::apply) struct Ahead {
    files: HashMap<Entry, Vec<Ready>>,
    count: u64,
    /// So many of them a plan took.
    taken: u64,
    /// Numbers of those whose bytes may not be on the disk.
    fresh: Vec<u64>,
    /// Where they will be, but for those that were looked at.
    paths: Vec<TreePath>,
}

/// Files that wait for one batch at most, whatever a publisher tells.
const WAITING_MAX: u64 = 4096;

impl Ahead {
    /// Whether none was made since all were forgotten.
    pub(in crate::apply) fn is_unused(&self) -> bool {
        self.count == 0
    }

    /// How many nobody took, with those that were not made to the end.
    pub(in crate::apply) fn left(&self) -> u64 {
        self.count - self.taken
    }

    /// Whether no more are to be made before a batch comes.
    pub(super) fn is_full(&self) -> bool {
        self.count >= WAITING_MAX
    }

    /// Whether the bytes of one of them may not be on the disk.
    pub(super) fn is_fresh(&self, ready: Ready) -> bool {
        self.fresh.first().is_some_and(|first| ready.number >= *first)
    }

    /// Those whose bytes may not be on the disk. From now on they count as written.
    pub(in crate::apply) fn take_fresh(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.fresh)
    }

    /// A place where one of them is likely to go.
    pub(in crate::apply) fn next_path(&mut self) -> Option<TreePath> {
        self.paths.pop()
    }

    /// The number for the next one.
    pub(super) fn next_number(&self) -> u64 {
        FIRST + self.count
    }

    /// Something may be in the stage under it, whatever becomes of it.
    pub(super) fn use_number(&mut self) {
        self.count += 1;
    }

    pub(super) fn add(&mut self, put: &Put, ready: Ready) {
        if put.entry.file().is_some() {
            self.files.entry(alone(&put.entry).into_owned()).or_default().push(ready);
            self.paths.push(put.path.clone());
            self.fresh.push(ready.number);
        }
    }

    /// A file that is what a plan wants to make.
    pub(super) fn take(&mut self, make: &Make, puts: &[Put]) -> Option<Ready> {
        let Make::File { put, bytes: Bytes::Inline | Bytes::Ask } = make else { return None };
        let ready = self.files.get_mut(&*alone(&puts[*put].entry))?.pop()?;
        self.taken += 1;
        Some(ready)
    }
}

/// The group of a file with several names is of the batch, not of the file.
fn alone(entry: &Entry) -> Cow<'_, Entry> {
    if entry.link_group == 0 {
        return Cow::Borrowed(entry);
    }
    Cow::Owned(Entry { link_group: 0, ..entry.clone() })
}
