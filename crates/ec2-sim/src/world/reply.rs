//! The answers of a world, as typed values.

use super::{Attachment, Instance, InstanceType, Page, Snapshot, TagDescription, Volume, Zone};

/// The answer to one action.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after what the EC2 answer holds")]
pub enum Reply {
    Reservation(Vec<Placed>),
    Instances(Page<Placed>),
    StateChanges(Vec<StateChange>),
    InstanceTypes(Page<InstanceType>),
    Volume(Box<Volume>),
    Volumes(Page<Volume>),
    VolumeStatuses(Page<Volume>),
    /// The volume's id and its attachment.
    Attachment(String, Attachment),
    Snapshot(Box<Snapshot>),
    Snapshots(Page<Snapshot>),
    Tags(Page<TagDescription>),
    Zones(Vec<Zone>),
    Regions(Vec<String>),
    /// `<return>true</return>`.
    Done,
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
