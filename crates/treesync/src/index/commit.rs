//! One batch of observations becomes one generation: rows, log and the batch that copies apply.

use super::arrange::Arrangement;
use super::blocks::{Base, Blocks, LARGE_FILE_BYTES, delta_between};
use super::resolve::{Present, resolve};
use super::tables::{DirectoryRecord, Place, Snapshot, Writable};
use super::{At, Found, IndexError, Observation, Row};
use crate::model::{Batch, ContentHash, Delta, Entry, Kind, Position, Put, TreePath};
use bytes::Bytes;
use redb::ReadableTable;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a commit came to.
#[derive(Debug, Default)]
pub struct Committed {
    /// The changes; none when the source is as the index says.
    pub batch: Option<Batch>,
    /// Names that moved while they were read. They must be looked at again; directories among them with all below.
    pub unsettled: Vec<At>,
}

/// A commit while it is made. Nothing is durable, or seen by others, until its transaction is committed.
pub(super) struct Commit<'a, 'txn> {
    pub tables: &'a mut Writable<'txn>,
    /// The index before.
    pub before: &'a Snapshot,
    pub position: Position,
    pub unix_seconds: u64,
}

/// What is put, and the bytes that were read with it.
type Puts = BTreeMap<Place, Option<Bytes>>;

impl Commit<'_, '_> {
    /// Writes what the observations change. The batch has the generation after the position.
    pub fn run(self, observations: Vec<Observation>) -> Result<Committed, IndexError> {
        let generation = self.position.generation + 1;
        let first_free = self.tables.number("next_directory")?.unwrap_or(super::tables::ROOT + 1);
        let mut next_directory = first_free;
        let resolved = resolve(self.tables, observations, &mut next_directory)?;
        if next_directory != first_free {
            self.tables.set_number("next_directory", next_directory)?;
        }
        for (directory, identity) in resolved.takeovers {
            take_over(self.tables, directory, identity.0.to_vec())?;
        }
        let mut arrangement = Arrangement {
            tables: self.tables,
            generation,
            unix_seconds: self.unix_seconds,
            structure: Vec::new(),
            contents: HashMap::new(),
            inodes: BTreeSet::new(),
        };
        arrangement.arrange(resolved.placements, resolved.removals)?;
        let Arrangement { structure, contents, inodes, .. } = arrangement;
        let mut writing =
            Writing { tables: self.tables, before: self.before, generation, contents, inodes, found: HashMap::new(), puts: Puts::new() };
        for present in resolved.present {
            writing.write(present)?;
        }
        writing.write_groups()?;
        let puts = writing.into_puts()?;
        if structure.is_empty() && puts.is_empty() {
            return Ok(Committed { batch: None, unsettled: resolved.unsettled });
        }
        self.tables.set_number("generation", generation)?;
        let Position { source, epoch, generation: from } = self.position;
        let batch = Batch { source, epoch, from, to: generation, is_last_part: true, structure, puts };
        Ok(Committed { batch: Some(batch), unsettled: resolved.unsettled })
    }
}

/// A directory is another one now, in the same place, and keeps the rows that were there.
fn take_over(tables: &mut Writable, directory: u64, identity: Vec<u8>) -> Result<(), IndexError> {
    let place = match tables.directory(directory)? {
        Some(record) if record.identity == identity => return Ok(()),
        Some(record) => record.place,
        None => Place::root(),
    };
    tables.take_directory(directory)?;
    tables.put_directory(directory, &DirectoryRecord { place, identity })
}

/// Puts while they are found.
struct Writing<'a, 'txn> {
    tables: &'a mut Writable<'txn>,
    before: &'a Snapshot,
    generation: u64,
    contents: HashMap<ContentHash, Place>,
    inodes: BTreeSet<u64>,
    /// Files with several names, as they were read last.
    found: HashMap<u64, Found>,
    puts: Puts,
}

impl Writing<'_, '_> {
    fn write(&mut self, present: Present) -> Result<(), IndexError> {
        let Present { place, mut found, directory, is_forced, .. } = present;
        if place != Place::root() && self.tables.ancestry(place.directory)?.is_none() {
            // It was seen in a directory that is gone by now.
            return Ok(());
        }
        let has_names = directory == 0 && found.stamp.link_count > 1;
        found.entry.link_group = if has_names { found.stamp.inode } else { 0 };
        if has_names {
            self.found.insert(found.stamp.inode, found.clone());
        }
        self.write_row(place, &found, directory, is_forced)
    }

    fn write_row(&mut self, place: Place, found: &Found, directory: u64, is_forced: bool) -> Result<(), IndexError> {
        let old = self.tables.row(&place)?;
        let has_bytes = old.as_ref().is_some_and(|old| is_same_content(&old.entry, &found.entry)) && !is_forced;
        let is_changed = is_forced || old.as_ref().is_none_or(|old| old.entry != found.entry);
        let old_generations = old.as_ref().map_or((0, 0), |old| (old.last_generation, old.content_generation));
        let row = Row {
            entry: found.entry.clone(),
            stamp: found.stamp,
            last_generation: if is_changed { self.generation } else { old_generations.0 },
            content_generation: if has_bytes { old_generations.1 } else { self.generation },
            directory,
        };
        if old.as_ref() == Some(&row) {
            return Ok(());
        }
        self.tables.replace_row(&place, old.as_ref(), &row)?;
        if !has_bytes {
            self.write_blocks(&place, old.as_ref(), found)?;
        }
        if is_changed {
            self.note_change(&place, old.as_ref(), &row);
            self.puts.insert(place, found.inline.clone());
        }
        Ok(())
    }

