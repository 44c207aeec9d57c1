//! Finds an order in which directories can move and rows can go, one after the other, each with paths that are true
//! at that moment: a copy replays exactly this.

use super::IndexError;
use super::resolve::Placement;
use super::tables::{DirectoryRecord, Place, ROOT, Writable};
use crate::model::{ContentHash, Structural};
use std::collections::{BTreeSet, HashMap};

/// The structural part of a commit while it is made.
pub(super) struct Arrangement<'a, 'txn> {
    pub tables: &'a mut Writable<'txn>,
    pub generation: u64,
    pub unix_seconds: u64,
    /// What was done, in order.
    pub structure: Vec<Structural>,
    /// Where bytes were that are gone from their place.
    pub contents: HashMap<ContentHash, Place>,
    /// Files that lost a name and may have others.
    pub inodes: BTreeSet<u64>,
}

impl Arrangement<'_, '_> {
    /// Does all of it. Directories first, since what goes may contain what only moves.
    pub fn arrange(&mut self, placements: Vec<Placement>, mut removals: BTreeSet<Place>) -> Result<(), IndexError> {
        let mut pending = placements;
        while !pending.is_empty() {
            let before = pending.len();
            let mut blocked = Vec::new();
            let sources: Vec<u64> = pending.iter().filter_map(moving).collect();
            let mut moved = BTreeSet::new();
            for placement in pending {
                let still: Vec<u64> = sources.iter().copied().filter(|source| !moved.contains(source)).collect();
                if self.is_possible(&placement, &still)? {
                    moved.extend(moving(&placement));
                    self.remove(placement.to())?;
                    removals.remove(placement.to());
                    self.place(placement)?;
                } else {
                    blocked.push(placement);
                }
            }
            if blocked.len() == before {
                self.set_aside(&blocked)?;
            }
            pending = blocked;
        }
        removals.iter().try_for_each(|place| self.remove(place))
    }

