//! A live source that is a PersistentVolumeClaim of another driver. The test plays that driver and the kubelet: it attaches the
//! volume, mounts it where they do, and takes it away again; the product must follow, and must never be in the way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::types::Tag;
use demo::story::{SHOP, apply, get, wait_for_pool};
use demo::{Filesystem, Stage, wait};

use super::live::{in_pod, wait_for_the_source};
use super::{LIMIT, kill, on_nodes_in};

/// Two nodes in the zone of the source.
const ONE_ZONE: &[&str] = &["us-east-1a", "us-east-1a"];
/// Where the kubelet has a volume of the other driver staged, and where a pod would have it.
const STAGED: &str = "/var/lib/kubelet/plugins/kubernetes.io/csi/ebs.csi.aws.com/5d1c0f0e/globalmount";
const POD: &str = "/var/lib/kubelet/pods/00000000-0000-4000-8000-000000000001/volumes/kubernetes.io~csi/web-src/mount";

#[test]
fn a_claim_of_another_driver_is_published_where_pods_have_it_and_never_held() {
    on_nodes_in(ONE_ZONE, "foreign", Filesystem::Ext4, async |stage| {
        apply_claim_and_pool(stage).await?;
        wait_for_pool(stage).await?;
        nobody_has_it(stage).await?;
        mount(stage, "node1").await?;
        let epoch = it_is_published_on(stage, "node1").await?;
        start_reader(stage, "reader-1").await?;
        write(stage, "node1", "first").await?;
        reads(stage, "reader-1", "first").await?;
        // Mounts of others stay, and the next process finds them.
        kill(stage, "agent")?;
        write(stage, "node1", "after a kill").await?;
        reads(stage, "reader-1", "after a kill").await?;
        // Whether the reader has it in time is not said: it is on the source.
        write(stage, "node1", "written last").await?;
        unmount(stage, "node1").await?;
        nobody_has_it(stage).await?;
        a_snapshot_has_what_it_had_last(stage).await?;
        // Made of that snapshot, while nobody publishes the source.
        start_reader(stage, "reader-2").await?;
        reads(stage, "reader-2", "written last").await?;
        mount(stage, "node2").await?;
        let again = it_is_published_on(stage, "node2").await?;
        ensure!(again == epoch, "epoch {epoch} is {again} on the other node");
        write(stage, "node2", "on the other node").await?;
        for reader in ["reader-1", "reader-2"] {
            reads(stage, reader, "on the other node").await?;
        }
        unmount(stage, "node2").await?;
        nobody_has_it(stage).await
    });
}

async fn apply_claim_and_pool(stage: &Stage) -> Result<()> {
    stage.cluster.kubectl(&["create", "namespace", SHOP]).await?;
    let manifest = format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: web-src}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: \"\"
  csi: {{driver: ebs.csi.aws.com, volumeHandle: {}, fsType: ext4}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: web-src, namespace: {SHOP}}}
spec:
  storageClassName: \"\"
  volumeName: web-src
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 1Gi}}}}
---
apiVersion: volumedispatcher.io/v1alpha1
kind: VolumePool
metadata: {{name: web, namespace: {SHOP}}}
spec:
  replicas: 1
  source: {{persistentVolumeClaim: {{name: web-src}}}}
  sync: {{mode: Live}}
",
        stage.source
    );
    apply(stage, &manifest).await
}

