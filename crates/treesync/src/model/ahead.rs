//! Files that are likely to change with the next batch.

use super::encode::{DecodeError, field, proto};
use super::{ContentHash, Put};

/// Files as they were read while the source was not quiet yet. A hint, so that copies can make them meanwhile where nobody
/// sees them; what is true comes with the batch, whether it holds them or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ahead {
    /// Where the source is. Once it is at a later generation these files are of no use.
    pub generation: u64,
    /// Files with their bytes, in no order. Their content generation means nothing.
    pub puts: Vec<Put>,
}

impl From<&Ahead> for proto::Ahead {
    fn from(ahead: &Ahead) -> Self {
        Self { generation: ahead.generation, puts: ahead.puts.iter().map(Into::into).collect() }
    }
}

impl TryFrom<proto::Ahead> for Ahead {
    type Error = DecodeError;

    fn try_from(ahead: proto::Ahead) -> Result<Self, DecodeError> {
        let puts: Vec<Put> = ahead.puts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let has_bytes = |put: &Put| put.inline.as_ref().is_some_and(|bytes| put.entry.file().is_some_and(|file| is_of(bytes, file)));
        match puts.iter().find(|put| !has_bytes(put)) {
            Some(put) => Err(field("inline", &put.path, "missing, or of another digest")),
            None => Ok(Self { generation: ahead.generation, puts }),
        }
    }
}

/// Looked at once for all copies of a host.
fn is_of(bytes: &[u8], (size_bytes, content): (u64, ContentHash)) -> bool {
    bytes.len() as u64 == size_bytes && ContentHash::of(bytes) == content
}
