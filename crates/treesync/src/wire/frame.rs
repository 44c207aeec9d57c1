//! Messages of a stream as frames: cut to pieces, counted, and each with a checksum; and back, trusting nothing.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use proto::frame::Kind;

use crate::model::{Ahead, Batch, ContentHash, DecodeError, ManifestPart, Position, TreePath, proto};

/// The payload of a frame at most: well below the 4 MiB that gRPC ends accept by default, large enough that the cost of
/// a frame does not count.
pub const FRAME_MAX_BYTES: usize = 1024 * 1024;

/// A message at most, all of its frames together; one that promises more is refused before it fills the memory.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// One message of a stream.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// Changes.
    Batch(Batch),
    /// A part of the list of everything.
    Manifest(ManifestPart),
    /// All before it brings a copy here, and there is nothing newer yet.
    InSync(Position),
    /// Digests of directories.
    Digests(Digests),
    /// Files that are likely to change next.
    Ahead(Ahead),
}

/// The digest of each directory at a position, in parts.
#[derive(Clone, PartialEq, Debug)]
pub struct Digests {
    /// Of all parts.
    pub position: Position,
    /// Whether there are no more.
    pub is_last_part: bool,
    /// Each directory with its digest.
    pub directories: Vec<(TreePath, ContentHash)>,
}

/// How a stream lied. The connection is closed, and nothing of the message is used.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Bytes changed on their way.
    #[error("frame {sequence} has checksum {found:08x} and says {said:08x}")]
    Checksum {
        /// Which frame.
        sequence: u64,
        /// Over the payload.
        found: u32,
        /// In the frame.
        said: u32,
    },
    /// A frame is missing or doubled.
    #[error("frame {found} came where {expected} was expected")]
    Order {
        /// The next one.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// Frames of one message do not agree.
    #[error("frame {sequence} is of another kind than the message that it continues, or of one that this version does not know")]
    Kind {
        /// Which frame.
        sequence: u64,
    },
    /// A frame or message is too large.
    #[error("frame {sequence} makes a message of {bytes} bytes, more than are accepted")]
    Size {
        /// Which frame.
        sequence: u64,
        /// How large the message would be.
        bytes: usize,
    },
    /// The message is not what it should be.
    #[error("the message that ends with frame {sequence} is refused: {error}")]
    Decode {
        /// Which frame.
        sequence: u64,
        /// What is wrong with it.
        error: DecodeError,
    },
}

/// The frames of a message that is encoded already, without their numbers, which are those of a stream.
/// All share the bytes.
pub fn frames(kind: Kind, encoded: &Bytes) -> Vec<proto::Frame> {
    let starts = (0..encoded.len().max(1)).step_by(FRAME_MAX_BYTES);
    let piece = |start: usize| {
        let end = encoded.len().min(start + FRAME_MAX_BYTES);
        let payload = encoded.slice(start..end);
        let crc32c = crc32c::crc32c(&payload);
        proto::Frame { kind: kind.into(), sequence: 0, is_last_piece: end == encoded.len(), crc32c, payload }
    };
    starts.map(piece).collect()
}

impl Message {
    /// Its frames, as [`frames`].
    pub fn to_frames(&self) -> Vec<proto::Frame> {
        let (kind, encoded) = match self {
            Self::Batch(batch) => (Kind::Batch, proto::Batch::from(batch).encode_to_vec()),
            Self::Manifest(part) => (Kind::Manifest, proto::ManifestPart::from(part).encode_to_vec()),
            Self::InSync(position) => (Kind::InSync, proto::Position::from(position).encode_to_vec()),
            Self::Digests(digests) => (Kind::DirectoryDigests, proto::DirectoryDigests::from(digests).encode_to_vec()),
            Self::Ahead(ahead) => (Kind::Ahead, proto::Ahead::from(ahead).encode_to_vec()),
        };
        frames(kind, &encoded.into())
    }

