//! The tables of the index, and every way to look into them, for a snapshot and for a commit alike.

use super::row::Cursor;
use super::{IndexError, Row};
use crate::model::{Position, SourceId, TreePath};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

type Bytes = &'static [u8];
/// Keys and values are bytes: numbers big-endian, so that the order of keys is the order of numbers, then names.
type Definition = TableDefinition<'static, Bytes, Bytes>;

/// Place → row.
const ROWS: Definition = TableDefinition::new("rows.1");
/// Directory → place and identity.
const DIRECTORIES: Definition = TableDefinition::new("directories.1");
/// Identity → directory.
const IDENTITIES: Definition = TableDefinition::new("identities.1");
/// Inode and place of all that is not a directory.
const INODES: Definition = TableDefinition::new("inodes.1");
/// Last generation and place.
const GENERATIONS: Definition = TableDefinition::new("generations.1");
/// Generation and number → structural change.
const STRUCTURE: Definition = TableDefinition::new("structure.1");
/// Place → digests of the blocks of a large file, and its last delta.
const BLOCKS: Definition = TableDefinition::new("blocks.1");
/// Name → value.
const META: Definition = TableDefinition::new("meta.1");

/// The number of the root directory.
pub(super) const ROOT: u64 = 1;
/// A chain of parents longer than this is a cycle: a path has at most half of `PATH_MAX_BYTES` components.
const DEPTH_MAX: usize = crate::model::PATH_MAX_BYTES / 2 + 1;

const NO_SOURCE: IndexError = IndexError::Damaged("it does not say which source it is of");

/// Where a row is: a directory by number, and a name in it. The root of the tree is the empty name in directory 0.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The directory.
    pub directory: u64,
    /// The name.
    pub name: Vec<u8>,
}

impl Place {
    pub(super) fn root() -> Self {
        Self { directory: 0, name: Vec::new() }
    }

    pub(super) fn key(&self) -> Vec<u8> {
        [&self.directory.to_be_bytes(), self.name.as_slice()].concat()
    }

    /// The key after a number.
    pub(super) fn key_after(&self, number: u64) -> Vec<u8> {
        [&number.to_be_bytes(), &self.directory.to_be_bytes(), self.name.as_slice()].concat()
    }

    pub(super) fn of_key(key: &[u8]) -> Result<Self, IndexError> {
        let mut from = Cursor(key);
        let directory = from.u64().ok_or(IndexError::Damaged("a key is cut off"))?;
        Ok(Self { directory, name: from.0.to_vec() })
    }
}

/// Where a directory is, and which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DirectoryRecord {
    pub place: Place,
    pub identity: Vec<u8>,
}

impl DirectoryRecord {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        super::row::put_counted(&mut out, &self.identity);
        out.extend_from_slice(&self.place.key());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let mut from = Cursor(bytes);
        let identity = from.counted().ok_or(IndexError::Damaged("a directory is cut off"))?.to_vec();
        Ok(Self { identity, place: Place::of_key(from.0)? })
    }
}

/// Directories and their names, the innermost first, without the root.
pub(super) type Ancestry = Vec<(u64, Vec<u8>)>;

/// All tables, of a snapshot or of a commit.
pub(super) struct Tables<T> {
    pub rows: T,
    pub directories: T,
    pub identities: T,
    pub inodes: T,
    pub generations: T,
    pub structure: T,
    pub blocks: T,
    pub meta: T,
}

pub(super) type Snapshot = Tables<redb::ReadOnlyTable<Bytes, Bytes>>;
pub(super) type Writable<'txn> = Tables<redb::Table<'txn, Bytes, Bytes>>;

impl Snapshot {
    pub fn open(transaction: &ReadTransaction) -> Result<Self, IndexError> {
        let table = |definition| transaction.open_table(definition);
        Ok(Self {
            rows: table(ROWS)?,
            directories: table(DIRECTORIES)?,
            identities: table(IDENTITIES)?,
            inodes: table(INODES)?,
            generations: table(GENERATIONS)?,
            structure: table(STRUCTURE)?,
            blocks: table(BLOCKS)?,
            meta: table(META)?,
        })
    }
}

impl<'txn> Writable<'txn> {
    /// Makes the tables that are not there yet.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, IndexError> {
        let table = |definition| transaction.open_table(definition);
        Ok(Self {
            rows: table(ROWS)?,
            directories: table(DIRECTORIES)?,
            identities: table(IDENTITIES)?,
            inodes: table(INODES)?,
            generations: table(GENERATIONS)?,
            structure: table(STRUCTURE)?,
            blocks: table(BLOCKS)?,
            meta: table(META)?,
        })
    }
}

/// The range of all keys that start with a number.
pub(super) fn keys_of(number: u64) -> std::ops::Range<[u8; 8]> {
    number.to_be_bytes()..number.saturating_add(1).to_be_bytes()
}

