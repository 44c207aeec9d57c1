//! Every effect that supply can ask for, as one closed enum; each is harmless when done twice.

use crate::domain::cloud::Tags;
use crate::domain::{GiB, NodeName, ObjectKey, SnapshotId, SyncPosition, Uid, VolumeId, VolumeSettings, Zone};

use super::live::{NewSource, PublishWanted};
use super::observation::Origin;
use super::refresh::{ContentSeen, RefreshEnd};

/// One effect. The plan leaves no choices: all that is needed is in the action.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put our finalizer on the pool, before anything exists in EC2.
    AddPoolFinalizer,
    /// Let the pool go: nothing of it is left.
    RemovePoolFinalizer,
    /// Take a snapshot of the source. Idempotent by the stored intent and the generation tag.
    CreateSnapshot {
        /// The source.
        volume: VolumeId,
        /// The generation that it will hold.
        generation: u64,
        /// What is known of its content.
        content: SnapshotContent,
    },
    /// Order the agent of the source to make a checkpoint. Its time is stored first; the same number is made once.
    OrderCheckpoint {
        /// The object of the source.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The number.
        number: u64,
    },
    /// Delete a snapshot of the pool.
    DeleteSnapshot(DeletionProof<SnapshotId>),
    /// Make a PoolVolume object. Idempotent by its name.
    CreatePoolVolume(NewVolume),
    /// Ask EC2 for the volume of a PoolVolume. Idempotent by a client token made of the object's UID.
    CreateVolume(VolumeRequest),
    /// Change an EBS volume in place. Its time is stored first, so that it is not asked for twice.
    ModifyVolume {
        /// The object.
        key: ObjectKey,
        /// The EBS volume.
        volume: VolumeId,
        /// What it shall become.
        change: VolumeChange,
    },
    /// Set tags of an EBS volume, others are kept.
    TagVolume {
        /// The object.
        key: ObjectKey,
        /// The EBS volume.
        volume: VolumeId,
        /// The tags that it lacks or has otherwise.
        tags: Tags,
    },
    /// Write the size that an EBS volume has grown to into its object.
    RecordSize {
        /// The object.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The size.
        size: GiB,
    },
    /// Make the object of the source volume, so that an agent attaches and publishes it. Idempotent by its name.
    CreateSourceObject(NewSource),
    /// Tell the agents how the source is published.
    Publish {
        /// The object.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// How.
        publish: PublishWanted,
    },
    /// Order an agent to attach, mount and publish the source.
    AssignSource {
        /// The object.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The node.
        node: NodeName,
    },
    /// Order an agent to attach and mount a ready volume, so that it receives what it lacks of its source.
    BeginRefresh {
        /// The object.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The node.
        node: NodeName,
        /// Where the source is: what the volume shall have at least.
        target: SyncPosition,
    },
    /// Order the agent to unmount and detach a volume that was refreshed, and note what came of it.
    EndRefresh {
        /// The object.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// What came of it.
        end: RefreshEnd,
    },
    /// Order the agent to unmount and detach.
    Unassign(ObjectKey),
    /// Forget what the agent of a node said that exists no more; EC2 shows the volume detached.
    ForgetNode {
        /// The object.
        key: ObjectKey,
        /// The version that was judged.
        resource_version: String,
    },
    /// Delete a PoolVolume object; refused by the API server when it changed since it was seen.
    DeletePoolVolume {
        /// The object.
        key: ObjectKey,
        /// Its UID.
        uid: Uid,
        /// The version that was judged.
        resource_version: String,
    },
    /// Delete an EBS volume of a PoolVolume that is being deleted.
    DeleteVolume {
        /// The object.
        key: ObjectKey,
        /// That it is ours and free.
        proof: DeletionProof<VolumeId>,
    },
    /// Let a PoolVolume go: its EBS volume is gone, or is kept on purpose.
    RemoveVolumeFinalizer(ObjectKey),
}

/// What is known of the content of a snapshot before it is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SnapshotContent {
    /// Nothing: the pool is not live.
    Unknown,
    /// Everything up to a checkpoint.
    Checkpoint(SyncPosition),
    /// What is on the disk after a loss of power.
    Crash {
        /// A position that it holds at least, if there is one.
        least: Option<SyncPosition>,
        /// Why there is no checkpoint.
        why: String,
    },
}

impl SnapshotContent {
    /// The position that the snapshot holds at least.
    pub fn position(&self) -> Option<&SyncPosition> {
        match self {
            Self::Unknown => None,
            Self::Checkpoint(position) => Some(position),
            Self::Crash { least, .. } => least.as_ref(),
        }
    }
}

/// A PoolVolume that shall be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVolume {
    /// Its number.
    pub slot: u32,
    /// How often in a row EC2 has failed to make a volume before, 0 for the first try.
    pub attempt: u32,
    /// Its zone.
    pub zone: Zone,
    /// Its size.
    pub size: GiB,
    /// What it is filled from.
    pub origin: Origin,
    /// What it will have of its source then; none when nobody knows.
    pub content: Option<ContentSeen>,
}

