//! `PathOperation`: push or delete a path on all volumes of a pool, or bring them all to the newest state, with receipts.

#![expect(clippy::duplicated_attributes, reason = "columns of one type repeat its name")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::domain::{Operation, OperationPhase, VerifyLevel};

/// One operation on the content of all volumes of a pool. It is done once; make another object to do it again.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "volumedispatcher.io",
    version = "v1alpha1",
    kind = "PathOperation",
    namespaced,
    status = "PathOperationStatus",
    derive = "PartialEq",
    shortname = "pathop",
    category = "volumedispatcher",
    doc = "One operation on the content of all volumes of a pool. It is done once; make another object to do it again.",
    selectable = ".spec.poolRef.name",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.poolRef.name"),
    printcolumn(name = "Operation", type_ = "string", json_path = ".spec.operation"),
    printcolumn(name = "Path", type_ = "string", json_path = ".spec.path"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.targets.done"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.targets.total"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.targets.failed", priority = 1),
    printcolumn(name = "SyncGen", type_ = "integer", json_path = ".status.source.generation", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("spec cannot change; make another PathOperation"),
    validation = Rule::new("self.operation == 'Sync' ? !has(self.path) : has(self.path)").message("spec.path is required for operation Push and Delete, and not used for Sync"),
    validation = Rule::new("!has(self.verify) || self.operation == 'Sync'").message("spec.verify is only for operation Sync"),
    validation = Rule::new("!has(self.path) || !self.path.startsWith('/') && !self.path.endsWith('/') && self.path.split('/').all(part, part != '' && part != '.' && part != '..')").message("spec.path must be a path below the root of the source, without a slash at its ends, and without empty parts, . and .."),
    validation = Rule::new("!has(self.path) || !(self.path.split('/')[0] in ['.treesync', '.volume-dispatcher'])").message("spec.path must not be in .treesync or .volume-dispatcher, which are ours")
)]
pub struct PathOperationSpec {
    /// The pool, in the same namespace.
    pub pool_ref: PathOperationPool,

    /// `Push` delivers a path as the source has it now, `Delete` removes it from the source and so from all volumes,
    /// `Sync` brings all volumes to what the source has now.
    pub operation: Operation,

    /// The path, from the root of the source. For Push and Delete. Example: htdocs/index.html.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4095))]
    pub path: Option<String>,

    /// Whether every volume is compared with the source afterwards, and how closely; for Sync. Default: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyLevel>,

    /// Only list what would change. Default: false.
    #[serde(default)]
    pub dry_run: bool,

    /// How long the source is waited for, and then how long volumes have to follow, also those that are attached
    /// meanwhile. Default: 5m. Example: 30s.
    #[serde(default = "five_minutes")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub timeout: String,

    /// How long the object is kept after its end. Default: 1h.
    #[serde(default = "one_hour")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(s|m|h|d))+$"))]
    pub ttl_after_finished: String,
}

/// The pool of an operation.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathOperationPool {
    /// Name of the VolumePool. Example: web.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How far an operation is: the agent of the source writes `source`, the controller everything else.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathOperationStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<OperationPhase>,
    /// Complete and Failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// How many volumes have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<TargetCounts>,
    /// Volumes that have it; 1000 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receipts: Vec<String>,
    /// Volumes that do not have it, and why; 20 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<TargetFailure>,
    /// When it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// What was done at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<OperationAtSource>,
}

/// Counts of volumes.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetCounts {
    /// Volumes that shall have it.
    pub total: u32,
    /// Volumes that have it.
    pub done: u32,
    /// Volumes that cannot have it.
    pub failed: u32,
}

/// A volume that does not have it.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetFailure {
    /// Name of the PoolVolume.
    pub volume: String,
    /// Why.
    pub reason: String,
}

/// What the agent of the source did.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationAtSource {
    /// Its node.
    pub node: String,
    /// The identity of the source's filesystem.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The epoch of the generation.
    #[serde(default)]
    pub epoch: u64,
    /// A volume at this sync generation has it.
    #[serde(default)]
    pub generation: u64,
    /// Paths that changed, or would; 50 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How many paths changed, or would.
    #[serde(default)]
    pub paths_total: u64,
    /// Why it was refused; nothing was changed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn one_hour() -> String {
    "1h".to_owned()
}
