//! Reads the whole state of a path, or says that it changed meanwhile.

use super::lookup::reopen;
use super::{Lookup, NodeKind, Stat, TreeError, hash_sparse_until, read_xattrs};
use crate::model::{ContentHash, Entry, Kind, Rules, TreePath};
use bytes::Bytes;
use rustix::fs::OFlags;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// What a path was when it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Nothing stands there.
    Absent,
    /// Something that does not travel stands there.
    Skipped(NodeKind),
    /// It changed while it was read: read it again later.
    Torn,
    /// Its state, and what `statx` said of it before and after.
    Entry(Box<Entry>, Stat),
}

impl Lookup<'_> {
    /// Reads a path: `statx`, target, attributes, the digest of its bytes, and `statx` again.
    /// The entry has the inode number as its link group when it has more than one name.
    ///
    /// # Errors
    /// The way to it leads out of the tree, or the kernel refuses.
    pub fn read_entry(&mut self, path: &TreePath, rules: &Rules) -> Result<Reading, TreeError> {
        self.read_entry_and_bytes(path, rules, 0).map(|(reading, _)| reading)
    }

    /// As [`Lookup::read_entry`], with the bytes of a file that has no more than `most_bytes`.
    ///
    /// # Errors
    /// As [`Lookup::read_entry`].
    pub fn read_entry_and_bytes(&mut self, path: &TreePath, rules: &Rules, most_bytes: u64) -> Result<(Reading, Option<Bytes>), TreeError> {
        let (descriptor, stat) = match self.open_path(path) {
            Ok(opened) => opened,
            Err(error) if error.is_absent() => return Ok((Reading::Absent, None)),
            // A mount on the last component: NO_XDEV refuses it, `statx` tells what it is.
            Err(error @ TreeError::NotBelow { .. }) => {
                return match self.stat(path)? {
                    Some(stat) if stat.kind == NodeKind::MountPoint => Ok((Reading::Skipped(stat.kind), None)),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        if !stat.kind.travels() {
            return Ok((Reading::Skipped(stat.kind), None));
        }
        self.read_opened(path, &descriptor, stat, rules, most_bytes)
    }

    fn read_opened(
        &mut self,
        path: &TreePath,
        descriptor: &OwnedFd,
        stat: Stat,
        rules: &Rules,
        most_bytes: u64,
    ) -> Result<(Reading, Option<Bytes>), TreeError> {
        let (mut link_target, mut bytes) = (Vec::new(), None);
        let kind = match stat.kind {
            NodeKind::File => {
                let file = reopen(descriptor, OFlags::RDONLY).map_err(|error| self.failed(path, "open", error))?;
                let failed = |error: io::Error| self.failed(path, "read", error);
                let content = if stat.size_bytes <= most_bytes {
                    bytes = read_whole(&file, stat.size_bytes).map_err(failed)?;
                    bytes.as_deref().map(ContentHash::of)
                } else {
                    hash_sparse_until(&file, stat.size_bytes, self.root().stop()).map_err(failed)?
                };
                match content {
                    Some(content) => Kind::File { size_bytes: stat.size_bytes, content },
                    None => return Ok((Reading::Torn, None)),
                }
            }
            NodeKind::Symlink => {
                let target = rustix::fs::readlinkat(descriptor, "", Vec::new());
                link_target = target.map_err(|error| self.failed(path, "read the link", error))?.into_bytes();
                Kind::Symlink
            }
            _ => Kind::Directory,
        };
        let xattrs = read_xattrs(descriptor, rules).map_err(|error| self.failed(path, "read the extended attributes of", error))?;
        let after = Stat::at(descriptor, b"").map_err(|error| self.failed(path, "read the state of", error))?;
        if !is_unchanged(&stat, &after) {
            return Ok((Reading::Torn, None));
        }
        let link_group = if stat.kind != NodeKind::Directory && stat.links > 1 { stat.identity.inode } else { 0 };
        let mode = match stat.kind {
            NodeKind::Symlink => 0o777,
            NodeKind::File => rules.file_mode(stat.mode),
            _ => stat.mode,
        };
        let entry = Entry { kind, mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, link_target, xattrs, link_group };
        Ok((Reading::Entry(Box::new(entry), after), bytes))
    }
}

/// All bytes of a file; none when it has another size by now.
fn read_whole(file: &File, size_bytes: u64) -> io::Result<Option<Bytes>> {
    // One more, to see that it ends there.
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX).saturating_add(1)];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok((length as u64 == size_bytes).then(|| bytes.into()))
}

/// A directory is its own state here, not its names: those come and go without making the reading wrong.
fn is_unchanged(before: &Stat, after: &Stat) -> bool {
    let metadata = |stat: &Stat| (stat.mode, stat.uid, stat.gid, stat.mtime);
    match before.kind {
        NodeKind::Directory => metadata(before) == metadata(after),
        _ => before == after,
    }
}
