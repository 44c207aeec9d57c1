//! What the simulated account holds: volumes, attachments, snapshots, instances.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::VolumeType;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

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

    /// Initialization progress in percent at `now`; none for a volume created empty.
    pub fn initialization_percent(&self, now: Timestamp) -> Option<i64> {
        Some(percent(self.created, self.initialized_at?, now))
    }
}

/// The link between a volume and an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `i-…`
    pub instance_id: String,
    /// The device name of the call, such as `/dev/xvdba`; unique on the instance.
    pub device: String,
    /// The instance's NVMe controller number, from 1 up; unique on the instance.
    pub nvme_index: u32,
    /// When `AttachVolume` was called.
    pub attached: Timestamp,
    /// Where the attachment is in its life.
    pub phase: AttachmentPhase,
}

/// Where an attachment is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentPhase {
    /// The device appears at `ready_at`.
    Attaching {
        /// When EC2 would be done.
        ready_at: Timestamp,
    },
    /// Usable by the instance.
    Attached {
        /// Whether the data plane shows the device; lost by a restart, then made again.
        shown: bool,
    },
    /// The device goes as soon as nothing uses it.
    Detaching {
        /// When EC2 would be done.
        gone_at: Timestamp,
        /// Whether the device is to be taken away from under its users.
        force: bool,
        /// Whether the data plane found the device in use.
        busy: bool,
        /// Whether the data plane has removed the device.
        hidden: bool,
    },
}

impl Attachment {
    /// The status as `DescribeVolumes` spells it.
    pub fn status(&self) -> &'static str {
        match self.phase {
            AttachmentPhase::Attaching { .. } => "attaching",
            AttachmentPhase::Attached { .. } => "attached",
            AttachmentPhase::Detaching { busy: true, .. } => "busy",
            AttachmentPhase::Detaching { .. } => "detaching",
        }
    }

    /// The status in an instance's block device mapping, which knows no `busy`.
    pub fn mapping_status(&self) -> &'static str {
        match self.phase {
            AttachmentPhase::Detaching { .. } => "detaching",
            _ => self.status(),
        }
    }
}

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

/// An instance: a place with devices, not a machine that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// The `RunInstances` call that made it.
    pub reservation_id: String,
    /// Its place among the instances of that call.
    pub launch_index: u32,
    /// Instance type by name.
    pub instance_type: String,
    /// Availability Zone, by name.
    pub zone: String,
    /// The image named at launch, never looked at.
    pub image_id: Option<String>,
    /// The token of the call.
    pub client_token: Option<String>,
    /// When `RunInstances` was called.
    pub launched: Timestamp,
    /// Tags by key.
    pub tags: Tags,
    /// Where the instance is in its life.
    pub phase: InstancePhase,
    /// Whether the data plane has made the instance's folder.
    pub placed: bool,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstancePhase {
    /// Becomes `Running`.
    Pending {
        /// When it does.
        ready_at: Timestamp,
    },
    /// Usable.
    Running,
    /// Becomes `Stopped`.
    Stopping {
        /// When it does.
        done_at: Timestamp,
    },
    /// Keeps its volumes.
    Stopped,
    /// Becomes `Terminated`.
    ShuttingDown {
        /// When it does.
        done_at: Timestamp,
    },
    /// Shown for an hour more, then forgotten.
    Terminated {
        /// When it became so.
        at: Timestamp,
    },
}

impl InstancePhase {
    /// Code and name of the state.
    pub fn state(&self) -> (u8, &'static str) {
        match self {
            Self::Pending { .. } => (0, "pending"),
            Self::Running => (16, "running"),
            Self::ShuttingDown { .. } => (32, "shutting-down"),
            Self::Terminated { .. } => (48, "terminated"),
            Self::Stopping { .. } => (64, "stopping"),
            Self::Stopped => (80, "stopped"),
        }
    }
}

/// The share of the way from `start` to `end` gone at `now`, in percent from 0 to 100.
fn percent(start: Timestamp, end: Timestamp, now: Timestamp) -> i64 {
    let whole = end.as_millisecond() - start.as_millisecond();
    let gone = now.as_millisecond() - start.as_millisecond();
    if whole <= 0 || gone >= whole {
        return 100;
    }
    (gone.max(0) * 100) / whole
}