    /// Whether the target is in the tree, not below the directory itself, and free or taken by what goes.
    fn is_possible(&self, placement: &Placement, sources: &[u64]) -> Result<bool, IndexError> {
        let to = placement.to();
        let Some(chain) = self.tables.ancestry(to.directory)? else { return Ok(false) };
        if moving(placement).is_some_and(|directory| chain.iter().any(|(above, _)| *above == directory)) {
            return Ok(false);
        }
        let occupant = self.tables.row(to)?.map_or(0, |row| row.directory);
        if occupant == 0 {
            return Ok(true);
        }
        for source in sources {
            let is_inside = self.tables.ancestry(*source)?.is_some_and(|chain| chain.iter().any(|(above, _)| *above == occupant));
            if is_inside {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn place(&mut self, placement: Placement) -> Result<(), IndexError> {
        match placement {
            Placement::Move { directory, to } => self.move_directory(directory, to),
            Placement::Make { directory, to, identity } => {
                let record = DirectoryRecord { place: to, identity: identity.0.to_vec() };
                self.tables.put_directory(directory, &record)
            }
        }
    }

    /// Breaks a circle of moves: one directory waits in the root under a name that nothing has.
    fn set_aside(&mut self, blocked: &[Placement]) -> Result<(), IndexError> {
        for directory in blocked.iter().filter_map(moving) {
            let mut number = 0;
            let aside = loop {
                let name = format!(".treesync-moving-{directory}-{number}").into_bytes();
                let place = Place { directory: ROOT, name };
                if self.tables.row(&place)?.is_none() {
                    break place;
                }
                number += 1;
            };
            let is_aside = self.tables.directory(directory)?.is_some_and(|record| record.place.name.starts_with(b".treesync-moving-"));
            if !is_aside {
                return self.move_directory(directory, aside);
            }
        }
        Err(IndexError::Damaged("directories wait for each other"))
    }

    fn move_directory(&mut self, directory: u64, to: Place) -> Result<(), IndexError> {
        let Some(mut record) = self.tables.directory(directory)? else { return Err(IndexError::Damaged("a directory has no place")) };
        let from_path = self.tables.path_of(&record.place)?;
        let row = self.tables.take_row(&record.place)?;
        record.place = to;
        self.tables.put_directory(directory, &record)?;
        if let Some(row) = row {
            self.tables.put_row(&record.place, &row)?;
        }
        match (from_path, self.tables.path_of(&record.place)?) {
            (Some(from), Some(to)) => self.log(Structural::RenameDirectory { generation: self.generation, from, to }),
            // Its path is too long now.
            (Some(path), None) => self.log(Structural::Remove { generation: self.generation, path }),
            (None, _) => Ok(()),
        }
    }

    fn log(&mut self, change: Structural) -> Result<(), IndexError> {
        let number = u32::try_from(self.structure.len()).map_err(|_| IndexError::Damaged("more than 2^32 structural changes"))?;
        self.tables.log(&change, number, self.unix_seconds)?;
        self.structure.push(change);
        Ok(())
    }

    /// Removes a row with all below, and logs it as one change. Nothing there: nothing to do.
    fn remove(&mut self, place: &Place) -> Result<(), IndexError> {
        let Some(row) = self.tables.row(place)? else { return Ok(()) };
        let path = self.tables.path_of(place)?;
        let mut doomed = vec![(place.clone(), row.directory)];
        while let Some((place, directory)) = doomed.pop() {
            if directory != 0 {
                let page = self.tables.children(directory, None, 1024)?;
                if !page.is_empty() {
                    doomed.push((place, directory));
                    // Files go at once, directories when they are empty.
                    for (name, row) in page {
                        let place = Place { directory, name };
                        if row.directory == 0 { self.forget(&place)? } else { doomed.push((place, row.directory)) }
                    }
                    continue;
                }
                self.tables.take_directory(directory)?;
            }
            self.forget(&place)?;
        }
        match path {
            Some(path) => self.log(Structural::Remove { generation: self.generation, path }),
            None => Ok(()),
        }
    }

    fn forget(&mut self, place: &Place) -> Result<(), IndexError> {
        let Some(row) = self.tables.take_row(place)? else { return Ok(()) };
        self.tables.blocks.remove(place.key().as_slice())?;
        if let Some((_, content)) = row.entry.file() {
            self.contents.insert(content, place.clone());
        }
        if row.entry.link_group != 0 {
            self.inodes.insert(row.stamp.inode);
        }
        Ok(())
    }
}

fn moving(placement: &Placement) -> Option<u64> {
    match placement {
        Placement::Move { directory, .. } => Some(*directory),
        Placement::Make { .. } => None,
    }
}

impl Writable<'_> {
    /// Writes a row and its other keys. The place has none, or the one that [`Self::take_row`] took.
    pub fn put_row(&mut self, place: &Place, row: &super::Row) -> Result<(), IndexError> {
        self.rows.insert(place.key().as_slice(), row.encode().as_slice())?;
        self.generations.insert(place.key_after(row.last_generation).as_slice(), [].as_slice())?;
        if row.directory == 0 {
            self.inodes.insert(place.key_after(row.stamp.inode).as_slice(), [].as_slice())?;
        }
        Ok(())
    }

    /// Puts a row where `old` is. Keys that stay are left alone, since each costs a search and a copy of pages.
    pub fn replace_row(&mut self, place: &Place, old: Option<&super::Row>, row: &super::Row) -> Result<(), IndexError> {
        let Some(old) = old else { return self.put_row(place, row) };
        self.rows.insert(place.key().as_slice(), row.encode().as_slice())?;
        if old.last_generation != row.last_generation {
            self.generations.remove(place.key_after(old.last_generation).as_slice())?;
            self.generations.insert(place.key_after(row.last_generation).as_slice(), [].as_slice())?;
        }
        let inode = |row: &super::Row| (row.directory == 0).then_some(row.stamp.inode);
        if inode(old) != inode(row) {
            if let Some(inode) = inode(old) {
                self.inodes.remove(place.key_after(inode).as_slice())?;
            }
            if let Some(inode) = inode(row) {
                self.inodes.insert(place.key_after(inode).as_slice(), [].as_slice())?;
            }
        }
        Ok(())
    }

    /// Takes a row out, with its other keys.
    pub fn take_row(&mut self, place: &Place) -> Result<Option<super::Row>, IndexError> {
        let row = match self.rows.remove(place.key().as_slice())? {
            Some(value) => super::Row::decode(value.value())?,
            None => return Ok(None),
        };
        self.generations.remove(place.key_after(row.last_generation).as_slice())?;
        if row.directory == 0 {
            self.inodes.remove(place.key_after(row.stamp.inode).as_slice())?;
        }
        Ok(Some(row))
    }

    pub fn put_directory(&mut self, directory: u64, record: &DirectoryRecord) -> Result<(), IndexError> {
        self.directories.insert(directory.to_be_bytes().as_slice(), record.encode().as_slice())?;
        self.identities.insert(record.identity.as_slice(), directory.to_be_bytes().as_slice())?;
        Ok(())
    }

    pub fn take_directory(&mut self, directory: u64) -> Result<(), IndexError> {
        if let Some(record) = self.directory(directory)? {
            self.directories.remove(directory.to_be_bytes().as_slice())?;
            // Another directory may have the identity by now, if the kernel gave it out again.
            if self.directory_of(&record.identity)? == Some(directory) {
                self.identities.remove(record.identity.as_slice())?;
            }
        }
        Ok(())
    }

    pub fn set_number(&mut self, name: &str, number: u64) -> Result<(), IndexError> {
        self.meta.insert(name.as_bytes(), number.to_be_bytes().as_slice())?;
        Ok(())
    }
}
