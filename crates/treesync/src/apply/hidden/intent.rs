//! What an apply is going to do, written down before the first of it is visible.

use super::marker::{Marker, MarkerState};
use crate::model::proto::{self, operation::Act};
use crate::model::{DecodeError, Entry, Mtime, TreePath};
use crate::tree::Identity;
use prost::Message;

/// Marks the file. The last byte is the digit of its version, counted up when the layout changes or an operation is added: an
/// older version refuses to touch a copy that a newer one was changing.
const MAGIC: &[u8; 8] = b"tsintnt1";
const HEADER: usize = 8 + 4 + 8;
/// An intent holds a fraction of a batch; more than this is not one of ours.
pub(in crate::apply) const MOST_BYTES: u64 = 1 << 30;

/// One change of a copy. Each can be done again: it is tied to the inode that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::apply) enum Operation {
    /// Moves what stands at the path out of sight, if it is this inode.
    Trash { path: TreePath, identity: Identity },
    /// Moves a directory, if it is this inode and still at `from`.
    Move { from: TreePath, to: TreePath, identity: Identity },
    /// Gives what waits in the stage under the number its path; what stood there is replaced, or moved out of sight.
    Publish { number: u64, path: TreePath, identity: Identity },
    /// Makes the metadata equal to the entry's, if it is this inode.
    Set { path: TreePath, identity: Identity, entry: Box<Entry> },
    /// Sets the mtime of a directory back, after names in it changed.
    Times { path: TreePath, mtime: Mtime },
}

/// All changes of one apply, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// What the marker says when all is done.
    pub after: Marker,
    pub(in crate::apply) operations: Vec<Operation>,
}

/// Why bytes are not an intent.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// Not written to the end, or damaged.
    #[error("it is not complete")]
    Incomplete,
    /// Of this later version.
    #[error("it is of version {0}")]
    Newer(u8),
    /// Complete, and wrong all the same.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Intent {
    /// As a file, and its checksum.
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let message = proto::Intent {
            position: Some((&self.after.position).into()),
            structure: self.after.structure,
            is_repair: self.after.state == MarkerState::Repairing,
            operations: self.operations.iter().map(Into::into).collect(),
        };
        Self::seal(&message.encode_to_vec())
    }

    /// A file with these bytes, and their checksum.
    pub(crate) fn seal(payload: &[u8]) -> (Vec<u8>, u32) {
        let checksum = crc32c::crc32c(payload);
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(payload);
        (bytes, checksum)
    }

    /// The version that this program writes, and reads.
    pub(in crate::apply) const VERSION: u8 = MAGIC[7] - b'0';

    /// Checks everything: the file may be half written, or hostile.
    ///
    /// # Errors
    /// Cut off, damaged, of a later version, or with paths that lead outside.
    pub fn decode(bytes: &[u8]) -> Result<(Self, u32), IntentError> {
        if let Some(digit @ b'0'..=b'9') = bytes.strip_prefix(&MAGIC[..7]).and_then(<[u8]>::first)
            && digit - b'0' > Self::VERSION
        {
            return Err(IntentError::Newer(digit - b'0'));
        }
        let (header, payload) = bytes.split_at_checked(HEADER).ok_or(IntentError::Incomplete)?;
        let checksum = crc32c::crc32c(payload);
        let expected = [MAGIC, &checksum.to_le_bytes()[..], &(payload.len() as u64).to_le_bytes()].concat();
        if header != expected {
            return Err(IntentError::Incomplete);
        }
        let message = proto::Intent::decode(payload).map_err(DecodeError::from)?;
        let position = message.position.ok_or(IntentError::Incomplete)?.try_into()?;
        let state = if message.is_repair { MarkerState::Repairing } else { MarkerState::Clean };
        let operations = message.operations.into_iter().map(TryInto::try_into).collect::<Result<_, DecodeError>>()?;
        Ok((Self { after: Marker { position, structure: message.structure, state }, operations }, checksum))
    }
}

fn bytes(path: &TreePath) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(path.as_bytes())
}

