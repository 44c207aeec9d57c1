//! The file of the index: opened, refused when it is damaged, committed to.

use super::commit::{Commit, Committed};
use super::damage::{REBUILD_FILE, caught, is_of_the_system};
use super::folder::Folder;
use super::tables::{Snapshot, Writable};
use super::{CatchUp, IndexError, Observation, Origin, Retention, View};
use crate::model::{Position, SourceId};
use crate::tree::Root;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const INDEX_FILE: &str = "index";
pub(super) const DAMAGED_FILE: &str = "index.damaged";
/// Enough for the inner pages on the way to a page: each page is read once.
const CHECK_CACHE_BYTES: usize = 1024 * 1024;

/// The number of a generation: bytes that were told after it may not have come to the disk. An index from before has none.
const IN_DOUBT_SINCE: &str = "in_doubt_since";

/// How an index is opened.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Memory for pages of the file. 24 MiB: with one million files the process stays below 64 MiB.
    pub cache_bytes: usize,
    /// What the caller calls the volume of the source, such as a volume id. When it is another one than before, the
    /// volume is a clone or came from a snapshot, and a new epoch begins.
    pub volume: Option<String>,
    /// How much of the structural log is kept.
    pub retention: Retention,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { cache_bytes: 24 * 1024 * 1024, volume: None, retention: Retention::default() }
    }
}

/// What opening found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// There was none.
    New,
    /// It was closed in order.
    Clean,
    /// The process or the host died while it was open. It is as of the last commit.
    Unclean,
    /// It was damaged and was set aside; a new epoch begins, nothing is in it.
    Rebuilt,
}

/// The index of one source. One thread commits; any number look.
pub struct Index {
    database: Database,
    folder: Arc<Folder>,
    options: IndexOptions,
    /// Held from reading the position to committing what follows from it.
    writer: Mutex<()>,
}

impl Index {
    /// Opens the index in the hidden directory of a source, or makes a new one. The directory is made (mode 0700) if need be.
    ///
    /// # Errors
    /// The directory cannot be used or is of somebody else, or another process has the index open. A damaged index is no
    /// error, see [`Opened`].
    pub fn open(root: &Root, options: &IndexOptions) -> Result<(Self, Opened), IndexError> {
        let folder = Arc::new(Folder::make(root)?);
        let origin = Origin::read(&folder)?;
        if !folder.has(INDEX_FILE)? {
            // What is made now is not what was found damaged: a crash can leave the note of that.
            folder.remove(REBUILD_FILE)?;
        }
        let (state, index) = match caught(|| Self::open_sound(&folder, options)) {
            Ok(opened) => opened,
            // Whatever else it is says nothing about the index.
            Err(error) if !error.is_damage() => return Err(error),
            Err(error) => {
                let path = folder.path_of(INDEX_FILE);
                tracing::warn!(%error, path = %path.display(), "the index is damaged: it is set aside and built again by a scan");
                set_aside(&folder)?;
                (None, Self::open_file(&folder, options)?)
            }
        };
        let opened = match state {
            Some(true) => Opened::Clean,
            Some(false) => Opened::Unclean,
            None if origin.is_some() => Opened::Rebuilt,
            None => Opened::New,
        };
        match state {
            Some(_) => index.follow_volume(origin)?,
            None => index.found(origin.as_ref())?,
        }
        Ok((index, opened))
    }

    /// Opens it and looks whether it was closed in order; none when nothing was ever committed to it. All of the file is checked:
    /// the store does not look at its checksums later, so that damage would be taken for the source.
    fn open_sound(folder: &Arc<Folder>, options: &IndexOptions) -> Result<(Option<bool>, Self), IndexError> {
        let index = Self::open_file(folder, options)?;
        // Only now: who noted it may still have the index open.
        if folder.is_condemned()? {
            return Err(IndexError::Damaged("that was found while it was in use"));
        }
        Ok((index.state()?, index))
    }

