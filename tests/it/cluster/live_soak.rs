//! Ten copies in use follow a source that a pod writes, through random edits, kills, a cut network and a fail-over.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, get, wait_for_pool};
use demo::{Filesystem, Stage, WITH_A_SPARE, wait};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::live::{apply_live_pool, in_pod, rsync_finds_no_difference, wait_for_copies_in_sync, wait_for_the_source};
use super::live_latency::{measure, mounts_of};
use super::{LIMIT, kill, on_nodes_in};

/// The namespace of the product.
const PRODUCT: &str = "volume-dispatcher";
const COPIES: usize = 10;
/// Files that readers check all the time.
const CHECKED: u32 = 12;
/// Seconds of edits, unless the environment says otherwise.
const SECONDS: &str = "60";
/// How long two nodes cannot reach each other: longer than a keep-alive of a stream, so that it is made anew.
const CUT: Duration = Duration::from_secs(8);
/// Names the process of the writer among those of the host.
const WRITER: &str = "sleep\086399\0";

/// Each line of a checked file carries the file's number, how many lines it has, and which line it is. So a file that is torn
/// or of two generations has a line that does not fit.
const READER: &str = r#"while sleep 1; do
  [ -e /content/checked/0 ] || continue
  awk 'FNR == 1 { if (NR > 1 && last != count) print "TORN", name; number = $1; count = $2; name = FILENAME }
    $1 != number || $2 != count || $3 != FNR { print "TORN", FILENAME, FNR } { last = FNR }
    END { if (last != count) print "TORN", name }' /content/checked/* || echo UNREADABLE
  echo round
done"#;

#[test]
fn ten_copies_stay_whole_through_random_edits_kills_a_cut_and_a_fail_over() {
    on_nodes_in(WITH_A_SPARE, "live soak", Filesystem::Xfs, async |stage| {
        apply_live_pool(stage).await?;
        wait_for_pool(stage).await?;
        wait_for_the_source(stage).await?;
        apply(stage, &readers()).await?;
        let mut writer = Writer::start(stage, "node1", seed()?).await?;
        writer.edit_checked()?;
        let copies = wait_for_copies_in_sync(stage, COPIES).await?;
        measure(stage, &writer.content, COPIES)?;
        let epoch = source(stage, "epoch").await?;
        let deadline = Instant::now() + Duration::from_secs(variable("SOAK_SECONDS", SECONDS)?);
        let mut round = 0;
        while Instant::now() < deadline || round < 4 {
            writer.edit(200)?;
            match round % 4 {
                0 => kill(stage, "agent")?,
                1 => cut(stage, &mut writer).await?,
                2 => writer = writer.move_to_another_node(stage).await?,
                _ => kill(stage, "controller")?,
            }
            writer.edit(200)?;
            round += 1;
            writer.is_seen_by_all(stage, round).await?;
        }
        ensure!(source(stage, "epoch").await? == epoch, "the epoch moved, so all copies were compared as a whole");
        println!("{round} rounds were soaked; the epoch is still {epoch}");
        readers_found_nothing(stage).await?;
        wait::until("rsync finds no difference", LIMIT, async || rsync_finds_no_difference(stage, &copies).await.map(Some)).await
    });
}

fn variable(name: &str, default: &str) -> Result<u64> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    text.parse().with_context(|| format!("{name} is {text:?}; it must be a whole number"))
}

/// The seed of the edits; the environment repeats one.
fn seed() -> Result<u64> {
    let seed = variable("SOAK_SEED", &std::process::id().to_string())?;
    println!("the seed of the edits is SOAK_SEED={seed}");
    Ok(seed)
}

async fn source(stage: &Stage, field: &str) -> Result<String> {
    Ok(get(stage, "pvol/web-source", &format!("{{.status.node.sync.{field}}}")).await?.concat())
}

fn claim(annotations: &str) -> String {
    format!(
        "{{volumeClaimTemplate: {{metadata: {{annotations: {{{annotations}}}}}, spec: {{storageClassName: volumepool, accessModes: \
         [ReadWriteOnce], dataSourceRef: {{apiGroup: volumedispatcher.io, kind: VolumePool, name: web}}, resources: {{requests: \
         {{storage: 1Gi}}}}}}}}}}"
    )
}

