//! The parameters of the calls, as typed values.

use serde::Serialize;

use crate::world::Filter;

/// The common shape of the describe calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Describe {
    /// Ids or names; empty means all.
    pub ids: Vec<String>,
    /// All must match.
    pub filters: Vec<Filter>,
    /// Page size.
    pub max_results: Option<i64>,
    /// Where the page starts.
    pub next_token: Option<String>,
}

/// `DescribeSnapshots`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribeSnapshots {
    /// Ids, filters, page.
    pub describe: Describe,
    /// Account ids, `self` or `amazon`; empty means all.
    pub owners: Vec<String>,
}

/// `DescribeAvailabilityZones`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribeZones {
    /// Names such as `us-east-1a`.
    pub names: Vec<String>,
    /// Ids such as `use1-az1`.
    pub ids: Vec<String>,
    /// All must match.
    pub filters: Vec<Filter>,
}

/// One tag of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Tags for the resources of one type that a call creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TagSpecification {
    /// Such as `volume`.
    pub resource_type: String,
    /// The tags.
    pub tags: Vec<Tag>,
}

/// `CreateVolume`. Serialized without its token, it is what a replay is compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CreateVolume {
    /// Size in GiB.
    pub size_gib: Option<i64>,
    /// The snapshot to restore.
    pub snapshot_id: Option<String>,
    /// Zone by name.
    pub zone: Option<String>,
    /// Zone by id.
    pub zone_id: Option<String>,
    /// Type; gp2 when missing, as in EC2.
    pub volume_type: Option<String>,
    /// Operations per second.
    pub iops: Option<i64>,
    /// MiB/s.
    pub throughput: Option<i64>,
    /// Whether to encrypt.
    pub encrypted: Option<bool>,
    /// The key to encrypt with.
    pub kms_key_id: Option<String>,
    /// Provisioned initialization rate in MiB/s.
    pub initialization_rate: Option<i64>,
    /// Tags.
    pub tag_specifications: Vec<TagSpecification>,
    /// Idempotency token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// `AttachVolume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachVolume {
    /// The volume.
    pub volume_id: String,
    /// The instance.
    pub instance_id: String,
    /// The device name.
    pub device: String,
}

/// `DetachVolume`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DetachVolume {
    /// The volume.
    pub volume_id: String,
    /// The instance it must be attached to, when given.
    pub instance_id: Option<String>,
    /// The device name it must be attached as, when given.
    pub device: Option<String>,
    /// Whether to cut off those who still use the device.
    pub force: bool,
}

/// `CreateSnapshot`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateSnapshot {
    /// The volume.
    pub volume_id: String,
    /// Free text.
    pub description: String,
    /// Tags.
    pub tag_specifications: Vec<TagSpecification>,
}

/// `RunInstances`. Serialized without its token, it is what a replay is compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunInstances {
    /// Fewest instances to accept.
    pub min_count: i64,
    /// How many to make.
    pub max_count: i64,
    /// Type; m7i.large when missing.
    pub instance_type: Option<String>,
    /// Zone by name; the region's first when missing.
    pub zone: Option<String>,
    /// Network interfaces that the call names; none means one.
    pub interfaces: u32,
    /// Recorded only.
    pub image_id: Option<String>,
    /// Tags.
    pub tag_specifications: Vec<TagSpecification>,
    /// Idempotency token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// `CreateTags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTags {
    /// Ids of any kind.
    pub resources: Vec<String>,
    /// The tags to set.
    pub tags: Vec<Tag>,
}

/// `DeleteTags`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTags {
    /// Ids of any kind.
    pub resources: Vec<String>,
    /// Keys, each with the value it must have to be deleted; none at all means every tag.
    pub tags: Vec<(String, Option<String>)>,
}

/// `ModifyVolume`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModifyVolume {
    /// The volume.
    pub volume_id: String,
    /// New size in GiB; it can only grow.
    pub size_gib: Option<i64>,
    /// New type.
    pub volume_type: Option<String>,
    /// New operations per second.
    pub iops: Option<i64>,
    /// New MiB/s.
    pub throughput: Option<i64>,
}

/// `CopyVolumes`. Serialized without its token, it is what a replay is compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CopyVolumes {
    /// The volume to copy.
    pub source_volume_id: String,
    /// Size in GiB; the source's when missing.
    pub size_gib: Option<i64>,
    /// Type; gp2 when missing, as in EC2.
    pub volume_type: Option<String>,
    /// Operations per second.
    pub iops: Option<i64>,
    /// MiB/s.
    pub throughput: Option<i64>,
    /// Whether to encrypt; a copy of an encrypted volume always is.
    pub encrypted: Option<bool>,
    /// The key to encrypt with.
    pub kms_key_id: Option<String>,
    /// Tags.
    pub tag_specifications: Vec<TagSpecification>,
    /// Idempotency token.
    #[serde(skip)]
    pub client_token: Option<String>,
}

/// `CreateSnapshots`: one snapshot of each volume of an instance, of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateSnapshots {
    /// The instance.
    pub instance_id: String,
    /// Volumes to leave out; each must be attached.
    pub exclude_volumes: Vec<String>,
    /// Whether to leave the boot volume out; there is none here.
    pub exclude_boot_volume: bool,
    /// Free text.
    pub description: String,
    /// Whether each snapshot gets the tags of its volume.
    pub copy_tags: bool,
    /// Tags for every snapshot.
    pub tag_specifications: Vec<TagSpecification>,
}

/// `CopySnapshot` within the region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopySnapshot {
    /// Where the source is.
    pub source_region: String,
    /// The snapshot to copy.
    pub source_snapshot_id: String,
    /// Free text.
    pub description: String,
    /// Whether to encrypt; a copy of an encrypted snapshot always is.
    pub encrypted: Option<bool>,
    /// The key to encrypt with.
    pub kms_key_id: Option<String>,
    /// How long the copy may take, in minutes: a multiple of 15.
    pub completion_minutes: Option<i64>,
    /// Tags.
    pub tag_specifications: Vec<TagSpecification>,
}

/// `LockSnapshot`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LockSnapshot {
    /// The snapshot.
    pub snapshot_id: String,
    /// `governance` or `compliance`.
    pub mode: String,
    /// Hours.
    pub cool_off_hours: Option<i64>,
    /// Days.
    pub duration_days: Option<i64>,
    /// When the lock ends, as the wire spells times.
    pub expires: Option<String>,
}

/// `EnableFastSnapshotRestores` and `DisableFastSnapshotRestores`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FastSnapshotRestores {
    /// Zones by name.
    pub zones: Vec<String>,
    /// Zones by id.
    pub zone_ids: Vec<String>,
    /// Snapshots.
    pub snapshot_ids: Vec<String>,
}

/// `DescribeVolumeAttribute`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DescribeVolumeAttribute {
    /// The volume.
    pub volume_id: String,
    /// `autoEnableIO` or `productCodes`.
    pub attribute: String,
}
