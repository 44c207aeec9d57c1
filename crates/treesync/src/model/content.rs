//! The digest by which the bytes of a file are known, and how bytes are asked for.

use super::{DecodeError, TreePath, encode, proto};
use std::fmt;

/// Blake3 of bytes. Two files with the same digest are taken to hold the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes of a file that a copy lacks, as it asks for them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Wanted {
    /// Where the source has the file.
    pub path: TreePath,
    /// Digest of the whole file. A source whose file has another one by now answers that it is gone.
    pub content: ContentHash,
    /// Length of the whole file.
    pub size_bytes: u64,
    /// Where the wanted bytes start.
    pub offset_bytes: u64,
    /// How many are wanted; they are within the file.
    pub length_bytes: u64,
}

impl Wanted {
    /// All bytes of a file.
    pub fn whole(path: TreePath, size_bytes: u64, content: ContentHash) -> Self {
        Self { path, content, size_bytes, offset_bytes: 0, length_bytes: size_bytes }
    }

    /// Whether it is the file from its start to its end, so that `content` is the digest of what comes.
    pub fn is_whole(&self) -> bool {
        self.offset_bytes == 0 && self.length_bytes == self.size_bytes
    }
}

impl From<&Wanted> for proto::Wanted {
    fn from(wanted: &Wanted) -> Self {
        Self {
            path: wanted.path.as_bytes().to_vec().into(),
            content: wanted.content.0.to_vec().into(),
            size_bytes: wanted.size_bytes,
            offset_bytes: wanted.offset_bytes,
            length_bytes: wanted.length_bytes,
        }
    }
}

impl TryFrom<proto::Wanted> for Wanted {
    type Error = DecodeError;

    fn try_from(message: proto::Wanted) -> Result<Self, DecodeError> {
        let path = TreePath::parse(message.path.to_vec())?;
        let content = message.content[..].try_into().map_err(|_| encode::field("content", &path, "not 32 bytes"))?;
        let end = message.offset_bytes.checked_add(message.length_bytes);
        if path.is_root() || end.is_none_or(|end| end > message.size_bytes) {
            return Err(encode::field("offset_bytes and length_bytes", &path, "beyond the end, or of the root"));
        }
        let (size_bytes, offset_bytes, length_bytes) = (message.size_bytes, message.offset_bytes, message.length_bytes);
        Ok(Self { path, content: ContentHash(content), size_bytes, offset_bytes, length_bytes })
    }
}