/// A Deployment of readers on all nodes.
fn readers() -> String {
    let script = serde_json::Value::from(READER);
    let claim = claim("");
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {SHOP}}}\nspec:\n  replicas: {COPIES}\n  selector: \
         {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         terminationGracePeriodSeconds: 0\n      topologySpreadConstraints: [{{maxSkew: 1, topologyKey: kubernetes.io/hostname, \
         whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}]\n      containers: [{{name: web, image: \
         'registry.local/busybox:1', command: [sh, -c, {script}], volumeMounts: [{{name: content, mountPath: /content, readOnly: \
         true}}]}}]\n      volumes: [{{name: content, ephemeral: {claim}}}]\n"
    )
}

/// No packet passes between the agents of two nodes for some seconds, while the source is edited.
async fn cut(stage: &Stage, writer: &mut Writer) -> Result<()> {
    let select = "--selector=app.kubernetes.io/component=agent";
    let path = "--output=jsonpath={range .items[*]}{.status.podIP}{\"\\n\"}{end}";
    let addresses = stage.cluster.kubectl(&["--namespace", PRODUCT, "get", "pods", select, path]).await?;
    let set = addresses.split_whitespace().collect::<Vec<_>>().join(", ");
    nft(stage, "add table ip soak").await?;
    nft(stage, "add chain ip soak cut { type filter hook forward priority -10; }").await?;
    nft(stage, &format!("add rule ip soak cut ip saddr {{ {set} }} ip daddr {{ {set} }} drop")).await?;
    let ends = Instant::now() + CUT;
    while Instant::now() < ends {
        writer.edit(10)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    nft(stage, "delete table ip soak").await
}

async fn nft(stage: &Stage, line: &str) -> Result<()> {
    let output = stage.cluster.command_in_netns("nft").arg(line).output().await?;
    ensure!(output.status.success(), "nft {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn pods(stage: &Stage) -> Result<Vec<String>> {
    let pods = ["--namespace", SHOP, "get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].metadata.name}"];
    Ok(stage.cluster.kubectl(&pods).await?.split_whitespace().map(str::to_owned).collect())
}

async fn readers_found_nothing(stage: &Stage) -> Result<()> {
    let mut rounds = 0;
    for pod in pods(stage).await? {
        let log = stage.cluster.kubectl(&["--namespace", SHOP, "logs", &pod, "--tail=-1"]).await?;
        let bad: Vec<&str> = log.lines().filter(|line| *line != "round").collect();
        ensure!(bad.is_empty(), "the reader in {pod} found {bad:?}");
        let own = log.lines().count();
        ensure!(own > 0, "the reader in {pod} has read nothing");
        rounds += own;
    }
    println!("{COPIES} readers read all checked files {rounds} times, and each file was whole");
    Ok(())
}

/// A pod with the source itself, and the random edits that are made in it.
struct Writer {
    node: &'static str,
    random: TestRng,
    content: PathBuf,
    edits: u64,
    /// Keeps `content` good while processes come and go.
    mount: std::os::fd::OwnedFd,
}

impl Writer {
    async fn start(stage: &Stage, node: &'static str, seed: u64) -> Result<Self> {
        let bytes = [seed.to_le_bytes(); 4].concat();
        Self::start_with(stage, node, (TestRng::from_seed(RngAlgorithm::ChaCha, &bytes), 0)).await
    }

    async fn start_with(stage: &Stage, node: &'static str, (random, edits): (TestRng, u64)) -> Result<Self> {
        let claim = claim("volumedispatcher.io/volume: source");
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: writer, namespace: {SHOP}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
             nodeSelector: {{kubernetes.io/hostname: {node}}}\n  containers: [{{name: writer, image: 'registry.local/busybox:1', \
             command: [sleep, '86399'], volumeMounts: [{{name: content, mountPath: /content}}]}}]\n  volumes: [{{name: content, \
             ephemeral: {claim}}}]\n"
        );
        apply(stage, &pod).await?;
        let ready = ["--namespace", SHOP, "wait", "pod/writer", "--for=condition=Ready", "--timeout=90s"];
        stage.cluster.kubectl(&ready).await.context("the writer does not get the source")?;
        in_pod(stage, "writer", "touch /content/written").await?;
        let root = mounts_of(stage, WRITER)?.pop().context("the process of the writer is not found")?;
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let mount = rustix::fs::open(&root, flags, rustix::fs::Mode::empty())?;
        let content = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        Ok(Self { node, random, content, edits, mount })
    }

    /// The pod goes, its node takes no pods any more, and the source is published from the other node of its zone, where the
    /// next pod writes it.
    async fn move_to_another_node(self, stage: &Stage) -> Result<Self> {
        let Self { node, random, edits, mount, .. } = self;
        // What is open would keep the source mounted.
        drop(mount);
        let other = if node == "node1" { "node3" } else { "node1" };
        let started = Instant::now();
        stage.cluster.kubectl(&["--namespace", SHOP, "delete", "pod/writer", "--wait", "--timeout=60s"]).await?;
        wait::until("the claim of the writer is gone", LIMIT, async || {
            let claim = get(stage, "pvol/web-source", "{.spec.claimRef.name}").await?.concat();
            Ok(claim.is_empty().then_some(()))
        })
        .await?;
        ensure!(source(stage, "state").await? == "Publishing", "the end of the writer ended the publisher");
        stage.cluster.kubectl(&["cordon", node]).await?;
        wait::until(&format!("{other} publishes the source"), LIMIT, async || {
            let seen = get(stage, "pvol/web-source", "{.status.node.name} {.status.node.sync.state}").await?.concat();
            ensure!(seen == format!("{other} Publishing"), "it is {seen}");
            Ok(Some(()))
        })
        .await?;
        println!("the source went from {node} to {other} in {:.1?}", started.elapsed());
        let writer = Self::start_with(stage, other, (random, edits)).await?;
        stage.cluster.kubectl(&["uncordon", node]).await?;
        Ok(writer)
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.random.next_u32() % limit
    }

    fn edit_checked(&mut self) -> Result<()> {
        std::fs::create_dir_all(self.content.join("checked"))?;
        (0..CHECKED).try_for_each(|name| self.replace_checked(name))
    }

    /// A new file takes the place of the old one, as editors and deployments do it.
    fn replace_checked(&mut self, name: u32) -> Result<()> {
        let (number, count) = (self.edits, 1 + self.below(600));
        let lines: Vec<String> = (1..=count).map(|line| format!("{number} {count} {line}\n")).collect();
        let new = self.content.join("new");
        std::fs::write(&new, lines.concat())?;
        Ok(std::fs::rename(new, self.content.join(format!("checked/{name}")))?)
    }

    fn edit(&mut self, number: u32) -> Result<()> {
        for _ in 0..number {
            self.edits += 1;
            let (kind, folder, name) = (self.below(10), self.below(6), self.below(30));
            if kind < 3 {
                self.replace_checked(name % CHECKED)?;
                continue;
            }
            let folder = self.content.join(format!("folder-{folder}"));
            std::fs::create_dir_all(&folder)?;
            let text = format!("edit {}\n", self.edits).repeat(1 + name as usize * 20);
            // Random paths often are not there, or are something else: that is no edit then.
            drop(change(kind, &folder, &folder.join(format!("file-{name}")), &text));
        }
        Ok(())
    }

    /// What is written last is seen in all pods.
    async fn is_seen_by_all(&self, stage: &Stage, round: u32) -> Result<()> {
        let started = Instant::now();
        std::fs::write(self.content.join("round"), round.to_string())?;
        for pod in pods(stage).await? {
            wait::until(&format!("{pod} sees the end of round {round}"), LIMIT, async || {
                let seen = in_pod(stage, &pod, "cat /content/round").await?;
                ensure!(seen == round.to_string(), "it sees {seen:?}");
                Ok(Some(()))
            })
            .await?;
        }
        println!("the end of round {round}, after {} edits, was seen in all pods after {:.1?}", self.edits, started.elapsed());
        Ok(())
    }
}

fn change(kind: u32, folder: &Path, file: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match kind {
        3 => std::fs::write(file, text),
        4 => std::io::Write::write_all(&mut std::fs::OpenOptions::new().append(true).open(file)?, text.as_bytes()),
        5 => std::fs::remove_file(file),
        6 => std::fs::set_permissions(file, std::fs::Permissions::from_mode(if text.len() < 999 { 0o640 } else { 0o444 })),
        7 => std::os::unix::fs::symlink("../checked/0", file.with_extension("link")),
        8 => std::fs::hard_link(file, file.with_extension("hard")),
        _ if text.len().is_multiple_of(7) => std::fs::remove_dir_all(folder),
        _ => std::fs::rename(folder, folder.with_extension("moved")),
    }
}
