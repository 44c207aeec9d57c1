//! The part of the demonstration that shows live content: an edit, a push, a deletion, the loss of a node, a comparison.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::stage::{Report, Stage};
use crate::story::{SHOP, apply, get, read_example, wait_for_pods};
use crate::table::Table;
use crate::wait;

/// The longest that any step may take: a node that is lost takes the longest.
const LIMIT: Duration = Duration::from_mins(2);

/// Shows all of it with the pods of the example; it ends with an error at the first thing that is not true. Returns the pods
/// that run then.
pub(crate) async fn show(stage: &Stage, pods: Vec<String>, report: &Report, table: &mut Table) -> Result<Vec<String>> {
    go_live(stage, report, table).await?;
    start_writer(stage, report, table).await?;
    edit(stage, &pods, report, table).await?;
    push_and_delete(stage, &pods, report, table).await?;
    let pods = lose_the_node_of_the_source(stage, report, table).await?;
    compare(stage, report, table).await?;
    Ok(pods)
}

async fn go_live(stage: &Stage, report: &Report, table: &mut Table) -> Result<()> {
    report("spec.sync.mode: Live: an agent attaches the source and publishes it, and every mounted volume follows");
    let started = Instant::now();
    let patch = r#"{"spec":{"sync":{"mode":"Live"}}}"#;
    stage.cluster.kubectl(&["--namespace", SHOP, "patch", "volumepool/web", "--type=merge", "--patch", patch]).await?;
    wait_for_sync(stage).await?;
    table.row("pool live", started.elapsed(), "source attached and published, all mounted volumes follow");
    report(&stage.cluster.kubectl(&["--namespace", SHOP, "get", "poolvolumes", "--output", "wide"]).await?);
    Ok(())
}

/// Waits until the source is published and all mounted volumes have what it has.
pub async fn wait_for_sync(stage: &Stage) -> Result<()> {
    let wait = ["--namespace", SHOP, "wait", "--for=condition=InSync", "volumepool/web", "--timeout=120s"];
    stage.cluster.kubectl(&wait).await.map(drop)
}

async fn start_writer(stage: &Stage, report: &Report, table: &mut Table) -> Result<()> {
    report("applying examples/web/writer.yaml: a pod whose claim asks for the source itself");
    let started = Instant::now();
    apply_writer(stage).await?;
    // The source may have moved to the node of the writer: then all volumes turn to it first.
    operate(stage, "settle", "operation: Sync").await?;
    table.row("writer running", started.elapsed(), "it has the source read-write, which is published on its node");
    Ok(())
}

/// Applies the example of a writer and waits until it runs.
pub async fn apply_writer(stage: &Stage) -> Result<()> {
    apply(stage, &read_example("writer.yaml")?.replace("busybox:stable", "registry.local/busybox:1")).await?;
    let ready = ["--namespace", SHOP, "wait", "--for=condition=Ready", "pod/editor", "--timeout=120s"];
    stage.cluster.kubectl(&ready).await.map(drop)
}

/// What a command prints in a pod; an error when it fails.
pub async fn in_pod(stage: &Stage, pod: &str, script: &str) -> Result<String> {
    Ok(stage.cluster.kubectl(&["--namespace", SHOP, "exec", pod, "--", "sh", "-c", script]).await?.trim().to_owned())
}

/// Writes a file in the writer, and waits until each pod, which looks for it all the time, has found the same in it.
async fn seen_in_all(stage: &Stage, pods: &[String], file: &str, text: &str) -> Result<Duration> {
    let look = format!("until [ \"$(cat /content/{file} 2>/dev/null)\" = '{text}' ]; do usleep 1000; done");
    let looking = futures::future::try_join_all(pods.iter().map(|pod| in_pod(stage, pod, &look)));
    let writing = async {
        // The pods shall look already.
        tokio::time::sleep(Duration::from_secs(2)).await;
        in_pod(stage, "editor", &format!("mkdir -p $(dirname /content/{file}) && echo '{text}' > /content/{file}")).await?;
        Ok::<Instant, anyhow::Error>(Instant::now())
    };
    let (found, written) =
        tokio::time::timeout(LIMIT, async { tokio::try_join!(async { looking.await.map(|_| Instant::now()) }, writing) })
            .await
            .with_context(|| format!("{file} was not seen in all pods"))??;
    Ok(found.saturating_duration_since(written))
}

