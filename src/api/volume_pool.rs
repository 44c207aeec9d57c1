//! `VolumePool`: what a team asks for, and how far it is.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Access, ReclaimPolicy};

pub use super::snapshots::{RetainSpec, SnapshotsSpec};
pub use super::sync_spec::{SourceSync, SyncMode, SyncSpec, WhenSourceAway};

/// A pool of identical EBS volumes, filled from one source and ready to be claimed by pods.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "volumedispatcher.io",
    version = "v1alpha1",
    kind = "VolumePool",
    namespaced,
    status = "VolumePoolStatus",
    derive = "PartialEq",
    shortname = "vp",
    category = "volumedispatcher",
    doc = "A pool of identical EBS volumes, filled from one source and ready to be claimed by pods.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Available", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Claimed", type_ = "integer", json_path = ".status.claimed"),
    printcolumn(name = "Generation", type_ = "integer", json_path = ".status.source.generation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.source.id", priority = 1),
    printcolumn(name = "Zones", type_ = "string", json_path = ".status.zoneNames", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 50").message("metadata.name must be at most 50 characters, since the names of its volumes add a number")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.source == oldSelf.source").message("spec.source cannot change; make a new pool for another source"),
    validation = Rule::new("!(has(self.source.snapshotID) && has(self.snapshots) && has(self.snapshots.schedule))").message("spec.snapshots.schedule needs a source volume; spec.source.snapshotID is fixed content, of which no snapshots are taken"),
    validation = Rule::new("!(has(self.source.snapshotID) && has(self.sync) && self.sync.mode == 'Live')").message("spec.sync.mode Live needs a source volume; spec.source.snapshotID is fixed content"),
    validation = Rule::new("!(self.claims.access == 'ReadWrite' && self.claims.reclaimPolicy == 'Recycle') || has(self.sync) && self.sync.mode == 'Live' && !has(self.sync.exclude) && !has(self.sync.preserveOnCopies)").message("spec.claims.reclaimPolicy Recycle with spec.claims.access ReadWrite needs spec.sync.mode Live without exclude and preserveOnCopies, since only then everything that pods wrote is found and mended; use Delete or Retain")
)]
pub struct VolumePoolSpec {
    /// How many volumes are kept ready and unclaimed, over all zones. Claimed volumes do not count:
    /// when a pod takes one, the pool makes another. Default: 1. Example: 4. `kubectl scale` changes it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,

    /// Where the content comes from. Exactly one of its fields must be set, and it cannot change later.
    pub source: SourceSpec,

    /// How the EBS volumes of the pool are made.
    #[serde(default)]
    pub template: TemplateSpec,

    /// Availability zones in which volumes are kept ready; `replicas` is spread evenly over them.
    /// Default: the zone of the source volume. Each zone needs at least one node. Example: [us-east-1a, us-east-1b].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub zones: Vec<String>,

    /// When snapshots of the source are taken, how long they are kept, and how far volumes may be behind.
    #[serde(default)]
    pub snapshots: SnapshotsSpec,

    /// Whether volumes follow the source while they exist, and how.
    #[serde(default)]
    pub sync: SyncSpec,

    /// Who may claim volumes of this pool, how pods use them, and what happens afterwards.
    #[serde(default)]
    pub claims: ClaimsSpec,

    /// What happens to the EBS volumes and snapshots when the pool is deleted. Claimed volumes always
    /// wait for their claims. Default: Delete.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Stops every change in EC2 for this pool while true. Ready volumes can still be claimed. Default: false.
    #[serde(default)]
    pub paused: bool,
}

/// Where the content comes from.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.volumeID), has(self.persistentVolumeClaim), has(self.snapshotID)].filter(set, set).size() == 1").message("spec.source needs exactly one of volumeID, persistentVolumeClaim and snapshotID")
)]
pub struct SourceSpec {
    /// An EBS volume that holds the source filesystem. It must carry the EC2 tag
    /// `volumedispatcher.io/source` with the value `<namespace>/<pool>` or `*`. Example: vol-0123456789abcdef0.
    #[serde(rename = "volumeID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^vol-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    pub volume_id: Option<String>,

    /// A PersistentVolumeClaim of this namespace that is an EBS volume of the driver ebs.csi.aws.com or of ours. It needs
    /// no tag: who may use the claim may read what is on it. With `spec.sync.mode: Live` it is published on the node whose pods
    /// have it mounted, and never attached, mounted or detached by us. Example: {name: web-src}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,

    /// An EBS snapshot: fixed content. It must carry the EC2 tag `volumedispatcher.io/source` with the
    /// value `<namespace>/<pool>` or `*`. Example: snap-0123456789abcdef0.
    #[serde(rename = "snapshotID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^snap-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    pub snapshot_id: Option<String>,
}

