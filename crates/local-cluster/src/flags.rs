//! The command lines of the components of the control plane and of the kubelet.

use std::path::Path;

use crate::layout::Layout;
use crate::network::{API_PORT, GATEWAY, SERVICE_CIDR};
use crate::render::Node;
use crate::spec::node_address;

/// Where etcd serves the API server, inside the cluster's network namespace.
const ETCD: &str = "http://127.0.0.1:2379";

/// etcd. It does not wait for the disk: the data lives as long as the cluster.
pub(crate) fn etcd(layout: &Layout, tools: &Path) -> Vec<String> {
    vec![
        program(tools, "etcd"),
        format!("--data-dir={}", layout.root.join("etcd").display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--unsafe-no-fsync".into(),
    ]
}

/// The API server.
pub(crate) fn api_server(layout: &Layout, tools: &Path) -> Vec<String> {
    let pki = |flag: &str, name: &str| format!("--{flag}={}", layout.pki(name).display());
    vec![
        program(tools, "kube-apiserver"),
        format!("--etcd-servers={ETCD}"),
        format!("--secure-port={API_PORT}"),
        "--bind-address=0.0.0.0".into(),
        format!("--advertise-address={GATEWAY}"),
        pki("tls-cert-file", "apiserver.crt"),
        pki("tls-private-key-file", "apiserver.key"),
        pki("client-ca-file", "ca.crt"),
        pki("kubelet-client-certificate", "kubelet-client.crt"),
        pki("kubelet-client-key", "kubelet-client.key"),
        pki("kubelet-certificate-authority", "ca.crt"),
        "--kubelet-preferred-address-types=InternalIP".into(),
        pki("service-account-key-file", "sa.pub"),
        pki("service-account-signing-key-file", "sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--authorization-mode=Node,RBAC".into(),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--allow-privileged=true".into(),
    ]
}

/// The controller manager.
pub(crate) fn controller_manager(layout: &Layout, tools: &Path) -> Vec<String> {
    vec![
        program(tools, "kube-controller-manager"),
        kubeconfig(layout, "controller-manager"),
        format!("--service-account-private-key-file={}", layout.pki("sa.key").display()),
        format!("--root-ca-file={}", layout.pki("ca.crt").display()),
        "--use-service-account-credentials".into(),
        "--secure-port=0".into(),
        "--leader-elect=false".into(),
        // The default of 20 requests a second makes the start of the controllers take four seconds.
        "--kube-api-qps=300".into(),
        "--kube-api-burst=600".into(),
        "--attach-detach-reconcile-sync-period=10s".into(),
        format!("--flex-volume-plugin-dir={}", layout.root.join("volume-plugins").display()),
    ]
}

/// The scheduler.
pub(crate) fn scheduler(layout: &Layout, tools: &Path) -> Vec<String> {
    vec![program(tools, "kube-scheduler"), kubeconfig(layout, "scheduler"), "--secure-port=0".into(), "--leader-elect=false".into()]
}

/// kube-proxy: one for all nodes, as they share the network namespace.
pub(crate) fn proxy(layout: &Layout, tools: &Path, first_node: &str) -> Vec<String> {
    vec![
        program(tools, "kube-proxy"),
        kubeconfig(layout, "proxy"),
        "--proxy-mode=nftables".into(),
        format!("--hostname-override={first_node}"),
        // The limits of connection tracking belong to the whole machine.
        "--conntrack-max-per-core=0".into(),
        "--conntrack-tcp-timeout-established=0".into(),
        "--conntrack-tcp-timeout-close-wait=0".into(),
    ]
}

/// The kubelet of one node.
pub(crate) fn kubelet(node: &Node<'_>, tools: &Path) -> Vec<String> {
    let spec = node.spec;
    let labels = format!(
        "topology.kubernetes.io/zone={},topology.kubernetes.io/region={},node.kubernetes.io/instance-type={}",
        spec.zone,
        spec.region(),
        spec.instance_type
    );
    vec![
        program(tools, "kubelet"),
        format!("--config={}", node.path("kubelet.json")),
        kubeconfig(node.layout, &spec.name),
        format!("--hostname-override={}", spec.name),
        format!("--node-ip={}", node_address(node.index)),
        format!("--provider-id={}", spec.provider_id),
        format!("--node-labels={labels}"),
        "--v=2".into(),
    ]
}

fn kubeconfig(layout: &Layout, user: &str) -> String {
    format!("--kubeconfig={}", layout.kubeconfig(user).display())
}

fn program(tools: &Path, name: &str) -> String {
    tools.join(name).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::NodeSpec;

    #[test]
    fn the_kubelet_says_its_zone_region_type_and_instance() {
        let layout = Layout::new(Path::new("/nonexistent/s")).unwrap();
        let spec = NodeSpec::numbered(1);
        let line = kubelet(&Node { layout: &layout, index: 0, spec: &spec }, Path::new("/bin")).join(" ");
        assert!(line.contains("topology.kubernetes.io/zone=us-east-1a,topology.kubernetes.io/region=us-east-1,"));
        assert!(line.contains("node.kubernetes.io/instance-type=m7i.large"));
        assert!(line.contains("--provider-id=aws:///us-east-1a/i-00000000000000001"));
        assert!(line.contains("--node-ip=10.99.0.11"));
    }

    #[test]
    fn the_api_server_has_no_file_outside_of_the_state_folder() {
        let layout = Layout::new(Path::new("/nonexistent/s")).unwrap();
        let flags = api_server(&layout, Path::new("/bin"));
        let paths = flags[1..].iter().filter_map(|flag| flag.split_once("=/")).map(|(_, path)| path);
        assert!(paths.clone().count() > 5);
        assert!(paths.clone().all(|path| path.starts_with("nonexistent/s/")), "{flags:?}");
    }
}
