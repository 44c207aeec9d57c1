//! The modification of a volume: what it was, what it is to be, how far that is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::percent;
use crate::world::VolumeType;

/// What a volume is or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specification {
    /// Size in GiB.
    pub size_gib: u32,
    /// Type.
    pub volume_type: VolumeType,
    /// Operations per second, where the type has them.
    pub iops: Option<u32>,
    /// MiB/s, where the type has them.
    pub throughput: Option<u32>,
}

/// The last modification of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    /// Before.
    pub original: Specification,
    /// After.
    pub target: Specification,
    /// When `ModifyVolume` was called.
    pub started: Timestamp,
    /// When the new size can be used.
    pub usable_at: Timestamp,
    /// When the new performance is reached.
    pub done_at: Timestamp,
    /// Whether it ends in `failed`.
    pub doomed: bool,
    /// Where it is in its life.
    pub phase: ModificationPhase,
}

/// Where a modification is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModificationPhase {
    /// The volume is still the old one.
    Modifying {
        /// Whether the data plane has the new size.
        resized: bool,
    },
    /// The volume has its new size and type, and a performance in between.
    Optimizing,
    /// Done.
    Completed,
    /// The volume is still the old one, and stays so.
    Failed,
}

impl Modification {
    /// The state as `DescribeVolumesModifications` spells it.
    pub fn state(&self) -> &'static str {
        match self.phase {
            ModificationPhase::Modifying { .. } => "modifying",
            ModificationPhase::Optimizing => "optimizing",
            ModificationPhase::Completed => "completed",
            ModificationPhase::Failed => "failed",
        }
    }

    /// Whether the next modification must still wait.
    pub fn is_under_way(&self) -> bool {
        matches!(self.phase, ModificationPhase::Modifying { .. } | ModificationPhase::Optimizing)
    }

    /// Progress in percent at `now`: 100 only when completed.
    pub fn percent(&self, now: Timestamp) -> i64 {
        match self.phase {
            ModificationPhase::Completed => 100,
            ModificationPhase::Failed => 0,
            _ => percent(self.started, self.done_at, now).min(99),
        }
    }

    /// When it ended, if it has.
    pub fn ended(&self) -> Option<Timestamp> {
        match self.phase {
            ModificationPhase::Completed => Some(self.done_at),
            ModificationPhase::Failed => Some(self.usable_at),
            _ => None,
        }
    }
}
