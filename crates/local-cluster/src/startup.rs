//! Starts a cluster in an empty state folder and waits until pods can run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::api::{Check, Probe};
use crate::cgroups::Cgroups;
use crate::command::{PATH, run_async};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::processes::{self, Launch};
use crate::progress::Steps;
use crate::relay::Relay;
use crate::render::{Node, cgroup_name};
use crate::spec::ClusterSpec;
use crate::{api, flags, images, network, pki, power};

/// How long each step may take: generous, as a busy machine is no failure.
const STEP_TIMEOUT: Duration = Duration::from_mins(2);
/// The pause between two tries to reach a socket.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One start of a cluster.
pub(crate) struct Startup {
    /// The state folder, locked as long as any thread or task of the start goes on, so that nobody tears down meanwhile.
    pub(crate) lock: Arc<Lock>,
    /// What to start.
    pub(crate) spec: ClusterSpec,
    /// The folder of the programs.
    pub(crate) tools: PathBuf,
    /// Where progress is told.
    pub(crate) steps: Arc<Steps>,
}

impl Startup {
    /// Does it all. On failure everything that was started goes on running.
    pub(crate) async fn run(self: Arc<Self>) -> Result<()> {
        let this = Arc::clone(&self);
        let prepared = tokio::task::spawn_blocking(move || this.prepare()).await?;
        prepared.context("cannot prepare the state folder")?;
        self.launch("etcd", flags::etcd(self.layout(), &self.tools))?;
        self.launch("kube-apiserver", flags::api_server(self.layout(), &self.tools))?;
        self.steps.say("etcd and the API server are starting");
        let relay = Relay::start(&self.layout().netns(), network::api_address())?;
        let client = api::client(self.layout(), relay.address()).await?;
        let probe = Probe { layout: self.layout().clone(), client };
        tokio::try_join!(self.control_plane(&probe), self.runtimes())?;
        for index in 0..self.spec.nodes.len() {
            self.launch_kubelet(index)?;
        }
        self.wait_for_all(&probe).await
    }

    fn layout(&self) -> &Layout {
        self.lock.layout()
    }

    fn has_nodes(&self) -> bool {
        !self.spec.nodes.is_empty()
    }

