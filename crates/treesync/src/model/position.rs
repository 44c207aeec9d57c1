//! Where a copy is in the history of a source.

use std::fmt;

/// The identity of a source: made once, kept in its index, never reused for another tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub [u8; 16]);

impl fmt::Display for SourceId {
    /// As a UUID: 8-4-4-4-12 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A point in the history of a source. Positions of another source or another epoch cannot be compared:
/// a copy at such a position is brought back by a manifest, never by its generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// Whose history.
    pub source: SourceId,
    /// Counted up whenever generations could go backwards: a lost index, a source restored from a snapshot.
    pub epoch: u64,
    /// Counted up with every batch of changes. 0 is the empty tree.
    pub generation: u64,
}

impl Position {
    /// Whether generations of both mean the same history.
    pub fn is_comparable_to(&self, other: &Position) -> bool {
        self.source == other.source && self.epoch == other.epoch
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} (epoch {} of source {})", self.generation, self.epoch, self.source)
    }
}
