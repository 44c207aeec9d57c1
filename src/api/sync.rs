//! Parts of a `PoolVolume` that speak of live content: what its agent shall publish or verify, and how far it is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::domain::{Role, SyncState, VerifyLevel};

/// What the agent that has the source publishes, and what agents promise to claims of the pool.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishSpec {
    /// Patterns of paths that are not copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Patterns of paths that copies keep as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preserve_on_copies: Vec<String>,
    /// Bytes a second that are sent to all nodes together. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_bytes_per_second: Option<u64>,
    /// How old the content of a copy may be when a pod gets it, in milliseconds.
    pub max_staleness_milliseconds: u64,
    /// Whether pods get what a copy has while nobody publishes the source. Default: false, they wait.
    #[serde(default)]
    pub serves_alone: bool,
    /// The driver that attaches and mounts the source, when that is not the agent: the agent then publishes it where pods have
    /// it, and never attaches, mounts, unmounts or detaches it. Default: the agent does. Example: ebs.csi.aws.com.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_by: Option<String>,
    /// The agent makes one checkpoint for each number that it has not seen. Default: none is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
}

/// A comparison that the agent of a mounted copy shall make, once.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifySpec {
    /// Names the order: another id is another comparison.
    pub id: String,
    /// How closely.
    pub level: VerifyLevel,
    /// Whether differences are mended. Default: false.
    #[serde(default)]
    pub repair: bool,
}

/// How far a volume is with its source.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// What it is doing.
    pub state: SyncState,
    /// The identity of the source's filesystem.
    #[serde(default)]
    pub source: String,
    /// Counted up when sync generations could go backwards.
    #[serde(default)]
    pub epoch: u64,
    /// The sync generation that the volume has, also after a loss of power.
    #[serde(default)]
    pub generation: u64,
    /// How many sync generations it lacks of what is known.
    #[serde(default)]
    pub lag: u64,
    /// When it last had all that the source had. Of a source that no pod has: when the last one let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_in_sync_time: Option<Time>,
    /// Where the source is published, as address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The last checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointStatus>,
    /// The last comparison that was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedStatus>,
    /// What fails at present, with the fix where we know one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A checkpoint of the source: everything up to it is on the volume, so that a snapshot has it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// The number that was ordered.
    pub number: u64,
    /// The epoch of its generation.
    pub epoch: u64,
    /// A snapshot that is taken later has this sync generation or a later one.
    pub generation: u64,
    /// When it was made.
    pub time: Time,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How an ordered comparison ended.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedStatus {
    /// The order.
    pub id: String,
    /// How closely it compared.
    pub level: VerifyLevel,
    /// The sync generation that it compared with.
    pub generation: u64,
    /// How many paths differed.
    pub differences: u64,
    /// Whether all of them were mended.
    pub repaired: bool,
    /// When it ended.
    pub completion_time: Time,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
