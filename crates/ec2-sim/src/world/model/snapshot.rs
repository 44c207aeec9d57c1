//! An EBS snapshot and where it is in its life.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FastRestore, SnapshotLock, Tags, percent};

/// An EBS snapshot. Its content is what the volume held at the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `snap-…`
    pub id: String,
    /// The volume it was taken of, which may be gone by now.
    pub volume_id: String,
    /// The volume's size at the call, in GiB.
    pub volume_size_gib: u32,
    /// Free text of the call.
    pub description: String,
    /// Inherited from the volume.
    pub encrypted: bool,
    /// Inherited from the volume.
    pub kms_key_id: Option<String>,
    /// When `CreateSnapshot` was called.
    pub started: Timestamp,
    /// Tags by key.
    pub tags: Tags,
    /// Where the snapshot is in its life.
    pub phase: SnapshotPhase,
    /// The snapshot that this one is a copy of.
    #[serde(default)]
    pub source_snapshot_id: Option<String>,
    /// Whether it ends in `error` instead of `completed`.
    #[serde(default)]
    pub doomed: bool,
    /// Its lock, also one that has expired.
    #[serde(default)]
    pub lock: Option<SnapshotLock>,
    /// Fast snapshot restores by zone name.
    #[serde(default)]
    pub fast_restores: BTreeMap<String, FastRestore>,
    /// Whether `DeleteSnapshot` was called; hidden, and removed once completed and unused.
    pub deleted: bool,
}

/// Where a snapshot is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotPhase {
    /// Being copied to storage.
    Pending {
        /// When EC2 would be done.
        ready_at: Timestamp,
        /// Whether the data plane has cloned the volume's file.
        cloned: bool,
    },
    /// Usable.
    Completed {
        /// When it became so.
        at: Timestamp,
    },
    /// The data plane could not clone the volume.
    Error,
}

impl Snapshot {
    /// The status as `DescribeSnapshots` spells it.
    pub fn status(&self) -> &'static str {
        match self.phase {
            SnapshotPhase::Pending { .. } => "pending",
            SnapshotPhase::Completed { .. } => "completed",
            SnapshotPhase::Error => "error",
        }
    }

    /// Progress in percent at `now`: 100 only when completed.
    pub fn percent(&self, now: Timestamp) -> i64 {
        match self.phase {
            SnapshotPhase::Pending { ready_at, .. } => percent(self.started, ready_at, now).min(99),
            SnapshotPhase::Completed { .. } => 100,
            SnapshotPhase::Error => 0,
        }
    }
}
