//! The index as of one moment.

use super::catch_up::{PART_MAX_BYTES, length_of};
use super::commit::large_of;
use super::folder::Folder;
use super::tables::{DirectoryRecord, Place, ROOT, Snapshot};
use super::{At, Identity, IndexError, Observation, Row};
use crate::model::{ManifestPart, Position, Put, TreePath};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// A consistent look at the index. Cheap to make; not to be kept for long, since the file cannot reuse space meanwhile.
pub struct View {
    pub(super) tables: Snapshot,
    folder: Arc<Folder>,
}

impl View {
    pub(super) fn new(tables: Snapshot, folder: Arc<Folder>) -> Self {
        Self { tables, folder }
    }

    /// Damage has the next start build the index again.
    pub(super) fn noted<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        self.folder.noted(result)
    }

    /// Where the source was.
    pub fn position(&self) -> Result<Position, IndexError> {
        self.noted(self.tables.position())
    }

    /// The oldest generation from which the structural log is whole.
    pub fn floor(&self) -> Result<u64, IndexError> {
        self.noted(self.tables.required("floor"))
    }

    /// Up to which generation the source itself is known to be durable.
    pub fn durable_generation(&self) -> Result<u64, IndexError> {
        self.noted(self.tables.required("durable"))
    }

    /// Whether it ever had every entry of the source.
    pub fn is_complete(&self) -> Result<bool, IndexError> {
        Ok(self.noted(self.tables.number("complete"))? == Some(1))
    }

    /// How many entries the source has.
    pub fn entry_count(&self) -> Result<u64, IndexError> {
        self.noted(self.tables.row_count())
    }

    /// How many structural changes are kept.
    pub fn structural_change_count(&self) -> Result<u64, IndexError> {
        use redb::ReadableTableMetadata;
        self.noted(self.tables.structure.len().map_err(IndexError::from))
    }

    /// What is known of a path.
    pub fn row(&self, path: &TreePath) -> Result<Option<Row>, IndexError> {
        match self.noted(self.tables.place_of(path))? {
            Some(place) => self.noted(self.tables.row(&place)),
            None => Ok(None),
        }
    }

    /// What is known of a place.
    pub fn row_at(&self, place: &Place) -> Result<Option<Row>, IndexError> {
        self.noted(self.tables.row(place))
    }

    /// The directory with this identity, by number.
    pub fn directory_of(&self, identity: &Identity) -> Result<Option<u64>, IndexError> {
        self.noted(self.tables.directory_of(&identity.0))
    }

    /// The identity of a directory, by number.
    pub fn identity_of(&self, directory: u64) -> Result<Option<Identity>, IndexError> {
        Ok(self.noted(self.tables.directory(directory))?.map(|DirectoryRecord { identity, .. }| Identity(identity.into())))
    }

    /// The name of a directory, wherever the index has it.
    pub fn at_of(&self, identity: &Identity) -> Result<Option<At>, IndexError> {
        let Some(directory) = self.directory_of(identity)? else { return Ok(None) };
        if directory == ROOT {
            return Ok(Some(At { parent: None, name: Vec::new() }));
        }
        let Some(record) = self.noted(self.tables.directory(directory))? else { return Ok(None) };
        let parent = self.identity_of(record.place.directory)?;
        Ok(parent.map(|parent| At { parent: Some(parent), name: record.place.name }))
    }

    /// The path of a directory, by number; none when it is not in the tree.
    pub fn path_of_directory(&self, directory: u64) -> Result<Option<TreePath>, IndexError> {
        self.noted(self.tables.path_of_directory(directory))
    }

    /// The path of a place.
    pub fn path_of(&self, place: &Place) -> Result<Option<TreePath>, IndexError> {
        self.noted(self.tables.path_of(place))
    }

    /// All names that a file is known by.
    pub fn names_of(&self, inode: u64) -> Result<Vec<At>, IndexError> {
        let mut names = Vec::new();
        for place in self.noted(self.tables.names_of(inode))? {
            let parent = self.identity_of(place.directory)?;
            names.extend(parent.map(|parent| At { parent: Some(parent), name: place.name }));
        }
        Ok(names)
    }

    /// Names that must be observed in the same commit as these: a file with several names changes under all of them,
    /// and an inode number that came again still stands at its old name. Call again with what was observed of these,
    /// until there are none.
    pub fn companions(&self, observations: &[Observation]) -> Result<Vec<At>, IndexError> {
        let mut inodes = BTreeSet::new();
        for observation in observations {
            let found = observation.found.as_ref().filter(|found| found.identity.is_none());
            let row = self.row_of(&observation.at)?;
            let has_one_name = |row: &Row| row.directory == 0 && row.entry.link_group == 0;
            if let (Some(found), Some(row)) = (found, row.as_ref().filter(|row| has_one_name(row)))
                && (found.stamp.inode, found.stamp.link_count) == (row.stamp.inode, 1)
            {
                // It had and has this name alone, as most.
                continue;
            }
            inodes.extend(found.map(|found| found.stamp.inode));
            if let Some(row) = row.filter(|row| row.entry.link_group != 0) {
                inodes.insert(row.stamp.inode);
            }
        }
        let seen: HashSet<&At> = observations.iter().map(|observation| &observation.at).collect();
        let mut missing = Vec::new();
        for inode in inodes {
            missing.extend(self.names_of(inode)?.into_iter().filter(|at| !seen.contains(at)));
        }
        Ok(missing)
    }

    /// What is known of a name.
    pub fn row_of(&self, at: &At) -> Result<Option<Row>, IndexError> {
        let place = match &at.parent {
            None => Place::root(),
            Some(parent) => match self.directory_of(parent)? {
                Some(directory) => Place { directory, name: at.name.clone() },
                None => return Ok(None),
            },
        };
        self.noted(self.tables.row(&place))
    }

    /// Up to `count` names in a directory after one, sorted by their bytes, with what is known of them.
    pub fn children(&self, directory: u64, after: Option<&[u8]>, count: usize) -> Result<Vec<(Vec<u8>, Row)>, IndexError> {
        self.noted(self.tables.children(directory, after, count))
    }

    /// Files whose bytes are newer than a generation.
    pub fn content_after(&self, generation: u64) -> Result<Vec<TreePath>, IndexError> {
        let mut paths = Vec::new();
        for place in self.noted(self.tables.places_after(generation))? {
            let is_newer =
                self.noted(self.tables.row(&place))?.is_some_and(|row| row.content_generation > generation && row.entry.file().is_some());
            if is_newer {
                paths.extend(self.noted(self.tables.path_of(&place))?);
            }
        }
        Ok(paths)
    }

    /// Every entry, in the order of paths.
    pub fn manifest(self) -> Manifest {
        Manifest { walk: Walk::new(), view: self, is_done: false }
    }
}

