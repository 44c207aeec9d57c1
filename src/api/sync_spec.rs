//! `spec.sync` and `status.source.sync` of a VolumePool: whether its volumes follow the source, and how.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the volumes of a pool follow its source while they exist, and how.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
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
