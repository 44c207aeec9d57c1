//! The log of structural changes, and the floor below which it has been forgotten.

use super::IndexError;
use super::row::{Cursor, put_counted};
use super::tables::{Tables, Writable, keys_of};
use crate::model::{Structural, TreePath};
use redb::{ReadableTable, ReadableTableMetadata};

const REMOVE: u8 = 1;
const RENAME: u8 = 2;

/// How much of the log is kept. What is older is forgotten; a copy from before needs a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// At most so old, in seconds.
    pub age_seconds: u64,
    /// At most so many changes.
    pub changes: u64,
}

impl Default for Retention {
    /// 14 days: a copy may miss a long holiday. 5 million changes are about 500 MB.
    fn default() -> Self {
        Self { age_seconds: 14 * 24 * 3600, changes: 5_000_000 }
    }
}

/// Changes that one commit of the compaction forgets at most, so that it never holds up the feed.
const FORGOTTEN_AT_ONCE: u64 = 20_000;

fn encode(change: &Structural, unix_seconds: u64) -> Vec<u8> {
    let mut out = unix_seconds.to_be_bytes().to_vec();
    match change {
        Structural::Remove { path, .. } => {
            out.push(REMOVE);
            put_counted(&mut out, path.as_bytes());
        }
        Structural::RenameDirectory { from, to, .. } => {
            out.push(RENAME);
            put_counted(&mut out, from.as_bytes());
            put_counted(&mut out, to.as_bytes());
        }
    }
    out
}

/// The change and when it was logged, in seconds since 1970.
fn decode(generation: u64, value: &[u8]) -> Result<(Structural, u64), IndexError> {
    const DAMAGED: IndexError = IndexError::Damaged("a structural change is cut off or of an unknown kind");
    let mut from = Cursor(value);
    let unix_seconds = from.u64().ok_or(DAMAGED)?;
    let kind = from.bytes(1).ok_or(DAMAGED)?[0];
    let mut path = || Ok::<_, IndexError>(TreePath::parse(from.counted().ok_or(DAMAGED)?)?);
    let change = match kind {
        REMOVE => Structural::Remove { generation, path: path()? },
        RENAME => Structural::RenameDirectory { generation, from: path()?, to: path()? },
        _ => return Err(DAMAGED),
    };
    Ok((change, unix_seconds))
}

fn generation_of(key: &[u8]) -> Result<u64, IndexError> {
    Cursor(key).u64().ok_or(IndexError::Damaged("a key is cut off"))
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Tables<T> {
    /// All changes after a generation in their order; none when there are more than `at_most`.
    pub fn structure_after(&self, generation: u64, at_most: usize) -> Result<Option<Vec<Structural>>, IndexError> {
        let start = keys_of(generation).end;
        let mut changes = Vec::new();
        for item in self.structure.range::<&[u8]>(start.as_slice()..)? {
            if changes.len() == at_most {
                return Ok(None);
            }
            let (key, value) = item?;
            changes.push(decode(generation_of(key.value())?, value.value())?.0);
        }
        Ok(Some(changes))
    }
}

impl Writable<'_> {
    pub fn log(&mut self, change: &Structural, number: u32, unix_seconds: u64) -> Result<(), IndexError> {
        let key = [change.generation().to_be_bytes().as_slice(), &number.to_be_bytes()].concat();
        self.structure.insert(key.as_slice(), encode(change, unix_seconds).as_slice())?;
        Ok(())
    }

    /// Forgets changes that are beyond what is kept, oldest first, whole generations, not all at once.
    /// Returns the new floor when there is one.
    pub fn forget(&mut self, retention: Retention, unix_seconds: u64) -> Result<Option<u64>, IndexError> {
        let mut surplus = self.structure.len()?.saturating_sub(retention.changes);
        let mut doomed = Vec::new();
        let mut floor = None;
        for item in self.structure.range::<&[u8]>(..)? {
            let (key, value) = item?;
            let generation = generation_of(key.value())?;
            let (_, logged) = decode(generation, value.value())?;
            let is_old = logged.saturating_add(retention.age_seconds) < unix_seconds;
            let is_begun = floor == Some(generation);
            if !is_begun && (doomed.len() as u64 >= FORGOTTEN_AT_ONCE || (surplus == 0 && !is_old)) {
                break;
            }
            surplus = surplus.saturating_sub(1);
            floor = Some(generation);
            doomed.push(key.value().to_vec());
        }
        for key in doomed {
            self.structure.remove(key.as_slice())?;
        }
        Ok(floor)
    }
}
