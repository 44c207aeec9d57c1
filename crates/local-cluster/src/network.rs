//! The cluster's network namespace: its creation, its addresses, its removal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command::{PATH, run};
use crate::layout::Layout;
use crate::spec::node_address;

/// The address of the API server and of what else the cluster's owner runs inside the network namespace.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;
/// The addresses of the services.
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The first address of [`SERVICE_CIDR`], which the API server gives to the service `kubernetes`.
pub(crate) const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// Where the API server listens, inside the network namespace.
pub(crate) fn api_address() -> SocketAddr {
    (GATEWAY, API_PORT).into()
}

/// The pods of the node with this index (from 0).
pub(crate) fn pod_cidr(index: usize) -> String {
    format!("10.244.{}.0/24", index + 1)
}

/// The bridge of the pods of the node with this index (from 0).
pub(crate) fn pod_bridge(index: usize) -> String {
    format!("cni{}", index + 1)
}

/// Creates the namespace with a bridge that has the gateway's address and one address for each node.
pub(crate) fn create(layout: &Layout, nodes: usize) -> Result<()> {
    run(&["ip", "netns", "add", &layout.name]).context("cannot create the network namespace")?;
    configure(layout, &commands(nodes))?;
    let netns = format!("--net={}", layout.netns().display());
    run(&["nsenter", &netns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    Ok(())
}

fn commands(nodes: usize) -> String {
    // A bridge without a port has no carrier: one end of a pair of virtual cables gives it one.
    let mut text = format!(
        "link set lo up\nlink add br-nodes type bridge\nlink set br-nodes up\naddr add {GATEWAY}/24 dev br-nodes\n\
         link add v0 type veth peer name v1\nlink set v0 master br-nodes\nlink set v0 up\nlink set v1 up\n"
    );
    for index in 0..nodes {
        let _ = writeln!(text, "addr add {}/32 dev br-nodes", node_address(index));
    }
    text
}

fn configure(layout: &Layout, commands: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-n", &layout.name, "-batch", "-"]).env("PATH", PATH);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot run ip")?;
    child.stdin.take().context("ip has no input")?.write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    let written = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot configure the network namespace: {}", written.trim());
    Ok(())
}

/// Removes the bridge of a node's pods, if there is one: the network plugin makes it, and a boot starts without.
pub(crate) fn remove_pod_bridge(layout: &Layout, index: usize) {
    // It is not there when the node never had a pod.
    let _ = run(&["ip", "-n", &layout.name, "link", "delete", &pod_bridge(index)]);
}

/// Removes the namespace, if there is one. Its devices and packet filters go with the last process in it.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    if layout.netns().exists() {
        run(&["ip", "netns", "delete", &layout.name]).context("cannot delete the network namespace")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_its_address() {
        let text = commands(2);
        assert!(text.contains("addr add 10.99.0.11/32 dev br-nodes\naddr add 10.99.0.12/32 dev br-nodes\n"));
        assert!(text.contains("addr add 10.99.0.1/24 dev br-nodes\n"));
    }

    #[test]
    fn nodes_have_different_pod_networks() {
        assert_eq!(pod_cidr(0), "10.244.1.0/24");
        assert_eq!(pod_cidr(1), "10.244.2.0/24");
    }
}
