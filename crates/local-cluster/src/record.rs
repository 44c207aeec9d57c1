//! What is known of a cluster that was started: its spec, its programs, and which of its processes must run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::spec::ClusterSpec;
use crate::{power, processes};

/// What the file `cluster.json` of the state folder holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What runs, with the state folder as the layout has it.
    pub(crate) spec: ClusterSpec,
    /// The folder of the programs that run.
    pub(crate) tools: PathBuf,
}

impl Record {
    /// Reads the record of the cluster in the state folder, running or not.
    pub(crate) fn read(layout: &Layout) -> Result<Self> {
        let path = layout.record();
        let content = fs::read(&path).with_context(|| format!("no cluster in {}", layout.root.display()))?;
        serde_json::from_slice(&content).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// The cluster's own processes that do not run.
pub(crate) fn stopped_components(layout: &Layout, spec: &ClusterSpec) -> Vec<String> {
    let fixed = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
    let fixed = if spec.nodes.is_empty() { &fixed[..3] } else { &fixed[..] };
    let on = spec.nodes.iter().filter(|node| !power::is_off(layout, &node.name));
    let of_nodes = on.flat_map(|node| ["containerd", "kubelet"].map(|name| format!("{name}-{}", node.name)));
    let all = fixed.iter().map(|name| (*name).to_owned()).chain(of_nodes);
    all.filter(|name| processes::running(layout, name).is_none()).collect()
}
