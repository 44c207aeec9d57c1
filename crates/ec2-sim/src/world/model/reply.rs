//! The answers of a world, as typed values.

use jiff::Timestamp;

use super::{FastRestore, FastRestoreState, Modification, SnapshotLock};
use crate::world::{ApiError, Attachment, Instance, InstanceType, Page, Snapshot, TagDescription, Volume, VolumeAttribute, Zone};

/// The answer to one action.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after what the EC2 answer holds")]
pub enum Reply {
    Reservation(Vec<Placed>),
    Instances(Page<Placed>),
    StateChanges(Vec<StateChange>),
    InstanceTypes(Page<InstanceType>),
    Volume(Box<Volume>),
    CopiedVolumes(Vec<Volume>),
    Volumes(Page<Volume>),
    /// The volumes, and the moment whose initialization progress is shown.
    VolumeStatuses(Page<Volume>, Timestamp),
    /// The volume's id and the attribute.
    VolumeAttribute(String, VolumeAttribute),
    /// The volume's id and its modification.
    Modification(String, Box<Modification>),
    Modifications(Page<(String, Modification)>),
    /// The volume's id and its attachment.
    Attachment(String, Attachment),
    Snapshot(Box<Snapshot>),
    SnapshotSet(Vec<Snapshot>),
    CopiedSnapshot(Box<Snapshot>),
    Snapshots(Page<Snapshot>),
    /// The snapshot's id and its lock.
    Lock(String, Box<SnapshotLock>),
    /// The snapshot's id.
    Unlocked(String),
    LockedSnapshots(Page<(String, SnapshotLock)>),
    FastRestores(Page<FastRestoreItem>),
    FastRestoreChanges(Vec<FastRestoreItem>, Vec<FastRestoreRefusal>),
    Tags(Page<TagDescription>),
    Zones(Vec<Zone>),
    Regions(Vec<String>),
    /// `<return>true</return>`.
    Done,
}

/// Fast restore of a snapshot in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastRestoreItem {
    /// The snapshot.
    pub snapshot_id: String,
    /// The zone by name.
    pub zone: String,
    /// The state at the time of the call.
    pub state: FastRestoreState,
    /// Its times.
    pub restore: FastRestore,
    /// Sorts them by snapshot and zone.
    pub(in crate::world) order: String,
}

/// Fast restore that could not be switched for a snapshot in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastRestoreRefusal {
    /// The snapshot.
    pub snapshot_id: String,
    /// The zone by name.
    pub zone: String,
    /// Why.
    pub error: ApiError,
}

/// An instance with the volumes attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The instance.
    pub instance: Instance,
    /// Its volumes, each with its attachment.
    pub volumes: Vec<Volume>,
}

/// How a call changed the state of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The instance.
    pub instance_id: String,
    /// Code and name before.
    pub previous: (u8, &'static str),
    /// Code and name after.
    pub current: (u8, &'static str),
}
