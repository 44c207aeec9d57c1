//! The handle of a running cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::process::Command;

use crate::api::{Check, Probe};
use crate::bringup::{blocking_tear_down, down, lock, reusable, start};
use crate::command::{PATH, PROXY_VARIABLES, run_async};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::pki::ADMIN;
use crate::processes::{self, Launch};
use crate::progress::Steps;
use crate::record::{Record, stopped_components};
use crate::relay::Relay;
use crate::render::Node;
use crate::spec::{ClusterSpec, NodeSpec};
use crate::startup::{Startup, import_image, mount_namespace};
use crate::teardown::{self, Logs, leftovers, tear_down};
use crate::{api, network, packages, power, tools};

/// How long [`Cluster::stop`] waits before it kills.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A running cluster. Dropping it takes the cluster down, blocking the thread, when it came from [`Cluster::up`] and
/// [`Cluster::keep`] was not called; the clients and ports that it gave out stop working in any case.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    record: Record,
    relays: Mutex<Vec<(SocketAddr, Relay)>>,
    stop_on_drop: bool,
}

impl Cluster {
    /// Starts the cluster and waits until pods can run on every node. A healthy cluster with the same nodes in the
    /// same state folder is taken over as it is; what is left of a broken one is removed first. `report` gets
    /// progress lines. The result takes the cluster down on drop, unless [`Cluster::keep`] is called.
    ///
    /// Not cancel safe: a dropped future leaves a partial cluster, which the next [`Cluster::up`] or [`down`] removes.
    ///
    /// # Errors
    /// When this process is not root's, something that is needed is missing, a healthy cluster with other nodes
    /// occupies the state folder, or a step fails. After a failed step everything is taken down, and the error says
    /// where the logs are.
    pub async fn up(spec: ClusterSpec, report: impl Fn(&str) + Send + Sync + 'static) -> Result<Self> {
        spec.validate()?;
        packages::ensure_root()?;
        let layout = Layout::new(&spec.state)?;
        let spec = ClusterSpec { state: layout.root.clone(), ..spec };
        let steps = Arc::new(Steps::new(Box::new(report)));
        packages::ensure_packages(&|line| steps.say(line)).await?;
        let tools = tools::ensure_tools(&|line| steps.say(line)).await?;
        let lock = lock(&layout, &steps).await?;
        let record = Record { spec, tools };
        if reusable(&layout, &record, &steps).await? {
            return Ok(Self::handle(layout, record, true));
        }
        if !leftovers(&layout)?.is_empty() {
            steps.say("removing what is left of an earlier cluster");
            blocking_tear_down(&lock, Logs::Remove).await?;
        }
        start(&lock, &record, &steps).await?;
        steps.say(&format!("the cluster is up in {}", layout.root.display()));
        Ok(Self::handle(layout, record, true))
    }

    /// A handle of the cluster that runs in `state`. Dropping it leaves the cluster running.
    ///
    /// # Errors
    /// When no cluster is there, or one of its processes has ended.
    pub fn attach(state: &Path) -> Result<Self> {
        packages::ensure_root()?;
        let layout = Layout::new(state)?;
        let record = Record::read(&layout)?;
        let missing = stopped_components(&layout, &record.spec);
        ensure!(missing.is_empty(), "the cluster in {} is broken: {} ended", layout.root.display(), missing.join(", "));
        Ok(Self::handle(layout, record, false))
    }

    fn handle(layout: Layout, record: Record, stop_on_drop: bool) -> Self {
        Self { layout, record, relays: Mutex::default(), stop_on_drop }
    }

    /// Leaves the cluster running when this handle is dropped.
    pub fn keep(&mut self) {
        self.stop_on_drop = false;
    }

    /// The state folder, absolute.
    pub fn state(&self) -> &Path {
        &self.layout.root
    }

    /// The folder of the logs, one file for each process.
    pub fn logs(&self) -> PathBuf {
        self.layout.logs()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[NodeSpec] {
        &self.record.spec.nodes
    }

    /// The folder of the built programs, see [`crate::ensure_tools`].
    pub fn tools(&self) -> &Path {
        &self.record.tools
    }

    /// The file that names the cluster's network namespace, as `nsenter --net=` takes it.
    pub fn netns(&self) -> PathBuf {
        self.layout.netns()
    }

    /// The admin's kubeconfig. Its server address is reachable inside the network namespace only.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig(ADMIN)
    }