/// What a volume shall become in place.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeChange {
    /// Its size; never smaller than before.
    pub size: GiB,
    /// Its type and speed; what is none stays as EC2 has it.
    pub settings: VolumeSettings,
}

/// What EC2 is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRequest {
    /// The PoolVolume that it is for.
    pub key: ObjectKey,
    /// Its UID, from which the client token is made.
    pub uid: Uid,
    /// Its zone.
    pub zone: Zone,
    /// Its size.
    pub size: GiB,
    /// What it is filled from.
    pub origin: Origin,
}

/// Evidence that a resource is ours and unused. Only `plan::safety` can make one.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletionProof<Id> {
    id: Id,
}

impl<Id> DeletionProof<Id> {
    /// For `plan::safety` alone, after its checks.
    pub(super) fn after_checks(id: Id) -> Self {
        Self { id }
    }

    /// The resource that may be deleted.
    pub fn id(&self) -> &Id {
        &self.id
    }
}

impl Action {
    /// The PoolVolume that it is a step of.
    pub fn volume(&self) -> Option<&ObjectKey> {
        match self {
            Self::CreateVolume(request) => Some(&request.key),
            Self::Unassign(key)
            | Self::RemoveVolumeFinalizer(key)
            | Self::ForgetNode { key, .. }
            | Self::Publish { key, .. }
            | Self::AssignSource { key, .. }
            | Self::OrderCheckpoint { key, .. }
            | Self::BeginRefresh { key, .. }
            | Self::EndRefresh { key, .. }
            | Self::ModifyVolume { key, .. }
            | Self::TagVolume { key, .. }
            | Self::RecordSize { key, .. }
            | Self::DeletePoolVolume { key, .. }
            | Self::DeleteVolume { key, .. } => Some(key),
            Self::AddPoolFinalizer
            | Self::RemovePoolFinalizer
            | Self::CreateSnapshot { .. }
            | Self::DeleteSnapshot(_)
            | Self::CreatePoolVolume(_)
            | Self::CreateSourceObject(_) => None,
        }
    }

    /// The kind of effect, for logs, metrics and explanations.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AddPoolFinalizer => "AddPoolFinalizer",
            Self::RemovePoolFinalizer => "RemovePoolFinalizer",
            Self::CreateSnapshot { .. } => "CreateSnapshot",
            Self::DeleteSnapshot(_) => "DeleteSnapshot",
            Self::OrderCheckpoint { .. } => "OrderCheckpoint",
            Self::CreatePoolVolume(_) => "CreatePoolVolume",
            Self::CreateVolume(_) => "CreateVolume",
            Self::ModifyVolume { .. } => "ModifyVolume",
            Self::TagVolume { .. } => "TagVolume",
            Self::RecordSize { .. } => "RecordSize",
            Self::CreateSourceObject(_) => "CreateSourceObject",
            Self::Publish { .. } => "Publish",
            Self::AssignSource { .. } => "AssignSource",
            Self::BeginRefresh { .. } => "BeginRefresh",
            Self::EndRefresh { .. } => "EndRefresh",
            Self::Unassign(_) => "Unassign",
            Self::ForgetNode { .. } => "ForgetNode",
            Self::DeletePoolVolume { .. } => "DeletePoolVolume",
            Self::DeleteVolume { .. } => "DeleteVolume",
            Self::RemoveVolumeFinalizer(_) => "RemoveVolumeFinalizer",
        }
    }

    /// Whether a snapshot, a volume or its object comes into being by it.
    pub fn makes_something(&self) -> bool {
        matches!(self.name(), "CreateSnapshot" | "CreatePoolVolume" | "CreateVolume")
    }

    /// Whether it changes anything in EC2.
    pub fn writes_to_ec2(&self) -> bool {
        self.ec2_call().is_some()
    }

    /// The action of EC2 that it calls: the one whose rate it must fit into.
    pub fn ec2_call(&self) -> Option<&'static str> {
        match self {
            Self::CreateSnapshot { .. } => Some("CreateSnapshot"),
            Self::DeleteSnapshot(_) => Some("DeleteSnapshot"),
            Self::CreateVolume(_) => Some("CreateVolume"),
            Self::ModifyVolume { .. } => Some("ModifyVolume"),
            Self::TagVolume { .. } => Some("CreateTags"),
            Self::DeleteVolume { .. } => Some("DeleteVolume"),
            Self::AddPoolFinalizer
            | Self::RemovePoolFinalizer
            | Self::CreatePoolVolume(_)
            | Self::RecordSize { .. }
            | Self::CreateSourceObject(_)
            | Self::Publish { .. }
            | Self::AssignSource { .. }
            | Self::OrderCheckpoint { .. }
            | Self::BeginRefresh { .. }
            | Self::EndRefresh { .. }
            | Self::Unassign(_)
            | Self::ForgetNode { .. }
            | Self::DeletePoolVolume { .. }
            | Self::RemoveVolumeFinalizer(_) => None,
        }
    }
}
