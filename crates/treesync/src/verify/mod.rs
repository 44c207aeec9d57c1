//! Compares a copy with its source.

mod digest;

pub use digest::{DirectoryDigester, LinkGroups};
