//! The calls a world understands, as typed values.

use super::requests::{
    AttachVolume, CopySnapshot, CopyVolumes, CreateSnapshot, CreateSnapshots, CreateTags, CreateVolume, DeleteTags, Describe,
    DescribeSnapshots, DescribeVolumeAttribute, DescribeZones, DetachVolume, FastSnapshotRestores, LockSnapshot, ModifyVolume,
    RunInstances, TagSpecification,
};
use crate::world::rules::actions::ActionSpec;

/// One API call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is asked for.
    pub action: Action,
    /// Whether only to check that it would succeed.
    pub dry_run: bool,
}

impl From<Action> for Call {
    fn from(action: Action) -> Self {
        Self { action, dry_run: false }
    }
}

/// The actions, each with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is named after the EC2 action it stands for")]
pub enum Action {
    AttachVolume(AttachVolume),
    CopySnapshot(CopySnapshot),
    CopyVolumes(CopyVolumes),
    CreateSnapshot(CreateSnapshot),
    CreateSnapshots(CreateSnapshots),
    CreateTags(CreateTags),
    CreateVolume(CreateVolume),
    DeleteSnapshot(String),
    DeleteTags(DeleteTags),
    DeleteVolume(String),
    DescribeAvailabilityZones(DescribeZones),
    DescribeFastSnapshotRestores(Describe),
    DescribeInstanceTypes(Describe),
    DescribeInstances(Describe),
    DescribeLockedSnapshots(Describe),
    DescribeRegions(Describe),
    DescribeSnapshots(DescribeSnapshots),
    DescribeTags(Describe),
    DescribeVolumeAttribute(DescribeVolumeAttribute),
    DescribeVolumeStatus(Describe),
    DescribeVolumes(Describe),
    DescribeVolumesModifications(Describe),
    DetachVolume(DetachVolume),
    DisableFastSnapshotRestores(FastSnapshotRestores),
    EnableFastSnapshotRestores(FastSnapshotRestores),
    LockSnapshot(LockSnapshot),
    ModifyVolume(ModifyVolume),
    RunInstances(RunInstances),
    StartInstances(Vec<String>),
    StopInstances(Vec<String>),
    TerminateInstances(Vec<String>),
    UnlockSnapshot(String),
}

