//! Files that are likely to change with the next batch.

use super::encode::{DecodeError, field, proto};
use super::{ContentHash, Put};

/// Files as they were read while the source was not quiet yet. A hint, so that copies can make them meanwhile where nobody
/// sees them; what is true comes with the batch, whether it holds them or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ahead {
    generation: u64,
    puts: Vec<Put>,
}

impl Ahead {
    /// Files with their bytes, in no order; their content generation means nothing. `generation` is where the source is: once
    /// it is at a later one these files are of no use. Digests are compared here, once for all copies of a host.
    ///
    /// # Errors
    /// A put is no file, or has no bytes, or others than it says.
    pub fn new(generation: u64, puts: Vec<Put>) -> Result<Self, DecodeError> {
        match puts.iter().find(|put| !has_its_bytes(put)) {
            Some(put) => Err(field("inline", &put.path, "missing, or of another digest")),
            None => Ok(Self { generation, puts }),
        }
    }

    /// Where the source was.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The files. Each has the bytes of its digest.
    pub fn puts(&self) -> &[Put] {
        &self.puts
    }
}

fn has_its_bytes(put: &Put) -> bool {
    let (Some(bytes), Some((size_bytes, content))) = (&put.inline, put.entry.file()) else { return false };
    bytes.len() as u64 == size_bytes && ContentHash::of(bytes) == content
}

impl From<&Ahead> for proto::Ahead {
    fn from(ahead: &Ahead) -> Self {
        Self { generation: ahead.generation, puts: ahead.puts.iter().map(Into::into).collect() }
    }
}

impl TryFrom<proto::Ahead> for Ahead {
    type Error = DecodeError;

    fn try_from(ahead: proto::Ahead) -> Result<Self, DecodeError> {
        Self::new(ahead.generation, ahead.puts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Entry, Kind, Mtime, TreePath};

    #[test]
    fn bytes_of_another_digest_are_no_hint() {
        let of = |content: &[u8], inline: Option<&'static [u8]>| {
            let kind = Kind::File { size_bytes: 3, content: ContentHash::of(content) };
            let mtime = Mtime::default();
            let entry = Entry { kind, mode: 0o644, uid: 0, gid: 0, mtime, link_target: Vec::new(), xattrs: Vec::new(), link_group: 0 };
            let path = TreePath::parse("f").expect("a good path");
            let inline = inline.map(Into::into);
            Ahead::new(1, vec![Put { path, entry, content_generation: 0, inline, held_at: None, delta: None, data_bytes: None }])
        };
        assert!(of(b"abc", Some(b"abc")).is_ok());
        assert!([of(b"abc", Some(b"abd")), of(b"abcd", Some(b"abcd")), of(b"abc", None)].iter().all(Result::is_err));
    }
}
