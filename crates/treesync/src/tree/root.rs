//! The root of a tree: a descriptor, its device and its filesystem.

use super::{Lookup, Stop, TreeError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Kinds of filesystems that differ in what we may count on. The numbers are those of `statfs(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filesystem {
    /// ext4, or ext3, with a journal on its own device.
    Ext4,
    /// ext2, ext4 without a journal, or one whose journal cannot be seen: they have the same number as ext4.
    ExtWithoutJournal,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// Memory.
    Tmpfs,
    /// A union of others.
    Overlay,
    /// Network, the other side changes without our kernel knowing.
    Nfs,
    /// Served by a process.
    Fuse,
    /// Another, with its number.
    Other(u64),
}

impl Filesystem {
    /// By its number in `statfs`, and its device.
    fn of(magic: u64, device: u64) -> Self {
        match magic {
            0xEF53 if has_journal(device) => Self::Ext4,
            0xEF53 => Self::ExtWithoutJournal,
            0x5846_5342 => Self::Xfs,
            0x9123_683E => Self::Btrfs,
            0x0102_1994 => Self::Tmpfs,
            0x794C_7630 => Self::Overlay,
            0x6969 => Self::Nfs,
            0x6573_5546 => Self::Fuse,
            other => Self::Other(other),
        }
    }

    /// Whether one journal keeps all changes of metadata in the order in which they were made, so that an `fsync`
    /// of the last of them makes all durable. Measured by shutdown of the filesystem; elsewhere `syncfs` is needed.
    pub fn keeps_order(self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs | Self::Tmpfs)
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ext4 => f.write_str("ext4"),
            Self::ExtWithoutJournal => f.write_str("ext without a journal"),
            Self::Xfs => f.write_str("xfs"),
            Self::Btrfs => f.write_str("btrfs"),
            Self::Tmpfs => f.write_str("tmpfs"),
            Self::Overlay => f.write_str("overlay"),
            Self::Nfs => f.write_str("nfs"),
            Self::Fuse => f.write_str("fuse"),
            Self::Other(magic) => write!(f, "filesystem {magic:#x}"),
        }
    }
}

/// Where the kernel lists the journals of ext3 and ext4 that are in use (`jbd2_stats_proc_init` in fs/jbd2/journal.c): each is
/// named by its block device and, if it is inside the filesystem, the number of its inode, as `nvme1n1-8`, `nvme1n1p2-8`, `loop0-8`
/// or `dm-3-8`.
const JOURNALS: &str = "/proc/fs/jbd2";

/// Whether an ext filesystem has a journal on its device. No, where the kernel does not say: then `syncfs` is used, which is slow
/// and right. sysfs names the device of a number as the kernel does, so a partition, a loop device or a device of the mapper
/// is found by the same name in both.
fn has_journal(device: u64) -> bool {
    let link = format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(target) = std::fs::read_link(link) else { return false };
    let (Some(name), Ok(mut journals)) = (target.file_name(), std::fs::read_dir(JOURNALS)) else { return false };
    journals.any(|journal| journal.is_ok_and(|journal| is_journal_of(journal.file_name().as_bytes(), name.as_bytes())))
}

/// Whether an entry of [`JOURNALS`] is of a device. A name may be the beginning of another, and have a dash in it.
fn is_journal_of(journal: &[u8], device: &[u8]) -> bool {
    let inode = journal.strip_prefix(device).and_then(|rest| rest.strip_prefix(b"-"));
    inode.is_some_and(|inode| !inode.is_empty() && inode.iter().all(u8::is_ascii_digit))
}

/// An open root directory. It stays the same directory when its path is renamed or mounted over.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    descriptor: OwnedFd,
    filesystem: Filesystem,
    device: u64,
    stop: Stop,
}

impl Root {
    /// Opens a directory. Its own path may go through symbolic links: it is named by the administrator.
    ///
    /// # Errors
    /// It does not exist, is not a directory, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let failed = |action| move |error: rustix::io::Errno| TreeError::Root { tree: path.to_owned(), action, error: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed("open the directory"))?;
        Self::from_descriptor(path, descriptor)
    }

    /// A root that is open already; `path` is named in errors.
    pub fn from_descriptor(path: &Path, descriptor: OwnedFd) -> Result<Self, TreeError> {
        let failed = |action| move |error: rustix::io::Errno| TreeError::Root { tree: path.to_owned(), action, error: error.into() };
        let filesystem = rustix::fs::fstatfs(&descriptor).map_err(failed("ask for the filesystem"))?;
        let state = rustix::fs::statx(&descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        let state = state.map_err(failed("read the state of the directory"))?;
        let device = rustix::fs::makedev(state.stx_dev_major, state.stx_dev_minor);
        let filesystem = Filesystem::of(u64::try_from(filesystem.f_type).unwrap_or_default(), device);
        Ok(Self { path: path.to_owned(), descriptor, filesystem, device, stop: Stop::default() })
    }

    /// Lookups of this root fail once `stop` is set, in the middle of a file as well: so a thread that reads lets go of the tree.
    #[must_use]
    pub fn until(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// What ends its lookups.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The path by which it was opened; for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is on.
    pub fn filesystem(&self) -> Filesystem {
        self.filesystem
    }

    /// The number of its device, as `st_dev`.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// A lookup with no directories open yet.
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup::new(self)
    }

    /// Bytes and inodes that may still be used; `None` for inodes where the filesystem has no limit of them.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn free_space(&self) -> io::Result<(u64, Option<u64>)> {
        let state = rustix::fs::fstatvfs(&self.descriptor)?;
        Ok((state.f_bavail.saturating_mul(state.f_frsize), (state.f_files > 0).then_some(state.f_favail)))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::is_journal_of;

    #[test]
    fn a_journal_is_of_the_device_that_it_names_and_of_no_other() {
        let is = |journal: &str, device: &str| is_journal_of(journal.as_bytes(), device.as_bytes());
        assert!(is("nvme1n1-8", "nvme1n1") && is("nvme1n1p2-8", "nvme1n1p2") && is("loop0-8", "loop0") && is("dm-3-8", "dm-3"));
        assert!(!is("nvme1n1p2-8", "nvme1n1") && !is("loop10-8", "loop1") && !is("dm-31-8", "dm-3") && !is("dm-3-8", "dm"));
        assert!(!is("loop0", "loop0") && !is("loop0-", "loop0"), "on a device of its own it is not kept in order with the rest");
    }
}
