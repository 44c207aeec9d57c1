//! How a publisher is, for people and programs.

use crate::model::{Position, TreePath};

/// How changes are found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Detection {
    /// The kernel tells.
    Fanotify,
    /// The source is compared from time to time.
    Poll {
        /// Why the kernel does not tell.
        reason: String,
    },
}

/// What a publisher is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It compares the source with the index. Copies may lack changes that are older than the position.
    Scanning,
    /// All that is known is told.
    Following,
    /// It has ended.
    Ended,
}

/// How a publisher is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishStatus {
    /// Where the source is.
    pub position: Position,
    /// What it does.
    pub phase: Phase,
    /// How it finds changes.
    pub detection: Detection,
    /// What happened to the index at the start: `new`, `clean`, `unclean` or `rebuilt`.
    pub index: &'static str,
    /// Entries of the source.
    pub entries: u64,
    /// The oldest generation from which changes are known.
    pub floor: u64,
    /// Up to where the source is known to be durable.
    pub durable_generation: u64,
    /// Events taken from the kernel.
    pub events: u64,
    /// Times that events were lost and everything was compared.
    pub overflows: u64,
    /// Whole comparisons so far.
    pub scans: u64,
    /// Names that a check found different though nobody had told. Each is a defect, or a write past the kernel.
    pub drift_of_feed: u64,
    /// Devices, fifos, sockets and mount points that the last comparison passed by.
    pub skipped: u64,
    /// Paths that the last comparison could not read; copies keep what they have of them.
    pub unreadable: u64,
    /// Files that changed in every try of reading them.
    pub hot: u64,
    /// Subscribers.
    pub subscribers: u64,
    /// Bytes of changes and files that were sent.
    pub sent_bytes: u64,
    /// What went wrong last and was passed by, with its path.
    pub last_error: Option<String>,
    /// Why nothing is taken in at present though it has not ended: there is no room for the index. It is tried again.
    pub stalled: Option<String>,
    /// Why it has ended; none while it has not.
    pub end_reason: Option<String>,
}

/// What a push or a delete changed, or would.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// A copy at it has the change.
    pub position: Position,
    /// The paths, in order.
    pub paths: Vec<TreePath>,
}
