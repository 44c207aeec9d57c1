//! Compares a copy with its source; what differs can become a batch that repairs it.

mod compare;
mod cursor;
mod digest;
mod idle;
mod local;
mod progress;
mod repair;

pub use compare::{Comparer, Difference, Finding, Level};
pub use digest::{DirectoryDigester, LinkGroups};
pub use idle::read_when_idle;
pub use local::directory_digests;
pub use progress::Progress;
pub use repair::Repairer;
