//! Sets the scene: EC2 with a filled source, a cluster whose nodes are its instances, the image and the chart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use ec2_sim::{Options, Profile, Server};
use local_cluster::{Bind, Cluster, ClusterSpec, Logs, NodeSpec};

use crate::account::{ACCESS_KEY_ID, Account, REGION, SECRET_ACCESS_KEY};
use crate::image;
use crate::programs::{built, ensure_root, repository, run};
use crate::source::{self, Content, Filesystem, Filled};

/// The port of the simulator on the cluster's gateway.
pub(crate) const EC2_PORT: u16 = 4599;
/// Where each node sees the devices of its instance.
const INSTANCE_FOLDER: &str = "/var/lib/ec2-instance";
/// Two nodes in two zones.
pub const TWO_ZONES: &[&str] = &["us-east-1a", "us-east-1b"];
/// Three nodes, of which two are in the zone of the source, so that one can take over from the other.
pub const WITH_A_SPARE: &[&str] = &["us-east-1a", "us-east-1b", "us-east-1a"];
/// Namespace of the product.
pub const NAMESPACE: &str = "volume-dispatcher";
/// The name that the chart is told of the cluster.
pub const CLUSTER: &str = "demo";
/// Name under which the cluster keeps the simulator's process.
pub(crate) const SIMULATOR: &str = "ec2-sim";

/// How a stage is set.
#[derive(Clone, Debug)]
pub struct Script {
    /// The folder of all state.
    pub state: PathBuf,
    /// What the source holds.
    pub content: Content,
    /// The filesystem of the source.
    pub filesystem: Filesystem,
    /// The zone of each node. The source is in the first.
    pub zones: &'static [&'static str],
    /// Replicas of the controller.
    pub controllers: u32,
    /// Whether all keeps running when the stage is dropped, also when setting it fails, for a person to look at.
    pub keep: bool,
}

/// Where words about progress go.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// A scene that is set. Dropping it stops the cluster, unless the script says otherwise.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// EC2, as an administrator reaches it.
    pub account: Account,
    /// The id of the source volume.
    pub source: String,
    /// The digest of the source's content.
    pub digest: String,
    /// How many files the source holds.
    pub files: usize,
    data: PathBuf,
}

impl Stage {
    /// Clears what an earlier scene left in the folder, and sets a new one.
    pub async fn set(script: Script, report: Report) -> Result<Self> {
        ensure_root()?;
        clear(&script.state, &report).await?;
        let archive = prepare(&report).await?;
        let data = script.state.join("ec2");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let (filled, nodes) = prepare_account(&script, &data, &report).await?;
        report(&format!("starting Kubernetes: {} nodes, in {}", script.zones.len(), script.zones.join(", ")));
        let told = report.clone();
        let spec = ClusterSpec { state: script.state.join("cluster"), nodes };
        let mut cluster = Cluster::up(spec, move |line: &str| told(untimed(line))).await?;
        if script.keep {
            cluster.keep();
        }
        let endpoint = std::net::SocketAddr::new(cluster.gateway_ip(), EC2_PORT);
        let account = Account::new(&format!("http://{}", cluster.forward(endpoint)?));
        let stage = Self { cluster, account, source: filled.volume, digest: filled.digest, files: filled.files, data };
        stage.start_simulator()?;
        report("loading the image in the nodes");
        stage.cluster.load_image(&archive).await?;
        let in_image = [format!("agent.devDir={INSTANCE_FOLDER}/dev"), format!("agent.sysDir={INSTANCE_FOLDER}/sys")];
        let in_image: Vec<&str> = in_image.iter().flat_map(|value| ["--set", value]).collect();
        report("installing the chart with helm");
        make_namespace(&stage.cluster).await?;
        install_chart(&stage.cluster, script.controllers, &[&in_image[..], &["--wait", "--timeout", "120s"]].concat()).await?;
        Ok(stage)
    }

    /// Starts the simulator on the cluster's gateway, with the account as it was.
    pub fn start_simulator(&self) -> Result<()> {
        let listen = format!("{}:{EC2_PORT}", self.cluster.gateway_ip());
        let data = self.data.to_str().context("the data folder is not UTF-8")?;
        let arguments = ["serve", "--listen", &listen, "--data", data, "--region", REGION, "--profile", "fast"].map(str::to_owned);
        self.cluster.spawn(SIMULATOR, built("ec2-sim")?, &arguments, &[])?;
        Ok(())
    }

    /// A node dies as an instance does: its power goes, EC2 says that it is terminated, and its Node object is deleted.
    pub async fn lose_node(&self, node: &str) -> Result<()> {
        let provider = self.cluster.kubectl(&["get", &format!("node/{node}"), "--output", "jsonpath={.spec.providerID}"]).await?;
        let instance = provider.rsplit('/').next().context("a provider id has parts")?.to_owned();
        self.cluster.power_off(node).await?;
        self.account.terminate(&instance).await?;
        self.cluster.kubectl(&["delete", &format!("node/{node}")]).await?;
        // Kubernetes does it too, a minute later.
        let pods =
            ["delete", "pods", "--all-namespaces", "--field-selector", &format!("spec.nodeName={node}"), "--force", "--grace-period=0"];
        self.cluster.kubectl(&pods).await.map(drop)
    }

