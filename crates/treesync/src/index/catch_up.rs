//! All changes since a generation, in parts of bounded size, as of one moment.

use super::commit::large_of;
use super::tables::{Place, Tables, keys_of};
use super::view::Walk;
use super::{IndexError, Row, View};
use crate::model::{Batch, Position, Put, Structural, TreePath};
use redb::ReadableTable;
use std::collections::HashMap;

/// A part ends when its puts are about this long.
pub const PART_MAX_BYTES: usize = 512 * 1024;
/// More structural changes than this are not worth replaying: a manifest is shorter.
const STRUCTURE_MAX: usize = 100_000;
/// Up to this many changed paths are sorted in memory; above, the whole index is walked in the order of paths.
const SORTED_MAX: usize = 100_000;
/// What a put has beside its path, link target and attributes, about.
const PUT_BYTES: usize = 120;

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Tables<T> {
    /// Places that changed after a generation, in the order of generations.
    pub fn places_after(&self, generation: u64) -> Result<Vec<Place>, IndexError> {
        self.first_places_after(generation, usize::MAX)
    }

    fn first_places_after(&self, generation: u64, count: usize) -> Result<Vec<Place>, IndexError> {
        let start = keys_of(generation).end;
        let range = self.generations.range::<&[u8]>(start.as_slice()..)?;
        range.take(count).map(|item| Place::of_key(&item?.0.value()[8..])).collect()
    }
}

enum Changed {
    Sorted(std::vec::IntoIter<(TreePath, Place)>),
    Walked(Box<Walk>),
}

/// A catch-up of one copy. It is as of the moment when it was made; what changes later is in later batches.
pub struct CatchUp {
    view: View,
    since: u64,
    position: Position,
    structure: Option<Vec<Structural>>,
    changed: Changed,
    next: Option<Put>,
    /// Names of files with several names that parts had, so that a later part with another name repeats them.
    groups: HashMap<u64, Vec<(TreePath, Place)>>,
    is_done: bool,
}

impl CatchUp {
    pub(super) fn new(view: View, since: &Position) -> Result<Option<Self>, IndexError> {
        let position = view.position()?;
        let is_empty_copy = since.generation == 0;
        if !since.is_comparable_to(&position)
            || since.generation > position.generation
            || (since.generation < view.floor()? && !is_empty_copy)
        {
            return Ok(None);
        }
        // On an empty copy nothing is there that could move.
        let structure_since = if is_empty_copy { position.generation } else { since.generation };
        let structure = view.noted(view.tables.structure_after(structure_since, STRUCTURE_MAX))?;
        let Some(structure) = structure else { return Ok(None) };
        let places = view.noted(view.tables.first_places_after(since.generation, SORTED_MAX + 1))?;
        let changed = if places.len() > SORTED_MAX { Changed::Walked(Box::new(Walk::new())) } else { view.noted(sorted(&view, places))? };
        let mut catch_up = Self {
            view,
            since: since.generation,
            position,
            structure: Some(structure),
            changed,
            next: None,
            groups: HashMap::new(),
            is_done: false,
        };
        let first = catch_up.next_put();
        catch_up.next = catch_up.view.noted(first)?;
        Ok(Some(catch_up))
    }

    /// Where a copy is when it has applied all parts.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next part; none after the last. Nothing changed since: none at all.
    pub fn next_part(&mut self) -> Result<Option<Batch>, IndexError> {
        if self.is_done || self.since == self.position.generation {
            return Ok(None);
        }
        let part = self.read_part();
        self.view.noted(part).map(Some)
    }

    fn read_part(&mut self) -> Result<Batch, IndexError> {
        let structure = self.structure.take().unwrap_or_default();
        let mut puts: Vec<Put> = Vec::new();
        let mut length = 0;
        while length < PART_MAX_BYTES {
            let Some(put) = self.next.take() else { break };
            length += length_of(&put);
            self.next = self.next_put()?;
            puts.push(put);
        }
        self.repeat_names(&mut puts)?;
        self.is_done = self.next.is_none();
        let Position { source, epoch, generation } = self.position;
        Ok(Batch { source, epoch, from: self.since, to: generation, is_last_part: self.is_done, structure, puts })
    }

    fn next_put(&mut self) -> Result<Option<Put>, IndexError> {
        match &mut self.changed {
            Changed::Sorted(places) => match places.next() {
                Some((path, place)) => self.put(path, &place).map(Some),
                None => Ok(None),
            },
            Changed::Walked(walk) => loop {
                let Some((path, place, row)) = walk.next(&self.view.tables)? else { return Ok(None) };
                if row.last_generation > self.since {
                    return self.put_of_row(path, &place, row).map(Some);
                }
            },
        }
    }

    fn put(&self, path: TreePath, place: &Place) -> Result<Put, IndexError> {
        let row = self.view.tables.row(place)?.ok_or(IndexError::Damaged("a generation names a row that is not there"))?;
        self.put_of_row(path, place, row)
    }

    fn put_of_row(&self, path: TreePath, place: &Place, row: Row) -> Result<Put, IndexError> {
        let (delta, data_bytes) = large_of(&self.view.tables, place, &row)?;
        let is_new = row.content_generation > self.since;
        let delta = delta.filter(|delta| is_new && delta.base_content_generation <= self.since);
        Ok(Put { path, entry: row.entry, content_generation: row.content_generation, inline: None, held_at: None, delta, data_bytes })
    }

    /// A part has all names of a file that it or an earlier part names, so that the names stay one file.
    fn repeat_names(&mut self, puts: &mut Vec<Put>) -> Result<(), IndexError> {
        let mut repeated = Vec::new();
        let mut named = Vec::new();
        for put in puts.iter().filter(|put| put.entry.link_group != 0) {
            let place = self.view.tables.place_of(&put.path)?.ok_or(IndexError::Damaged("a path has no place"))?;
            repeated.extend(self.groups.remove(&put.entry.link_group).unwrap_or_default());
            named.push((put.entry.link_group, put.path.clone(), place));
        }
        for (path, place) in repeated {
            let put = self.put(path.clone(), &place)?;
            named.push((put.entry.link_group, path, place));
            puts.push(put);
        }
        puts.sort_by(|one, next| one.path.cmp(&next.path));
        for (group, path, place) in named {
            self.groups.entry(group).or_default().push((path, place));
        }
        Ok(())
    }
}

fn sorted(view: &View, places: Vec<Place>) -> Result<Changed, IndexError> {
    let mut paths = Vec::with_capacity(places.len());
    for place in places {
        // What has no path is too deep by now, and does not travel.
        paths.extend(view.tables.path_of(&place)?.map(|path| (path, place)));
    }
    paths.sort_by(|one, next| one.0.cmp(&next.0));
    Ok(Changed::Sorted(paths.into_iter()))
}

/// About how long a put is on the wire, its bytes left out.
pub(super) fn length_of(put: &Put) -> usize {
    let xattrs: usize = put.entry.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum();
    let blocks = put.delta.as_ref().map_or(0, |delta| delta.blocks.len() * 50);
    PUT_BYTES + put.path.as_bytes().len() + put.entry.link_target.len() + xattrs + blocks
}
