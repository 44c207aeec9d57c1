//! Words of live content: what a volume is to its pool, how far it is with its source, and where a state of the source is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an EBS volume is to its pool.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Role {
    /// It is a copy of the source.
    #[default]
    Copy,
    /// It is the source itself, which is never deleted in EC2 by us.
    Source,
}

/// What a volume is doing to be as its source, in one word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SyncState {
    /// The source is being compared with its index.
    #[default]
    Scanning,
    /// The source is published.
    Publishing,
    /// The copy lacks changes and receives them.
    CatchingUp,
    /// The copy has all that the source has.
    InSync,
    /// The source cannot be heard; the copy serves what it has.
    Disconnected,
    /// The copy cannot go on; `error` says why. It serves what it has.
    Failed,
    /// No pod has the source, whose volume another driver attaches: it stays where it was when the last one let it go.
    NotMounted,
}

/// How closely a copy is compared with its source.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VerifyLevel {
    /// Names, kinds, sizes, times, owners and modes.
    Metadata,
    /// All of that, and every byte.
    Content,
}

/// A state of a source: which filesystem, which count, how far in it. Positions of one source and epoch can be compared.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SyncPosition {
    /// The identity of the source's filesystem.
    pub source: String,
    /// Counted up when sync generations could go backwards.
    pub epoch: u64,
    /// Counted up with each change.
    pub generation: u64,
}

impl SyncPosition {
    /// Whether whoever is here has all that the source had at `other`. Positions of two sources, or of an earlier epoch than
    /// `other`'s, prove nothing. A later epoch of the same source was reached by a comparison with all of it.
    pub fn is_at_least(&self, other: &Self) -> bool {
        self.source == other.source && (self.epoch, self.generation) >= (other.epoch, other.generation)
    }

    /// Reads what `Display` writes; none of anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let position = Self {
            source: parts.next().filter(|source| !source.is_empty())?.to_owned(),
            epoch: parts.next()?.parse().ok()?,
            generation: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(position)
    }
}

impl std::fmt::Display for SyncPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.source, self.epoch, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, generation: u64) -> SyncPosition {
        SyncPosition { source: "a-b".to_owned(), epoch, generation }
    }

    #[test]
    fn a_position_is_read_as_it_is_written() {
        assert_eq!(at(2, 7).to_string(), "a-b.2.7");
        assert_eq!(SyncPosition::parse("a-b.2.7"), Some(at(2, 7)));
        for bad in ["", "a", "a.1", "a.1.x", "a.1.2.3", ".1.2"] {
            assert_eq!(SyncPosition::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_positions_of_one_source_are_compared() {
        assert!(at(2, 7).is_at_least(&at(2, 7)) && at(3, 1).is_at_least(&at(2, 7)));
        assert!(!at(2, 6).is_at_least(&at(2, 7)) && !at(1, 9).is_at_least(&at(2, 7)));
        assert!(!SyncPosition { source: "c".to_owned(), ..at(9, 9) }.is_at_least(&at(2, 7)));
    }
}