    /// The process of the simulator.
    pub fn simulator_pid(&self) -> Option<u32> {
        self.cluster.pid(SIMULATOR)
    }

    /// Takes everything down and leaves nothing behind.
    pub async fn clear(self, report: Report) -> Result<()> {
        let state = self.data.parent().context("the data folder is in the state folder")?.to_owned();
        self.cluster.down().await?;
        clear(&state, &report).await
    }
}

/// Makes the namespace of the product, with the keys for EC2 in it.
pub(crate) async fn make_namespace(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
    let keys = [format!("--from-literal=access_key_id={ACCESS_KEY_ID}"), format!("--from-literal=secret_access_key={SECRET_ACCESS_KEY}")];
    cluster.kubectl(&["--namespace", NAMESPACE, "create", "secret", "generic", "aws", &keys[0], &keys[1]]).await?;
    Ok(())
}

/// Installs the chart with values for the simulator on the gateway, and with more arguments for helm.
pub(crate) async fn install_chart(cluster: &Cluster, controllers: u32, more: &[&str]) -> Result<()> {
    let chart = repository().join("charts/volume-dispatcher");
    let values = [
        format!("clusterName={CLUSTER}"),
        format!("image.repository={}", image::NAME),
        format!("image.tag={}", image::TAG),
        "image.pullPolicy=Never".to_owned(),
        format!("aws.region={REGION}"),
        format!("aws.endpointURL=http://{}:{EC2_PORT}", cluster.gateway_ip()),
        "aws.credentialsSecret=aws".to_owned(),
        format!("controller.replicas={controllers}"),
        "log=info\\,volume_dispatcher=debug".to_owned(),
        "logFormat=text".to_owned(),
    ];
    let chart = chart.to_str().context("the repository is not in a UTF-8 folder")?;
    let mut arguments = vec!["install", NAMESPACE, chart, "--namespace", NAMESPACE];
    for value in &values {
        arguments.extend(["--set", value]);
    }
    arguments.extend(more);
    cluster.helm(&arguments).await?;
    Ok(())
}

/// Installs missing packages, builds Kubernetes and the image; returns the image. What has been done is not done again.
pub async fn prepare(report: &Report) -> Result<PathBuf> {
    ensure_root()?;
    local_cluster::ensure_packages(&|line| report(line)).await?;
    local_cluster::ensure_tools(&|line| report(line)).await?;
    image::ensure(&|line| report(line)).await
}

/// Stops whatever runs on the folder and removes it: processes, mounts, loop devices, files.
pub async fn clear(state: &Path, report: &Report) -> Result<()> {
    let told = report.clone();
    local_cluster::down(&state.join("cluster"), Logs::Remove, move |line: &str| told(untimed(line))).await?;
    let data = state.join("ec2");
    if data.exists() {
        let data = data.to_str().context("the data folder is not UTF-8")?;
        run(built("ec2-sim")?.to_str().unwrap_or_default(), ["down", "--data", data, "--force"]).await?;
        std::fs::remove_dir_all(data).with_context(|| format!("cannot remove {data}"))?;
    }
    remove_empty_folders(state);
    Ok(())
}

/// Removes folders from the bottom up, as far as they are empty: never a file, so never the content of a mount.
fn remove_empty_folders(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()) {
        remove_empty_folders(&path);
    }
    drop(std::fs::remove_dir(folder));
}

/// A line of the cluster's without its own clock, since ours is in front of it.
pub(crate) fn untimed(line: &str) -> &str {
    line.split_once(" s] ").map_or(line, |(_, words)| words)
}

/// Makes the instances and the source, with a simulator that ends again: its state is in its folder.
async fn prepare_account(script: &Script, data: &Path, report: &Report) -> Result<(Filled, Vec<NodeSpec>)> {
    report("starting a simulated EC2 with real disks: an instance for each node, and a source volume");
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let options = Options { listen, region: REGION.to_owned(), profile: Profile::Fast, data_plane: true, ..Options::for_tests(data) };
    let server = Server::start(options).await?;
    let account = Account::new(&server.endpoint_url());
    let mut nodes = Vec::new();
    for (number, zone) in (1..).zip(script.zones) {
        let instance = account.run_instance(&format!("node{number}"), zone).await?;
        nodes.push(node(&script.state, data, number, zone, &instance));
    }
    let filled = source::fill(&account, data, script.zones[0], (&script.content, script.filesystem)).await?;
    report(&format!("filled the source volume {} with {} files", filled.volume, filled.files));
    server.shutdown().await?;
    Ok((filled, nodes))
}

fn node(state: &Path, data: &Path, number: usize, zone: &str, instance: &str) -> NodeSpec {
    let mut node = NodeSpec::numbered(number);
    zone.clone_into(&mut node.zone);
    node.provider_id = format!("aws:///{zone}/{instance}");
    node.binds = vec![
        Bind { host: state.join("nodes").join(&node.name), node: PathBuf::from("/var/lib/volume-dispatcher") },
        Bind { host: data.join("instances").join(instance), node: PathBuf::from(INSTANCE_FOLDER) },
    ];
    node
}
