//! The list of all that a source holds, in parts: for a copy that no batch can bring up to date.

use super::encode::{DecodeError, field, proto};
use super::{Position, Put};

/// A part of the list of all that the source holds at one position.
///
/// Puts are in the order of paths over all parts, each path once, the root first. They carry no bytes and no delta.
/// What a copy has and the list has not, is to be removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestPart {
    /// Of the whole list: a copy equal to it is there.
    pub position: Position,
    /// Whether the list ends here.
    pub is_last_part: bool,
    /// The next piece of the list.
    pub puts: Vec<Put>,
}

impl From<&ManifestPart> for proto::ManifestPart {
    fn from(part: &ManifestPart) -> Self {
        Self { position: Some((&part.position).into()), is_last_part: part.is_last_part, puts: part.puts.iter().map(Into::into).collect() }
    }
}

impl TryFrom<proto::ManifestPart> for ManifestPart {
    type Error = DecodeError;

    fn try_from(part: proto::ManifestPart) -> Result<Self, DecodeError> {
        let position = part.position.ok_or_else(|| field("position", "a manifest", "missing"))?.try_into()?;
        let puts: Vec<Put> = part.puts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        if !puts.is_sorted_by(|one, next| one.path < next.path) {
            return Err(field("puts", "a manifest", "not in order"));
        }
        Ok(Self { position, is_last_part: part.is_last_part, puts })
    }
}
