//! Ten copies in use follow a source that a pod writes, through random edits, kills, a cut network, a fail-over and reboots;
//! claims that are made meanwhile get what is fresh and whole.

mod beats;
mod disturbances;
mod newcomer;
mod writer;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, get, wait_for_pool};
use demo::{Filesystem, Stage, WITH_A_SPARE, wait};

use super::live::{apply_live_pool, rsync_finds_no_difference, wait_for_copies_in_sync, wait_for_the_source};
use super::live_latency::measure;
use super::{LIMIT, kill, on_nodes_in};
use disturbances::{cut_a_pair, reboot_a_node, reboot_the_publisher};
use newcomer::Newcomer;
use writer::Writer;

const COPIES: usize = 10;
/// Seconds of edits, unless the environment says otherwise.
const SECONDS: &str = "60";
/// Rounds in which everything has gone wrong once.
const ROUNDS: u32 = 6;

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
fn ten_copies_stay_whole_and_claims_fresh_through_edits_kills_a_cut_a_fail_over_and_reboots() {
    on_nodes_in(WITH_A_SPARE, "live soak", Filesystem::Xfs, async |stage| {
        apply_live_pool(stage).await?;
        wait_for_pool(stage).await?;
        wait_for_the_source(stage).await?;
        apply(stage, &readers()).await?;
        let mut writer = Writer::start(stage, "node1", seed()?).await?;
        writer.edit_checked()?;
        let copies = wait_for_copies_in_sync(stage, COPIES).await?;
        // A copy is in sync as soon as it is mounted, before the container that reads it has started.
        stage.cluster.kubectl(&["--namespace", SHOP, "rollout", "status", "deployment/web", "--timeout=90s"]).await?;
        measure(stage, writer.content(), COPIES)?;
        let epoch = source(stage, "epoch").await?;
        let deadline = Instant::now() + Duration::from_secs(variable("SOAK_SECONDS", SECONDS)?);
        let (mut round, mut oldest) = (0, 0.0_f64);
        while Instant::now() < deadline || round < ROUNDS {
            writer.edit(200)?;
            let newcomer;
            (writer, newcomer) = disturb(stage, writer, round).await?;
            writer.edit(200)?;
            writer.is_seen_by_all(stage, round).await?;
            oldest = oldest.max(newcomer.judge(stage, &writer.beats).await?);
            round += 1;
        }
        ensure!(source(stage, "epoch").await? == epoch, "the epoch moved, so all copies were compared as a whole");
        println!("{round} rounds were soaked; the epoch is still {epoch}; the oldest content that a claim got was {oldest:.2} s old");
        readers_found_nothing(stage).await?;
        writer.beats.pause();
        wait::until("rsync finds no difference", LIMIT, async || rsync_finds_no_difference(stage, &copies).await.map(Some)).await
    });
}

/// One thing goes wrong, while a claim is made.
async fn disturb(stage: &Stage, mut writer: Writer, round: u32) -> Result<(Writer, Newcomer)> {
    let newcomer = match round % ROUNDS {
        0 => {
            let newcomer = Newcomer::start(stage, round, None).await?;
            kill(stage, "agent")?;
            newcomer
        }
        1 => cut_a_pair(stage, &mut writer, round).await?,
        2 => {
            let newcomer = Newcomer::start(stage, round, None).await?;
            writer = writer.move_to_another_node(stage).await?;
            newcomer
        }
        3 => {
            kill(stage, "controller")?;
            Newcomer::start(stage, round, None).await?
        }
        4 => reboot_a_node(stage, &mut writer, round).await?,
        _ => return reboot_the_publisher(stage, writer, round).await,
    };
    Ok((writer, newcomer))
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
