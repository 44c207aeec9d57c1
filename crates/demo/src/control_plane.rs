//! For what needs no pod: a real API server without nodes, a simulated EC2 without disks, and controllers as processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ec2_sim::{Profile, World};
use local_cluster::{Cluster, ClusterSpec};
use serde_json::{Value, json};

use crate::account::{ACCESS_KEY_ID, Account, REGION, SECRET_ACCESS_KEY};
use crate::http;
use crate::programs::{built, ensure_root};
use crate::stage::{CLUSTER, EC2_PORT, NAMESPACE, Report, SIMULATOR, clear, install_chart, make_namespace, untimed};

/// The zone of the one Node object. Nothing runs on it: it says that the zone has nodes.
pub const ZONE: &str = "us-east-1a";
/// The port of the simulator's admin interface.
const ADMIN_PORT: u16 = 4598;
/// The port of the controller's metrics.
const METRICS_PORT: u16 = 8080;
/// Name under which the cluster keeps the controller's process, and the name of the replica.
const CONTROLLER: &str = "controller";

/// A control plane with the chart installed, and an EC2. Dropping it stops all.
pub struct ControlPlane {
    /// The cluster.
    pub cluster: Cluster,
    /// EC2, as an administrator reaches it.
    pub account: Account,
    data: PathBuf,
    profile: &'static str,
}

impl ControlPlane {
    /// Clears what an earlier one left in the folder, and sets up a new one with an empty account, or with this one.
    /// No controller runs yet.
    pub async fn set(state: &Path, profile: Profile, world: Option<&World>, report: Report) -> Result<Self> {
        ensure_root()?;
        clear(state, &report).await?;
        let data = state.join("ec2");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        if let Some(world) = world {
            write_account(&data, world)?;
        }
        let told = report.clone();
        let spec = ClusterSpec::numbered(state.join("cluster"), 0);
        let cluster = Cluster::up(spec, move |line: &str| told(untimed(line))).await?;
        let account = Account::new(&format!("http://{}", cluster.forward(SocketAddr::new(cluster.gateway_ip(), EC2_PORT))?));
        let profile = match profile {
            Profile::Instant => "instant",
            Profile::Fast => "fast",
            Profile::Aws => "aws",
        };
        let plane = Self { cluster, account, data, profile };
        plane.start_simulator(None)?;
        let node =
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1", "labels": {"topology.kubernetes.io/zone": ZONE}}});
        plane.apply(&node.to_string()).await?;
        report("installing the chart with helm");
        make_namespace(&plane.cluster).await?;
        plane.install().await?;
        Ok(plane)
    }

    /// Installs the chart. Its pods never run, as there is no node for them.
    pub async fn install(&self) -> Result<()> {
        install_chart(&self.cluster, 1, &["--timeout", "60s"]).await
    }

    /// Uninstalls the chart: the service account of the controller goes, and with it what its process may do.
    pub async fn uninstall(&self) -> Result<()> {
        self.cluster.helm(&["uninstall", NAMESPACE, "--namespace", NAMESPACE, "--timeout", "60s"]).await.map(drop)
    }

    /// Starts the simulator with the account as it was; with `credentials`, policies are checked (see its README).
    pub fn start_simulator(&self, credentials: Option<&str>) -> Result<()> {
        let address = |port: u16| SocketAddr::new(self.cluster.gateway_ip(), port).to_string();
        let data = self.data.to_str().context("the data folder is not UTF-8")?.to_owned();
        let mut arguments =
            ["serve", "--no-data", "--region", REGION, "--profile", self.profile, "--data", &data].map(str::to_owned).to_vec();
        arguments.extend(["--listen".to_owned(), address(EC2_PORT), "--admin-listen".to_owned(), address(ADMIN_PORT)]);
        if let Some(credentials) = credentials {
            let file = self.data.join("credentials.yaml");
            std::fs::write(&file, credentials)?;
            arguments.extend(["--credentials".to_owned(), file.display().to_string()]);
        }
        self.cluster.spawn(SIMULATOR, built("ec2-sim")?, &arguments, &[])?;
        Ok(())
    }

    /// Puts another account in the place of the one that there is.
    pub async fn replace_account(&self, world: &World) -> Result<()> {
        self.stop_simulator().await?;
        drop(std::fs::remove_file(self.data.join("journal.jsonl")));
        write_account(&self.data, world)?;
        self.start_simulator(None)
    }

    /// Stops the simulator: EC2 cannot be reached until it is started again.
    pub async fn stop_simulator(&self) -> Result<()> {
        self.cluster.stop(SIMULATOR).await
    }

