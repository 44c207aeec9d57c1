//! `PoolVolume`: one EBS volume of a pool, written by the controller and, for its own side, by one agent.

#![expect(clippy::duplicated_attributes, reason = "columns of one type repeat its name")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sync::{PublishSpec, Role, SyncStatus, VerifySpec};
use crate::domain::{ClaimRef, Encryption, ModificationState, Phase};

/// One EBS volume of a pool. The controller makes and deletes these objects; people read them.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "volumedispatcher.io",
    version = "v1alpha1",
    kind = "PoolVolume",
    namespaced,
    status = "PoolVolumeStatus",
    derive = "PartialEq",
    shortname = "pvol",
    category = "volumedispatcher",
    doc = "One EBS volume of a pool. The controller makes and deletes these objects; people read them.",
    selectable = ".spec.nodeName",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Generation", type_ = "integer", json_path = ".spec.origin.generation"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Claim", type_ = "string", json_path = ".spec.claimRef.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "VolumeID", type_ = "string", json_path = ".status.cloud.volumeID", priority = 1),
    printcolumn(name = "Init%", type_ = "integer", json_path = ".status.cloud.initializedPercent", priority = 1),
    printcolumn(name = "Mounted", type_ = "boolean", json_path = ".status.node.mounted", priority = 1),
    printcolumn(name = "Sync", type_ = "string", json_path = ".status.node.sync.state", priority = 1),
    printcolumn(name = "SyncGen", type_ = "integer", json_path = ".status.node.sync.generation", priority = 1),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.node.sync.lag", priority = 1),
    printcolumn(name = "LastSync", type_ = "date", json_path = ".status.node.sync.lastInSyncTime", priority = 1),
    printcolumn(name = "Has", type_ = "integer", json_path = ".spec.content.generation", priority = 1),
    printcolumn(name = "Refreshed", type_ = "date", json_path = ".spec.refresh.endTime", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct PoolVolumeSpec {
    /// The pool it belongs to, in the same namespace.
    pub pool_ref: PoolRef,
    /// What it is to the pool. Default: Copy.
    #[serde(default)]
    pub role: Role,
    /// What the agent that has it publishes; for role Source only. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishSpec>,
    /// A comparison with the source that its agent shall make. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySpec>,
    /// The availability zone of the volume. Example: us-east-1a.
    pub zone: String,
    /// Its number in the pool, part of its name. Without meaning for role Source.
    pub slot: u32,
    /// How often in a row EC2 had failed to make a volume before this one. Default: 0.
    #[serde(default)]
    pub attempt: u32,
    /// What it is filled from. Empty for role Source, which is filled by its owner.
    #[serde(default)]
    pub origin: Origin,
    /// Size of the EBS volume in GiB.
    #[serde(rename = "sizeGiB")]
    pub size_gib: u32,
    /// The encryption that the pool asked for when it was made.
    #[serde(default)]
    pub encryption: Encryption,
    /// The node whose agent shall attach and mount it. Default: none, it is detached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The claim that holds it. Default: none, it is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_ref: Option<ClaimRef>,
    /// UID of the claim after which it was found, or made, as its source, though pods could write it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_after: Option<String>,
    /// True once it must never be handed out again. Default: false.
    #[serde(default)]
    pub retired: bool,
    /// What it has of its source, noted when it was made and whenever it is taken off a node. Default: what its snapshot has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Its last refresh, or the one that is under way. Default: it was never refreshed, or a claim has had it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshSpec>,
}

/// What a volume has of its source.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The identity of the source's filesystem. Empty: nobody knows what the volume has.
    #[serde(default)]
    pub source: String,
    /// The epoch of the sync generation.
    #[serde(default)]
    pub epoch: u64,
    /// The sync generation that it has at least, also after a loss of power.
    #[serde(default)]
    pub generation: u64,
    /// When it last had all that the source had. Default: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// A refresh of a ready volume: attached to a node, brought up to the source, detached.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshSpec {
    /// The node that was given the volume for it.
    pub node_name: String,
    /// When it began.
    pub start_time: Time,
    /// The identity of the source's filesystem.
    pub source: String,
    /// The epoch of the sync generation.
    pub epoch: u64,
    /// The sync generation of the source when it began: what the volume shall have at least.
    pub generation: u64,
    /// How many refreshes in a row have failed, this one included. Default: 0.
    #[serde(default)]
    pub failures: u32,
    /// When it ended. Default: it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// Why the volume does not have what it should. Default: it has, or the refresh is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The pool of a volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRef {
    /// Name of the pool.
    pub name: String,
    /// UID of the pool, so that a later pool of the same name is not mistaken for this one.
    pub uid: String,
}

/// What a volume is filled from.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The EBS snapshot.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The generation of its content.
    pub generation: u64,
}

/// Where the volume is: the controller writes `phase` and `cloud`, the agent of its node writes `node`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolVolumeStatus {
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The EC2 side, written by the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudStatus>,
    /// The node's side, written by the agent of that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeStatus>,
}

/// The EC2 side of a volume.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudStatus {
    /// The EBS volume; unset until EC2 has given one.
    #[serde(rename = "volumeID", default, skip_serializing_if = "Option::is_none")]
    pub volume_id: Option<String>,
    /// The state that EC2 reports. Example: available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Percent of its blocks that EC2 has loaded from the snapshot, 0 to 100.
    #[serde(default)]
    pub initialized_percent: u8,
    /// When the volume was asked for, stored before the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_time: Option<Time>,
    /// Since when EC2 no longer lists the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Time>,
    /// The last change in place, after a change of the pool's template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modification: Option<ModificationStatus>,
    /// Since when EC2 denies to delete the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied_since: Option<Time>,
    /// What EC2 last refused or failed, with the fix where we know one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A change of a volume in place.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModificationStatus {
    /// When it was asked for, stored before the call.
    pub requested_time: Time,
    /// modifying, optimizing, completed or failed; unset until EC2 shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ModificationState>,
    /// Why EC2 refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The node's side of a volume.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node that reports.
    pub name: String,
    /// The instance that the volume is attached to.
    #[serde(rename = "instanceID")]
    pub instance_id: String,
    /// Whether EC2 shows it attached to the instance.
    pub attached: bool,
    /// The device that carries the volume's serial number. Example: nvme1n1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The filesystem that it holds, once it was mounted. Example: xfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// Whether its filesystem is mounted on the node.
    pub mounted: bool,
    /// How many pods have it published.
    #[serde(default)]
    pub published: u32,
    /// How far its content is with the source of the pool. Default: the pool is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// What fails at present, with the fix where we know one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
