//! What the demonstration shows, step by step; it ends with an error at the first thing that is not true.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use local_cluster::Cluster;

use crate::live;
use crate::programs::repository;
use crate::source::DIGEST_COMMAND;
use crate::stage::{Report, Stage};
use crate::table::Table;
use crate::wait;

/// The namespace of the example.
pub const SHOP: &str = "shop";
/// The longest that any step may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Tells the story on a stage that is set.
pub async fn tell(stage: &Stage, started: Instant, report: &Report) -> Result<()> {
    let mut table = Table::default();
    table.row("stage set", started.elapsed(), "EC2, Kubernetes, image and chart are there");
    fill(stage, report, &mut table).await?;
    report(&stage.cluster.kubectl(&["get", "volumepools,poolvolumes,poolnodes", "--all-namespaces", "--output", "wide"]).await?);
    let pods = claim(stage, report, &mut table).await?;
    verify(stage, &pods, report, &mut table).await?;
    table.row("since the start", started.elapsed(), "from nothing to all four pods verified");
    live::show(stage, pods, report, &mut table).await?;
    scale(stage, report, &mut table).await?;
    release(stage, report, &mut table).await?;
    stage.account.check_attachments().await?;
    report(&stage.cluster.kubectl(&["--namespace", SHOP, "get", "events", "--sort-by=.lastTimestamp"]).await?);
    report(&format!("\nWhat took how long:\n{table}"));
    Ok(())
}

/// Shares the source with the pool and applies the example, with the id of the source put in.
pub async fn apply_pool(stage: &Stage) -> Result<()> {
    apply_pool_with(stage, "").await
}

/// The same with more lines in its `spec.template`, each indented by four.
pub async fn apply_pool_with(stage: &Stage, template: &str) -> Result<()> {
    stage.account.tag(&stage.source, "volumedispatcher.io/source", "shop/web").await?;
    let example = read_example("volumepool.yaml")?.replace("vol-0123456789abcdef0", &stage.source);
    let example = example.replace("  template:\n", &format!("  template:\n{template}"));
    stage.cluster.kubectl(&["create", "namespace", SHOP]).await?;
    apply(stage, &example).await
}

/// Applies the example's Deployment, with an image that needs no registry.
pub async fn apply_deployment(stage: &Stage) -> Result<()> {
    apply(stage, &read_example("deployment.yaml")?.replace("busybox:stable", "registry.local/busybox:1")).await
}

/// Applies a manifest.
pub async fn apply(stage: &Stage, manifest: &str) -> Result<()> {
    apply_on(&stage.cluster, manifest).await
}

pub(crate) async fn apply_on(cluster: &Cluster, manifest: &str) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    std::io::Write::write_all(&mut file, manifest.as_bytes())?;
    let path = file.path().to_str().context("the temporary folder is not UTF-8")?;
    cluster.kubectl(&["apply", "--filename", path]).await.map(drop)
}

