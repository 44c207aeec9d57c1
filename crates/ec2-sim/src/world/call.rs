//! The calls a world understands, as typed values.

use serde::Serialize;

use super::Filter;

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
    RunInstances(RunInstances),
    DescribeInstances(Describe),
    TerminateInstances(Vec<String>),
    StopInstances(Vec<String>),
    StartInstances(Vec<String>),
    DescribeInstanceTypes(Describe),
    CreateVolume(CreateVolume),
    DescribeVolumes(Describe),
    DescribeVolumeStatus(Describe),
    AttachVolume(AttachVolume),
    DetachVolume(DetachVolume),
    DeleteVolume(String),
    CreateSnapshot(CreateSnapshot),
    DescribeSnapshots(DescribeSnapshots),
    DeleteSnapshot(String),
    CreateTags(CreateTags),
    DeleteTags(DeleteTags),
    DescribeTags(Describe),
    DescribeAvailabilityZones(DescribeZones),
    DescribeRegions(Describe),
}

impl Action {
    /// The action's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunInstances(_) => "RunInstances",
            Self::DescribeInstances(_) => "DescribeInstances",
            Self::TerminateInstances(_) => "TerminateInstances",
            Self::StopInstances(_) => "StopInstances",
            Self::StartInstances(_) => "StartInstances",
            Self::DescribeInstanceTypes(_) => "DescribeInstanceTypes",
            Self::CreateVolume(_) => "CreateVolume",
            Self::DescribeVolumes(_) => "DescribeVolumes",
            Self::DescribeVolumeStatus(_) => "DescribeVolumeStatus",
            Self::AttachVolume(_) => "AttachVolume",
            Self::DetachVolume(_) => "DetachVolume",
            Self::DeleteVolume(_) => "DeleteVolume",
            Self::CreateSnapshot(_) => "CreateSnapshot",
            Self::DescribeSnapshots(_) => "DescribeSnapshots",
            Self::DeleteSnapshot(_) => "DeleteSnapshot",
            Self::CreateTags(_) => "CreateTags",
            Self::DeleteTags(_) => "DeleteTags",
            Self::DescribeTags(_) => "DescribeTags",
            Self::DescribeAvailabilityZones(_) => "DescribeAvailabilityZones",
            Self::DescribeRegions(_) => "DescribeRegions",
        }
    }

    /// Whether the action only reads.
    pub fn is_read(&self) -> bool {
        self.name().starts_with("Describe")
    }
}

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