impl From<&Operation> for proto::Operation {
    fn from(operation: &Operation) -> Self {
        let (act, identity) = match operation {
            Operation::Trash { path, identity } => (Act::Trash(proto::Trash { path: bytes(path) }), Some(identity)),
            Operation::Move { from, to, identity } => (Act::Move(proto::Move { from: bytes(from), to: bytes(to) }), Some(identity)),
            Operation::Publish { number, path, identity } => {
                (Act::Publish(proto::Publish { number: *number, path: bytes(path) }), Some(identity))
            }
            Operation::Set { path, identity, entry } => {
                (Act::Set(proto::Set { path: bytes(path), entry: Some((&**entry).into()) }), Some(identity))
            }
            Operation::Times { path, mtime } => {
                let times = proto::Times { path: bytes(path), mtime_s: mtime.seconds, mtime_ns: mtime.nanoseconds };
                (Act::Times(times), None)
            }
        };
        let identity = identity.copied().unwrap_or(Identity { inode: 0, born: Mtime::default() });
        Self { inode: identity.inode, born_s: identity.born.seconds, born_ns: identity.born.nanoseconds, act: Some(act) }
    }
}

impl TryFrom<proto::Operation> for Operation {
    type Error = DecodeError;

    fn try_from(message: proto::Operation) -> Result<Self, DecodeError> {
        let born = Mtime { seconds: message.born_s, nanoseconds: message.born_ns };
        let identity = Identity { inode: message.inode, born };
        let path = |bytes: bytes::Bytes| TreePath::parse(bytes.to_vec());
        let bad = |field: &'static str, problem| DecodeError::Field { field, object: "an operation".to_owned(), problem };
        Ok(match message.act.ok_or_else(|| bad("act", "not one that this version knows"))? {
            Act::Trash(trash) => Self::Trash { path: path(trash.path)?, identity },
            Act::Move(moved) => Self::Move { from: path(moved.from)?, to: path(moved.to)?, identity },
            Act::Publish(publish) => Self::Publish { number: publish.number, path: path(publish.path)?, identity },
            Act::Set(set) => {
                let path = path(set.path)?;
                let entry = Entry::decode(set.entry.ok_or_else(|| bad("entry", "missing"))?, &path)?;
                Self::Set { path, identity, entry: Box::new(entry) }
            }
            Act::Times(times) if times.mtime_ns > 999_999_999 => return Err(bad("mtime_ns", "above 999,999,999")),
            Act::Times(times) => {
                Self::Times { path: path(times.path)?, mtime: Mtime { seconds: times.mtime_s, nanoseconds: times.mtime_ns } }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContentHash, Kind, Position, SourceId};

    fn intent() -> Intent {
        let path = |text: &str| TreePath::parse(text).expect("a good path");
        let identity = Identity { inode: 12, born: Mtime { seconds: 5, nanoseconds: 6 } };
        let mtime = Mtime { seconds: -1, nanoseconds: 999_999_999 };
        let kind = Kind::File { size_bytes: 3, content: ContentHash::of(b"abc") };
        let entry = Entry { kind, mode: 0o644, uid: 1, gid: 2, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 4 };
        let operations = vec![
            Operation::Trash { path: path("a"), identity },
            Operation::Move { from: path("b"), to: path("c/d"), identity },
            Operation::Publish { number: 7, path: path("e"), identity },
            Operation::Set { path: path("f"), identity, entry: Box::new(entry) },
            Operation::Times { path: TreePath::root(), mtime },
        ];
        let position = Position { source: SourceId([1; 16]), epoch: 2, generation: 3 };
        Intent { after: Marker { position, structure: 4, state: MarkerState::Clean }, operations }
    }

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let (bytes, checksum) = intent().encode();
        let (decoded, read) = Intent::decode(&bytes).expect("complete");
        assert_eq!((decoded, read), (intent(), checksum));
    }

    #[test]
    fn a_half_written_or_damaged_intent_is_incomplete() {
        let (bytes, _) = intent().encode();
        for length in 0..bytes.len() {
            assert!(matches!(Intent::decode(&bytes[..length]), Err(IntentError::Incomplete)), "{length} bytes");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Intent::decode(&damaged).is_err(), "byte {at}");
        }
    }
}
