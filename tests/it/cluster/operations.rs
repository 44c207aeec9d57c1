//! Path operations of a live pool, and volumes that pods wrote: they come back clean. Controller, agents and pods are real.

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, apply_deployment, get, wait_for_pods, wait_for_pool};
use demo::{Filesystem, Stage, wait};
use serde_json::Value;

use super::live::{apply_live_pool, in_pod, mounted, patch, wait_for_copies_in_sync, wait_for_the_source};
use super::{LIMIT, on_a_stage};

/// The most volumes that are ready in one zone when the written one is.
const READY: usize = 6;

#[test]
fn operations_reach_all_pods_and_written_volumes_come_back_clean() {
    on_a_stage("operations", Filesystem::Xfs, async |stage| {
        apply_live_pool(stage).await?;
        patch(stage, "vp/web", &[], r#"{"spec":{"claims":{"access":"ReadWrite"}}}"#).await?;
        wait_for_pool(stage).await?;
        apply_deployment(stage).await?;
        let pods = wait_for_pods(stage).await?;
        wait_for_the_source(stage).await?;
        wait_for_copies_in_sync(stage, 4).await?;
        a_push_is_complete_when_all_pods_have_it(stage, &pods).await?;
        what_the_source_refuses_fails(stage).await?;
        let written = a_comparison_names_the_volume_that_a_pod_wrote(stage).await?;
        the_pool_has_a_trail(stage).await?;
        it_comes_back_clean(stage, &written).await?;
        a_snapshot_by_schedule_follows_a_checkpoint(stage).await
    });
}

/// Makes an operation and waits until one of its conditions holds.
pub(super) async fn operate(stage: &Stage, name: &str, spec: &str, condition: &str) -> Result<Value> {
    let operation = format!(
        "apiVersion: volumedispatcher.io/v1alpha1\nkind: PathOperation\nmetadata: {{name: {name}, namespace: {SHOP}}}\n\
         spec: {{poolRef: {{name: web}}, timeout: 60s, {spec}}}\n"
    );
    apply(stage, &operation).await?;
    let kind = format!("pathop/{name}");
    let waited =
        stage.cluster.kubectl(&["--namespace", SHOP, "wait", &kind, &format!("--for=condition={condition}"), "--timeout=90s"]).await;
    let status = get(stage, &kind, "{.status}").await?.concat();
    waited.with_context(|| format!("{name} is {status}"))?;
    Ok(serde_json::from_str(&status)?)
}

async fn a_push_is_complete_when_all_pods_have_it(stage: &Stage, pods: &[String]) -> Result<()> {
    let source = mounted(stage, "web-source").await?;
    std::fs::create_dir_all(source.join("news"))?;
    std::fs::write(source.join("news/today.txt"), "pushed")?;
    let status = operate(stage, "push", "operation: Push, path: news", "Complete").await?;
    for pod in pods {
        let seen = in_pod(stage, pod, "cat /content/news/today.txt").await?;
        ensure!(seen == "pushed", "the push is complete, and {pod} sees {seen:?}");
    }
    ensure!(status["receipts"].as_array().is_some_and(|receipts| receipts.len() == 4), "the receipts are {status}");
    println!("a push to four volumes took from {} to {}", status["startTime"], status["completionTime"]);
    operate(stage, "delete", "operation: Delete, path: news", "Complete").await?;
    for pod in pods {
        ensure!(in_pod(stage, pod, "ls /content/news").await.is_err(), "the deletion is complete, and {pod} has the path");
    }
    Ok(())
}

async fn what_the_source_refuses_fails(stage: &Stage) -> Result<()> {
    let status = operate(stage, "missing", "operation: Delete, path: no/such/path", "Failed").await?;
    let told = status["conditions"].to_string();
    ensure!(told.contains("OperationRefused") && told.contains("no/such/path"), "it says {told}");
    Ok(())
}

/// A pod with a volume of the pool, to write or to read.
pub(super) async fn pod(stage: &Stage, name: &str, node: &str, script: &str) -> Result<()> {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {SHOP}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         nodeSelector: {{kubernetes.io/hostname: {node}}}\n  containers:\n  - {{name: main, image: 'registry.local/busybox:1', command: [sh, -c, \
         '{script}; sleep infinity'], volumeMounts: [{{name: content, mountPath: /content}}]}}\n  volumes:\n  - name: content\n    \
         ephemeral: {{volumeClaimTemplate: {{spec: {{storageClassName: volumepool, accessModes: [ReadWriteOnce], dataSourceRef: \
         {{apiGroup: volumedispatcher.io, kind: VolumePool, name: web}}, resources: {{requests: {{storage: 1Gi}}}}}}}}}}\n"
    );
    apply(stage, &manifest).await?;
    let ready = ["--namespace", SHOP, "wait", &format!("pod/{name}"), "--for=condition=Ready", "--timeout=90s"];
    stage.cluster.kubectl(&ready).await.map(drop)
}

