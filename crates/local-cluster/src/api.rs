//! Talks to the cluster's API server from outside of its network namespace, and judges whether all of it is ready.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Node, ServiceAccount};
use kube::api::{Api, ListParams, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::layout::Layout;
use crate::pki::ADMIN;
use crate::processes;
use crate::relay::Relay;
use crate::spec::NodeSpec;

/// Where kube-proxy says whether it works, inside the cluster's network namespace.
const PROXY_HEALTH: &str = "127.0.0.1:10256";
/// The pause between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long one request may take before it counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client with the admin's rights that reaches the API server at `address`.
pub(crate) async fn client(layout: &Layout, address: SocketAddr) -> Result<kube::Client> {
    client_of(&layout.kubeconfig(ADMIN), address).await
}

/// The same with another kubeconfig.
pub(crate) async fn client_of(path: &Path, address: SocketAddr) -> Result<kube::Client> {
    // Several libraries of one process may each install this; the first one wins and all are the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.cluster_url = format!("https://{address}").parse()?;
    config.proxy_url = None;
    kube::Client::try_from(config).context("cannot make a Kubernetes client")
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check<'a> {
    /// The API server.
    Server,
    /// Whether pods can run on these nodes.
    Nodes(&'a [NodeSpec]),
    /// Whether this node is Ready since the boot with this id.
    Boot(&'a NodeSpec, &'a str),
    /// The controllers.
    Controllers,
    /// kube-proxy.
    Proxy,
}

/// Looks at a cluster.
pub(crate) struct Probe {
    /// The cluster's paths.
    pub(crate) layout: Layout,
    /// A client of its API server.
    pub(crate) client: kube::Client,
}

impl Probe {
    /// Waits until `check` finds nothing missing. Fails with the end of a log when a process of the cluster ends, or
    /// after `at_most` with what is missing still and the end of the log of `blamed`.
    pub(crate) async fn wait(&self, check: Check<'_>, blamed: &str, at_most: Duration) -> Result<()> {
        let deadline = Instant::now() + at_most;
        loop {
            processes::ensure_core_runs(&self.layout)?;
            let Some(missing) = self.problem(check).await else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let seconds = at_most.as_secs();
                bail!("not ready after {seconds} s: {missing}; {}", processes::tail(&self.layout, blamed));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The problem that `check` finds; a failure to look, or to do so in time, is one too.
    pub(crate) async fn problem(&self, check: Check<'_>) -> Option<String> {
        match timeout(REQUEST_TIMEOUT, self.look(check)).await {
            Ok(Ok(problem)) => problem,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs())),
        }
    }

    async fn look(&self, check: Check<'_>) -> Result<Option<String>> {
        match check {
            Check::Server => server_problem(&self.client).await,
            Check::Nodes(nodes) => node_problem(&self.client, nodes).await,
            Check::Boot(node, id) => boot_problem(&self.client, &node.name, id).await,
            Check::Controllers => controller_problem(&self.client).await,
            Check::Proxy => proxy_problem(&self.layout).await,
        }
    }
}

/// What keeps the API server from being ready.
async fn server_problem(client: &kube::Client) -> Result<Option<String>> {
    let request = Request::new("/readyz").list(&ListParams::default())?;
    let answer = client.request_text(request).await.context("the API server is not ready")?;
    Ok((answer != "ok").then_some(answer))
}

/// What keeps pods from running on every one of `nodes`.
async fn node_problem(client: &kube::Client, nodes: &[NodeSpec]) -> Result<Option<String>> {
    let api: Api<Node> = Api::all(client.clone());
    let found = api.list(&ListParams::default()).await?.items;
    for wanted in nodes {
        let node = found.iter().find(|node| node.metadata.name.as_ref() == Some(&wanted.name));
        let Some(node) = node else {
            return Ok(Some(format!("{} has not registered", wanted.name)));
        };
        if let Some(reason) = unready_reason(node) {
            return Ok(Some(format!("{}: {reason}", wanted.name)));
        }
    }
    Ok(None)
}

/// What keeps a node from being Ready, and taking pods, since a boot. Before its kubelet has said something the API server tells of the last.
async fn boot_problem(client: &kube::Client, name: &str, id: &str) -> Result<Option<String>> {
    let api: Api<Node> = Api::all(client.clone());
    let Some(node) = api.get_opt(name).await? else {
        return Ok(Some(format!("{name} has not registered")));
    };
    let told = node.status.as_ref().and_then(|status| status.node_info.as_ref()).map(|info| info.boot_id.as_str());
    if told != Some(id) {
        return Ok(Some(format!("{name} has not told of its boot")));
    }
    let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if !is_ready {
        return Ok(Some(format!("{name} is not Ready")));
    }
    let taints = node.spec.iter().filter_map(|spec| spec.taints.as_ref()).flatten();
    let left = taints.into_iter().find(|taint| TAINTS_OF_AN_OUTAGE.contains(&taint.key.as_str()));
    Ok(left.map(|taint| format!("{name} has the taint {}", taint.key)))
}

/// The taints that the node lifecycle controller adds when a node is not Ready, and removes some time after it is again
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/>). Others, as `out-of-service`, are a person's.
const TAINTS_OF_AN_OUTAGE: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Why no pod would be scheduled to `node`, if so.
fn unready_reason(node: &Node) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    let Some(ready) = ready else {
        return Some("has no condition Ready".into());
    };
    if ready.status != "True" {
        return Some(ready.message.clone().unwrap_or_else(|| "is not Ready".into()));
    }
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let taint = taints.and_then(|all| all.iter().find(|taint| taint.key.starts_with("node.kubernetes.io/")));
    taint.map(|taint| format!("has the taint {}", taint.key))
}

/// What the controllers have not made yet of that which every pod in the namespace `default` needs.
async fn controller_problem(client: &kube::Client) -> Result<Option<String>> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    if accounts.get_opt("default").await?.is_none() {
        return Ok(Some("the service account `default` is missing".into()));
    }
    let missing = maps.get_opt("kube-root-ca.crt").await?.is_none();
    Ok(missing.then(|| "the config map `kube-root-ca.crt` is missing".into()))
}

/// What keeps services from being reachable: asks kube-proxy itself.
async fn proxy_problem(layout: &Layout) -> Result<Option<String>> {
    let relay = Relay::start(&layout.netns(), PROXY_HEALTH.parse()?)?;
    let mut stream = TcpStream::connect(relay.address()).await?;
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.lines().next().unwrap_or_default();
    Ok((!status.contains(" 200 ")).then(|| format!("kube-proxy answers {status:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &serde_json::Value) -> Node {
        serde_json::from_value(json.clone()).unwrap()
    }

    #[test]
    fn a_ready_node_without_taints_is_ready() {
        let ready = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(unready_reason(&node(&ready)), None);
    }

    #[test]
    fn an_unready_or_tainted_node_says_why() {
        let unready = serde_json::json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "message": "no network"}]}});
        assert_eq!(unready_reason(&node(&unready)).unwrap(), "no network");
        let tainted = serde_json::json!({
            "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(unready_reason(&node(&tainted)).unwrap().contains("not-ready"));
        assert!(unready_reason(&Node::default()).is_some());
    }
}
