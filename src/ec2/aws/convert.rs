//! From types of the SDK to ours. What lacks an id or a state that we rely on is left out: unknown, not guessed.

use aws_sdk_ec2::operation::create_snapshot::CreateSnapshotOutput;
use aws_sdk_ec2::operation::create_volume::CreateVolumeOutput;
use aws_sdk_ec2::operation::describe_instance_types::DescribeInstanceTypesOutput;
use aws_sdk_ec2::types::{
    AttachmentLimitType, InitializationStatusDetails, Snapshot, SnapshotState as SdkSnapshotState, Tag, Volume, VolumeAttachment,
    VolumeAttachmentState, VolumeModification, VolumeModificationState, VolumeState as SdkVolumeState, VolumeStatusItem,
};
use jiff::Timestamp;

use crate::domain::cloud::Tags;
use crate::domain::{
    Attachment, AttachmentState, CloudSnapshot, CloudVolume, GiB, ModificationState, SnapshotId, SnapshotState, VolumeId, VolumeSettings,
    VolumeState, Zone,
};
use crate::ec2::ModificationShown;

/// Volumes that every Nitro instance can hold when the API does not say. Source: EBS user guide, "Volume limits".
const FALLBACK_ATTACH_LIMIT: u32 = 28;

pub(super) fn volume(sdk: &Volume) -> Option<CloudVolume> {
    Some(CloudVolume {
        id: VolumeId::new(sdk.volume_id()?),
        state: volume_state(sdk.state()?),
        zone: Zone::new(sdk.availability_zone()?),
        size: gib(sdk.size()),
        settings: VolumeSettings {
            volume_type: sdk.volume_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            iops: as_u32(sdk.iops()),
            throughput: as_u32(sdk.throughput()),
        },
        snapshot: sdk.snapshot_id().filter(|id| !id.is_empty()).map(SnapshotId::new),
        tags: tags(sdk.tags()),
        attachments: sdk.attachments().iter().filter_map(attachment).collect(),
    })
}

/// The reply of CreateVolume has the fields of a volume, but not its type.
pub(super) fn created(made: CreateVolumeOutput) -> Option<CloudVolume> {
    let same = Volume::builder()
        .set_volume_id(made.volume_id)
        .set_state(made.state)
        .set_availability_zone(made.availability_zone)
        .set_size(made.size)
        .set_volume_type(made.volume_type)
        .set_iops(made.iops)
        .set_throughput(made.throughput)
        .set_snapshot_id(made.snapshot_id)
        .set_tags(made.tags)
        .build();
    volume(&same)
}

/// The reply of CreateSnapshot has the fields of a snapshot, but not its type.
pub(super) fn snapshot_created(made: CreateSnapshotOutput) -> Option<CloudSnapshot> {
    let same = Snapshot::builder()
        .set_snapshot_id(made.snapshot_id)
        .set_state(made.state)
        .set_volume_id(made.volume_id)
        .set_volume_size(made.volume_size)
        .set_progress(made.progress)
        .set_start_time(made.start_time)
        .set_tags(made.tags)
        .build();
    snapshot(&same)
}

pub(super) fn snapshot(sdk: &Snapshot) -> Option<CloudSnapshot> {
    Some(CloudSnapshot {
        id: SnapshotId::new(sdk.snapshot_id()?),
        state: match sdk.state()? {
            SdkSnapshotState::Pending => SnapshotState::Pending,
            SdkSnapshotState::Completed => SnapshotState::Completed,
            SdkSnapshotState::Error => SnapshotState::Error,
            _ => SnapshotState::Unknown,
        },
        volume: VolumeId::new(sdk.volume_id().unwrap_or_default()),
        size: gib(sdk.volume_size()),
        progress_percent: sdk.progress().and_then(percent).unwrap_or(0),
        started: sdk.start_time().and_then(|time| Timestamp::new(time.secs(), 0).ok()),
        tags: tags(sdk.tags()),
    })
}

/// A change of a volume; one in a state that we do not know is left out.
pub(super) fn modification(sdk: &VolumeModification) -> Option<(VolumeId, ModificationShown)> {
    let state = match sdk.modification_state()? {
        VolumeModificationState::Modifying => ModificationState::Modifying,
        VolumeModificationState::Optimizing => ModificationState::Optimizing,
        VolumeModificationState::Completed => ModificationState::Completed,
        VolumeModificationState::Failed => ModificationState::Failed,
        _ => return None,
    };
    let started = sdk.start_time().and_then(|time| Timestamp::new(time.secs(), 0).ok());
    Some((VolumeId::new(sdk.volume_id()?), ModificationShown { state, started }))
}

/// How much is loaded, when EC2 says so; its word may come minutes after the volume.
pub(super) fn initialized(status: &VolumeStatusItem) -> Option<(VolumeId, u8)> {
    let id = VolumeId::new(status.volume_id()?);
    let progress = status.initialization_status_details().and_then(InitializationStatusDetails::progress)?;
    Some((id, u8::try_from(progress.clamp(0, 100)).unwrap_or(0)))
}

pub(super) fn attach_limit(answer: &DescribeInstanceTypesOutput) -> Option<u32> {
    let ebs = answer.instance_types().first()?.ebs_info()?;
    let limit = ebs.maximum_ebs_attachments().and_then(|limit| u32::try_from(limit).ok()).unwrap_or(FALLBACK_ATTACH_LIMIT);
    // A shared limit also counts network interfaces, of which every instance has at least one.
    let shared = ebs.attachment_limit_type() == Some(&AttachmentLimitType::Shared);
    Some(limit.saturating_sub(u32::from(shared)))
}

fn volume_state(sdk: &SdkVolumeState) -> VolumeState {
    match sdk {
        SdkVolumeState::Creating => VolumeState::Creating,
        SdkVolumeState::Available => VolumeState::Available,
        SdkVolumeState::InUse => VolumeState::InUse,
        SdkVolumeState::Deleting => VolumeState::Deleting,
        SdkVolumeState::Deleted => VolumeState::Deleted,
        SdkVolumeState::Error => VolumeState::Error,
        _ => VolumeState::Unknown,
    }
}

fn attachment(sdk: &VolumeAttachment) -> Option<Attachment> {
    Some(Attachment {
        instance: sdk.instance_id()?.into(),
        device: sdk.device().unwrap_or_default().to_owned(),
        state: match sdk.state()? {
            VolumeAttachmentState::Attaching => AttachmentState::Attaching,
            VolumeAttachmentState::Attached => AttachmentState::Attached,
            VolumeAttachmentState::Detaching => AttachmentState::Detaching,
            VolumeAttachmentState::Detached => AttachmentState::Detached,
            _ => AttachmentState::Busy,
        },
    })
}

fn tags(sdk: &[Tag]) -> Tags {
    sdk.iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))).collect()
}

fn gib(size: Option<i32>) -> GiB {
    GiB(as_u32(size).unwrap_or(0))
}

fn as_u32(number: Option<i32>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

/// Reads `"37%"`. Source: EC2 API reference, `Snapshot.progress`.
fn percent(text: &str) -> Option<u8> {
    text.trim_end_matches('%').parse().ok()
}