/// The volume of a pod, its node, and its EBS volume.
pub(super) async fn volume_of(stage: &Stage, pod: &str) -> Result<(String, String, String)> {
    let path = format!(
        "{{range .items[?(@.spec.claimRef.name==\"{pod}-content\")]}}{{.metadata.name}} {{.spec.nodeName}} {{.status.cloud.volumeID}}{{end}}"
    );
    let line = get(stage, "pvol", &path).await?.concat();
    let mut words = line.split(' ').map(str::to_owned);
    let (name, node, id) = (words.next(), words.next(), words.next());
    Ok((name.context("the pod has a volume")?, node.context("it is on a node")?, id.context("it is in EC2")?))
}

async fn a_comparison_names_the_volume_that_a_pod_wrote(stage: &Stage) -> Result<(String, String, String)> {
    operate(stage, "green", "operation: Sync, verify: Content", "Complete").await?;
    let stain = "for folder in . .volume-dispatcher; do echo mine > /content/$folder/stain; done; echo mine > /content/VERSION";
    pod(stage, "writer", "node1", stain).await?;
    wait::until("the pod has written", LIMIT, async || in_pod(stage, "writer", "grep mine /content/VERSION").await.map(Some)).await?;
    let written = volume_of(stage, "writer").await?;
    let status = operate(stage, "red", "operation: Sync, verify: Content", "Failed").await?;
    ensure!(status["failures"][0]["volume"] == written.0.as_str(), "the written volume {} is not named: {status}", written.0);
    ensure!(status["conditions"].to_string().contains("VolumesDiffer"), "it says {status}");
    Ok(written)
}

/// Who did what, and what came of it, is told on the pool for each operation.
async fn the_pool_has_a_trail(stage: &Stage) -> Result<()> {
    let told = stage.cluster.kubectl(&["--namespace", SHOP, "events", "--for", "vp/web"]).await?;
    for (name, end) in
        [("push", "OperationComplete"), ("delete", "OperationComplete"), ("missing", "OperationRefused"), ("red", "VolumesDiffer")]
    {
        let has_end = |line: &str| line.contains(end) && line.contains(&format!("PathOperation {name},")) && line.contains("kubectl");
        ensure!(told.lines().any(has_end), "{end} of {name} is not told: {told}");
    }
    Ok(())
}

async fn it_comes_back_clean(stage: &Stage, (name, node, id): &(String, String, String)) -> Result<()> {
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "pod/writer", "--timeout=60s"]).await?;
    let kind = format!("pvol/{name}");
    wait::until("the written volume is ready again", LIMIT, async || {
        let line = get(stage, &kind, "{.status.phase} {.status.cloud.volumeID} {.spec.claimRef.name}").await?.concat();
        ensure!(line.trim() == format!("Ready {id}"), "it is {line:?}");
        Ok(Some(()))
    })
    .await?;
    // Whoever gets it: there are only so many.
    for number in 0..READY {
        let reader = format!("reader-{number}");
        pod(stage, &reader, node, "true").await?;
        let (got, ..) = volume_of(stage, &reader).await?;
        let found = in_pod(stage, &reader, "cd /content; cat VERSION; ls -A . .volume-dispatcher").await?;
        ensure!(!found.contains("stain") && !found.contains("mine"), "{reader} sees on {got} what an earlier pod wrote: {found}");
        if got == *name {
            println!("{reader} has the volume that was written, and nothing of that is left");
            return Ok(());
        }
    }
    anyhow::bail!("nobody of {READY} readers got {name}")
}

async fn a_snapshot_by_schedule_follows_a_checkpoint(stage: &Stage) -> Result<()> {
    std::fs::write(mounted(stage, "web-source").await?.join("VERSION"), "before the snapshot")?;
    let status = operate(stage, "settled", "operation: Sync", "Complete").await?;
    let least = status["source"]["generation"].as_u64().context("a generation")?;
    patch(stage, "vp/web", &[], r#"{"spec":{"snapshots":{"schedule":"* * * * *","allowedLag":1000}}}"#).await?;
    let position = wait::until("a snapshot has a position", LIMIT, async || {
        Ok(get(stage, "vp/web", "{.status.snapshots[*].position}")
            .await?
            .concat()
            .split(' ')
            .next()
            .map(str::to_owned)
            .filter(|text| !text.is_empty()))
    })
    .await?;
    let generation: u64 = position.rsplit('.').next().context("a generation")?.parse()?;
    ensure!(generation >= least, "the snapshot is at {position}, and the source was at {least} before");
    let told = stage.cluster.kubectl(&["--namespace", SHOP, "events", "--for", "vp/web"]).await?;
    ensure!(told.contains(&format!("at sync generation {generation}")), "the events say {told}");
    Ok(())
}
