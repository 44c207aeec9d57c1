//! A node that loses its power and comes back: as after a boot, with its disk and its devices, and beside a node that goes on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stage;

use std::time::{Duration, Instant};

use local_cluster::{Bind, Cluster, ClusterSpec};

use stage::{in_node, is_root};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(90);
/// The folder that is bound into the node which loses its power.
const DISK: &str = "/var/lib/local-cluster-power-test";
/// Where a file system is mounted while the power is on.
const MOUNTED: &str = "/var/lib/kubelet/m";

/// The same folder each time, so that a run also removes what an aborted one has left.
fn spec() -> ClusterSpec {
    let state = std::env::temp_dir().join("local-cluster-power");
    let mut spec = ClusterSpec::numbered(state.clone(), 2);
    spec.nodes[0].binds.push(Bind { host: state.join("disk"), node: DISK.into() });
    spec
}

async fn field(cluster: &Cluster, object: &str, path: &str) -> String {
    cluster.kubectl(&["get", object, "--output", &format!("jsonpath={{{path}}}")]).await.unwrap()
}

async fn until(cluster: &Cluster, object: &str, path: &str, expected: &str) {
    let deadline = Instant::now() + LIMIT;
    while field(cluster, object, path).await != expected {
        assert!(Instant::now() < deadline, "{}", cluster.kubectl(&["describe", object]).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The node lifecycle controller acts on what it has cached, so a taint may come and go after a node is Ready.
async fn until_healthy(cluster: &Cluster) {
    let deadline = Instant::now() + LIMIT;
    while let Some(problem) = cluster.problem().await {
        assert!(Instant::now() < deadline, "{problem}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A pod on each node. It can reach the API server only when its network was made.
async fn run_pods(cluster: &Cluster) {
    for node in ["node1", "node2"] {
        let wait = "until nc -w 1 10.99.0.1 6443 </dev/null; do sleep 0.1; done; touch /tmp/ready; exec sleep 86398";
        let run = ["run", node, "--image=registry.local/busybox:1", "--overrides"];
        let container = serde_json::json!({
            "name": node, "image": "registry.local/busybox:1", "command": ["sh", "-c", wait],
            "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
        });
        let spec = serde_json::json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}});
        cluster.kubectl(&[&run[..], &[&spec.to_string()]].concat()).await.unwrap();
    }
    for node in ["node1", "node2"] {
        until(cluster, &format!("pod/{node}"), READY, "True").await;
    }
}

const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";
const RESTARTS: &str = ".status.containerStatuses[0].restartCount";

/// How many of the pods run, by their processes in the control groups of the nodes.
fn processes_of_pods(cluster: &Cluster) -> usize {
    let cgroup = format!("/{}/n", cluster.netns().file_name().unwrap().to_str().unwrap());
    let entries = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = entries.filter(|path| std::fs::read_to_string(path.join("cgroup")).is_ok_and(|text| text.contains(&cgroup)));
    ours.filter(|path| std::fs::read(path.join("cmdline")).is_ok_and(|line| line == b"sleep\x0086398\0")).count()
}

/// A device that is attached to the node, with a mounted file system; beside it a file in memory, and one on disk.
async fn use_the_node(cluster: &Cluster) -> String {
    let device = in_node(cluster, &format!("truncate -s 16M {DISK}/image; losetup -f --show {DISK}/image")).await;
    in_node(cluster, &format!("mkfs.ext4 -q {device}; mkdir -p {MOUNTED}; mount {device} {MOUNTED}; echo kept > {MOUNTED}/file")).await;
    in_node(cluster, "echo gone > /run/containerd/memory").await;
    device
}

#[tokio::test]
async fn a_node_that_lost_its_power_comes_back_as_after_a_boot() {
    if !is_root() {
        return;
    }
    let cluster = Cluster::up(spec(), |line| println!("{line}")).await.unwrap();
    run_pods(&cluster).await;
    let device = use_the_node(&cluster).await;
    let boot = field(&cluster, "node/node1", ".status.nodeInfo.bootID").await;
    assert_ne!(boot, field(&cluster, "node/node2", ".status.nodeInfo.bootID").await, "each node has boots of its own");
    assert_eq!(processes_of_pods(&cluster), 2);
    let uid = field(&cluster, "pod/node1", ".metadata.uid").await;
    cluster.power_on("node1").await.expect_err("its power is on");

    cluster.power_off("node1").await.unwrap();
    assert_eq!(processes_of_pods(&cluster), 1, "what pods run ends with the power");
    cluster.power_off("node1").await.expect("a node that is off already is no error");
    assert!(cluster.pid("kubelet-node1").is_none() && cluster.pid("kubelet-node2").is_some());
    let started = Instant::now();
    cluster.power_on("node1").await.unwrap();
    println!("node1 was booted in {:.1?}", started.elapsed());

    assert_ne!(field(&cluster, "node/node1", ".status.nodeInfo.bootID").await, boot, "the kubelet tells of another boot");
    assert_eq!(in_node(&cluster, &format!("ls {MOUNTED}")).await, "", "no mount outlives the power");
    assert_eq!(in_node(&cluster, "ls /run/containerd | grep memory || echo gone").await, "gone");
    assert_eq!(in_node(&cluster, &format!("mount {device} {MOUNTED}; cat {MOUNTED}/file")).await, "kept", "the device is attached still");
    until(&cluster, "pod/node1", RESTARTS, "1").await;
    until(&cluster, "pod/node1", READY, "True").await;
    assert_eq!(field(&cluster, "pod/node1", ".metadata.uid").await, uid, "it is the same pod");
    assert_eq!(field(&cluster, "pod/node2", RESTARTS).await, "0", "the other node has noticed nothing");
    until_healthy(&cluster).await;
    cluster.down().await.unwrap();
    assert_eq!(local_cluster::remains(&spec().state).unwrap(), [""; 0]);
}
