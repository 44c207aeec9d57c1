//! Files that are likely to change with the next batch.

use super::encode::{DecodeError, field, proto};
use super::{ContentHash, Put, Xattr};
use bytes::Bytes;

/// Files up to this size are told ahead, and larger ones refused: what takes long to make on a copy is the file, not its
/// bytes.
pub const AHEAD_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Files as they were read while the source was not quiet yet. A hint, so that copies can make them meanwhile where nobody
/// sees them; what is true comes with the batch, whether it holds them or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ahead {
    generation: u64,
    puts: Vec<Put>,
    bytes: usize,
}

impl Ahead {
    /// Files with their bytes, in no order; their content generation means nothing. `generation` is where the source is: once
    /// it is at a later one these files are of no use. Digests are compared here, once for all copies of a host.
    ///
    /// # Errors
    /// A put is no file, or has no bytes, too many, or others than it says.
    pub fn new(generation: u64, puts: Vec<Put>) -> Result<Self, DecodeError> {
        match puts.iter().find(|put| !has_its_bytes(put)) {
            Some(put) => Err(field("inline", &put.path, "missing, too long, or of another digest")),
            None => Ok(Self { generation, bytes: puts.iter().map(bytes_of).sum(), puts }),
        }
    }

    /// Where the source was.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The memory that the files take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The files. Each has the bytes of its digest.
    pub fn puts(&self) -> &[Put] {
        &self.puts
    }
}

fn has_its_bytes(put: &Put) -> bool {
    let (Some(bytes), Some((size_bytes, content))) = (&put.inline, put.entry.file()) else { return false };
    size_bytes <= AHEAD_FILE_MAX_BYTES && bytes.len() as u64 == size_bytes && ContentHash::of(bytes) == content
}

fn bytes_of(put: &Put) -> usize {
    let xattrs: usize = put.entry.xattrs.iter().map(|xattr| size_of::<Xattr>() + xattr.name.len() + xattr.value.len()).sum();
    let names = put.path.as_bytes().len() + put.entry.link_target.len();
    size_of::<Put>() + names + xattrs + put.inline.as_ref().map_or(0, Bytes::len)
}

impl From<&Ahead> for proto::Ahead {
    fn from(ahead: &Ahead) -> Self {
        Self { generation: ahead.generation, puts: ahead.puts.iter().map(Into::into).collect() }
    }
}

impl TryFrom<proto::Ahead> for Ahead {
    type Error = DecodeError;

    fn try_from(ahead: proto::Ahead) -> Result<Self, DecodeError> {
        let put = |put: proto::Put| {
            let mut put = Put::try_from(put)?;
            // It waits for long, perhaps, and is not to hold the message that it came in, which may be large.
            put.inline = put.inline.as_deref().map(Bytes::copy_from_slice);
            (put.held_at, put.delta) = (None, None);
            Ok(put)
        };
        Self::new(ahead.generation, ahead.puts.into_iter().map(put).collect::<Result<_, DecodeError>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Entry, Kind, Mtime, TreePath};

    fn put(size_bytes: u64, content: &[u8], inline: Option<&[u8]>) -> Put {
        let kind = Kind::File { size_bytes, content: ContentHash::of(content) };
        let mtime = Mtime::default();
        let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 };
        let path = TreePath::parse("f").expect("a good path");
        let inline = inline.map(Bytes::copy_from_slice);
        Put { path, entry, content_generation: 0, inline, held_at: None, delta: None, data_bytes: None }
    }

    #[test]
    fn bytes_of_another_digest_are_no_hint() {
        let of = |content: &[u8], inline: Option<&[u8]>| Ahead::new(1, vec![put(3, content, inline)]);
        assert!(of(b"abc", Some(b"abc")).is_ok());
        assert!([of(b"abc", Some(b"abd")), of(b"abcd", Some(b"abcd")), of(b"abc", None)].iter().all(Result::is_err));
    }

    #[test]
    fn a_file_that_no_publisher_tells_ahead_is_no_hint() {
        let of = |size_bytes: u64| {
            let bytes = vec![7; usize::try_from(size_bytes).expect("it fits")];
            Ahead::new(1, vec![put(size_bytes, &bytes, Some(&bytes))])
        };
        assert!(of(AHEAD_FILE_MAX_BYTES).is_ok_and(|ahead| ahead.bytes() as u64 > AHEAD_FILE_MAX_BYTES));
        assert!(of(AHEAD_FILE_MAX_BYTES + 1).is_err());
    }

    #[test]
    fn a_hint_does_not_hold_the_message_that_it_came_in() {
        let held_at = Some(TreePath::parse("elsewhere").expect("a good path"));
        let told = Ahead::new(1, vec![Put { held_at, ..put(3, b"abc", Some(b"abc")) }]).expect("a good hint");
        let message: Bytes = prost::Message::encode_to_vec(&proto::Ahead::from(&told)).into();
        let decoded: proto::Ahead = prost::Message::decode(message.clone()).expect("a message");
        let ahead = Ahead::try_from(decoded).expect("a good hint");
        assert!(message.is_unique(), "nothing else has it");
        assert_eq!(ahead.puts(), [put(3, b"abc", Some(b"abc"))]);
    }
}