    fn decode(kind: Kind, bytes: Bytes) -> Result<Self, DecodeError> {
        Ok(match kind {
            Kind::Batch => Self::Batch(proto::Batch::decode(bytes)?.try_into()?),
            Kind::Manifest => Self::Manifest(proto::ManifestPart::decode(bytes)?.try_into()?),
            Kind::InSync => Self::InSync(proto::Position::decode(bytes)?.try_into()?),
            Kind::DirectoryDigests => Self::Digests(proto::DirectoryDigests::decode(bytes)?.try_into()?),
            Kind::Ahead => Self::Ahead(proto::Ahead::decode(bytes)?.try_into()?),
            Kind::Unspecified => return Err(malformed("kind", "a frame", "not one that this version knows")),
        })
    }
}

fn malformed(field: &'static str, object: &str, problem: &'static str) -> DecodeError {
    DecodeError::Field { field, object: object.to_owned(), problem }
}

impl From<&Digests> for proto::DirectoryDigests {
    fn from(digests: &Digests) -> Self {
        let bytes = Bytes::copy_from_slice;
        let one =
            |(path, digest): &(TreePath, ContentHash)| proto::DirectoryDigest { path: bytes(path.as_bytes()), digest: bytes(&digest.0) };
        Self {
            position: Some((&digests.position).into()),
            is_last_part: digests.is_last_part,
            directories: digests.directories.iter().map(one).collect(),
        }
    }
}

impl TryFrom<proto::DirectoryDigests> for Digests {
    type Error = DecodeError;

    fn try_from(message: proto::DirectoryDigests) -> Result<Self, DecodeError> {
        let one = |directory: proto::DirectoryDigest| {
            let path = TreePath::parse(directory.path.to_vec())?;
            let digest = directory.digest[..].try_into().map_err(|_| malformed("digest", &path.to_string(), "not 32 bytes"))?;
            Ok((path, ContentHash(digest)))
        };
        let position = message.position.ok_or_else(|| malformed("position", "digests", "missing"))?;
        Ok(Self {
            position: position.try_into()?,
            is_last_part: message.is_last_part,
            directories: message.directories.into_iter().map(one).collect::<Result<_, DecodeError>>()?,
        })
    }
}

/// Puts frames of one stream together to messages. After an error it is of no more use: close the stream.
#[derive(Default, Debug)]
pub struct Assembler {
    next: u64,
    /// Kind and bytes of the message whose end has not come.
    open: Option<(Kind, BytesMut)>,
}