/// The PersistentVolumeClaim whose EBS volume is the source.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSource {
    /// Name of the claim, in the namespace of the pool. Example: web-src.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How the EBS volumes of a pool are made.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.throughput) || self.volumeType == 'gp3'").message("spec.template.throughput is only for volumeType gp3"),
    validation = Rule::new("!has(self.iops) || self.volumeType in ['gp3', 'io1', 'io2']").message("spec.template.iops is only for volumeType gp3, io1 and io2"),
    validation = Rule::new("has(self.iops) || !(self.volumeType in ['io1', 'io2'])").message("spec.template.iops is required for volumeType io1 and io2"),
    validation = Rule::new("!has(self.kmsKeyID) || (has(self.encrypted) && self.encrypted)").message("spec.template.kmsKeyID needs spec.template.encrypted: true"),
    validation = Rule::new("!has(self.size) || quantity(self.size).compareTo(quantity('1Gi')) >= 0 && quantity(self.size).compareTo(quantity('64Ti')) <= 0").message("spec.template.size must be at least 1Gi and at most 64Ti")
)]
pub struct TemplateSpec {
    /// EBS volume type. Default: gp3. One of gp2, gp3, io1, io2, st1, sc1.
    #[serde(default)]
    pub volume_type: VolumeType,

    /// Size of each volume, rounded up to whole GiB. Default: the size of the source; it may be larger but
    /// not smaller. Example: 20Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub size: Option<String>,

    /// Provisioned I/O operations a second, for gp3, io1 and io2. Default: what EC2 gives (3000 for gp3). Example: 6000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 256_000))]
    pub iops: Option<u32>,

    /// Provisioned throughput in MiB/s, for gp3. Default: what EC2 gives (125). Example: 250.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 125, max = 2000))]
    pub throughput: Option<u32>,

    /// Whether volumes are encrypted. Default: as the snapshot and the account's setting say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,

    /// KMS key for encryption, as id, alias or ARN. Default: the account's default key. Needs `encrypted: true`.
    #[serde(rename = "kmsKeyID", default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,

    /// Rate in MiB/s at which EC2 loads the snapshot's blocks into a new volume; EC2 charges for it.
    /// Default: unset, blocks are loaded when first read. Example: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 300))]
    pub initialization_rate: Option<u32>,

    /// Extra options for mounting the filesystem. Default: none. Example: [noatime].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub mount_options: Vec<MountOption>,

    /// Extra EC2 tags for volumes and snapshots. Keys must not begin with `aws:` or `volumedispatcher.io/`.
    /// Default: none. Example: {team: web}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 40))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('aws:') && !key.startsWith('volumedispatcher.io/') && size(key) <= 128 && size(self[key]) <= 256)").message("spec.template.tags: keys must not begin with aws: or volumedispatcher.io/, and are at most 128, values at most 256 characters"))]
    pub tags: BTreeMap<String, String>,
}

/// An option for mounting a volume's filesystem.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountOption {
    /// Do not record when files were read.
    NoAtime,
    /// Record reads only when the file changed since the last record.
    RelAtime,
    /// Programs on the volume cannot be executed.
    NoExec,
}

impl MountOption {
    /// The spelling in `spec.mountOptions` of a PersistentVolume.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAtime => "noatime",
            Self::RelAtime => "relatime",
            Self::NoExec => "noexec",
        }
    }
}

/// EBS volume types that can hold a filesystem.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeType {
    /// General purpose, previous generation.
    Gp2,
    /// General purpose.
    #[default]
    Gp3,
    /// Provisioned IOPS, previous generation.
    Io1,
    /// Provisioned IOPS.
    Io2,
    /// Throughput-optimized disk.
    St1,
    /// Cold disk.
    Sc1,
}

impl VolumeType {
    /// The spelling of EC2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
        }
    }
}

/// Who may claim volumes, how pods use them, and what happens afterwards.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimsSpec {
    /// How pods use a volume. Default: ReadOnly.
    #[serde(default)]
    pub access: Access,

    /// What a claim gets when no volume is ready in its zone: `Create` makes one for this claim, `Wait`
    /// waits until the pool has one. Default: Create.
    #[serde(default)]
    pub when_empty: WhenEmpty,

    /// How old the content of a volume may be when a pod gets it, of a pool that is Live. Default: 5s. Example: 500ms.
    #[serde(default = "five_seconds")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}(ms|s|m)$"))]
    pub max_staleness: String,

    /// What a claim gets while nobody publishes the source: `Wait` waits until its volume is known to be fresh, `Serve`
    /// gives it what the volume has. Default: Wait.
    #[serde(default)]
    pub when_source_away: WhenSourceAway,

    /// What happens to a volume when its claim is deleted. Recycle needs access ReadOnly, or a pool that is Live without
    /// exclude and preserveOnCopies: there a written volume is compared with the source and mended first. Default: Recycle.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,

    /// Other namespaces that may claim through a StorageClass with the parameter `pool`. Default: none.
    #[serde(default)]
    pub namespaces: NamespacesSpec,
}

