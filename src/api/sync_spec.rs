//! `spec.sync` and `status.source.sync` of a VolumePool: whether its volumes follow the source, and how.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the volumes of a pool follow its source while they exist, and how.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode == 'Live' || !has(self.refresh)").message("spec.sync.refresh needs spec.sync.mode Live"),
    validation = Rule::new("self.mode == 'Live' || !has(self.exclude) && !has(self.preserveOnCopies) && !has(self.bandwidth)").message("spec.sync.exclude, preserveOnCopies and bandwidth need spec.sync.mode Live")
)]
pub struct SyncSpec {
    /// `Live`: an agent publishes the source, and every mounted volume has each change a moment later. The agent attaches a source
    /// that is named by `volumeID`; one that is a PersistentVolumeClaim it publishes while and where a pod has it mounted.
    /// `None`: volumes stay as the snapshot was that they were filled from. Default: None.
    #[serde(default)]
    pub mode: SyncMode,

    /// Patterns of paths that are not copied: as of .gitignore, from the root of the source. Default: none.
    /// Example: `["*.tmp"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 1000)))]
    pub exclude: Vec<String>,

    /// Patterns of paths that each volume keeps for itself, whatever the source has there. Default: none.
    /// Example: `["cache/**"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 1000)))]
    pub preserve_on_copies: Vec<String>,

    /// How much the source sends a second, to all nodes together. Default: no limit. Example: 100Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]*(Ki|Mi|Gi|k|M|G)$"))]
    pub bandwidth: Option<String>,

    /// How far ready volumes, which are attached to nothing, may fall behind the source before they are refreshed: one at a time in
    /// each zone is attached to a node, receives what it lacks, and is detached. Default: unset, they catch up when a pod gets
    /// them, and are replaced from newer snapshots (`spec.snapshots.allowedLag`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshLimits>,
}

/// How far ready volumes may fall behind the source. Beyond any of the limits they are refreshed.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.maxAge) || has(self.maxGenerations)").message("spec.sync.refresh needs maxAge, maxGenerations or both")
)]
pub struct RefreshLimits {
    /// How long ago a volume may last have had all that the source had, in hours, minutes and seconds. One that lacks nothing is
    /// never too old. At least 5m, since no volume is refreshed more often. Default: unset, age does not count. Example: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]{1,6}h)?([0-9]{1,8}m)?([0-9]{1,9}s)?$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5m')").message("spec.sync.refresh.maxAge must be at least 5m"))]
    pub max_age: Option<String>,

    /// How many sync generations a volume may lack. One whose sync generations cannot be compared with those of the source lacks
    /// more than any number. Default: unset, generations do not count. Example: 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub max_generations: Option<u64>,
}

/// Whether volumes follow the source.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SyncMode {
    /// They do.
    Live,
    /// They do not. (`Off` would be read as a boolean in YAML.)
    #[default]
    None,
}

/// What a claim gets while nobody publishes the source.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum WhenSourceAway {
    /// The pod waits until its volume is known to be fresh.
    #[default]
    Wait,
    /// The pod gets what the volume has.
    Serve,
}

/// How the source is published.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSync {
    /// The node whose agent has it.
    pub node: String,
    /// Where it is published, as address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The epoch of its sync generations.
    #[serde(default)]
    pub epoch: u64,
}