    /// Starts the controller of the chart's service account, with its rights and no others; returns its process.
    pub async fn start_controller(&self) -> Result<u32> {
        let config = self.kubeconfig().await?;
        let environment = [
            ("KUBECONFIG", config.display().to_string()),
            ("POD_NAME", CONTROLLER.to_owned()),
            ("POD_NAMESPACE", NAMESPACE.to_owned()),
            ("CLUSTER_NAME", CLUSTER.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL", format!("http://{}:{EC2_PORT}", self.cluster.gateway_ip())),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        self.cluster.spawn(CONTROLLER, built("volume-dispatcher")?, &["controller".to_owned()], &environment)
    }

    /// Where this process reaches EC2.
    pub fn ec2_endpoint(&self) -> Result<String> {
        Ok(format!("http://{}", self.forward(EC2_PORT)?))
    }

    /// Stops the controller as the kubelet would; it gives its lease back.
    pub async fn stop_controller(&self) -> Result<()> {
        self.cluster.stop(CONTROLLER).await
    }

    /// The controller's log.
    pub fn controller_log(&self) -> String {
        std::fs::read_to_string(self.cluster.logs().join(format!("{CONTROLLER}.log"))).unwrap_or_default()
    }

    /// The controller's metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> Result<String> {
        http::get(self.forward(METRICS_PORT)?, "/metrics").await
    }

    /// What the simulator says of the account: what there is, and every call so far.
    pub async fn audit(&self) -> Result<Value> {
        Ok(serde_json::from_str(&http::get(self.forward(EC2_PORT)?, "/_sim/audit").await?)?)
    }

    /// Writes to objects of ours, and events of ours, that the API server has counted so far, whoever made them.
    pub async fn writes(&self) -> Result<u64> {
        let metrics = self.cluster.kubectl(&["get", "--raw", "/metrics"]).await?;
        let has = |line: &str, label: &str, values: &[&str]| values.iter().any(|value| line.contains(&format!("{label}=\"{value}\"")));
        let is_ours = |line: &&str| {
            has(line, "group", &["volumedispatcher.io", "events.k8s.io"]) && has(line, "verb", &["APPLY", "DELETE", "PATCH", "POST", "PUT"])
        };
        let requests = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")).filter(is_ours);
        let counts = requests.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<u64>());
        counts.sum::<Result<u64, _>>().context("the API server counts in whole numbers")
    }

    /// Tells the simulator's admin interface something, see its README.
    pub async fn tell_simulator(&self, path: &str, words: &Value) -> Result<String> {
        http::post(self.forward(ADMIN_PORT)?, path, &words.to_string()).await
    }

    /// Applies a manifest.
    pub async fn apply(&self, manifest: &str) -> Result<()> {
        crate::story::apply_on(&self.cluster, manifest).await
    }

    /// Takes everything down and leaves nothing behind.
    pub async fn clear(self, report: Report) -> Result<()> {
        let state = self.data.parent().context("the data folder is in the state folder")?.to_owned();
        self.cluster.down().await?;
        clear(&state, &report).await
    }

    fn forward(&self, port: u16) -> Result<SocketAddr> {
        self.cluster.forward(SocketAddr::new(self.cluster.gateway_ip(), port))
    }

    /// The admin's file with a token of the service account in place of the admin's key.
    async fn kubeconfig(&self) -> Result<PathBuf> {
        self.kubeconfig_of("volume-dispatcher-controller", None).await
    }

    /// See [`kubeconfig_of`].
    pub async fn kubeconfig_of(&self, account: &str, node: Option<&str>) -> Result<PathBuf> {
        kubeconfig_of(&self.cluster, account, node).await
    }
}

/// A kubeconfig with a token of a service account of the product, bound to a node as the token of a pod is.
pub async fn kubeconfig_of(cluster: &Cluster, account: &str, node: Option<&str>) -> Result<PathBuf> {
    let bound = node.map(|node| ["--bound-object-kind=Node".to_owned(), format!("--bound-object-name={node}")]);
    let mut create = vec!["--namespace", NAMESPACE, "create", "token", account, "--duration=2h"];
    create.extend(bound.iter().flatten().map(String::as_str));
    let token = cluster.kubectl(&create).await?;
    let mut config: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig())?)?;
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = cluster.state().join(format!("{account}-{}.kubeconfig", node.unwrap_or("unbound")));
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}

fn write_account(data: &Path, world: &World) -> Result<()> {
    Ok(std::fs::write(data.join("state.json"), serde_json::to_vec(world)?)?)
}
