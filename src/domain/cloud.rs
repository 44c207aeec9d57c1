//! EBS volumes and snapshots as EC2 reports them, without any type of the SDK.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GiB, InstanceId, SnapshotId, VolumeId, Zone};

/// Tags of an EC2 resource.
pub type Tags = BTreeMap<String, String>;

/// One EBS volume, as of one describe call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloudVolume {
    /// Its id.
    pub id: VolumeId,
    /// Where it is in its life.
    pub state: VolumeState,
    /// The zone in which it can be attached.
    pub zone: Zone,
    /// Its size.
    pub size: GiB,
    /// How it is made and how fast it is.
    pub settings: VolumeSettings,
    /// The snapshot it was made from.
    pub snapshot: Option<SnapshotId>,
    /// All tags, ours and others'.
    pub tags: Tags,
    /// Attachments; empty when free.
    pub attachments: Vec<Attachment>,
}

/// How a volume is encrypted, as it was asked for.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// Whether it was asked to be encrypted. Default: as the snapshot and the account say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// The KMS key that was asked for. Default: the account's.
    #[serde(rename = "kmsKeyID", default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// States of a change in place. Source: EC2 API reference, `VolumeModification.modificationState`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModificationState {
    /// EC2 has begun; the volume is as before.
    Modifying,
    /// The volume has its new size; its speed is between the old and the new.
    Optimizing,
    /// Done.
    Completed,
    /// Failed; the volume is as before.
    Failed,
}

/// What of a volume can be changed in place.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VolumeSettings {
    /// Its type, such as `gp3`.
    pub volume_type: String,
    /// I/O operations a second; none for types that do not tell.
    pub iops: Option<u32>,
    /// Throughput in MiB/s; none for types that do not tell.
    pub throughput: Option<u32>,
}

/// States of an EBS volume. Source: EC2 API reference, `Volume.state`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VolumeState {
    /// Not usable yet.
    Creating,
    /// Free to be attached or deleted.
    Available,
    /// Attached, attaching or detaching.
    InUse,
    /// On its way out.
    Deleting,
    /// Gone, still listed.
    Deleted,
    /// Creation failed, or the hardware did.
    Error,
    /// A state that this version does not know; never acted upon.
    Unknown,
}

/// The tie between a volume and an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The instance.
    pub instance: InstanceId,
    /// The device name that was asked for, such as `/dev/xvdba`; the kernel names it otherwise.
    pub device: String,
    /// Where it is in its life.
    pub state: AttachmentState,
}

/// States of an attachment. Source: EC2 API reference, `VolumeAttachment.state`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttachmentState {
    /// Asked for.
    Attaching,
    /// The instance sees the device.
    Attached,
    /// Asked to end.
    Detaching,
    /// Ended, still listed.
    Detached,
    /// Asked to end while the instance still uses the device.
    Busy,
}

/// One EBS snapshot, as of one describe call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloudSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// The volume it was taken of.
    pub volume: VolumeId,
    /// The size of that volume.
    pub size: GiB,
    /// Percent that EC2 has stored, 0 to 100.
    pub progress_percent: u8,
    /// The moment whose content it holds.
    pub started: Option<Timestamp>,
    /// All tags, ours and others'.
    pub tags: Tags,
}

/// States of an EBS snapshot. Source: EC2 API reference, `Snapshot.status`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SnapshotState {
    /// Being stored; volumes cannot be made from it yet.
    Pending,
    /// Usable.
    Completed,
    /// Failed.
    Error,
    /// A state that this version does not know; never acted upon.
    Unknown,
}

impl CloudVolume {
    /// Whether no instance holds it, so that it may be attached or deleted.
    pub fn is_free(&self) -> bool {
        self.state == VolumeState::Available && self.live_attachments().next().is_none()
    }

    /// Attachments that have not ended.
    pub fn live_attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(|attachment| attachment.state != AttachmentState::Detached)
    }
}