impl<T: ReadableTable<Bytes, Bytes>> Tables<T> {
    pub fn row(&self, place: &Place) -> Result<Option<Row>, IndexError> {
        self.rows.get(place.key().as_slice())?.map(|value| Row::decode(value.value())).transpose()
    }

    pub fn row_count(&self) -> Result<u64, IndexError>
    where
        T: ReadableTableMetadata,
    {
        Ok(self.rows.len()?)
    }

    pub fn directory(&self, directory: u64) -> Result<Option<DirectoryRecord>, IndexError> {
        let value = self.directories.get(directory.to_be_bytes().as_slice())?;
        value.map(|value| DirectoryRecord::decode(value.value())).transpose()
    }

    pub fn directory_of(&self, identity: &[u8]) -> Result<Option<u64>, IndexError> {
        let Some(value) = self.identities.get(identity)? else { return Ok(None) };
        Ok(Some(Cursor(value.value()).u64().ok_or(IndexError::Damaged("an identity is cut off"))?))
    }

    /// Directories from this one up to the root. None: it is not in the tree.
    pub fn ancestry(&self, directory: u64) -> Result<Option<Ancestry>, IndexError> {
        let mut chain = Vec::new();
        let mut at = directory;
        while at != ROOT {
            let Some(record) = self.directory(at)? else { return Ok(None) };
            if chain.len() > DEPTH_MAX {
                return Err(IndexError::Damaged("a directory is below itself"));
            }
            chain.push((at, record.place.name));
            at = record.place.directory;
        }
        Ok(Some(chain))
    }

    pub fn path_of_directory(&self, directory: u64) -> Result<Option<TreePath>, IndexError> {
        let Some(chain) = self.ancestry(directory)? else { return Ok(None) };
        let names: Vec<&[u8]> = chain.iter().rev().map(|(_, name)| name.as_slice()).collect();
        // A directory above it moved: it is longer or deeper now than a path may be, and does not travel.
        Ok(TreePath::parse(names.join(&b'/')).ok())
    }

    /// The path of a place; none when its directory is not in the tree, or the path would be too long. The place itself may be empty.
    pub fn path_of(&self, place: &Place) -> Result<Option<TreePath>, IndexError> {
        if place.directory == 0 {
            return Ok(Some(TreePath::root()));
        }
        let Some(parent) = self.path_of_directory(place.directory)? else { return Ok(None) };
        Ok(parent.join(&place.name).ok())
    }

    /// The place of a path; none when a directory on the way is not in the tree.
    pub fn place_of(&self, path: &TreePath) -> Result<Option<Place>, IndexError> {
        let Some(name) = path.name() else { return Ok(Some(Place::root())) };
        let parent = path.parent().unwrap_or_default();
        let mut directory = ROOT;
        for name in parent.names() {
            match self.row(&Place { directory, name: name.to_vec() })? {
                Some(row) if row.directory != 0 => directory = row.directory,
                _ => return Ok(None),
            }
        }
        Ok(Some(Place { directory, name: name.to_vec() }))
    }

    /// All names of a file in the tree.
    pub fn names_of(&self, inode: u64) -> Result<Vec<Place>, IndexError> {
        let range = keys_of(inode);
        let mut places = Vec::new();
        for item in self.inodes.range::<&[u8]>(range.start.as_slice()..range.end.as_slice())? {
            places.push(Place::of_key(&item?.0.value()[8..])?);
        }
        Ok(places)
    }

    /// Up to `count` names of a directory with their rows, those after `after`, in order.
    pub fn children(&self, directory: u64, after: Option<&[u8]>, count: usize) -> Result<Vec<(Vec<u8>, Row)>, IndexError> {
        let range = keys_of(directory);
        let mut start = range.start.to_vec();
        if let Some(after) = after {
            // The next key after a key is that key and a zero byte.
            start.extend_from_slice(after);
            start.push(0);
        }
        let mut found = Vec::new();
        for item in self.rows.range::<&[u8]>(start.as_slice()..range.end.as_slice())?.take(count) {
            let (key, value) = item?;
            found.push((key.value()[8..].to_vec(), Row::decode(value.value())?));
        }
        Ok(found)
    }

    pub fn required(&self, name: &str) -> Result<u64, IndexError> {
        self.number(name)?.ok_or(NO_SOURCE)
    }

    /// Where the source was.
    pub fn position(&self) -> Result<Position, IndexError> {
        let source = {
            let value = self.meta.get(b"source".as_slice())?.ok_or(NO_SOURCE)?;
            SourceId(value.value().try_into().map_err(|_| NO_SOURCE)?)
        };
        Ok(Position { source, epoch: self.required("epoch")?, generation: self.required("generation")? })
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>, IndexError> {
        let Some(value) = self.meta.get(name.as_bytes())? else { return Ok(None) };
        Ok(Some(Cursor(value.value()).u64().ok_or(IndexError::Damaged("a number is cut off"))?))
    }
}