    fn note_change(&mut self, place: &Place, old: Option<&Row>, new: &Row) {
        if new.entry.link_group != 0 {
            self.inodes.insert(new.stamp.inode);
        }
        let Some(old) = old else { return };
        if old.entry.link_group != 0 {
            self.inodes.insert(old.stamp.inode);
        }
        if let Some((_, content)) = old.entry.file() {
            self.contents.entry(content).or_insert_with(|| place.clone());
        }
    }

    fn write_blocks(&mut self, place: &Place, old: Option<&Row>, found: &Found) -> Result<(), IndexError> {
        let key = place.key();
        let base_blocks = match self.tables.blocks.get(key.as_slice())? {
            Some(value) => Blocks::decode(value.value())?,
            None => Blocks::default(),
        };
        let delta = old.and_then(|old| {
            let (size_bytes, _) = old.entry.file()?;
            let (new_size_bytes, _) = found.entry.file()?;
            let base =
                Base { size_bytes, mtime: old.entry.mtime, content_generation: old.content_generation, digests: &base_blocks.digests };
            delta_between(&base, new_size_bytes, &found.blocks)
        });
        if !found.blocks.is_empty() {
            let blocks = Blocks { digests: found.blocks.clone(), delta };
            self.tables.blocks.insert(key.as_slice(), blocks.encode().as_slice())?;
        } else if !base_blocks.digests.is_empty() {
            self.tables.blocks.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// All names of a file are put when one of them is, with one state.
    fn write_groups(&mut self) -> Result<(), IndexError> {
        for inode in std::mem::take(&mut self.inodes) {
            let found = self.found.get(&inode).cloned();
            for place in self.tables.names_of(inode)? {
                let Some(row) = self.tables.row(&place)? else { continue };
                if let Some(found) = &found {
                    self.write_row(place.clone(), found, 0, false)?;
                } else if row.entry.link_group == 0 {
                    continue;
                }
                self.touch(&place)?;
            }
        }
        Ok(())
    }

    /// Gives a row the generation of this commit, and puts it.
    fn touch(&mut self, place: &Place) -> Result<(), IndexError> {
        if self.puts.contains_key(place) {
            return Ok(());
        }
        if let Some(old) = self.tables.row(place)? {
            self.tables.replace_row(place, Some(&old), &Row { last_generation: self.generation, ..old.clone() })?;
            self.puts.insert(place.clone(), None);
        }
        Ok(())
    }

    fn into_puts(mut self) -> Result<Vec<Put>, IndexError> {
        let mut puts = Vec::with_capacity(self.puts.len());
        for (place, inline) in std::mem::take(&mut self.puts) {
            let (Some(path), Some(row)) = (self.tables.path_of(&place)?, self.tables.row(&place)?) else { continue };
            let is_new = row.content_generation == self.generation;
            let (delta, data_bytes) = large_of(self.tables, &place, &row)?;
            let delta = delta.filter(|_| is_new);
            let held_at = if is_new { self.held_at(&place, &row)? } else { None };
            puts.push(Put { path, entry: row.entry, content_generation: row.content_generation, inline, held_at, delta, data_bytes });
        }
        puts.sort_by(|one, next| one.path.cmp(&next.path));
        Ok(puts)
    }

    /// Where the same bytes were before this commit: at another name of the file, or where they are gone from now.
    fn held_at(&self, place: &Place, row: &Row) -> Result<Option<TreePath>, IndexError> {
        let Some((size_bytes, content)) = row.entry.file().filter(|(size_bytes, _)| *size_bytes > 0) else { return Ok(None) };
        for name in self.before.names_of(row.stamp.inode)? {
            let has_it = self.before.row(&name)?.is_some_and(|old| old.entry.file() == Some((size_bytes, content)));
            if has_it && name != *place {
                return self.before.path_of(&name);
            }
        }
        match self.contents.get(&content) {
            Some(held) if held != place => self.before.path_of(held),
            _ => Ok(None),
        }
    }
}

/// Of a large file its last delta, and how many bytes are not in blocks of zeros.
pub(super) fn large_of<T>(tables: &super::tables::Tables<T>, place: &Place, row: &Row) -> Result<(Option<Delta>, Option<u64>), IndexError>
where
    T: ReadableTable<&'static [u8], &'static [u8]>,
{
    let Some((size_bytes, _)) = row.entry.file().filter(|(size_bytes, _)| *size_bytes >= LARGE_FILE_BYTES) else { return Ok((None, None)) };
    let Some(value) = tables.blocks.get(place.key().as_slice())? else { return Ok((None, None)) };
    let blocks = Blocks::decode(value.value())?;
    let data_bytes = blocks.data_bytes(size_bytes);
    Ok((blocks.delta, data_bytes))
}

fn is_same_content(one: &Entry, other: &Entry) -> bool {
    match (one.kind, other.kind) {
        (Kind::File { .. }, Kind::File { .. }) => one.kind == other.kind,
        (Kind::Directory, Kind::Directory) => true,
        (Kind::Symlink, Kind::Symlink) => one.link_target == other.link_target,
        _ => false,
    }
}