pub(crate) fn read_example(name: &str) -> Result<String> {
    let path = repository().join("examples/web").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

async fn fill(stage: &Stage, report: &Report, table: &mut Table) -> Result<()> {
    report("applying examples/web/volumepool.yaml: four volumes shall be ready, two in each zone");
    let started = Instant::now();
    apply_pool(stage).await?;
    wait_for_pool(stage).await?;
    table.row("pool filled", started.elapsed(), "snapshot taken, four volumes made of it and ready");
    Ok(())
}

/// Waits until the pool is ready, as a user would.
pub async fn wait_for_pool(stage: &Stage) -> Result<()> {
    let wait = ["--namespace", SHOP, "wait", "--for=condition=Ready", "volumepool/web", "--timeout=90s"];
    stage.cluster.kubectl(&wait).await.map(drop)
}

async fn claim(stage: &Stage, report: &Report, table: &mut Table) -> Result<Vec<String>> {
    report("applying examples/web/deployment.yaml: four pods, each asks for a volume of the pool");
    let started = Instant::now();
    apply_deployment(stage).await?;
    wait::until("four claims are bound", LIMIT, async || {
        let phases = get(stage, "persistentvolumeclaims", "{range .items[*]}{.status.phase}{\"\\n\"}{end}").await?;
        Ok((phases == ["Bound"; 4]).then_some(()))
    })
    .await?;
    table.row("claims bound", started.elapsed(), "each of the four pods has a volume");
    let pods = wait_for_pods(stage).await?;
    table.row("pods running", started.elapsed(), "volumes attached, mounted and bound into the pods");
    Ok(pods)
}

/// Waits until four pods of the Deployment are ready, and returns their names.
pub async fn wait_for_pods(stage: &Stage) -> Result<Vec<String>> {
    wait::until("four pods are ready", LIMIT, async || {
        let pods =
            get(stage, "pods", "{range .items[*]}{.metadata.name} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}").await?;
        let ready: Vec<String> = pods.iter().filter_map(|line| line.strip_suffix(" True")).map(str::to_owned).collect();
        Ok((ready.len() == 4).then_some(ready))
    })
    .await
}

/// Waits until the Deployment's four pods exist, whatever they do.
pub async fn wait_for_pod_names(stage: &Stage) -> Result<Vec<String>> {
    wait::until("four pods exist", LIMIT, async || {
        let pods = get(stage, "pods", "{range .items[*]}{.metadata.name}{\"\\n\"}{end}").await?;
        Ok((pods.len() == 4).then_some(pods))
    })
    .await
}

/// Non-empty lines of a jsonpath query in the example's namespace.
pub async fn get(stage: &Stage, kind: &str, path: &str) -> Result<Vec<String>> {
    let output = format!("jsonpath={path}");
    let text = stage.cluster.kubectl(&["--namespace", SHOP, "get", kind, "--output", &output]).await?;
    Ok(text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect())
}

async fn verify(stage: &Stage, pods: &[String], report: &Report, table: &mut Table) -> Result<()> {
    report(&format!("each pod now reads all {} files; the digest must be that of the source, {}", stage.files, &stage.digest[..16]));
    let started = Instant::now();
    let digests = futures::future::try_join_all(pods.iter().map(|pod| digest_in(stage, pod))).await?;
    for (pod, digest) in pods.iter().zip(&digests) {
        ensure!(*digest == stage.digest, "{pod} reads {digest}, but the source is {}", stage.digest);
        let node = get(stage, &format!("pod/{pod}"), "{.spec.nodeName}").await?.concat();
        report(&format!("  {pod} on {node}: {} as the source", &digest[..16]));
    }
    let volumes: BTreeSet<String> =
        get(stage, "persistentvolumes", "{range .items[*]}{.spec.csi.volumeHandle}{\"\\n\"}{end}").await?.into_iter().collect();
    ensure!(volumes.len() == 4, "four pods must have four volumes of their own, not {volumes:?}");
    let nodes: BTreeSet<String> = get(stage, "pods", "{range .items[*]}{.spec.nodeName}{\"\\n\"}{end}").await?.into_iter().collect();
    ensure!(nodes.len() >= 2, "the pods must be on nodes of both zones, not on {nodes:?}");
    table.row("content verified", started.elapsed(), "all files read in all four pods, digests equal");
    Ok(())
}

/// The digest of what a pod sees.
pub async fn digest_in(stage: &Stage, pod: &str) -> Result<String> {
    let script = format!("cd /content && {DIGEST_COMMAND}");
    let digest = stage.cluster.kubectl(&["--namespace", SHOP, "exec", pod, "--", "sh", "-c", &script]).await?;
    Ok(digest.trim().to_owned())
}

async fn scale(stage: &Stage, report: &Report, table: &mut Table) -> Result<()> {
    report("kubectl scale volumepool/web --replicas=6: six volumes shall be ready beside the four in use");
    let started = Instant::now();
    stage.cluster.kubectl(&["--namespace", SHOP, "scale", "volumepool/web", "--replicas=6"]).await?;
    wait_for_counts(stage, "6 4").await?;
    table.row("pool scaled", started.elapsed(), "two more ready");
    Ok(())
}

/// Waits until the pool has as many volumes ready and claimed as `counts` says, such as `6 4`.
pub async fn wait_for_counts(stage: &Stage, counts: &str) -> Result<()> {
    wait::until(&format!("ready and claimed are {counts}"), LIMIT, async || {
        let seen = get(stage, "volumepool/web", "{.status.replicas} {.status.claimed}").await?.concat();
        ensure!(seen == counts, "ready and claimed are {seen}");
        Ok(Some(()))
    })
    .await
}

async fn release(stage: &Stage, report: &Report, table: &mut Table) -> Result<()> {
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "pod/editor", "persistentvolumeclaim/editor"]).await?;
    report("deleting the Deployment: its volumes come back (reclaimPolicy Recycle), and what is too much goes away");
    let started = Instant::now();
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "deployment/web"]).await?;
    wait_for_counts(stage, "6 0").await?;
    wait::until("EC2 holds six volumes of the pool", LIMIT, async || {
        let number = stage.account.volumes_except(&stage.source).await?.len();
        ensure!(number == 6, "EC2 holds {number} volumes beside the source");
        Ok(Some(()))
    })
    .await?;
    table.row("volumes released", started.elapsed(), "four came back, four too many were deleted");
    report(&stage.cluster.kubectl(&["get", "volumepools,poolvolumes", "--all-namespaces", "--output", "wide"]).await?);
    Ok(())
}
