//! The hidden directory of a copy: lock, stage, trash, intent.

mod clone;
pub(super) mod intent;
pub(super) mod marker;
mod strangers;
mod trash;

pub(in crate::apply) use clone::RawClone;
pub use intent::{Intent, IntentError};
pub use marker::{Marker, MarkerState, read_marker};

use super::error::Problem;
use crate::model::RESERVED_NAME;
use crate::tree::{NodeKind, Root, Stat, open_below, reopen};
use marker::MOST_BYTES;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const NEXT_STAGE: &[u8] = b"stage.next";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// Names in one directory of the stage. The kernel looks through a block of names, some 340, for each that it makes or moves;
/// through few it is through soon, and to make a directory costs about as much as a file.
pub(in crate::apply) const NAMES_ON_A_SHELF: u64 = 64;

/// Where something waits in the stage: the first in the stage itself, more on shelves.
pub(in crate::apply) fn staged_name(number: u64) -> String {
    match number / NAMES_ON_A_SHELF {
        0 => number.to_string(),
        shelf => format!("{}/{number}", shelf_name(shelf)),
    }
}

fn shelf_name(shelf: u64) -> String {
    format!("shelf-{shelf}")
}

/// Open, ours alone, and locked until it is dropped.
pub(in crate::apply) struct Home {
    own: OwnedFd,
    stage: OwnedFd,
    trash: OwnedFd,
    next_in_trash: Cell<u64>,
}

impl Drop for Home {
    /// Closing alone would not do: a child that another thread has forked holds the same open file until it executes.
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.own, FlockOperation::Unlock) {
            tracing::warn!(%error, "the lock of a copy stays until its last descriptor is closed");
        }
    }
}

