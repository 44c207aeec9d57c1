//! An EBS volume and where it is in its life.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Attachment, Modification, Tags, percent};
use crate::world::VolumeType;
use crate::world::rules::fault::Failure;

/// An EBS volume. It holds at most one attachment: multi-attach is not simulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// `vol-…`
    pub id: String,
    /// Size in GiB.
    pub size_gib: u32,
    /// Availability Zone, by name.
    pub zone: String,
    /// gp3 and its kin.
    pub volume_type: VolumeType,
    /// Provisioned or baseline operations per second; none for the magnetic types.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s; gp3 only.
    pub throughput: Option<u32>,
    /// Whether the volume is encrypted (a flag only: the data is not).
    pub encrypted: bool,
    /// The key named at creation.
    pub kms_key_id: Option<String>,
    /// The snapshot that the volume was restored from.
    pub snapshot_id: Option<String>,
    /// Provisioned initialization rate in MiB/s.
    pub initialization_rate: Option<u32>,
    /// When `CreateVolume` was called.
    pub created: Timestamp,
    /// When the restored volume has all its blocks; none for a volume created empty.
    pub initialized_at: Option<Timestamp>,
    /// The volume that this one is a copy of.
    #[serde(default)]
    pub source_volume_id: Option<String>,
    /// Whether a fast snapshot restore gave it all its blocks at creation.
    #[serde(default)]
    pub fast_restored: bool,
    /// The last modification, if there was any.
    #[serde(default)]
    pub modification: Option<Modification>,
    /// When its modifications of the last 24 hours began.
    #[serde(default)]
    pub modified: Vec<Timestamp>,
    /// What becomes of it instead of `available`.
    #[serde(default)]
    pub doom: Option<Failure>,
    /// When the last snapshot of this volume was asked for.
    pub last_snapshot: Option<Timestamp>,
    /// Tags by key.
    pub tags: Tags,
    /// Where the volume is in its life.
    pub phase: VolumePhase,
    /// The attachment, from `AttachVolume` until the device is really gone.
    pub attachment: Option<Attachment>,
}

/// Where a volume is in its life; `in-use` is an `Available` volume with an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumePhase {
    /// Not before `ready_at`, and not before its file exists.
    Creating {
        /// When EC2 would be done.
        ready_at: Timestamp,
        /// Whether the data plane has made the file.
        filled: bool,
    },
    /// Usable.
    Available,
    /// Gone at `gone_at`, once the data plane has removed the file.
    Deleting {
        /// When EC2 would be done.
        gone_at: Timestamp,
    },
    /// Creation failed; the volume can only be deleted.
    Error,
}

impl Volume {
    /// The status as `DescribeVolumes` spells it.
    pub fn status(&self) -> &'static str {
        match self.phase {
            VolumePhase::Creating { .. } => "creating",
            VolumePhase::Available if self.attachment.is_some() => "in-use",
            VolumePhase::Available => "available",
            VolumePhase::Deleting { .. } => "deleting",
            VolumePhase::Error => "error",
        }
    }

    /// The status checks of `DescribeVolumeStatus` at `now`: the sum, and each by name.
    pub fn health(&self, now: Timestamp) -> (&'static str, [(&'static str, &'static str); 3]) {
        let initialization = match self.initialization_percent(now) {
            Some(percent) if percent < 100 => "initializing",
            _ => "completed",
        };
        let sum = match self.phase {
            VolumePhase::Creating { .. } => "insufficient-data",
            VolumePhase::Error => "impaired",
            _ => "ok",
        };
        (sum, [("io-enabled", "passed"), ("io-performance", "not-applicable"), ("initialization-state", initialization)])
    }

    /// How the volume gets its blocks, as `DescribeVolumeStatus` spells it.
    pub fn initialization_type(&self) -> &'static str {
        match (&self.source_volume_id, self.initialization_rate) {
            (Some(_), _) => "volume-copy",
            (None, Some(_)) => "provisioned-rate",
            (None, None) => "default",
        }
    }

    /// Initialization progress in percent at `now`; none for a volume created empty.
    pub fn initialization_percent(&self, now: Timestamp) -> Option<i64> {
        Some(percent(self.created, self.initialized_at?, now))
    }
}