    fn state(&self) -> Result<Option<bool>, IndexError> {
        let transaction = self.database.begin_read()?;
        let tables = match Snapshot::open(&transaction) {
            Ok(tables) => tables,
            Err(IndexError::Store(error)) if matches!(*error, redb::Error::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        tables.position()?;
        Ok(Some(tables.number("clean")? == Some(1)))
    }

    /// Up to where the source is durable.
    pub(super) fn durable_position(&self) -> Result<Position, IndexError> {
        let tables = Snapshot::open(&self.database.begin_read()?)?;
        Ok(Position { generation: tables.number("durable")?.unwrap_or(0), ..tables.position()? })
    }

    /// Checks all of it, and opens it.
    fn open_file(folder: &Arc<Folder>, options: &IndexOptions) -> Result<Self, IndexError> {
        let file = || Self::file(folder)?.map_or_else(|| folder.create(INDEX_FILE), Ok);
        // What is read to be checked would fill the cache.
        let checked = IndexOptions { cache_bytes: CHECK_CACHE_BYTES, ..options.clone() };
        drop(Self::of_file(file()?, folder.clone(), &checked, true)?);
        Self::of_file(file()?, folder.clone(), options, false)
    }

    /// The file of an index; none when there is none.
    pub(super) fn file(folder: &Folder) -> Result<Option<File>, IndexError> {
        folder.open(INDEX_FILE, OFlags::RDWR)
    }

    /// The store checks itself when it was not closed, or when it is asked to.
    pub(super) fn of_file(file: File, folder: Arc<Folder>, options: &IndexOptions, is_checked: bool) -> Result<Self, IndexError> {
        let path = folder.path_of(INDEX_FILE);
        let mut builder = Database::builder();
        builder.set_cache_size(options.cache_bytes).set_check_integrity_on_open(is_checked);
        let opened = FileBackend::new(file).and_then(|file| builder.create_with_backend(file));
        let database = match opened {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(IndexError::InUse(path)),
            Err(DatabaseError::Storage(StorageError::Io(error))) if is_of_the_system(&error) => {
                return Err(IndexError::Io { path, action: "open", error });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { database, folder, options: options.clone(), writer: Mutex::new(()) })
    }

    /// Starts a history: of a new source, or the next epoch of one whose index was lost.
    fn found(&self, origin: Option<&Origin>) -> Result<(), IndexError> {
        let known = origin.and_then(|origin| Some((origin.source()?, origin.epoch)));
        let (source, epoch) = match known {
            Some((source, epoch)) => (source, epoch.saturating_add(1)),
            None => (random_id()?, 1),
        };
        self.write(|tables| {
            tables.meta.insert(b"source".as_slice(), source.0.as_slice())?;
            ["generation", "floor", "durable", "clean"].iter().try_for_each(|name| tables.set_number(name, 0))?;
            tables.set_number("epoch", epoch)
        })?;
        self.write_origin()
    }

    fn write_origin(&self) -> Result<(), IndexError> {
        let position = self.position()?;
        Origin::new(position.source, position.epoch, self.options.volume.clone()).write(&self.folder)
    }

    /// The volume is another one than before, or the file beside the index is from a later epoch: this index is a clone's
    /// or an older one.
    fn follow_volume(&self, origin: Option<Origin>) -> Result<(), IndexError> {
        let position = self.position()?;
        let Some(origin) = origin else { return self.write_origin() };
        let is_other = origin.volume.is_some() && self.options.volume.is_some() && origin.volume != self.options.volume;
        let is_older = origin.source() == Some(position.source) && origin.epoch > position.epoch;
        if is_other || is_older {
            return self.begin_epoch_after(origin.epoch.max(position.epoch)).map(|_| ());
        }
        if origin.volume != self.options.volume && self.options.volume.is_some() { self.write_origin() } else { Ok(()) }
    }

    /// Begins an epoch after the given one and our own: generations from before mean nothing any more. Durable when it
    /// returns.
    pub fn begin_epoch_after(&self, epoch: u64) -> Result<Position, IndexError> {
        let _alone = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.position()?;
        let epoch = position.epoch.max(epoch).saturating_add(1);
        // The origin first: if the host dies in between, the index is older than it, and begins one more epoch.
        Origin::new(position.source, epoch, self.options.volume.clone()).write(&self.folder)?;
        self.write(|tables| {
            tables.set_number("epoch", epoch)?;
            tables.set_number("floor", position.generation)
        })?;
        self.position()
    }

    fn write<T>(&self, change: impl FnOnce(&mut Writable) -> Result<T, IndexError>) -> Result<T, IndexError> {
        self.folder.noted(self.written(change))
    }

    fn written<T>(&self, change: impl FnOnce(&mut Writable) -> Result<T, IndexError>) -> Result<T, IndexError> {
        let mut transaction = self.database.begin_write()?;
        // A commit that is not durable would let generations go backwards after a crash.
        transaction.set_durability(Durability::Immediate)?;
        let result = {
            let mut tables = Writable::open(&transaction)?;
            change(&mut tables)?
        };
        transaction.commit()?;
        Ok(result)
    }

    /// Where the source is.
    pub fn position(&self) -> Result<Position, IndexError> {
        self.view()?.position()
    }

    /// The index as it is now; later commits do not change it. Space in the file is freed when it is dropped.
    pub fn view(&self) -> Result<View, IndexError> {
        let opened = self.database.begin_read().map_err(IndexError::from).and_then(|transaction| Snapshot::open(&transaction));
        Ok(View::new(self.folder.noted(opened)?, self.folder.clone()))
    }

    /// Makes observations one generation, durable when this returns; none when they say what is known.
    ///
    /// # Errors
    /// The store failed; the index is as before.
    pub fn commit(&self, observations: Vec<Observation>, unix_seconds: u64) -> Result<Committed, IndexError> {
        let _alone = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let position = self.position()?;
        let before = self.view()?.tables;
        let retention = self.options.retention;
        self.write(|tables| {
            let committed = Commit { tables, before: &before, position, unix_seconds }.run(observations)?;
            if let Some(floor) = tables.forget(retention, unix_seconds)? {
                tables.set_number("floor", floor)?;
            }
            Ok(committed)
        })
    }

    /// The changes after a position; none when only a manifest can tell: below the floor, another history, or more
    /// structural changes than a batch holds.
    pub fn catch_up(&self, since: &Position) -> Result<Option<CatchUp>, IndexError> {
        CatchUp::new(self.view()?, since)
    }

    /// Notes that the source is durable up to a generation; and that nothing of before is in doubt any more.
    pub fn set_durable(&self, generation: u64) -> Result<(), IndexError> {
        self.write(|tables| {
            tables.meta.remove(IN_DOUBT_SINCE.as_bytes())?;
            tables.set_number("durable", generation)
        })
    }

    /// Notes that the index has every entry of the source.
    pub fn set_complete(&self) -> Result<(), IndexError> {
        self.write(|tables| tables.set_number("complete", 1))
    }

    /// Notes that the index is in use, and by which run of the host. When the last use was in another run and did not end in
    /// order, what was told after the generation that is returned may be lost: the source had not yet written it to its disk.
    /// That is said again at each start until [`Index::set_durable`], since this one may end before all was read again. Rows of
    /// it forget the ctime of their file, so that each is read by whatever looks at it next, however late that is.
    pub fn begin_use(&self, boot: &[u8]) -> Result<Option<u64>, IndexError> {
        self.write(|tables| {
            let is_other = tables.meta.get(b"boot".as_slice())?.is_none_or(|known| known.value() != boot || boot.is_empty());
            let is_new_doubt = is_other && tables.number("clean")? != Some(1);
            let new = if is_new_doubt { tables.number("durable")? } else { None };
            let since = tables.number(IN_DOUBT_SINCE)?.into_iter().chain(new).min();
            if let Some(since) = since {
                tables.set_number(IN_DOUBT_SINCE, since)?;
            }
            new.map_or(Ok(()), |since| tables.doubt_content_after(since))?;
            tables.meta.insert(b"boot".as_slice(), boot)?;
            tables.set_number("clean", 0)?;
            Ok(since)
        })
    }

    /// Notes whether the index is closed in order.
    pub fn set_clean(&self, is_clean: bool) -> Result<(), IndexError> {
        self.write(|tables| tables.set_number("clean", is_clean.into()))
    }
}

/// Keeps the damaged file, one of them, for whoever wants to know why. A crash leaves what calls for this to be done again.
fn set_aside(folder: &Folder) -> Result<(), IndexError> {
    folder.rename(INDEX_FILE, DAMAGED_FILE)?;
    folder.sync()?;
    folder.remove(REBUILD_FILE)
}

/// From the kernel, since two sources with one identity would corrupt each other's copies.
fn random_id() -> Result<SourceId, IndexError> {
    let path = Path::new("/dev/urandom");
    let mut id = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut id));
    read.map_err(|error| IndexError::io(path, "read", error))?;
    Ok(SourceId(id))
}
