//! A volume that was detached while its source was edited: made fresh again as an agent does it, beside rsync that scans; and
//! on a real cluster, where a pod waits for it.

use std::sync::Arc;

use anyhow::Result;
use demo::live::{apply_writer, in_pod, operate, wait_for_sync};
use demo::story::{SHOP, apply_pool, wait_for_counts, wait_for_pool};
use demo::{Content, Filesystem, Report, Script, Stage};

use crate::cluster::{CLAIM, start};
use crate::row::{Comparison, Row, median};
use crate::treesync;

const COMMAND: &str = "make bench ONLY=live";
/// One node, which publishes the source and runs all pods.
const ONE_ZONE: &[&str] = &["us-east-1a"];
/// One volume, so that it is the same one that comes back.
const POOL: &str = r#"{"spec":{"replicas":1,"zones":["us-east-1a"],"sync":{"mode":"Live"}}}"#;
const ROUNDS: usize = 3;

/// The engine alone, optimised: what an agent does between the mount of a volume and the moment at which a claim may have it.
/// Then all of it, in a development build: from the creation of a pod until it runs.
pub(crate) fn run() -> Result<Vec<Row>> {
    let mut rows = treesync::run_parts("away", COMMAND)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    rows.extend(runtime.block_on(on_a_cluster())?);
    Ok(rows)
}

async fn on_a_cluster() -> Result<Vec<Row>> {
    let report: Report = Arc::new(|line: &str| eprintln!("{line}"));
    let folder = std::env::temp_dir().join(format!("vd-bench-{}", std::process::id()));
    let script =
        Script { state: folder, content: Content::Small, filesystem: Filesystem::Xfs, zones: ONE_ZONE, controllers: 1, keep: false };
    let stage = Stage::set(script, report.clone()).await?;
    let rows = measure(&stage).await;
    stage.clear(report).await?;
    rows
}

async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    apply_pool(stage).await?;
    stage.cluster.kubectl(&["--namespace", SHOP, "patch", "vp/web", "--type=merge", "--patch", POOL]).await?;
    wait_for_pool(stage).await?;
    wait_for_counts(stage, "1 0").await?;
    wait_for_sync(stage).await?;
    apply_writer(stage).await?;
    let client = stage.cluster.client().await?;
    // What the volume was made with is compared once.
    start(stage, &client, "first", CLAIM).await?;
    let (mut bare, mut none) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        bare.push(start(stage, &client, &format!("bare-{round}"), "emptyDir: {}").await?);
        none.push(away(stage, &client, (0, round)).await?);
    }
    let (bare, none) = (median(bare), median(none));
    let mut rows = vec![row("live_pod_start", "a pod with an emptyDir", 5.0).row(none, bare)];
    for (edits, name, target) in [(1_000, "live_pod_start_1000_missed", 2.0), (10_000, "live_pod_start_10000_missed", 10.0)] {
        let mut figures = Vec::new();
        for round in 0..=ROUNDS {
            figures.push(away(stage, &client, (edits, round)).await?);
        }
        // The first makes the files.
        rows.push(row(name, "the same when nothing was missed", target).row(median(figures.split_off(1)), none));
    }
    Ok(rows)
}

fn row(name: &'static str, rival: &'static str, target: f64) -> Comparison {
    Comparison { name, unit: "s", rival, target, command: COMMAND }
}

/// The volume is detached, the source is edited, and a pod is made: seconds until it runs.
async fn away(stage: &Stage, client: &kube::Client, (edits, round): (usize, usize)) -> Result<f64> {
    wait_for_counts(stage, "1 0").await?;
    let edit = format!(
        "cd /content && mkdir -p {edits} && cd {edits} && for d in $(seq 0 99); do mkdir -p $d; done; \
         for i in $(seq 1 {edits}); do echo {round} $i > $((i % 100))/$i; done"
    );
    in_pod(stage, "editor", &edit).await?;
    // All edits are in the history of the source, so that a pod has to wait for them.
    operate(stage, &format!("settle-{edits}-{round}"), "operation: Sync").await?;
    start(stage, client, &format!("away-{edits}-{round}"), CLAIM).await
}
