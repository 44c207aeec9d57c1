//! `PoolNode`: one agent, what it can hold and what it holds. Written by that agent only.

#![expect(clippy::duplicated_attributes, reason = "columns of one type repeat its name")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One node that can use volumes of pools. Its agent makes this object and alone writes it.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "volumedispatcher.io",
    version = "v1alpha1",
    kind = "PoolNode",
    status = "PoolNodeStatus",
    derive = "PartialEq",
    shortname = "pnode",
    category = "volumedispatcher",
    doc = "One node that can use volumes of pools. Its agent makes this object and alone writes it.",
    printcolumn(name = "Instance", type_ = "string", json_path = ".status.instanceID"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".status.zone"),
    printcolumn(name = "Attached", type_ = "integer", json_path = ".status.attached"),
    printcolumn(name = "Limit", type_ = "integer", json_path = ".status.attachLimit"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PoolNodeSpec {}

/// What a node can hold and what it holds.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolNodeStatus {
    /// The EC2 instance of the node.
    #[serde(rename = "instanceID")]
    pub instance_id: String,
    /// The availability zone of the instance.
    pub zone: String,
    /// How many volumes of pools the node can hold at once.
    pub attach_limit: u32,
    /// How many volumes of pools are attached.
    pub attached: u32,
    /// EBS volumes that pods on this node wait for while another node holds them, and sources that pods here have from another
    /// driver.
    #[serde(default)]
    pub requested: Vec<String>,
    /// Where the agent publishes sources to other agents, as address and port. Default: it has no certificate yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_address: Option<String>,
    /// Version of the agent.
    pub version: String,
}