impl Default for ClaimsSpec {
    fn default() -> Self {
        Self {
            access: Access::default(),
            when_empty: WhenEmpty::default(),
            max_staleness: five_seconds(),
            when_source_away: WhenSourceAway::default(),
            reclaim_policy: ReclaimPolicy::default(),
            namespaces: NamespacesSpec::default(),
        }
    }
}

fn five_seconds() -> String {
    "5s".to_owned()
}

/// What a claim gets when no volume is ready.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum WhenEmpty {
    /// A volume is made for the claim.
    #[default]
    Create,
    /// The claim waits for the pool.
    Wait,
}

/// A set of namespaces.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespacesSpec {
    /// Names of namespaces; `*` means all. Default: none. Example: [shop].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub match_names: Vec<String>,
}

/// What happens to EBS volumes and snapshots when the pool is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DeletionPolicy {
    /// They are deleted.
    #[default]
    Delete,
    /// They are kept, and only forgotten by the cluster.
    Retain,
}

/// How far the pool is.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumePoolStatus {
    /// Ready, SourceReady, SnapshotFresh, PoolFilled, InSync, Degraded and Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Volumes that are ready and unclaimed.
    #[serde(default)]
    pub replicas: u32,
    /// Label selector of the pool's PoolVolumes, for the scale subresource.
    #[serde(default)]
    pub selector: String,
    /// Volumes that a claim holds.
    #[serde(default)]
    pub claimed: u32,
    /// Volumes that are being made.
    #[serde(default)]
    pub filling: u32,
    /// All volumes of the pool.
    #[serde(default)]
    pub total: u32,
    /// Counts of each zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub zones: Vec<ZoneStatus>,
    /// Names of the zones, joined for display.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone_names: String,
    /// What was learned of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// The pool's snapshots, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".to_string()]))]
    pub snapshots: Vec<SnapshotStatus>,
    /// When the newest completed snapshot was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot_time: Option<Time>,
    /// When the next snapshot is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_snapshot_time: Option<Time>,
    /// Since when EC2 denies to delete a snapshot of the pool that is being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_since: Option<Time>,
    /// The snapshot that was decided on last, stored before EC2 is asked, so that a lost reply does not make two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_intent: Option<SnapshotIntent>,
    /// The checkpoint of a live source that was ordered last, for the snapshot that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_order: Option<CheckpointOrder>,
}

/// Counts of one zone.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ZoneStatus {
    /// Name of the zone.
    pub name: String,
    /// Volumes that shall be ready and unclaimed here.
    pub desired: u32,
    /// Volumes that are ready and unclaimed.
    pub ready: u32,
    /// Volumes that a claim holds.
    pub claimed: u32,
}

/// What was learned of the source.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Id of the source volume or snapshot.
    pub id: String,
    /// Zone of the source volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Size of the source in GiB.
    #[serde(rename = "sizeGiB")]
    pub size_gib: u32,
    /// Filesystem of the source, learned when the first copy was mounted. Example: xfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// Generation of the newest snapshot that was completed.
    #[serde(default)]
    pub generation: u64,
    /// How it is published to the volumes that follow it. Default: the pool is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SourceSync>,
}

/// One snapshot of the source.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Its EC2 id.
    pub id: String,
    /// The generation of the content.
    pub generation: u64,
    /// pending, completed or error.
    pub state: String,
    /// Percent stored, 0 to 100.
    pub progress_percent: u8,
    /// What it holds at least of a live source: `<source>.<epoch>.<sync generation>`. Default: that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// The moment whose content it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
}

/// A snapshot that was decided on.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotIntent {
    /// The generation that it will hold.
    pub generation: u64,
    /// When it was decided.
    pub time: Time,
}

/// A checkpoint that was ordered.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointOrder {
    /// Its number, that of `spec.publish.checkpoint` of the source's PoolVolume.
    pub number: u64,
    /// When it was ordered.
    pub time: Time,
}

fn one() -> u32 {
    1
}

impl VolumePoolSpec {
    /// Whether claims of another namespace may use this pool.
    pub fn allows_namespace(&self, own: &str, other: &str) -> bool {
        own == other || self.claims.namespaces.match_names.iter().any(|name| name == "*" || name == other)
    }
}
