//! On a real cluster: how long a pod with a volume of a pool takes to start, and how long a pool takes to fill.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use demo::story::{SHOP, apply, apply_pool, wait_for_counts, wait_for_pool};
use demo::{Content, Filesystem, Report, Script, Stage, TWO_ZONES};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};

use crate::row::{Comparison, Row, median};

const ROUNDS: usize = 5;
/// What the simulator's profile `fast` takes for a snapshot and then a volume, which nobody can pass.
const FILL_FLOOR_SECONDS: f64 = 0.300 + 0.150;
/// The longest that a pod may take.
const LIMIT: Duration = Duration::from_mins(1);
const COMMAND: &str = "make bench ONLY=cluster";

pub(crate) async fn run() -> Result<Vec<Row>> {
    let report: Report = Arc::new(|line: &str| eprintln!("{line}"));
    let folder = std::env::temp_dir().join(format!("vd-bench-{}", std::process::id()));
    let stage = Stage::set(
        Script { state: folder, content: Content::Small, filesystem: Filesystem::Xfs, zones: TWO_ZONES, controllers: 1, keep: false },
        report.clone(),
    )
    .await?;
    let rows = measure(&stage).await;
    stage.clear(report).await?;
    rows
}

async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let begun = Instant::now();
    apply_pool(stage).await?;
    wait_for_pool(stage).await?;
    let fill = begun.elapsed().as_secs_f64();
    let client = stage.cluster.client().await?;
    let (mut ours, mut rivals) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        rivals.push(start(stage, &client, &format!("rival-{round}"), "emptyDir: {}").await?);
        ours.push(start(stage, &client, &format!("ours-{round}"), CLAIM).await?);
        wait_for_counts(stage, "4 0").await?;
    }
    let fill_row =
        Comparison { name: "pool_fill_4_volumes", unit: "s", rival: "the simulator's latencies alone", target: 5.0, command: COMMAND };
    let start_row = Comparison { name: "pod_start", unit: "s", rival: "a pod with an emptyDir", target: 3.0, command: COMMAND };
    Ok(vec![fill_row.row(fill, FILL_FLOOR_SECONDS), start_row.row(median(ours), median(rivals))])
}

/// A volume of the pool.
pub(crate) const CLAIM: &str = "ephemeral: {volumeClaimTemplate: {spec: {storageClassName: volumepool, accessModes: [ReadWriteOnce], \
    dataSourceRef: {apiGroup: volumedispatcher.io, kind: VolumePool, name: web}, resources: {requests: {storage: 1Gi}}}}}";

/// Seconds from the creation of a pod until it runs; the pod is gone again on return.
pub(crate) async fn start(stage: &Stage, client: &Client, name: &str, volume: &str) -> Result<f64> {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {SHOP}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers: [{{name: web, image: 'registry.local/busybox:1', command: [sleep, infinity], volumeMounts: [{{name: content, mountPath: /content}}]}}]\n  \
         volumes: [{{name: content, {volume}}}]\n"
    );
    let pods: Api<Pod> = Api::namespaced(client.clone(), SHOP);
    let running = await_condition(pods, name, conditions::is_pod_running());
    let started = Instant::now();
    let (applied, ran) = tokio::join!(apply(stage, &manifest), tokio::time::timeout(LIMIT, running));
    let seconds = started.elapsed().as_secs_f64();
    applied?;
    ran??;
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "pod", name, "--wait"]).await?;
    Ok(seconds)
}
