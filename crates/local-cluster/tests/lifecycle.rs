//! One cluster's life on this machine: it starts, runs a pod, heals after its parts were killed, and leaves nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stage;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use local_cluster::{Bind, Cluster, ClusterSpec, Logs};

use stage::{in_node, is_root};

/// How long a pod may take to run.
const POD_TIMEOUT: Duration = Duration::from_mins(1);

/// The same folder each time, so that a run also removes what an aborted one has left.
fn spec() -> ClusterSpec {
    let state = std::env::temp_dir().join("local-cluster-test");
    let mut spec = ClusterSpec::numbered(state.clone(), 1);
    let host = state.join("volumes");
    spec.nodes[0].binds.push(Bind { host, node: "/var/lib/local-cluster-test".into() });
    spec
}

fn say(line: &str) {
    println!("{line}");
}

fn host(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn pid(cluster: &Cluster, name: &str) -> String {
    cluster.pid(name).unwrap_or_else(|| panic!("{name} does not run")).to_string()
}

async fn run_pod(cluster: &Cluster) {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client().await.unwrap());
    let pod = serde_json::json!({
        "metadata": {"name": "first"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
            "name": "main",
            "image": "registry.local/busybox:1",
            "command": ["sh", "-c", "until wget -qO- http://10.99.0.1:8080/; do sleep 0.1; done; exec sleep 3600"],
        }]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let deadline = Instant::now() + POD_TIMEOUT;
    while !cluster.kubectl(&["logs", "first"]).await.is_ok_and(|log| log.contains("from outside")) {
        assert!(Instant::now() < deadline, "{}", cluster.kubectl(&["describe", "pod", "first"]).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Starts a web server beside the pods; the pod of [`run_pod`] reads from it.
fn spawn_web_server(cluster: &Cluster) {
    let folder = cluster.state().join("web");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("index.html"), "from outside\n").unwrap();
    let address = format!("{}:8080", cluster.gateway_ip());
    let arguments = ["httpd", "-f", "-p", &address, "-h", folder.to_str().unwrap()].map(str::to_owned);
    cluster.spawn("web", "busybox", &arguments, &[]).unwrap();
    cluster.spawn("web", "busybox", &arguments, &[]).unwrap_err();
}

/// Attaches a loop device inside the node, where its file has another path than on the host.
async fn attach_loop_device(cluster: &Cluster) -> String {
    let file = "/var/lib/local-cluster-test/disk";
    let device = in_node(cluster, &format!("truncate -s 16M {file}; losetup -f --show {file}")).await;
    in_node(cluster, &format!("mkfs.ext4 -q {0}; mkdir -p /var/lib/kubelet/m; mount {0} /var/lib/kubelet/m", device.trim())).await;
    assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains(device.trim()));
    device.trim().to_owned()
}

/// What `down` must remove, found without the crate's own search.
struct Traces {
    state: PathBuf,
    name: String,
    netns_inode: u64,
    loop_device: String,
}

impl Traces {
    fn of(cluster: &Cluster, loop_device: String) -> Self {
        let netns = cluster.netns();
        let name = netns.file_name().unwrap().to_str().unwrap().to_owned();
        let netns_inode = std::fs::metadata(&netns).unwrap().ino();
        Self { state: cluster.state().to_owned(), name, netns_inode, loop_device }
    }

    /// Processes in the network namespace or with the state folder among their arguments.
    fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let running = entries.filter(|path| std::fs::read(path.join("cmdline")).is_ok_and(|line| !line.is_empty()));
        let ours = running.filter(|path| {
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let inode = std::fs::metadata(path.join("ns/net")).map_or(0, |found| found.ino());
            inode == self.netns_inode || String::from_utf8_lossy(&line).contains(self.state.to_str().unwrap())
        });
        ours.map(|path| path.display().to_string()).collect()
    }

    fn cgroups(&self) -> String {
        host("find", &["/sys/fs/cgroup", "-name", &format!("{}*", self.name)])
    }

    fn assert_gone(&self) {
        assert_eq!(self.processes(), [""; 0]);
        assert_eq!(self.cgroups(), "");
        let state = self.state.to_str().unwrap();
        assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(state));
        assert!(!host("losetup", &["--list", "--noheadings", "--output", "NAME"]).contains(&self.loop_device));
        assert!(!host("ip", &["netns", "list"]).contains(&self.name));
        assert!(!self.state.exists());
        assert_eq!(local_cluster::remains(&self.state).unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn a_cluster_runs_pods_heals_after_kills_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    // On a task of its own, as a caller may do: the future must be `Send`.
    let mut cluster = tokio::spawn(Cluster::up(spec(), say)).await.unwrap().unwrap();
    assert_eq!(cluster.problem().await, None);
    spawn_web_server(&cluster);
    run_pod(&cluster).await;
    let port = cluster.forward((cluster.gateway_ip(), 8080).into()).unwrap();
    let page = host("busybox", &["wget", "-qO-", &format!("http://{port}/")]);
    assert_eq!(page, "from outside\n");

    let server = pid(&cluster, "kube-apiserver");
    cluster.keep();
    drop(cluster);
    let mut cluster = Cluster::up(spec(), say).await.unwrap();
    assert_eq!(pid(&cluster, "kube-apiserver"), server, "a healthy cluster is used as it is");
    cluster.keep();
    Cluster::up(ClusterSpec::numbered(spec().state, 2), say).await.expect_err("other nodes");

    host("kill", &["-KILL", &server, &pid(&cluster, "kubelet-node1")]);
    let device = attach_loop_device(&cluster).await;
    let traces = Traces::of(&cluster, device);
    drop(cluster);
    Cluster::attach(&spec().state).expect_err("a broken cluster");
    let cluster = Cluster::up(spec(), say).await.unwrap();
    assert_ne!(pid(&cluster, "kube-apiserver"), server);
    assert_eq!(cluster.kubectl(&["get", "pods", "-o", "name"]).await.unwrap(), "");
    assert!(!host("losetup", &["--list", "--noheadings", "--output", "NAME"]).contains(&traces.loop_device));

    spawn_web_server(&cluster);
    run_pod(&cluster).await;
    let device = attach_loop_device(&cluster).await;
    let mounted = cluster.state().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    host("mount", &["-t", "tmpfs", "none", mounted.to_str().unwrap()]);
    let traces = Traces::of(&cluster, device);
    assert!(traces.processes().len() > 8 && !traces.cgroups().is_empty(), "the search finds a running cluster");
    cluster.down().await.unwrap();
    traces.assert_gone();
    local_cluster::down(&spec().state, Logs::Remove, say).await.expect("nothing to take down is no error");
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_left_alone() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let thesis = folder.path().join("thesis.txt");
    std::fs::write(&thesis, "years of work").unwrap();
    local_cluster::down(folder.path(), Logs::Remove, say).await.unwrap_err();
    Cluster::up(ClusterSpec::numbered(folder.path().into(), 1), say).await.unwrap_err();
    assert!(Path::new(&thesis).exists());
}
