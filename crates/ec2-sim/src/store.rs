//! The state file: the account, kept across restarts, and the lock of its folder.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, io};
use crate::world::World;

/// The state file of a data folder, held exclusively.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// The lock of the folder; closing the file releases it.
    lock: Mutex<Option<File>>,
}

impl Store {
    /// Takes the folder, which is made when missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(io("create", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse(folder.to_owned()))?;
        Ok(Self { folder: folder.to_owned(), lock: Mutex::new(Some(lock)) })
    }

    /// Gives the folder back. Nothing can be stored after that.
    pub(crate) fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The stored account; none in a new folder.
    pub(crate) fn load(&self) -> Result<Option<World>, Error> {
        load(&state_file(&self.folder))
    }

    /// Replaces the stored account; on return the disk holds it.
    pub(crate) fn save(&self, state: &[u8]) -> Result<(), Error> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_none() {
            return Err(Error::Stopped);
        }
        let file = state_file(&self.folder);
        let partial = file.with_extension("json.partial");
        let mut open = File::create(&partial).map_err(io("create", &partial))?;
        open.write_all(state).map_err(io("write", &partial))?;
        open.sync_data().map_err(io("sync", &partial))?;
        fs::rename(&partial, &file).map_err(io("replace", &file))?;
        let folder = File::open(&self.folder).map_err(io("open", &self.folder))?;
        folder.sync_all().map_err(io("sync", &self.folder))
    }
}

/// The account stored in a data folder, without taking the folder.
pub(crate) fn peek(folder: &Path) -> Result<Option<World>, Error> {
    load(&state_file(folder))
}

fn state_file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn load(file: &Path) -> Result<Option<World>, Error> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io("read", file)(e)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| Error::State { path: file.to_owned(), source })
}
