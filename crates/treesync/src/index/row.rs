//! What the index holds of one name, and its bytes in the table.

use super::IndexError;
use crate::model::{ContentHash, Entry, Kind, Mtime, Xattr};

/// What `statx` says of an inode that decides whether it must be read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp {
    /// Inode number.
    pub inode: u64,
    /// Number of names, also those outside of the tree.
    pub link_count: u32,
    /// Time of the last change of anything. All zero: too young to be trusted, read again.
    pub ctime: Mtime,
}

/// A name in the index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its state.
    pub entry: Entry,
    /// As of when it was read.
    pub stamp: Stamp,
    /// When it changed last.
    pub last_generation: u64,
    /// Since when it has its bytes.
    pub content_generation: u64,
    /// Of a directory, its number here; of others 0.
    pub directory: u64,
}

/// Bytes of a row before those of variable length.
const FIXED_BYTES: usize = 8 * 5 + 4 + 12 * 2 + 1 + 4 * 3 + 8 + 32 + 8 + 4;

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMLINK: u8 = 3;

/// Takes values off the front of bytes; none when they are too few.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.bytes(8)?.try_into().ok()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub fn time(&mut self) -> Option<Mtime> {
        Some(Mtime { seconds: self.u64()?.cast_signed(), nanoseconds: self.u32()? })
    }

    pub fn hash(&mut self) -> Option<ContentHash> {
        Some(ContentHash(self.bytes(32)?.try_into().ok()?))
    }

    /// Bytes with their length before them.
    pub fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }
}

/// Lengths in the index fit: names, values and lists are far below 4 GiB.
pub(super) fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn put_time(out: &mut Vec<u8>, time: Mtime) {
    out.extend_from_slice(&time.seconds.to_be_bytes());
    out.extend_from_slice(&time.nanoseconds.to_be_bytes());
}

impl Row {
    pub(super) fn encode(&self) -> Vec<u8> {
        let entry = &self.entry;
        let mut out = Vec::with_capacity(FIXED_BYTES + entry.link_target.len());
        for number in [self.last_generation, self.content_generation, self.stamp.inode, self.directory, entry.link_group] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.stamp.link_count.to_be_bytes());
        put_time(&mut out, self.stamp.ctime);
        put_time(&mut out, entry.mtime);
        let (kind, size, content) = match entry.kind {
            Kind::File { size_bytes, content } => (FILE, size_bytes, content),
            Kind::Directory => (DIRECTORY, 0, ContentHash([0; 32])),
            Kind::Symlink => (SYMLINK, 0, ContentHash([0; 32])),
        };
        out.push(kind);
        for number in [entry.mode, entry.uid, entry.gid] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&content.0);
        put_counted(&mut out, &entry.link_target);
        for xattr in &entry.xattrs {
            put_counted(&mut out, &xattr.name);
            put_counted(&mut out, &xattr.value);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        Self::take(&mut Cursor(bytes)).ok_or(IndexError::Damaged("a row is cut off or of an unknown kind"))
    }

    fn take(from: &mut Cursor) -> Option<Self> {
        let (last_generation, content_generation, inode) = (from.u64()?, from.u64()?, from.u64()?);
        let (directory, link_group, link_count) = (from.u64()?, from.u64()?, from.u32()?);
        let (ctime, mtime) = (from.time()?, from.time()?);
        let kind = from.bytes(1)?[0];
        let (mode, uid, gid) = (from.u32()?, from.u32()?, from.u32()?);
        let (size_bytes, content) = (from.u64()?, from.hash()?);
        let kind = match kind {
            FILE => Kind::File { size_bytes, content },
            DIRECTORY => Kind::Directory,
            SYMLINK => Kind::Symlink,
            _ => return None,
        };
        let link_target = from.counted()?.to_vec();
        let mut xattrs = Vec::new();
        while !from.0.is_empty() {
            xattrs.push(Xattr { name: from.counted()?.to_vec(), value: from.counted()?.to_vec() });
        }
        let entry = Entry { kind, mode, uid, gid, mtime, link_target, xattrs, link_group };
        let stamp = Stamp { inode, link_count, ctime };
        Some(Self { entry, stamp, last_generation, content_generation, directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let entry = Entry {
            kind: Kind::File { size_bytes: 7, content: ContentHash::of(b"content") },
            mode: 0o640,
            uid: 1,
            gid: 2,
            mtime: Mtime { seconds: -1, nanoseconds: 999_999_999 },
            link_target: b"".to_vec(),
            xattrs: vec![Xattr { name: b"user.a".to_vec(), value: vec![0, 255] }, Xattr { name: b"user.b".to_vec(), value: vec![] }],
            link_group: 12,
        };
        let stamp = Stamp { inode: 12, link_count: 2, ctime: Mtime { seconds: 5, nanoseconds: 6 } };
        Row { entry, stamp, last_generation: 9, content_generation: 8, directory: 0 }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let link = Entry { kind: Kind::Symlink, link_target: b"../x".to_vec(), ..row().entry };
        for written in [row(), Row { entry: link, ..row() }] {
            assert_eq!(Row::decode(&written.encode()).expect("decodes"), written);
        }
    }

    #[test]
    fn a_row_that_is_cut_off_is_an_error() {
        let bytes = row().encode();
        // Cut between two attributes it is another whole row; the checksums of the store are there for that.
        let whole = bytes.len() - 8 - b"user.b".len();
        let without = whole - 8 - b"user.a".len() - 2;
        for length in (0..bytes.len()).filter(|length| ![whole, without].contains(length)) {
            assert!(Row::decode(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