impl Home {
    /// Makes it if it is missing, without a trace in the mtime of the root.
    pub(in crate::apply) fn open(root: &Root) -> Result<Self, Problem> {
        let before = Stat::at(root, b"").map_err(Problem::own("read the state of the root"))?;
        let (own, is_new) = own_directory(root, RESERVED_NAME, ".treesync")?;
        if is_new {
            let times = super::stage::metadata::times(before.mtime);
            rustix::fs::futimens(root, &times).map_err(Problem::own("set the times of the root"))?;
        }
        match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Problem::Locked),
            Err(error) => return Err(Problem::Own { action: "lock the copy", error: error.into() }),
        }
        let (stage, _) = own_directory(&own, b"stage", ".treesync/stage")?;
        let (trash, _) = own_directory(&own, b"trash", ".treesync/trash")?;
        let next_in_trash = Cell::new(trash::first_free_number(&trash).map_err(Problem::own("list the trash"))?);
        Ok(Self { own, stage, trash, next_in_trash })
    }

    /// Where new files wait.
    pub(in crate::apply) fn stage(&self) -> BorrowedFd<'_> {
        self.stage.as_fd()
    }

    /// Small files of ours, whole; `None` when absent, or something else than a file is there. Longer ones are cut, and so do
    /// not pass their checksum.
    pub(in crate::apply) fn read(&self, name: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, Problem> {
        read_file(&self.own, name.as_bytes(), most_bytes)
    }

    /// Writes a new file. Not durable.
    pub(in crate::apply) fn write(&self, name: &str, bytes: &[u8]) -> Result<File, Problem> {
        self.remove(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.own, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(Problem::own("create a file in .treesync"))?);
        file.write_all(bytes).map_err(Problem::own("write a file in .treesync"))?;
        Ok(file)
    }

    /// Replaces a file so that after a crash the old or the new one is there.
    pub(in crate::apply) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let next = format!("{name}.next");
        let file = self.write(&next, bytes)?;
        rustix::fs::fsync(&file).map_err(Problem::own("make a file in .treesync durable"))?;
        let rename = || rustix::fs::renameat(&self.own, &next, &self.own, name);
        let renamed = rename().or_else(|error| match error {
            Errno::ISDIR => self.take_away(&self.own, name.as_bytes()).and_then(|()| rename()),
            error => Err(error),
        });
        renamed.map_err(Problem::own("replace a file in .treesync"))
    }

    /// Absent is fine. A directory is not ours, and goes with the trash: who is root in a pod can put one there, and no apply
    /// would succeed any more.
    pub(in crate::apply) fn remove(&self, name: &str) -> Result<(), Problem> {
        let removed = rustix::fs::unlinkat(&self.own, name, AtFlags::empty()).or_else(|error| match error {
            Errno::ISDIR => self.take_away(&self.own, name.as_bytes()),
            error => Err(error),
        });
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Problem::Own { action: "remove a file of .treesync", error: error.into() }),
        }
    }

    /// Moves something out of sight; it goes when the trash is emptied. One call, however much is below.
    pub(in crate::apply) fn take_away(&self, directory: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
        loop {
            let number = trash::take_number(&self.next_in_trash);
            match rustix::fs::renameat_with(&directory, name, &self.trash, number.to_string(), RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                result => return result,
            }
        }
    }

    /// Makes the shelf that a number is the first on.
    pub(in crate::apply) fn make_shelf_for(&self, number: u64) -> Result<(), Problem> {
        if number < NAMES_ON_A_SHELF || !number.is_multiple_of(NAMES_ON_A_SHELF) {
            return Ok(());
        }
        let made = rustix::fs::mkdirat(&self.stage, shelf_name(number / NAMES_ON_A_SHELF), Mode::RWXU);
        made.map_err(Problem::own("make a directory in the stage"))
    }

    fn open_staged(&self, number: u64) -> Result<OwnedFd, Problem> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.stage, staged_name(number), flags, Mode::empty()).map_err(Problem::own("open a staged file"))
    }

    /// Has the bytes of staged files written to the disk, and waits for that. On a filesystem that keeps the order of changes
    /// they are durable with the next `fsync` of anything that was made later: it commits their metadata, and empties the
    /// cache of the disk. `syncfs` would write all metadata of the filesystem to its place as well, and everybody's data.
    pub(in crate::apply) fn write_staged(&self, numbers: &[u64]) -> Result<(), Problem> {
        for numbers in numbers.chunks(OPEN_AT_ONCE) {
            let files: Vec<OwnedFd> = numbers.iter().map(|number| self.open_staged(*number)).collect::<Result<_, _>>()?;
            // All writes are begun before the first is waited for. What fails here fails again then.
            for file in &files {
                drop(write_range(file, libc::SYNC_FILE_RANGE_WRITE));
            }
            let wait = |file| write_range(file, WRITE_AND_WAIT);
            files.iter().try_for_each(wait).map_err(Problem::own("write a staged file to the disk"))?;
        }
        Ok(())
    }

    /// Moves the stage to the trash with all that is in it, and makes a new one. Where there is no room for that, what is in
    /// it is removed.
    pub(in crate::apply) fn replace_stage(&mut self) -> Result<(), Problem> {
        let Ok((next, _)) = own_directory(&self.own, NEXT_STAGE, ".treesync/stage.next") else { return self.clear_stage() };
        self.take_away(&self.own, b"stage").map_err(Problem::own("move the stage to the trash"))?;
        // A stop in between leaves none; it is made when the copy is opened.
        rustix::fs::renameat(&self.own, NEXT_STAGE, &self.own, "stage").map_err(Problem::own("make a new stage"))?;
        self.stage = next;
        Ok(())
    }

    /// Throws away what waits in the stage.
    pub(in crate::apply) fn clear_stage(&self) -> Result<(), Problem> {
        self.clear(&self.stage).map_err(Problem::own("clear the stage"))
    }

    fn clear(&self, directory: &OwnedFd) -> std::io::Result<()> {
        for name in trash::names(directory)? {
            let unlink = |flags| rustix::fs::unlinkat(directory, &name[..], flags);
            match unlink(AtFlags::empty()).or_else(|_| unlink(AtFlags::REMOVEDIR)) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(_) => {}
            }
            // A shelf. A staged directory is empty; only one that was exchanged with it has something below.
            if name.starts_with(b"shelf-") {
                self.clear(&open_below(directory, &name, DIRECTORY)?)?;
                unlink(AtFlags::REMOVEDIR)?;
            } else {
                self.take_away(directory, &name)?;
            }
        }
        Ok(())
    }

    /// Removes up to `most` names from the trash; whether it is empty now. What cannot be removed (something is mounted
    /// there, or it is immutable) stays.
    pub(in crate::apply) fn empty_trash(&self, most: usize) -> Result<bool, Problem> {
        trash::empty(&self.trash, &self.next_in_trash, most).map_err(Problem::own("empty the trash"))
    }
}