/// Runs a script on a node, as its kubelet or a driver would; the error has what it said.
async fn on_node(stage: &Stage, node: &str, script: &str) -> Result<String> {
    let output = stage.cluster.node_command(node, "sh")?.args(["-ec", script]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{node}: {script}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What the other driver and the kubelet do when a pod with the claim starts.
async fn mount(stage: &Stage, node: &str) -> Result<()> {
    let provider = stage.cluster.kubectl(&["get", &format!("node/{node}"), "--output", "jsonpath={.spec.providerID}"]).await?;
    let instance = provider.rsplit('/').next().context("a provider id has parts")?;
    stage.account.attach(&stage.source, instance).await?;
    let find =
        format!("cd /var/lib/ec2-instance/sys/block && dirname $(dirname $(grep -l {} */device/serial))", stage.source.replace('-', ""));
    let device = wait::until("the device is there", LIMIT, async || on_node(stage, node, &find).await.map(Some)).await?;
    let script = format!("mkdir -p {STAGED} {POD}; mount /var/lib/ec2-instance/dev/{device} {STAGED}; mount --bind {STAGED} {POD}");
    on_node(stage, node, &script).await.map(drop)
}

/// What they do when it ends. The kernel may refuse to unmount at first; it must not for long.
/// I-24 says 0.9 s once the kernel answers; the rest is for a machine with other things to do.
const LETS_GO_WITHIN: Duration = Duration::from_secs(20);

async fn unmount(stage: &Stage, node: &str) -> Result<()> {
    let started = Instant::now();
    on_node(stage, node, &format!("umount {POD}")).await?;
    let (refused, unstage) = (AtomicU32::new(0), format!("umount {STAGED}"));
    wait::until("the other driver can unmount", LIMIT, async || {
        let done = on_node(stage, node, &unstage).await;
        refused.fetch_add(u32::from(done.is_err()), Ordering::Relaxed);
        done.map(Some)
    })
    .await?;
    let refused = refused.into_inner();
    ensure!(started.elapsed() < LETS_GO_WITHIN, "{node} let the source go only after {:.1?}", started.elapsed());
    println!("{node} let the source go within {:.0?}; the kernel refused {refused} unmounts before", started.elapsed());
    let left = on_node(stage, node, "cat /proc/self/mountinfo").await?;
    ensure!(!left.contains("web-source"), "we have mounted it ourselves: {left}");
    stage.account.detach(&stage.source).await
}

async fn nobody_has_it(stage: &Stage) -> Result<()> {
    let line = "{.status.conditions[?(@.type==\"SourceReady\")].status} {.status.conditions[?(@.type==\"SourceReady\")].reason}";
    wait::until("the pool says that no pod has its source", LIMIT, async || {
        let told = get(stage, "vp/web", line).await?.concat();
        ensure!(told == "True NotMounted", "it says {told}");
        Ok(Some(()))
    })
    .await?;
    let node = get(stage, "pvol/web-source", "{.spec.nodeName}").await?.concat();
    ensure!(node.is_empty(), "{node} still has it");
    stage.cluster.kubectl(&["--namespace", SHOP, "wait", "vp/web", "--for=condition=Ready", "--timeout=60s"]).await.map(drop)
}

/// Waits until a node publishes it; the epoch of its history.
async fn it_is_published_on(stage: &Stage, node: &str) -> Result<String> {
    let started = Instant::now();
    let line = "{.spec.nodeName} {.status.node.name} {.status.node.sync.state} {.status.node.sync.epoch}";
    let epoch = wait::until(&format!("{node} publishes the source"), LIMIT, async || {
        let told = get(stage, "pvol/web-source", line).await?.concat();
        let epoch = told.strip_prefix(&format!("{node} {node} Publishing ")).map(str::to_owned);
        ensure!(epoch.is_some(), "its object says {told:?}");
        Ok(epoch)
    })
    .await?;
    println!("{node} published the source after {:.0?}", started.elapsed());
    wait_for_the_source(stage).await?;
    Ok(epoch)
}

/// A pod that has a copy.
async fn start_reader(stage: &Stage, name: &str) -> Result<()> {
    let manifest = format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {SHOP}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: reader
    image: registry.local/busybox:1
    command: [sh, -c, sleep infinity]
    volumeMounts: [{{name: content, mountPath: /content}}]
  volumes:
  - name: content
    ephemeral:
      volumeClaimTemplate:
        spec:
          storageClassName: volumepool
          accessModes: [ReadWriteOnce]
          dataSourceRef: {{apiGroup: volumedispatcher.io, kind: VolumePool, name: web}}
          resources: {{requests: {{storage: 1Gi}}}}
"
    );
    apply(stage, &manifest).await?;
    let ready = ["--namespace", SHOP, "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"];
    stage.cluster.kubectl(&ready).await.map(drop)
}

/// A pod on that node writes.
async fn write(stage: &Stage, node: &str, text: &str) -> Result<()> {
    on_node(stage, node, &format!("echo '{text}' > {POD}/news")).await.map(drop)
}

async fn reads(stage: &Stage, pod: &str, text: &str) -> Result<()> {
    wait::until(&format!("{pod} reads {text:?}"), LIMIT, async || {
        let read = in_pod(stage, pod, "cat /content/news").await?;
        ensure!(read == text, "it reads {read:?}");
        Ok(Some(()))
    })
    .await
}

/// Asked for after the unmount, it carries the last position, and volumes that are ready are made of it.
async fn a_snapshot_has_what_it_had_last(stage: &Stage) -> Result<()> {
    let line = "{.status.node.sync.source}.{.status.node.sync.epoch}.{.status.node.sync.generation}";
    let last = get(stage, "pvol/web-source", line).await?.concat();
    wait::until("a snapshot has the last position", LIMIT, async || {
        let snapshots = stage.account.snapshots_of(&stage.source).await?;
        let position = |tag: &Tag| tag.value().filter(|_| tag.key() == Some("volumedispatcher.io/position")).map(str::to_owned);
        let positions: Vec<String> = snapshots.iter().filter_map(|snapshot| snapshot.tags().iter().find_map(position)).collect();
        ensure!(positions.contains(&last), "the snapshots have {positions:?} instead of {last}");
        Ok(Some(()))
    })
    .await?;
    wait::until("the ready volume is made of it", LIMIT, async || {
        let free = "{range .items[?(@.status.phase==\"Ready\")]}{.spec.role} {.spec.origin.generation}{\"\\n\"}{end}";
        let ready = get(stage, "pvol", free).await?;
        let copies: Vec<&String> = ready.iter().filter(|line| line.starts_with("Copy")).collect();
        ensure!(!copies.is_empty() && copies.iter().all(|line| generation_in(line) >= Some(2)), "ready are {ready:?}");
        Ok(Some(()))
    })
    .await
}

/// The generation of the snapshot that a copy was filled from.
fn generation_in(line: &str) -> Option<u64> {
    line.strip_prefix("Copy ")?.parse().ok()
}