async fn edit(stage: &Stage, pods: &[String], report: &Report, table: &mut Table) -> Result<()> {
    report("the writer edits news/today.txt; each of the four pods looks at its own volume all the time");
    let mut slowest = Duration::ZERO;
    for text in ["good morning", "good evening"] {
        let elapsed = seen_in_all(stage, pods, "news/today.txt", text).await?;
        report(&format!("  {text:?} was there in all pods {} ms after kubectl had returned from the writer", elapsed.as_millis()));
        slowest = slowest.max(elapsed);
    }
    table.row("edit seen", slowest, "from the write to all four pods, the return of kubectl exec included");
    Ok(())
}

/// Makes an operation and waits for its end, as a user would.
pub async fn operate(stage: &Stage, name: &str, spec: &str) -> Result<()> {
    let operation = format!(
        "apiVersion: volumedispatcher.io/v1alpha1\nkind: PathOperation\nmetadata: {{name: {name}, namespace: {SHOP}}}\n\
         spec: {{poolRef: {{name: web}}, {spec}}}\n"
    );
    apply(stage, &operation).await?;
    let kind = format!("pathoperation/{name}");
    let done = ["--namespace", SHOP, "wait", "--for=condition=Complete", &kind, "--timeout=120s"];
    let waited = stage.cluster.kubectl(&done).await.map(drop);
    if waited.is_err() {
        let told = get(stage, &kind, "{.status}").await?.concat();
        return waited.with_context(|| format!("the operation {name} is not complete: {told}"));
    }
    Ok(())
}

async fn push_and_delete(stage: &Stage, pods: &[String], report: &Report, table: &mut Table) -> Result<()> {
    report("kubectl apply of two PathOperations: push news, then delete it everywhere; each waits for all mounted volumes");
    in_pod(stage, "editor", "mkdir -p /content/news && for i in 1 2 3 4 5 6 7 8; do date > /content/news/$i.txt; done").await?;
    let started = Instant::now();
    operate(stage, "push-news", "operation: Push, path: news").await?;
    table.row("path pushed", started.elapsed(), "receipts of all mounted volumes");
    let started = Instant::now();
    operate(stage, "delete-news", "operation: Delete, path: news").await?;
    table.row("path deleted", started.elapsed(), "at the source and on all mounted volumes");
    for pod in pods {
        ensure!(in_pod(stage, pod, "ls -d /content/news 2>/dev/null || echo gone").await? == "gone", "{pod} still has news");
    }
    report(&stage.cluster.kubectl(&["--namespace", SHOP, "get", "pathoperations", "--output", "wide"]).await?);
    Ok(())
}

/// The node of the source dies with all that ran on it; the other one of its zone takes over.
async fn lose_the_node_of_the_source(stage: &Stage, report: &Report, table: &mut Table) -> Result<Vec<String>> {
    let lost = get(stage, "poolvolume/web-source", "{.spec.nodeName}").await?.concat();
    report(&format!("{lost}, which publishes the source and runs the writer, loses its power; EC2 ends the instance"));
    let started = Instant::now();
    stage.lose_node(&lost).await?;
    wait::until("another node publishes the source", LIMIT, async || {
        let now = get(stage, "poolvolume/web-source", "{.status.node.name} {.status.node.sync.state}").await?.concat();
        ensure!(now.ends_with(" Publishing") && !now.starts_with(&lost), "the source is {now:?}");
        Ok(Some(()))
    })
    .await?;
    table.row("source taken over", started.elapsed(), "by the other node of its zone, since its own was lost");
    let pods = wait_for_pods(stage).await?;
    apply_writer(stage).await?;
    wait_for_sync(stage).await?;
    let elapsed = seen_in_all(stage, &pods, "VERSION", "after the loss of a node").await?;
    report(&format!("  the new writer's edit was there in all four pods, two of them new, {} ms later", elapsed.as_millis()));
    table.row("all follow again", started.elapsed(), "writer and lost pods started anew, an edit seen in all pods");
    Ok(pods)
}

async fn compare(stage: &Stage, report: &Report, table: &mut Table) -> Result<()> {
    report("a PathOperation Sync with verify: Content: each mounted volume is compared with the source, byte by byte");
    let started = Instant::now();
    operate(stage, "verify", "operation: Sync, verify: Content").await?;
    table.row("all compared", started.elapsed(), "no byte of a mounted volume differs from the source");
    Ok(())
}