impl Assembler {
    /// Takes the next frame; a message when it ends one.
    ///
    /// # Errors
    /// What the frame lies about: checksum, order, kind, size, or content.
    pub fn take(&mut self, frame: proto::Frame) -> Result<Option<Message>, FrameError> {
        let sequence = frame.sequence;
        if sequence != self.next {
            return Err(FrameError::Order { expected: self.next, found: sequence });
        }
        self.next += 1;
        let found = crc32c::crc32c(&frame.payload);
        if found != frame.crc32c {
            return Err(FrameError::Checksum { sequence, found, said: frame.crc32c });
        }
        let bytes = self.open.as_ref().map_or(0, |(_, open)| open.len()) + frame.payload.len();
        if frame.payload.len() > FRAME_MAX_BYTES || bytes > MESSAGE_MAX_BYTES {
            return Err(FrameError::Size { sequence, bytes });
        }
        let kind = Kind::try_from(frame.kind).ok().filter(|kind| *kind != Kind::Unspecified).ok_or(FrameError::Kind { sequence })?;
        if self.open.as_ref().is_some_and(|(open, _)| *open != kind) {
            return Err(FrameError::Kind { sequence });
        }
        let whole = match (self.open.take(), frame.is_last_piece) {
            (None, true) => frame.payload,
            (open, is_last) => {
                let mut whole = open.map_or_else(BytesMut::new, |(_, bytes)| bytes);
                whole.extend_from_slice(&frame.payload);
                if !is_last {
                    self.open = Some((kind, whole));
                    return Ok(None);
                }
                whole.freeze()
            }
        };
        Message::decode(kind, whole).map(Some).map_err(|error| FrameError::Decode { sequence, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Entry, Kind as EntryKind, Mtime, Put, SourceId};

    fn batch(inline_bytes: usize) -> Batch {
        let inline = Bytes::from(vec![7; inline_bytes]);
        let kind = EntryKind::File { size_bytes: inline_bytes as u64, content: ContentHash::of(&inline) };
        let mtime = Mtime { seconds: -1, nanoseconds: 999_999_999 };
        let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 };
        let path = TreePath::parse("a/b").expect("a good path");
        let put = Put { path, entry, content_generation: 2, inline: Some(inline), held_at: None, delta: None, data_bytes: None };
        Batch { source: SourceId([1; 16]), epoch: 1, from: 1, to: 2, is_last_part: true, structure: Vec::new(), puts: vec![put] }
    }

    fn numbered(message: &Message) -> Vec<proto::Frame> {
        (0..).zip(message.to_frames()).map(|(sequence, frame)| proto::Frame { sequence, ..frame }).collect()
    }

    fn assemble(frames: Vec<proto::Frame>) -> Result<Vec<Message>, FrameError> {
        let mut assembler = Assembler::default();
        let taken: Vec<_> = frames.into_iter().map(|frame| assembler.take(frame)).collect::<Result<_, _>>()?;
        Ok(taken.into_iter().flatten().collect())
    }

    #[test]
    fn a_message_of_any_size_comes_back_as_it_was() {
        for bytes in [0, 1, FRAME_MAX_BYTES, 3 * FRAME_MAX_BYTES + 17] {
            let message = Message::Batch(batch(bytes));
            let frames = numbered(&message);
            assert_eq!(frames.len(), bytes / FRAME_MAX_BYTES + 1);
            assert!(frames.iter().all(|frame| frame.payload.len() <= FRAME_MAX_BYTES));
            assert_eq!(assemble(frames).expect("they are true"), [message]);
        }
    }

    #[test]
    fn frames_that_lie_are_refused() {
        let good = numbered(&Message::Batch(batch(2 * FRAME_MAX_BYTES)));
        let spoiled = |spoil: &dyn Fn(&mut Vec<proto::Frame>)| {
            let mut frames = good.clone();
            spoil(&mut frames);
            assemble(frames).expect_err("a lie")
        };
        assert!(matches!(spoiled(&|frames| frames[1].crc32c ^= 1), FrameError::Checksum { sequence: 1, .. }));
        assert!(matches!(spoiled(&|frames| drop(frames.remove(1))), FrameError::Order { expected: 1, found: 2 }));
        assert!(matches!(spoiled(&|frames| frames[1].kind = Kind::Manifest.into()), FrameError::Kind { sequence: 1 }));
        assert!(matches!(spoiled(&|frames| frames[0].kind = 99), FrameError::Kind { sequence: 0 }));
        assert!(matches!(spoiled(&|frames| frames[0].is_last_piece = true), FrameError::Decode { sequence: 0, .. }));
    }

    #[test]
    fn a_message_without_end_is_refused_before_it_fills_the_memory() {
        let payload = Bytes::from(vec![0; FRAME_MAX_BYTES]);
        let crc32c = crc32c::crc32c(&payload);
        let mut assembler = Assembler::default();
        let endless = (0..).map(|sequence| proto::Frame {
            kind: Kind::Batch.into(),
            sequence,
            is_last_piece: false,
            crc32c,
            payload: payload.clone(),
        });
        let refused = endless.map(|frame| assembler.take(frame)).find_map(Result::err).expect("it ends");
        assert!(matches!(refused, FrameError::Size { sequence: 64, .. }), "{refused}");
    }
}
