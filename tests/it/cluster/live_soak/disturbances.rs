//! What goes wrong during the soak: a network that is cut between two nodes, a node that loses its power.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, get};
use demo::{Stage, wait};

use super::super::LIMIT;
use super::super::live::in_pod;
use super::newcomer::Newcomer;
use super::readers_found_nothing;
use super::writer::Writer;

/// The namespace of the product.
const PRODUCT: &str = "volume-dispatcher";
/// How long two nodes cannot reach each other: longer than content may be stale.
const CUT: Duration = Duration::from_secs(8);
/// How long a node has no power.
const OFF: Duration = Duration::from_secs(5);
/// The node of the other zone: it never has the source.
pub(super) const FAR: &str = "node2";

/// No packet passes between the agent of the source and that of one other node for some seconds, while the source is edited.
/// The third node goes on.
pub(super) async fn cut_a_pair(stage: &Stage, writer: &mut Writer, round: u32) -> Result<Newcomer> {
    let publisher = writer.node();
    let witness = if publisher == "node1" { "node3" } else { "node1" };
    let (ours, theirs) = (agent_address(stage, publisher).await?, agent_address(stage, FAR).await?);
    nft(stage, "add table ip soak").await?;
    nft(stage, "add chain ip soak cut { type filter hook forward priority -10; }").await?;
    nft(stage, &format!("add rule ip soak cut ip saddr {ours} ip daddr {theirs} drop")).await?;
    nft(stage, &format!("add rule ip soak cut ip saddr {theirs} ip daddr {ours} drop")).await?;
    let ends = Instant::now() + CUT;
    let newcomer = Newcomer::start(stage, round, Some(FAR)).await?;
    let text = format!("cut {round}");
    std::fs::write(writer.content().join("cut"), &text)?;
    while Instant::now() < ends {
        writer.edit(10)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(read_on(stage, witness).await? == text, "{witness} can reach {publisher}, and does not follow");
    ensure!(read_on(stage, FAR).await? != text, "{FAR} cannot reach {publisher}, and has what was written meanwhile");
    ensure!(newcomer.waits(stage).await?, "a claim on {FAR} was given a volume that nobody knows to be fresh");
    nft(stage, "delete table ip soak").await?;
    println!("for {CUT:?} {FAR} could not reach {publisher}, and {witness} could");
    Ok(newcomer)
}

/// What a reader on a node sees of the file that is written during a cut.
async fn read_on(stage: &Stage, node: &str) -> Result<String> {
    let pods =
        get(stage, "pods", "{range .items[?(@.metadata.labels.app==\"web\")]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}").await?;
    let pod = pods.iter().find_map(|line| line.strip_suffix(node)).with_context(|| format!("{node} has no reader"))?;
    in_pod(stage, pod.trim(), "cat /content/cut || true").await
}

async fn agent_address(stage: &Stage, node: &str) -> Result<String> {
    let of_node = format!("spec.nodeName={node}");
    let select =
        ["--selector=app.kubernetes.io/component=agent", "--field-selector", &of_node, "--output=jsonpath={.items[*].status.podIP}"];
    stage.cluster.kubectl(&[&["--namespace", PRODUCT, "get", "pods"], &select[..]].concat()).await
}

async fn nft(stage: &Stage, line: &str) -> Result<()> {
    let output = stage.cluster.command_in_netns("nft").arg(line).output().await?;
    ensure!(output.status.success(), "nft {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A node without the source loses its power while the source is edited, and is booted again.
pub(super) async fn reboot_a_node(stage: &Stage, writer: &mut Writer, round: u32) -> Result<Newcomer> {
    // What its readers have found so far is not in the logs of the next ones.
    readers_found_nothing(stage).await?;
    stage.cluster.power_off(FAR).await?;
    let ends = Instant::now() + OFF;
    let newcomer = Newcomer::start(stage, round, Some(FAR)).await?;
    while Instant::now() < ends {
        writer.edit(10)?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    boot(stage, FAR).await?;
    Ok(newcomer)
}

/// The node that publishes the source loses its power, and is booted again. The source waits for it, since its writer does.
pub(super) async fn reboot_the_publisher(stage: &Stage, writer: Writer, round: u32) -> Result<(Writer, Newcomer)> {
    readers_found_nothing(stage).await?;
    let lost = writer.let_go();
    stage.cluster.power_off(lost.node).await?;
    let newcomer = Newcomer::start(stage, round, None).await?;
    tokio::time::sleep(OFF).await;
    boot(stage, lost.node).await?;
    let ready =
        ["--namespace", SHOP, "wait", "pod/writer", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=90s"];
    stage.cluster.kubectl(&ready).await.context("the writer does not start again")?;
    Ok((Writer::find(stage, lost).await?, newcomer))
}

/// Boots a node, and waits until each of its readers was started once more.
async fn boot(stage: &Stage, node: &str) -> Result<()> {
    let restarts = format!(
        "{{range .items[?(@.spec.nodeName==\"{node}\")]}}{{.metadata.labels.app}} {{.status.containerStatuses[0].restartCount}}{{\"\\n\"}}{{end}}"
    );
    let of_readers = async || -> Result<Vec<u32>> {
        let lines = get(stage, "pods", &restarts).await?;
        Ok(lines.iter().filter_map(|line| line.strip_prefix("web ")?.parse().ok()).collect())
    };
    let (started, before) = (Instant::now(), of_readers().await?);
    stage.cluster.power_on(node).await?;
    let ready = started.elapsed();
    wait::until(&format!("the readers on {node} were started again"), LIMIT, async || {
        let now = of_readers().await?;
        ensure!(
            now.len() == before.len() && now.iter().zip(&before).all(|(now, before)| now == &(before + 1)),
            "{before:?} became {now:?}"
        );
        Ok(Some(()))
    })
    .await?;
    let readers = before.len();
    println!(
        "{node} was off for {OFF:?}, Ready {ready:.1?} after its power came back, its {readers} readers after {:.1?}",
        started.elapsed()
    );
    Ok(())
}