impl Action {
    /// The action's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AttachVolume(_) => "AttachVolume",
            Self::CopySnapshot(_) => "CopySnapshot",
            Self::CopyVolumes(_) => "CopyVolumes",
            Self::CreateSnapshot(_) => "CreateSnapshot",
            Self::CreateSnapshots(_) => "CreateSnapshots",
            Self::CreateTags(_) => "CreateTags",
            Self::CreateVolume(_) => "CreateVolume",
            Self::DeleteSnapshot(_) => "DeleteSnapshot",
            Self::DeleteTags(_) => "DeleteTags",
            Self::DeleteVolume(_) => "DeleteVolume",
            Self::DescribeAvailabilityZones(_) => "DescribeAvailabilityZones",
            Self::DescribeFastSnapshotRestores(_) => "DescribeFastSnapshotRestores",
            Self::DescribeInstanceTypes(_) => "DescribeInstanceTypes",
            Self::DescribeInstances(_) => "DescribeInstances",
            Self::DescribeLockedSnapshots(_) => "DescribeLockedSnapshots",
            Self::DescribeRegions(_) => "DescribeRegions",
            Self::DescribeSnapshots(_) => "DescribeSnapshots",
            Self::DescribeTags(_) => "DescribeTags",
            Self::DescribeVolumeAttribute(_) => "DescribeVolumeAttribute",
            Self::DescribeVolumeStatus(_) => "DescribeVolumeStatus",
            Self::DescribeVolumes(_) => "DescribeVolumes",
            Self::DescribeVolumesModifications(_) => "DescribeVolumesModifications",
            Self::DetachVolume(_) => "DetachVolume",
            Self::DisableFastSnapshotRestores(_) => "DisableFastSnapshotRestores",
            Self::EnableFastSnapshotRestores(_) => "EnableFastSnapshotRestores",
            Self::LockSnapshot(_) => "LockSnapshot",
            Self::ModifyVolume(_) => "ModifyVolume",
            Self::RunInstances(_) => "RunInstances",
            Self::StartInstances(_) => "StartInstances",
            Self::StopInstances(_) => "StopInstances",
            Self::TerminateInstances(_) => "TerminateInstances",
            Self::UnlockSnapshot(_) => "UnlockSnapshot",
        }
    }

    /// What is known of the action whatever its parameters.
    pub fn spec(&self) -> &'static ActionSpec {
        ActionSpec::find(self.name()).expect("every action is in the table, which a test checks")
    }

    /// Whether the action only reads.
    pub fn is_read(&self) -> bool {
        !self.spec().mutates
    }

    /// The ids that the call names, in the order of its parameters; those of a describe are its id list.
    pub fn resource_ids(&self) -> Vec<&str> {
        match self {
            Self::AttachVolume(r) => vec![&r.volume_id, &r.instance_id],
            Self::CopySnapshot(r) => vec![&r.source_snapshot_id],
            Self::CopyVolumes(r) => vec![&r.source_volume_id],
            Self::CreateSnapshot(r) => vec![&r.volume_id],
            Self::CreateSnapshots(r) => vec![&r.instance_id],
            Self::CreateTags(r) => all(&r.resources),
            Self::CreateVolume(r) => r.snapshot_id.as_deref().into_iter().collect(),
            Self::DeleteSnapshot(id) | Self::DeleteVolume(id) | Self::UnlockSnapshot(id) => vec![id],
            Self::DeleteTags(r) => all(&r.resources),
            Self::DescribeFastSnapshotRestores(r)
            | Self::DescribeInstances(r)
            | Self::DescribeLockedSnapshots(r)
            | Self::DescribeVolumeStatus(r)
            | Self::DescribeVolumes(r)
            | Self::DescribeVolumesModifications(r) => all(&r.ids),
            Self::DescribeSnapshots(r) => all(&r.describe.ids),
            Self::DescribeVolumeAttribute(r) => vec![&r.volume_id],
            Self::DetachVolume(r) => std::iter::once(r.volume_id.as_str()).chain(r.instance_id.as_deref()).collect(),
            Self::DisableFastSnapshotRestores(r) | Self::EnableFastSnapshotRestores(r) => all(&r.snapshot_ids),
            Self::LockSnapshot(r) => vec![&r.snapshot_id],
            Self::ModifyVolume(r) => vec![&r.volume_id],
            Self::StartInstances(ids) | Self::StopInstances(ids) | Self::TerminateInstances(ids) => all(ids),
            Self::DescribeAvailabilityZones(_)
            | Self::DescribeInstanceTypes(_)
            | Self::DescribeRegions(_)
            | Self::DescribeTags(_)
            | Self::RunInstances(_) => Vec::new(),
        }
    }

    /// The tags that the call gives to what it makes.
    pub fn tag_specifications(&self) -> &[TagSpecification] {
        match self {
            Self::CopySnapshot(r) => &r.tag_specifications,
            Self::CopyVolumes(r) => &r.tag_specifications,
            Self::CreateSnapshot(r) => &r.tag_specifications,
            Self::CreateSnapshots(r) => &r.tag_specifications,
            Self::CreateVolume(r) => &r.tag_specifications,
            Self::RunInstances(r) => &r.tag_specifications,
            _ => &[],
        }
    }

    /// The id list, filters and page of a describe call.
    pub fn describe(&self) -> Option<&Describe> {
        match self {
            Self::DescribeFastSnapshotRestores(r)
            | Self::DescribeInstanceTypes(r)
            | Self::DescribeInstances(r)
            | Self::DescribeLockedSnapshots(r)
            | Self::DescribeRegions(r)
            | Self::DescribeTags(r)
            | Self::DescribeVolumeStatus(r)
            | Self::DescribeVolumes(r)
            | Self::DescribeVolumesModifications(r) => Some(r),
            Self::DescribeSnapshots(r) => Some(&r.describe),
            _ => None,
        }
    }
}

fn all(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}