    /// An address inside the network namespace on which processes of [`Cluster::spawn`] can listen, and that pods on
    /// every node reach.
    pub fn gateway_ip(&self) -> IpAddr {
        network::GATEWAY.into()
    }

    /// A client with all rights for use in this process, which need not be in the cluster's network namespace.
    /// It works as long as this handle lives.
    pub async fn client(&self) -> Result<kube::Client> {
        let address = self.forward(network::api_address())?;
        api::client(&self.layout, address).await
    }

    /// A client with the rights of another kubeconfig for this cluster.
    pub async fn client_of(&self, kubeconfig: &Path) -> Result<kube::Client> {
        let address = self.forward(network::api_address())?;
        api::client_of(kubeconfig, address).await
    }

    /// A loopback address outside of the network namespace that leads to `target` inside it, as long as this handle
    /// lives. Asking again for the same target gives the same address.
    pub fn forward(&self, target: SocketAddr) -> Result<SocketAddr> {
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, relay)) = relays.iter().find(|(other, _)| *other == target) {
            return Ok(relay.address());
        }
        let relay = Relay::start(&self.layout.netns(), target)?;
        let address = relay.address();
        relays.push((target, relay));
        Ok(address)
    }

    /// Runs kubectl with all rights inside the network namespace and returns its standard output.
    ///
    /// # Errors
    /// When it fails; the error has its standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run_tool("kubectl", arguments).await
    }

    /// Runs helm as [`Cluster::kubectl`] runs kubectl.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run_tool("helm", arguments).await
    }

    async fn run_tool(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command_in_netns(self.record.tools.join(name));
        command.args(arguments);
        run_async(command).await
    }

    /// A command that runs `program` inside the network namespace, with `KUBECONFIG` set to the admin's, helm's
    /// folders below the state folder, the built tools in `PATH`, and without proxy settings. Add the arguments.
    pub fn command_in_netns(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.layout.netns().display())).arg("--").arg(program.as_ref());
        for variable in PROXY_VARIABLES {
            command.env_remove(variable);
        }
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "helm/cache"),
            ("HELM_CONFIG_HOME", "helm/config"),
            ("HELM_DATA_HOME", "helm/data"),
            ("KUBECACHEDIR", "kubectl-cache"),
        ] {
            command.env(variable, self.layout.root.join(folder));
        }
        command.env("KUBECONFIG", self.kubeconfig());
        command.env("PATH", format!("{}:{PATH}", self.record.tools.display()));
        command
    }

    /// A command that runs `program` as a process of the node `node` would run: in its mount namespace and in the
    /// network namespace. Add the arguments.
    ///
    /// # Errors
    /// When there is no such node, or its containerd has ended.
    pub fn node_command(&self, node: &str, program: impl AsRef<Path>) -> Result<Command> {
        let index = self.index_of(node)?;
        let namespace = mount_namespace(&Node { layout: &self.layout, index, spec: &self.nodes()[index] })?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount={}", namespace.display()));
        command.arg(format!("--net={}", self.layout.netns().display())).arg("--").arg(program.as_ref());
        command.env("PATH", PATH);
        Ok(command)
    }

    /// Ends the node `node` as a loss of power does: kubelet, containerd and all pods are killed, its mounts vanish. Its
    /// Node object stays, as it does when a machine dies. It stays off until [`Cluster::power_on`].
    ///
    /// # Errors
    /// When there is no such node, or a process does not end within 20 seconds.
    pub async fn power_off(&self, node: &str) -> Result<()> {
        let index = self.index_of(node)?;
        let (layout, spec) = (self.layout.clone(), self.nodes()[index].clone());
        tokio::task::spawn_blocking(move || power::cut(&Node { layout: &layout, index, spec: &spec })).await?
    }

    /// Boots a node after [`Cluster::power_off`]: it has the id of another boot, what was on its disk and the folders that the
    /// caller bound, and no mount, no process and nothing of `/run`. Returns when it is Ready and the taints of its outage
    /// are gone; its pods are started again by then or later.
    ///
    /// # Errors
    /// When there is no such node, its power is on, or it is not Ready within two minutes.
    pub async fn power_on(&self, node: &str) -> Result<()> {
        let index = self.index_of(node)?;
        let steps = Arc::new(Steps::new(Box::new(|_| {})));
        let lock = lock(&self.layout, &steps).await?;
        let startup = Startup { lock, spec: self.record.spec.clone(), tools: self.record.tools.clone(), steps };
        Arc::new(startup).boot(index, self.client().await?).await.with_context(|| format!("{node} cannot be booted"))
    }

    fn index_of(&self, node: &str) -> Result<usize> {
        let index = self.nodes().iter().position(|spec| spec.name == node);
        index.with_context(|| format!("the cluster has no node {node:?}"))
    }

    /// Imports the images of the docker-archive `archive` into every node.
    pub async fn load_image(&self, archive: impl AsRef<Path>) -> Result<()> {
        let archive = std::path::absolute(archive.as_ref())?;
        for index in 0..self.nodes().len() {
            import_image(&self.layout, index, &archive).await?;
        }
        Ok(())
    }

    /// Starts a process inside the network namespace that lives until [`Cluster::stop`] or the cluster's end, also
    /// beyond this process's. Its environment is `PATH`, `HOME` and `env`; its working folder is `/`; its output goes
    /// to `<name>.log` in [`Cluster::logs`]. When the cluster goes down it gets SIGTERM and three seconds.
    /// Returns its process id.
    ///
    /// # Errors
    /// When the name is taken by a running process, or the process cannot start.
    pub fn spawn(&self, name: &str, program: impl AsRef<Path>, arguments: &[String], env: &[(String, String)]) -> Result<u32> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        ensure!(!name.is_empty() && name.chars().all(plain), "{name:?} is no process name: use letters, digits, dashes");
        if let Some(process) = processes::running(&self.layout, name) {
            bail!("{name} runs already as process {}", process.pid);
        }
        let mut argv = vec!["nsenter".into(), format!("--net={}", self.layout.netns().display()), "--".into()];
        argv.push(program.as_ref().to_str().context("the program's path must be UTF-8")?.into());
        argv.extend_from_slice(arguments);
        Ok(processes::launch(&self.layout, &Launch { name, core: false, argv, env })?.pid)
    }

    /// The process id of the process `name` of [`Cluster::spawn`], while it runs.
    pub fn pid(&self, name: &str) -> Option<u32> {
        processes::running(&self.layout, name).map(|identity| identity.pid)
    }

    /// Stops a process of [`Cluster::spawn`]: SIGTERM, after five seconds SIGKILL. One that has ended is no error.
    pub async fn stop(&self, name: &str) -> Result<()> {
        let Some(identity) = processes::running(&self.layout, name) else {
            return Ok(());
        };
        identity.signal(Signal::TERM)?;
        tokio::task::spawn_blocking(move || {
            teardown::wait_for_end(std::slice::from_ref(&identity), STOP_GRACE);
            identity.signal(Signal::KILL)?;
            teardown::wait_for_end(&[identity], STOP_GRACE);
            Ok(())
        })
        .await?
    }

    /// What keeps the cluster from being healthy; `None` when it is. Answers within ten seconds.
    pub async fn problem(&self) -> Option<String> {
        let client = match self.client().await {
            Ok(client) => client,
            Err(error) => return Some(format!("{error:#}")),
        };
        let probe = Probe { layout: self.layout.clone(), client };
        match probe.problem(Check::Server).await {
            None => probe.problem(Check::Nodes(self.nodes())).await,
            found => found,
        }
    }

    /// Takes the cluster down, as [`down`] does.
    pub async fn down(mut self) -> Result<()> {
        self.stop_on_drop = false;
        let layout = self.layout.clone();
        drop(self);
        down(&layout.root, Logs::Remove, |_| {}).await.map(|_| ())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.relays.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        if !self.stop_on_drop {
            return;
        }
        let taken_down = Lock::acquire(&self.layout, &|_| {}).and_then(|_lock| tear_down(&self.layout, Logs::Remove));
        if let Err(error) = taken_down {
            tracing::error!("cannot take the local cluster in {} down: {error:#}", self.layout.root.display());
        }
    }
}