/// Descriptors of staged files that are open at once: far below the usual limit of 1,024, also for ten copies.
const OPEN_AT_ONCE: usize = 32;

/// All three together write for integrity: no page is passed by since somebody has it locked (`ksys_sync_file_range`, fs/sync.c).
const WRITE_AND_WAIT: libc::c_uint = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

/// sync_file_range(2) of a whole file.
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper; it takes numbers and touches no memory of ours")]
fn write_range(file: &OwnedFd, how: libc::c_uint) -> std::io::Result<()> {
    // SAFETY: numbers only, and the descriptor is open until the end of this function.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, how) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Reads a file that is to be ours. Whoever is root in a pod can put anything in its place: it is looked at before it is opened,
/// since the open of a fifo waits for a writer, and that of a device can have effects. What is no file is none of ours.
fn read_file(at: impl AsFd, path: &[u8], most_bytes: u64) -> Result<Option<Vec<u8>>, Problem> {
    let opened = open_below(at, path, OFlags::PATH | OFlags::NOFOLLOW).and_then(|found| {
        let is_file = Stat::at(&found, b"")?.kind == NodeKind::File;
        is_file.then(|| reopen(&found, OFlags::RDONLY)).transpose()
    });
    let file = match opened {
        Ok(Some(file)) => file,
        Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
        Err(error) => return Err(Problem::Own { action: "open a file of .treesync", error: error.into() }),
    };
    let mut bytes = Vec::new();
    file.take(most_bytes).read_to_end(&mut bytes).map_err(Problem::own("read a file of .treesync"))?;
    Ok(Some(bytes))
}

/// Opens or makes a directory that nobody else may enter; whether it was made. Defaults of ACLs that it inherits are
/// removed, since new files would inherit them.
fn own_directory(at: impl AsFd, name: &[u8], shown: &'static str) -> Result<(OwnedFd, bool), Problem> {
    let is_new = match rustix::fs::mkdirat(&at, name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(Problem::Own { action: "create .treesync", error: error.into() }),
    };
    let opened = match open_below(&at, name, DIRECTORY) {
        Ok(opened) => opened,
        Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => return Err(Problem::Hidden(shown)),
        Err(error) => return Err(Problem::Own { action: "open .treesync", error: error.into() }),
    };
    if is_new {
        for acl in ["system.posix_acl_default", "system.posix_acl_access"] {
            match rustix::fs::fremovexattr(&opened, acl) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(Problem::Own { action: "clear the ACL of .treesync", error: error.into() }),
            }
        }
        rustix::fs::fchmod(&opened, Mode::RWXU).map_err(Problem::own("set the mode of .treesync"))?;
    }
    let stat = Stat::at(&opened, b"").map_err(Problem::own("read the state of .treesync"))?;
    if stat.uid != rustix::process::geteuid().as_raw() || stat.mode & 0o077 != 0 {
        return Err(Problem::Hidden(shown));
    }
    Ok((opened, is_new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_free_again_although_a_fork_still_holds_its_descriptor() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(folder.path()).expect("its descriptor");
        let home = Home::open(&root).unwrap_or_else(|problem| panic!("{problem}"));
        let held_by_a_fork = home.own.try_clone().expect("another descriptor");
        assert!(matches!(Home::open(&root), Err(Problem::Locked)));
        drop(home);
        assert!(Home::open(&root).is_ok());
        drop(held_by_a_fork);
    }
}
