//! What a cluster shall look like: its state folder, its nodes, and what each node sees of the host.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// How many nodes one cluster may have: the node addresses are 10.99.0.11 to 10.99.0.210.
pub const MAX_NODES: usize = 200;

/// A folder of the host that a node sees at a path of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The folder on the host. It is created where it is missing.
    pub host: PathBuf,
    /// Where the folder appears inside the node's mount namespace, as a shared mount. An empty folder of this
    /// name is created on the host where it is missing (a mount needs something to be mounted on) and stays.
    pub node: PathBuf,
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSpec {
    /// The node's name in Kubernetes: lower-case letters, digits, dots and dashes.
    pub name: String,
    /// The availability zone, for example `us-east-1a`. The region label is the zone without its last letter.
    pub zone: String,
    /// The node's `spec.providerID`, for example `aws:///us-east-1a/i-00000000000000001`.
    pub provider_id: String,
    /// The value of the label `node.kubernetes.io/instance-type`.
    pub instance_type: String,
    /// Folders of the host that this node sees.
    pub binds: Vec<Bind>,
}

impl NodeSpec {
    /// The node `node<number>` in the zone us-east-1a, without binds.
    pub fn numbered(number: usize) -> Self {
        Self {
            name: format!("node{number}"),
            zone: "us-east-1a".into(),
            provider_id: format!("aws:///us-east-1a/i-{number:017x}"),
            instance_type: "m7i.large".into(),
            binds: Vec::new(),
        }
    }

    /// The region of the node's zone: the zone without its trailing letter.
    pub(crate) fn region(&self) -> &str {
        self.zone.trim_end_matches(|c: char| c.is_ascii_lowercase())
    }
}

/// A whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// The folder that holds everything the cluster writes. It is removed by `down`.
    pub state: PathBuf,
    /// The nodes. Without one only etcd, the API server and the controller manager run, which takes half the time and
    /// is enough for whatever needs no pod.
    pub nodes: Vec<NodeSpec>,
}

impl ClusterSpec {
    /// A cluster of `count` nodes named `node1`, `node2`, … as [`NodeSpec::numbered`] makes them.
    pub fn numbered(state: PathBuf, count: usize) -> Self {
        Self { state, nodes: (1..=count).map(NodeSpec::numbered).collect() }
    }

    /// Refuses what could not start, or could not be written into a configuration file unharmed.
    pub(crate) fn validate(&self) -> Result<()> {
        ensure!(self.nodes.len() <= MAX_NODES, "a cluster can have {MAX_NODES} nodes at most");
        for (index, node) in self.nodes.iter().enumerate() {
            validate_node(node)?;
            if self.nodes[..index].iter().any(|other| other.name == node.name) {
                bail!("two nodes have the name {:?}", node.name);
            }
        }
        Ok(())
    }
}

fn validate_node(node: &NodeSpec) -> Result<()> {
    let name_is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    ensure!(
        !node.name.is_empty() && node.name.len() <= 63 && node.name.chars().all(name_is_plain),
        "{:?} is no node name: use lower-case letters, digits, dots and dashes",
        node.name
    );
    for value in [&node.zone, &node.provider_id, &node.instance_type] {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/".contains(c);
        ensure!(!value.is_empty() && value.chars().all(plain), "{value:?} of {} has unsuitable characters", node.name);
    }
    for bind in &node.binds {
        ensure!(bind.host.is_absolute() && bind.node.is_absolute(), "the binds of {} need absolute paths", node.name);
    }
    Ok(())
}

/// The address of the node with this index (from 0) inside the cluster's network namespace.
pub(crate) fn node_address(index: usize) -> Ipv4Addr {
    let last = u8::try_from(index + 11).expect("a validated spec has at most MAX_NODES nodes");
    Ipv4Addr::new(10, 99, 0, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_nodes_are_valid_and_have_instance_ids_of_seventeen_digits() {
        let spec = ClusterSpec::numbered("/tmp/x".into(), 2);
        spec.validate().unwrap();
        assert_eq!(spec.nodes[1].provider_id, "aws:///us-east-1a/i-00000000000000002");
        assert_eq!(spec.nodes[1].region(), "us-east-1");
        assert_eq!(node_address(1).to_string(), "10.99.0.12");
    }

    #[test]
    fn a_cluster_may_have_no_node() {
        ClusterSpec::numbered("/tmp/x".into(), 0).validate().unwrap();
    }

    #[test]
    fn two_nodes_of_one_name_are_refused() {
        let mut spec = ClusterSpec::numbered("/tmp/x".into(), 2);
        spec.nodes[1].name = "node1".into();
        assert!(spec.validate().unwrap_err().to_string().contains("node1"));
    }

    #[test]
    fn a_label_that_would_break_out_of_its_flag_is_refused() {
        let mut spec = ClusterSpec::numbered("/tmp/x".into(), 1);
        spec.nodes[0].zone = "a,b=c".into();
        spec.validate().unwrap_err();
    }

    #[test]
    fn the_address_of_the_last_allowed_node_exists() {
        assert_eq!(node_address(MAX_NODES - 1).to_string(), "10.99.0.210");
    }
}
