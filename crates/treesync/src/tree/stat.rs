//! What `statx` says of a path.

use crate::model::Mtime;
use rustix::fs::{AtFlags, FileType, Statx, StatxAttributes, StatxFlags, StatxTimestamp};
use std::os::fd::AsFd;

/// What stands at a path. Only the first three travel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block or character device.
    Device,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// Something is mounted there; what is below is not of this tree.
    MountPoint,
}

impl NodeKind {
    /// Whether it travels.
    pub fn travels(self) -> bool {
        matches!(self, Self::File | Self::Directory | Self::Symlink)
    }
}

/// Names one inode for its life: the number alone comes again after a removal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Identity {
    /// Its number.
    pub inode: u64,
    /// When it was made; zero where the filesystem does not say.
    pub born: Mtime,
}

/// The state of one inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, `07777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length; of a directory, whatever the filesystem says.
    pub size_bytes: u64,
    /// Last change of content.
    pub mtime: Mtime,
    /// Last change of anything; set by the kernel alone.
    pub ctime: Mtime,
    /// Which inode.
    pub identity: Identity,
    /// How many names it has.
    pub links: u32,
    /// Whether `chattr +i` or `+a` forbids to change, rename or remove it.
    pub is_frozen: bool,
}

impl Stat {
    /// Of a name in a directory; an empty name is the directory itself. A final symbolic link is not followed.
    pub(crate) fn at(directory: impl AsFd, name: &[u8]) -> rustix::io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
        let state = rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
        Ok(Self::of(&state, !name.is_empty()))
    }

    /// A root is a mount point as well, so only names are judged by that.
    fn of(state: &Statx, is_name: bool) -> Self {
        let kind = match FileType::from_raw_mode(state.stx_mode.into()) {
            _ if is_name && state.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => NodeKind::MountPoint,
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => NodeKind::Symlink,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            _ => NodeKind::Device,
        };
        let has_birth = StatxFlags::from_bits_retain(state.stx_mask).contains(StatxFlags::BTIME);
        let born = if has_birth { time(state.stx_btime) } else { Mtime::default() };
        Self {
            kind,
            mode: u32::from(state.stx_mode) & 0o7777,
            uid: state.stx_uid,
            gid: state.stx_gid,
            size_bytes: state.stx_size,
            mtime: time(state.stx_mtime),
            ctime: time(state.stx_ctime),
            identity: Identity { inode: state.stx_ino, born },
            links: state.stx_nlink,
            is_frozen: state.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND),
        }
    }
}

fn time(time: StatxTimestamp) -> Mtime {
    Mtime { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
}
