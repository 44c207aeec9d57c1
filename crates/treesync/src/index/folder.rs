//! The hidden directory of a source, where its index is: opened once below the root, and used by descriptor from then on.
//! Whoever may write the root can rename what is in it, and plant links in a directory of their own: neither is followed.

use super::IndexError;
use crate::model::RESERVED_NAME;
use crate::tree::{NodeKind, Root, Stat, open_below, reopen};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// More than any of our small files has.
const SMALL_MAX_BYTES: u64 = 64 * 1024;

/// Open, of the user that we run as, and a directory of this filesystem.
#[derive(Debug)]
pub(super) struct Folder {
    directory: OwnedFd,
    path: PathBuf,
    /// A write of the index failed since the disk was full. The store refuses everything then, until it is opened again.
    pub(super) was_full: AtomicBool,
}

impl Folder {
    /// Opens it, made if it is missing, so that nobody else may enter (mode 0700).
    ///
    /// # Errors
    /// It is a link, something is mounted there, or it is of another user: they may have put anything into it.
    pub fn make(root: &Root) -> Result<Self, IndexError> {
        let path = path_of(root);
        match rustix::fs::mkdirat(root, RESERVED_NAME, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(IndexError::io(&path, "make", error)),
        }
        let folder = Self::find(root)?.ok_or_else(|| IndexError::io(&path, "open", Errno::NOENT))?;
        let stat = Stat::at(&folder.directory, b"").map_err(|error| IndexError::io(&path, "read the state of", error))?;
        if stat.mode & 0o077 != 0 {
            rustix::fs::fchmod(&folder.directory, Mode::RWXU).map_err(|error| IndexError::io(&path, "make private", error))?;
        }
        Ok(folder)
    }

    /// Opens it if it is there. Changes nothing.
    ///
    /// # Errors
    /// As [`Folder::make`].
    pub fn find(root: &Root) -> Result<Option<Self>, IndexError> {
        let path = path_of(root);
        let directory = match open_below(root, RESERVED_NAME, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                return Err(IndexError::foreign(path, "is not a directory of this filesystem"));
            }
            Err(error) => return Err(IndexError::io(&path, "open", error)),
        };
        let stat = Stat::at(&directory, b"").map_err(|error| IndexError::io(&path, "read the state of", error))?;
        if !is_ours(&stat) {
            return Err(IndexError::foreign(path, "belongs to another user"));
        }
        Ok(Some(Self { directory, path, was_full: AtomicBool::new(false) }))
    }

    /// For messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens a file; none when it is absent.
    ///
    /// # Errors
    /// It is not a regular file of ours. It was not opened then: to open a fifo can block, and to open a device have effects.
    pub fn open(&self, name: &str, flags: OFlags) -> Result<Option<File>, IndexError> {
        let failed = |action| move |error| IndexError::io(&self.path_of(name), action, error);
        let named = match open_below(&self.directory, name.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(named) => named,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::XDEV) => return Err(IndexError::foreign(self.path_of(name), "is not a regular file")),
            Err(error) => return Err(failed("open")(error)),
        };
        let stat = Stat::at(&named, b"").map_err(failed("read the state of"))?;
        if stat.kind != NodeKind::File {
            return Err(IndexError::foreign(self.path_of(name), "is not a regular file"));
        }
        if !is_ours(&stat) {
            return Err(IndexError::foreign(self.path_of(name), "belongs to another user"));
        }
        reopen(&named, flags).map(Some).map_err(failed("open"))
    }

    /// Whether anything has this name.
    pub fn has(&self, name: &str) -> Result<bool, IndexError> {
        match Stat::at(&self.directory, name.as_bytes()) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(IndexError::io(&self.path_of(name), "look for", error)),
        }
    }

    /// Makes a file that was not there.
    pub fn create(&self, name: &str) -> Result<File, IndexError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR);
        made.map(File::from).map_err(|error| IndexError::io(&self.path_of(name), "make", error))
    }

    /// All of a small file; none when it is absent. A longer one is cut.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, IndexError> {
        let Some(file) = self.open(name, OFlags::RDONLY)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(SMALL_MAX_BYTES).read_to_end(&mut bytes);
        read.map(|_| Some(bytes)).map_err(|error| IndexError::io(&self.path_of(name), "read", error))
    }

    /// Replaces a small file by way of another name; durable when it returns. A crash leaves the old or the new one.
    pub fn replace(&self, name: &str, by_way_of: &str, bytes: &[u8]) -> Result<(), IndexError> {
        self.remove(by_way_of)?;
        let mut file = self.create(by_way_of)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|error| IndexError::io(&self.path_of(by_way_of), "write", error))?;
        self.rename(by_way_of, name)?;
        self.sync()
    }

    /// Renames a file. Not durable.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), IndexError> {
        let renamed = rustix::fs::renameat(&self.directory, from, &self.directory, to);
        renamed.map_err(|error| IndexError::io(&self.path_of(to), "replace", error))
    }

    /// Removes a file, or the link itself. Absent is fine.
    pub fn remove(&self, name: &str) -> Result<(), IndexError> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(IndexError::io(&self.path_of(name), "remove", error)),
        }
    }

    /// Makes names durable.
    pub fn sync(&self) -> Result<(), IndexError> {
        rustix::fs::fsync(&self.directory).map_err(|error| IndexError::io(&self.path, "make durable", error))
    }
}

fn path_of(root: &Root) -> PathBuf {
    root.path().join(Path::new(std::ffi::OsStr::from_bytes(RESERVED_NAME)))
}

fn is_ours(stat: &Stat) -> bool {
    stat.uid == rustix::process::geteuid().as_raw()
}
