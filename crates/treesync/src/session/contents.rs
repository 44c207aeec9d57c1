//! Bytes that the copies of a host want for one step: each fetched once, whoever asks first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;

use crate::model::{ContentHash, Wanted};
use crate::wire::{CallError, Client, Piece};

/// Bytes of one step that are kept in memory; what is beyond goes to the spool.
const MEMORY_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// A file up to this size is fetched with others in one call, and kept in memory while there is room.
pub(super) const SMALL_MAX_BYTES: u64 = 256 * 1024;
/// Files asked for in one call. The publisher takes up to 4,096.
const CALL_MAX: usize = 1024;

/// Why bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source no longer has them: the copy stays where it is, and asks anew from there.
    #[error("the source no longer has these bytes")]
    Gone,
    /// The publisher does not give them.
    #[error(transparent)]
    Call(#[from] CallError),
    /// They cannot be kept here.
    #[error("the spool {}: {error}", directory.display())]
    Spool {
        /// Where.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// What a piece of a file is known by.
type Key = (ContentHash, u64, u64);

fn key(wanted: &Wanted) -> Key {
    (wanted.content, wanted.offset_bytes, wanted.length_bytes)
}

/// Bytes for one step, shared by all copies of the host. Dropped when the last copy is through; the spool has no name,
/// so a crash leaves nothing.
pub struct SharedContents {
    client: Client,
    runtime: Handle,
    spool_directory: PathBuf,
    kept: Mutex<Kept>,
    /// One at a time: the first to ask fetches, the others then find what they want. Guards nothing else.
    fetching: Mutex<()>,
}

#[derive(Default)]
struct Kept {
    items: HashMap<Key, Item>,
    memory_bytes: u64,
    spool: Option<Spool>,
}

#[derive(Clone)]
enum Item {
    Memory(Bytes),
    Spooled { file: Arc<File>, offset_bytes: u64, length_bytes: u64 },
    Gone,
}

/// A file without a name; what is in it stays.
struct Spool {
    file: Arc<File>,
    end_bytes: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedContents {
    /// Nothing is fetched yet. Large files go to a nameless file in `spool_directory`. The runtime drives the
    /// connection; all methods block, and must be called outside of it.
    pub fn new(client: Client, runtime: Handle, spool_directory: PathBuf) -> Self {
        Self { client, runtime, spool_directory, kept: Mutex::default(), fetching: Mutex::default() }
    }

    /// Fetches many small files in few calls, those left out that are here or large. What is gone shows at `open`.
    ///
    /// # Errors
    /// The connection fails, or bytes are wrong.
    pub fn prefetch(&self, wanted: impl IntoIterator<Item = Wanted>) -> Result<(), FetchError> {
        let small: Vec<Wanted> = wanted.into_iter().filter(|wanted| wanted.length_bytes <= SMALL_MAX_BYTES).collect();
        if small.is_empty() {
            return Ok(());
        }
        let _fetching = lock(&self.fetching);
        let missing: Vec<Wanted> = {
            let kept = lock(&self.kept);
            small.into_iter().filter(|wanted| !kept.items.contains_key(&key(wanted))).collect()
        };
        missing.chunks(CALL_MAX).try_for_each(|chunk| self.fetch(chunk))
    }

    /// The bytes, from here or from the publisher.
    ///
    /// # Errors
    /// They are gone, the connection fails, or bytes are wrong.
    pub fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, FetchError> {
        if let Some(item) = self.kept(wanted) {
            return item.open();
        }
        let _fetching = lock(&self.fetching);
        if self.kept(wanted).is_none() {
            self.fetch(std::slice::from_ref(wanted))?;
        }
        self.kept(wanted).ok_or(FetchError::Gone)?.open()
    }

    fn kept(&self, wanted: &Wanted) -> Option<Item> {
        lock(&self.kept).items.get(&key(wanted)).cloned()
    }

    /// Fetches and keeps; the lock for fetching is held.
    fn fetch(&self, wanted: &[Wanted]) -> Result<(), FetchError> {
        let mut reading = self.runtime.block_on(self.client.read(wanted.to_vec()))?;
        let mut memory = BytesMut::new();
        let mut spooled_bytes = 0;
        while let Some(piece) = self.runtime.block_on(reading.next())? {
            let (index, bytes, is_end) = match piece {
                Piece::Gone { index } => {
                    lock(&self.kept).items.insert(key(&wanted[index]), Item::Gone);
                    (memory, spooled_bytes) = (BytesMut::new(), 0);
                    continue;
                }
                Piece::Bytes { index, bytes, is_end } => (index, bytes, is_end),
            };
            let length_bytes = wanted[index].length_bytes;
            if length_bytes <= SMALL_MAX_BYTES && lock(&self.kept).memory_bytes + length_bytes <= MEMORY_MAX_BYTES {
                memory.extend_from_slice(&bytes);
                if is_end {
                    let mut kept = lock(&self.kept);
                    kept.memory_bytes += length_bytes;
                    kept.items.insert(key(&wanted[index]), Item::Memory(memory.split().freeze()));
                }
            } else {
                let item = self.spool(&bytes, spooled_bytes).map_err(|error| self.failed(error))?;
                spooled_bytes += bytes.len() as u64;
                if is_end {
                    lock(&self.kept).items.insert(key(&wanted[index]), item);
                    spooled_bytes = 0;
                }
            }
        }
        Ok(())
    }

    /// Appends to the spool; gives the item as it is so far, `before_bytes` of it having been appended already.
    fn spool(&self, bytes: &[u8], before_bytes: u64) -> io::Result<Item> {
        let mut kept = lock(&self.kept);
        if kept.spool.is_none() {
            kept.spool = Some(Spool { file: Arc::new(nameless(&self.spool_directory)?), end_bytes: 0 });
        }
        let spool = kept.spool.as_mut().ok_or_else(|| io::Error::other("no spool"))?;
        let end_bytes = spool.end_bytes + bytes.len() as u64;
        // Of a sparse file most comes as zeros; the spool leaves them as holes.
        if bytes.iter().all(|byte| *byte == 0) {
            spool.file.set_len(end_bytes)?;
        } else {
            spool.file.write_all_at(bytes, spool.end_bytes)?;
        }
        spool.end_bytes = end_bytes;
        let length_bytes = before_bytes + bytes.len() as u64;
        Ok(Item::Spooled { file: spool.file.clone(), offset_bytes: spool.end_bytes - length_bytes, length_bytes })
    }

    fn failed(&self, error: io::Error) -> FetchError {
        FetchError::Spool { directory: self.spool_directory.clone(), error }
    }
}

/// A file that nobody else can open, and that is gone with its last descriptor.
fn nameless(directory: &std::path::Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(CWD, directory, flags, Mode::RUSR | Mode::WUSR)?))
}

impl Item {
    fn open(self) -> Result<Box<dyn Read + Send>, FetchError> {
        match self {
            Self::Memory(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Self::Spooled { file, offset_bytes, length_bytes } => Ok(Box::new(Section { file, at: offset_bytes, left: length_bytes })),
            Self::Gone => Err(FetchError::Gone),
        }
    }
}

/// A part of a shared file; each reader has its own place in it.
struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        if read == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