    fn node(&self, index: usize) -> Node<'_> {
        Node { layout: self.layout(), index, spec: &self.spec.nodes[index] }
    }

    /// Creates everything that is no process.
    fn prepare(&self) -> Result<()> {
        let layout = self.layout();
        for folder in [layout.logs(), layout.processes(), layout.root.join("etcd")] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        set_private(&layout.root.join("etcd"))?;
        network::create(layout, self.spec.nodes.len())?;
        let groups: Vec<String> = (0..self.spec.nodes.len()).map(cgroup_name).collect();
        Cgroups::detect()?.create(&layout.name, &groups)?;
        pki::create(layout, &self.spec.nodes)?;
        if self.has_nodes() {
            images::write_archive(&self.images()).context("cannot write the first images")?;
        }
        (0..self.spec.nodes.len()).try_for_each(|index| self.write_node(index))?;
        self.steps.say("network, certificates, images and configuration are there");
        Ok(())
    }

    fn images(&self) -> PathBuf {
        self.layout().root.join("images.tar")
    }

    fn write_node(&self, index: usize) -> Result<()> {
        let node = self.node(index);
        fs::create_dir_all(node.path("cni"))?;
        fs::write(node.path("containerd.toml"), node.containerd())?;
        fs::write(node.path("cni/10-pods.conflist"), node.cni())?;
        fs::write(node.path("kubelet.json"), node.kubelet())?;
        fs::write(node.path("start.sh"), node.script())?;
        node.write_boot_id()
    }

    /// Starts one of the cluster's own processes inside its network namespace.
    fn launch(&self, name: &str, argv: Vec<String>) -> Result<()> {
        self.launch_in(name, Vec::new(), argv)
    }

    /// As [`Self::launch`], with more for nsenter to enter.
    fn launch_in(&self, name: &str, namespaces: Vec<String>, argv: Vec<String>) -> Result<()> {
        let netns = format!("--net={}", self.layout().netns().display());
        let enter = ["nsenter".to_owned(), netns].into_iter().chain(namespaces);
        let argv = enter.chain(["--".to_owned()]).chain(argv).collect();
        processes::launch(self.layout(), &Launch { name, core: true, argv, env: &[] })?;
        Ok(())
    }

    /// Waits for the API server, then starts what follows its orders.
    async fn control_plane(&self, probe: &Probe) -> Result<()> {
        let (layout, tools) = (self.layout(), &self.tools);
        probe.wait(Check::Server, "kube-apiserver", STEP_TIMEOUT).await?;
        self.steps.say("the API server is ready");
        self.launch("kube-controller-manager", flags::controller_manager(layout, tools))?;
        if let Some(first) = self.spec.nodes.first() {
            self.launch("kube-scheduler", flags::scheduler(layout, tools))?;
            self.launch("kube-proxy", flags::proxy(layout, tools, &first.name))?;
        }
        Ok(())
    }

    /// Starts containerd on all nodes at once and gives it the first images.
    async fn runtimes(self: &Arc<Self>) -> Result<()> {
        let mut tasks = JoinSet::new();
        for index in 0..self.spec.nodes.len() {
            let this = Arc::clone(self);
            tasks.spawn(async move {
                this.runtime(index).await?;
                import_image(this.layout(), index, &this.images()).await
            });
        }
        while let Some(finished) = tasks.join_next().await {
            finished??;
        }
        if self.has_nodes() {
            self.steps.say("containerd has the first images on every node");
        }
        Ok(())
    }

    async fn runtime(&self, index: usize) -> Result<()> {
        let node = self.node(index);
        let name = node.process("containerd");
        let argv = ["unshare", "--mount", "sh", &node.path("start.sh")].map(str::to_owned);
        self.launch(&name, argv.to_vec())?;
        let socket = self.layout().containerd_socket(index);
        wait_for_socket(self.layout(), &name, &socket).await
    }

    /// Boots a node whose power was cut: it finds its disk and the devices of its instance, and nothing else. Waits until
    /// it is Ready.
    pub(crate) async fn boot(self: &Arc<Self>, index: usize, client: kube::Client) -> Result<()> {
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || this.prepare_boot(index)).await??;
        self.runtime(index).await?;
        self.launch_kubelet(index)?;
        let node = self.node(index);
        power::note_on(self.layout(), &node.spec.name)?;
        let probe = Probe { layout: self.layout().clone(), client };
        probe.wait(Check::Boot(node.spec, &node.boot_id()?), &node.process("kubelet"), STEP_TIMEOUT).await
    }

    fn prepare_boot(&self, index: usize) -> Result<()> {
        let node = self.node(index);
        ensure!(power::is_off(self.layout(), &node.spec.name), "{} has power", node.spec.name);
        // A boot that failed in the middle may have left something.
        power::cut(&node)?;
        power::forget_the_last_boot(&node)
    }

    fn launch_kubelet(&self, index: usize) -> Result<()> {
        let node = self.node(index);
        let enter = format!("--mount={}", mount_namespace(&node)?.display());
        self.launch_in(&node.process("kubelet"), vec![enter], flags::kubelet(&node, &self.tools))
    }

    async fn wait_for_all(&self, probe: &Probe) -> Result<()> {
        if self.has_nodes() {
            let nodes = &self.spec.nodes;
            probe.wait(Check::Nodes(nodes), &self.node(0).process("kubelet"), STEP_TIMEOUT).await?;
            self.steps.say(&format!("{} of {} nodes are Ready", nodes.len(), nodes.len()));
            probe.wait(Check::Proxy, "kube-proxy", STEP_TIMEOUT).await?;
        }
        probe.wait(Check::Controllers, "kube-controller-manager", STEP_TIMEOUT).await?;
        self.steps.say("controllers and services work");
        Ok(())
    }
}

fn set_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).context("cannot set permissions")
}

/// The mount namespace of a node whose containerd runs.
pub(crate) fn mount_namespace(node: &Node<'_>) -> Result<PathBuf> {
    let name = node.process("containerd");
    let holder = processes::running(node.layout, &name).with_context(|| format!("{name} does not run"))?;
    Ok(format!("/proc/{}/ns/mnt", holder.pid).into())
}

/// Waits until the process `name` listens on `socket`.
async fn wait_for_socket(layout: &Layout, name: &str, socket: &Path) -> Result<()> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    while let Err(error) = UnixStream::connect(socket).await {
        processes::ensure_core_runs(layout)?;
        if Instant::now() > deadline {
            let seconds = STEP_TIMEOUT.as_secs();
            return Err(error).with_context(|| format!("{name} is not ready after {seconds} s; {}", processes::tail(layout, name)));
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Gives the images of a docker-archive to the node with this index.
pub(crate) async fn import_image(layout: &Layout, index: usize, archive: &Path) -> Result<()> {
    let mut command = tokio::process::Command::new("ctr");
    command.env("PATH", PATH).arg("--address").arg(layout.containerd_socket(index));
    command.args(["--namespace", "k8s.io", "images", "import"]).arg(archive);
    run_async(command).await.with_context(|| format!("cannot import {}", archive.display()))?;
    Ok(())
}