/// Rows that a walk takes from a directory at once.
const PAGE: usize = 256;

/// A walk over all rows in the order of paths. Holds a page of each directory from the root to the current one.
pub(super) struct Walk {
    is_started: bool,
    levels: Vec<Level>,
}

struct Level {
    directory: u64,
    path: TreePath,
    page: std::vec::IntoIter<(Vec<u8>, Row)>,
    last: Option<Vec<u8>>,
}

impl Walk {
    pub fn new() -> Self {
        Self { is_started: false, levels: Vec::new() }
    }

    fn enter(&mut self, directory: u64, path: TreePath) {
        self.levels.push(Level { directory, path, page: Vec::new().into_iter(), last: None });
    }

    pub fn next(&mut self, tables: &Snapshot) -> Result<Option<(TreePath, Place, Row)>, IndexError> {
        if !self.is_started {
            self.is_started = true;
            let Some(row) = tables.row(&Place::root())? else { return Ok(None) };
            self.enter(ROOT, TreePath::root());
            return Ok(Some((TreePath::root(), Place::root(), row)));
        }
        while let Some(level) = self.levels.last_mut() {
            if level.page.as_slice().is_empty() {
                level.page = tables.children(level.directory, level.last.as_deref(), PAGE)?.into_iter();
            }
            let Some((name, row)) = level.page.next() else {
                self.levels.pop();
                continue;
            };
            level.last = Some(name.clone());
            // Longer or deeper than a path may be: it does not travel.
            let Ok(path) = level.path.join(&name) else { continue };
            let place = Place { directory: level.directory, name };
            if row.directory != 0 {
                self.enter(row.directory, path.clone());
            }
            return Ok(Some((path, place, row)));
        }
        Ok(None)
    }
}

/// Every entry of the source as of one moment, in the order of paths.
pub struct Manifest {
    walk: Walk,
    view: View,
    is_done: bool,
}

impl Manifest {
    /// As of when.
    pub fn position(&self) -> Result<Position, IndexError> {
        self.view.position()
    }

    /// The next part; none after the last.
    pub fn next_part(&mut self) -> Result<Option<ManifestPart>, IndexError> {
        if self.is_done {
            return Ok(None);
        }
        let (mut puts, mut length) = (Vec::new(), 0);
        while length < PART_MAX_BYTES {
            let Some((path, place, row)) = self.view.noted(self.walk.next(&self.view.tables))? else {
                self.is_done = true;
                break;
            };
            let (_, data_bytes) = self.view.noted(large_of(&self.view.tables, &place, &row))?;
            let Row { entry, content_generation, .. } = row;
            let put = Put { path, entry, content_generation, inline: None, held_at: None, delta: None, data_bytes };
            length += length_of(&put);
            puts.push(put);
        }
        Ok(Some(ManifestPart { position: self.view.position()?, is_last_part: self.is_done, puts }))
    }
}
