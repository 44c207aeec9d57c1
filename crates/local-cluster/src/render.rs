//! Renders the configuration files of a node: containerd, the pod network, the kubelet, and the script that sets up
//! the node's mount namespace.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::images::PAUSE;
use crate::layout::Layout;
use crate::network::{pod_bridge, pod_cidr};
use crate::spec::{Bind, NodeSpec, node_address};

/// The address that pods get as their name server. Nothing listens there: the cluster has no DNS.
const CLUSTER_DNS: &str = "10.96.0.10";
/// Where the kernel says which boot this is, see random(4). The nodes share a kernel, so each has a file of its own over it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Gives another random number of the same form with each look.
const RANDOM_ID: &str = "/proc/sys/kernel/random/uuid";

/// One node with what its configuration depends on.
pub(crate) struct Node<'a> {
    /// The cluster's paths.
    pub(crate) layout: &'a Layout,
    /// The node's place in the spec, from 0.
    pub(crate) index: usize,
    /// The node.
    pub(crate) spec: &'a NodeSpec,
}

impl Node<'_> {
    /// A file or folder below the node's own folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.layout.node(self.index).join(name).display().to_string()
    }

    /// The name of the record and log of this node's `component`.
    pub(crate) fn process(&self, component: &str) -> String {
        format!("{component}-{}", self.spec.name)
    }

    /// The control group below which its pods are.
    pub(crate) fn cgroup(&self) -> String {
        format!("{}/{}", self.layout.name, cgroup_name(self.index))
    }

    /// Gives the node the id of a boot that never was.
    pub(crate) fn write_boot_id(&self) -> Result<()> {
        let id = fs::read_to_string(RANDOM_ID).context("the kernel gives no random number")?;
        fs::write(self.path("boot-id"), id).context("cannot write the id of the boot")
    }

    /// The id of the node's boot.
    pub(crate) fn boot_id(&self) -> Result<String> {
        let id = fs::read_to_string(self.path("boot-id")).context("cannot read the id of the boot")?;
        Ok(id.trim().to_owned())
    }

    /// containerd's configuration.
    pub(crate) fn containerd(&self) -> String {
        // The oom score can only be lowered with CAP_SYS_RESOURCE, which a container around the cluster may lack.
        // The `opt` plugin would create /opt/containerd.
        format!(
            r#"version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{conf}"
"#,
            root = self.path("containerd"),
            state = self.path("run"),
            socket = self.layout.containerd_socket(self.index).display(),
            cni = crate::packages::CNI_FOLDER,
            conf = self.path("cni"),
        )
    }

    /// The pod network: a bridge of the node's own inside the cluster's network namespace.
    pub(crate) fn cni(&self) -> String {
        let number = self.index + 1;
        json!({
            "cniVersion": "0.4.0",
            "name": format!("pods{number}"),
            "plugins": [{
                "type": "bridge",
                "bridge": pod_bridge(self.index),
                "isGateway": true,
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": self.path("ipam"),
                    "ranges": [[{"subnet": pod_cidr(self.index)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        })
        .to_string()
    }

    /// The kubelet's configuration (JSON, which is YAML).
    pub(crate) fn kubelet(&self) -> String {
        let pki = |name: &str| self.layout.pki(name).display().to_string();
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node_address(self.index),
            "port": 10250,
            "healthzPort": 0,
            "readOnlyPort": 0,
            "failCgroupV1": false,
            "failSwapOn": false,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.cgroup()),
            "enforceNodeAllocatable": [],
            "containerRuntimeEndpoint": format!("unix://{}", self.layout.containerd_socket(self.index).display()),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": pki("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": pki(&format!("{}.crt", self.spec.name)),
            "tlsPrivateKeyFile": pki(&format!("{}.key", self.spec.name)),
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "serializeImagePulls": false,
            "clusterDNS": [CLUSTER_DNS],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "makeIPTablesUtilChains": false,
            "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        })
        .to_string()
    }

    /// The folders that the node sees at fixed paths: the kubelet's, those that containerd, its shims and the
    /// network plugins have no option for, and the caller's.
    fn binds(&self) -> Vec<Bind> {
        let own = [("kubelet", "/var/lib/kubelet"), ("cni-cache", "/var/lib/cni"), ("shims", "/run/containerd"), ("var-log", "/var/log")];
        let own = own.map(|(host, node)| Bind { host: self.path(host).into(), node: node.into() });
        own.into_iter().chain(self.spec.binds.iter().cloned()).collect()
    }

    /// The script that turns a fresh mount namespace into the node's and becomes containerd.
    pub(crate) fn script(&self) -> String {
        // Each bind is a peer group of its own, as a disk's mount on a real node is: what is mounted below it
        // appears in the containers that share it and nowhere else.
        let mut text = String::from(
            "#!/bin/sh\nset -eu\nmount --make-rshared /\nbind() {\n  mkdir -p \"$1\" \"$2\"\n  \
             mount --bind \"$1\" \"$2\"\n  mount --make-private \"$2\"\n  mount --make-shared \"$2\"\n}\n",
        );
        for bind in self.binds() {
            let _ = writeln!(text, "bind {} {}", quoted(&bind.host), quoted(&bind.node));
        }
        // The kubelet tells by it that the node was booted.
        let _ = writeln!(text, "mount --bind {} {BOOT_ID}", self.path("boot-id"));
        let _ = writeln!(text, "exec containerd --config {}", self.path("containerd.toml"));
        text
    }
}

/// The control group of the node with this index (from 0), below the cluster's.
pub(crate) fn cgroup_name(index: usize) -> String {
    format!("n{}", index + 1)
}

/// `path` as one word of a shell script.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_node(check: impl Fn(Node<'_>)) {
        let layout = Layout::new(Path::new("/nonexistent/s")).unwrap();
        let mut spec = NodeSpec::numbered(2);
        spec.binds.push(Bind { host: "/srv/it's".into(), node: "/var/lib/volumes".into() });
        check(Node { layout: &layout, index: 1, spec: &spec });
    }

    #[test]
    fn the_kubelet_uses_its_own_cgroup_address_and_certificate() {
        with_node(|node| {
            let config: serde_json::Value = serde_json::from_str(&node.kubelet()).unwrap();
            assert_eq!(config["cgroupRoot"], format!("/{}/n2", node.layout.name));
            assert_eq!(config["address"], "10.99.0.12");
            assert_eq!(config["tlsCertFile"], "/nonexistent/s/pki/node2.crt");
            assert_eq!(config["containerRuntimeEndpoint"], "unix:///nonexistent/s/n2/containerd.sock");
        });
    }

    #[test]
    fn containerd_keeps_everything_below_the_state_folder() {
        with_node(|node| {
            let config = node.containerd();
            assert!(config.contains("root = \"/nonexistent/s/n2/containerd\"\n"));
            assert!(config.contains("state = \"/nonexistent/s/n2/run\"\n"));
            assert!(config.contains("sandbox_image = \"registry.local/pause:1\""));
        });
    }

    #[test]
    fn the_pod_network_of_a_node_is_its_own() {
        with_node(|node| {
            let config: serde_json::Value = serde_json::from_str(&node.cni()).unwrap();
            assert_eq!(config["plugins"][0]["bridge"], "cni2");
            assert_eq!(config["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.2.0/24");
        });
    }

    #[test]
    fn the_script_binds_what_the_caller_asked_for_with_safe_quoting() {
        with_node(|node| {
            let script = node.script();
            assert!(script.contains("bind '/nonexistent/s/n2/kubelet' '/var/lib/kubelet'\n"));
            assert!(script.contains(r"bind '/srv/it'\''s' '/var/lib/volumes'"));
            assert!(script.contains("mount --bind /nonexistent/s/n2/boot-id /proc/sys/kernel/random/boot_id\n"));
            assert!(script.ends_with("exec containerd --config /nonexistent/s/n2/containerd.toml\n"));
        });
    }
}
