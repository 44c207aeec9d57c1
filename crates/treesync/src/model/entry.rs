//! The whole state of one path but its bytes.

use super::ContentHash;

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its length.
        size_bytes: u64,
        /// The digest of its bytes, holes read as zeros.
        content: ContentHash,
    },
    /// A directory.
    Directory,
    /// A symbolic link; its target is [`Entry::link_target`].
    Symlink,
}

/// Time of the last change of content, as `statx` gives it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Mtime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// An extended attribute; POSIX ACLs are the two `system.posix_acl_*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Xattr {
    /// With its namespace: `user.x`.
    pub name: Vec<u8>,
    /// Raw bytes as the kernel gives them.
    pub value: Vec<u8>,
}

/// The whole state of one path but its bytes. Two equal entries are equal files to every reader
/// that does not look at inode numbers, link groups or ctime.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// What stands there.
    pub kind: Kind,
    /// Permission bits, `07777`. Symbolic links: `0777`.
    pub mode: u32,
    /// Owner, numeric.
    pub uid: u32,
    /// Group, numeric.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Mtime,
    /// Of a symbolic link, never empty; of others, empty.
    pub link_target: Vec<u8>,
    /// Sorted by name, each name once; only those that the rules let travel.
    pub xattrs: Vec<Xattr>,
    /// Names with the same number other than 0 are one file. Stable while the file has more than one name.
    /// A batch that touches one name of a group has all of its names.
    pub link_group: u64,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Length and digest of a file.
    pub fn file(&self) -> Option<(u64, ContentHash)> {
        match self.kind {
            Kind::File { size_bytes, content } => Some((size_bytes, content)),
            Kind::Directory | Kind::Symlink => None,
        }
    }
}
