//! Changes from one generation to another, as the state that they end in.

use super::{ContentHash, Entry, Mtime, SourceId, TreePath};
use bytes::Bytes;

/// Files up to this size travel inside a live batch; larger ones, and those of a catch-up, are asked for.
/// 256 KiB is the size of a frame that tonic sends without copying it around.
pub const INLINE_MAX_BYTES: u64 = 256 * 1024;

/// A change of where things stand. Replayed strictly in the order of the history, before any put:
/// paths are those of its own generation, and what is missing on a copy is skipped, since the copy may be
/// from before it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Structural {
    /// The path is gone, with all below.
    Remove {
        /// When.
        generation: u64,
        /// What.
        path: TreePath,
    },
    /// A directory moved with all below; nothing below is put for that alone. A missing parent of `to` is made
    /// (a put of the same batch gives it its state); what stands at `to` is replaced.
    RenameDirectory {
        /// When.
        generation: u64,
        /// Its path before.
        from: TreePath,
        /// Its path after.
        to: TreePath,
    },
}

impl Structural {
    /// When it happened. A copy that has replayed this generation skips it.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Remove { generation, .. } | Self::RenameDirectory { generation, .. } => *generation,
        }
    }
}

/// A block of a large file that differs from what the file held before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChangedBlock {
    /// Where it starts.
    pub offset_bytes: u64,
    /// How long it is.
    pub length_bytes: u32,
    /// Digest of these bytes alone.
    pub content: ContentHash,
}

/// How new bytes differ from those that were current just before [`Put::content_generation`]. A copy holds that base
/// when its generation is at least `base_content_generation` and less than the put's content generation, and its
/// file still has the base's size and mtime.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    /// Size of the base.
    pub base_size_bytes: u64,
    /// Mtime of the base.
    pub base_mtime: Mtime,
    /// When the base became current.
    pub base_content_generation: u64,
    /// Sorted by offset, not overlapping, within the new size. All else is as in the base, zeros beyond its end.
    pub blocks: Vec<ChangedBlock>,
}

/// The state that a path ends in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Which path, as of the batch's `to`.
    pub path: TreePath,
    /// Its state.
    pub entry: Entry,
    /// Since when it has these bytes at this path. A copy whose generation is at least this holds them, unless
    /// somebody else wrote there: size and mtime tell.
    pub content_generation: u64,
    /// The bytes, for a small file of a live batch.
    pub inline: Option<Bytes>,
    /// A path, as of the batch's `from`, where a copy holds the same bytes. A hint: the copy checks the digest.
    pub held_at: Option<TreePath>,
    /// For a large file whose earlier bytes are known.
    pub delta: Option<Delta>,
    /// Of a large file: at most so many of its bytes are not in blocks of zeros, which become holes. None: not known.
    pub data_bytes: Option<u64>,
}

/// Changes after generation `from` up to and with `to`. Idempotent: it says states, not events.
///
/// A catch-up may come in parts. The first has all of the structure, each has some of the puts in the order of
/// paths; a copy is at `to` only when the last part is applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Whose history.
    pub source: SourceId,
    /// Which epoch of it.
    pub epoch: u64,
    /// A copy must be at this generation or a later one (and then skips what it has).
    pub from: u64,
    /// Where the copy is when all parts are applied.
    pub to: u64,
    /// Whether this part completes the step.
    pub is_last_part: bool,
    /// In the order of the history.
    pub structure: Vec<Structural>,
    /// Sorted by path, each path once: a directory comes before what is in it.
    pub puts: Vec<Put>,
}
