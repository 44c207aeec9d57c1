//! Copies in use follow their source: edits, pushes, deletions and kills, judged by rsync. The test plays the controller.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, apply_deployment, apply_pool, get, wait_for_pods, wait_for_pool};
use demo::{Filesystem, Stage, wait};

use super::live_ports::every_port_refuses_who_has_no_business_there;
use super::{LIMIT, kill, on_a_stage, processes};

/// Where agents mount volumes, in their containers as on their nodes.
const VOLUMES: &str = "var/lib/volume-dispatcher/volumes";

#[test]
fn copies_in_use_follow_their_source_through_edits_and_kills() {
    on_a_stage("live", Filesystem::Xfs, async |stage| {
        apply_live_pool(stage).await?;
        wait_for_pool(stage).await?;
        apply_deployment(stage).await?;
        let pods = wait_for_pods(stage).await?;
        wait_for_the_source(stage).await?;
        let copies = wait_for_copies_in_sync(stage, 4).await?;
        every_port_refuses_who_has_no_business_there(stage).await?;
        an_edit_is_seen_in_all_pods(stage, &pods).await?;
        the_public_file_tells_the_generation(stage, &pods).await?;
        a_path_is_pushed_and_deleted(stage, &pods).await?;
        agents_that_are_killed_go_on(stage, &pods).await?;
        a_checkpoint_and_a_verification_are_answered(stage, &copies).await?;
        rsync_finds_no_difference(stage, &copies).await?;
        drift_is_found_mended_and_told(stage, &copies).await?;
        everything_can_be_unmounted(stage, &copies).await
    });
}

pub(super) async fn patch(stage: &Stage, kind: &str, more: &[&str], patch: &str) -> Result<()> {
    let arguments = [&["--namespace", SHOP, "patch", kind, "--type=merge", "--patch", patch][..], more].concat();
    stage.cluster.kubectl(&arguments).await.map(drop)
}

/// The pool of the example, live.
pub(super) async fn apply_live_pool(stage: &Stage) -> Result<()> {
    apply_pool(stage).await?;
    patch(stage, "vp/web", &[], r#"{"spec":{"sync":{"mode":"Live"}}}"#).await
}

pub(super) async fn wait_for_the_source(stage: &Stage) -> Result<()> {
    let condition = ["--namespace", SHOP, "wait", "vp/web", "--for=condition=InSync", "--timeout=90s"];
    stage.cluster.kubectl(&condition).await.map(drop)
}

/// The copies that pods use: names and nodes.
pub(super) async fn wait_for_copies_in_sync(stage: &Stage, number: usize) -> Result<Vec<(String, String)>> {
    let line = "{range .items[?(@.spec.claimRef)]}{.metadata.name} {.spec.nodeName} {.status.node.sync.state}{\"\\n\"}{end}";
    wait::until(&format!("{number} copies are in sync"), LIMIT, async || {
        let lines = get(stage, "pvol", line).await?;
        let copies = lines.iter().filter_map(|line| line.strip_suffix(" InSync")?.split_once(' '));
        let copies: Vec<(String, String)> = copies.map(|(name, node)| (name.to_owned(), node.to_owned())).collect();
        ensure!(copies.len() == number, "there are {lines:?}");
        Ok(Some(copies))
    })
    .await
}

/// The base mount of a volume, as the agent that has it sees it: mounts of a node are not those of this host.
fn base_mount(stage: &Stage, volume: &str) -> Result<PathBuf> {
    let name = format!("{SHOP}_{volume}");
    for pid in processes(stage, "agent")? {
        let path = format!("/proc/{pid}/root/{VOLUMES}/{name}");
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        if mounts.contains(&format!("/{VOLUMES}/{name} ")) {
            return Ok(PathBuf::from(path));
        }
    }
    anyhow::bail!("no agent has {volume} mounted")
}

pub(super) async fn mounted(stage: &Stage, volume: &str) -> Result<PathBuf> {
    wait::until(&format!("{volume} is mounted by an agent that runs"), LIMIT, async || base_mount(stage, volume).map(Some)).await
}

/// What a command prints in a pod; an error when it fails.
pub(super) async fn in_pod(stage: &Stage, pod: &str, script: &str) -> Result<String> {
    Ok(stage.cluster.kubectl(&["--namespace", SHOP, "exec", pod, "--", "sh", "-c", script]).await?.trim().to_owned())
}

async fn all_pods_print(stage: &Stage, pods: &[String], script: &str, expected: &str) -> Result<()> {
    for pod in pods {
        wait::until(&format!("{pod} prints {expected:?} for {script:?}"), LIMIT, async || {
            let printed = in_pod(stage, pod, script).await?;
            ensure!(printed == expected, "it prints {printed:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

async fn an_edit_is_seen_in_all_pods(stage: &Stage, pods: &[String]) -> Result<()> {
    let source = mounted(stage, "web-source").await?;
    std::fs::create_dir_all(source.join("news"))?;
    for (text, file) in [("first", "news/today.txt"), ("second", "news/today.txt"), ("generation two", "VERSION")] {
        let started = Instant::now();
        std::fs::write(source.join(file), text)?;
        all_pods_print(stage, pods, &format!("cat /content/{file}"), text).await?;
        println!("{text:?} was seen in {} pods after {:.0?}, four times kubectl exec included", pods.len(), started.elapsed());
    }
    Ok(())
}

async fn the_public_file_tells_the_generation(stage: &Stage, pods: &[String]) -> Result<()> {
    for pod in pods {
        let line = in_pod(stage, pod, "cat /content/.volume-dispatcher/generation.json").await?;
        let told: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("{line:?} is no JSON"))?;
        ensure!(told["pool"] == "shop/web" && told["generation"].as_u64().is_some_and(|number| number > 0), "{pod} reads {line}");
        ensure!(in_pod(stage, pod, "touch /content/written").await.is_err(), "{pod} can write to a read-only volume");
    }
    Ok(())
}

/// Makes an operation, waits for its end, and returns what the agent of the source noted.
async fn operate(stage: &Stage, name: &str, spec: &str) -> Result<serde_json::Value> {
    let operation = format!(
        "apiVersion: volumedispatcher.io/v1alpha1\nkind: PathOperation\nmetadata: {{name: {name}, namespace: {SHOP}}}\n\
         spec: {{poolRef: {{name: web}}, {spec}}}\n"
    );
    apply(stage, &operation).await?;
    let kind = format!("pathop/{name}");
    wait::until(&format!("{name} has ended"), LIMIT, async || {
        let phase = get(stage, &kind, "{.status.phase}").await?.concat();
        ensure!(["Complete", "Failed"].contains(&phase.as_str()), "it is {phase:?}");
        Ok(Some(serde_json::from_str(&get(stage, &kind, "{.status.source}").await?.concat())?))
    })
    .await
}

async fn a_path_is_pushed_and_deleted(stage: &Stage, pods: &[String]) -> Result<()> {
    let pushed = operate(stage, "push", "operation: Push, path: news").await?;
    ensure!(pushed["pathsTotal"] == 2 && pushed["error"].is_null(), "the push says {pushed}");
    let generation = pushed["generation"].as_u64().context("a generation")?;
    wait::until("all copies report the generation of the push", LIMIT, async || {
        let line = "{range .items[?(@.spec.claimRef)]}{.status.node.sync.generation}{\"\\n\"}{end}";
        let reported: Vec<u64> = get(stage, "pvol", line).await?.iter().filter_map(|text| text.parse().ok()).collect();
        ensure!(reported.len() == 4 && reported.iter().all(|own| *own >= generation), "{reported:?} are not all at {generation}");
        Ok(Some(()))
    })
    .await?;
    let dry = operate(stage, "dry", "operation: Delete, path: news, dryRun: true").await?;
    ensure!(dry["pathsTotal"] == 2, "the dry run says {dry}");
    all_pods_print(stage, pods, "cat /content/news/today.txt", "second").await?;
    let gone = operate(stage, "gone", "operation: Delete, path: no/such/path").await?;
    ensure!(gone["error"].as_str().is_some_and(|error| error.contains("no/such/path")), "a missing path was deleted: {gone}");
    operate(stage, "delete", "operation: Delete, path: news").await?;
    all_pods_print(stage, pods, "ls -d /content/news 2>/dev/null || echo gone", "gone").await
}

async fn agents_that_are_killed_go_on(stage: &Stage, pods: &[String]) -> Result<()> {
    for round in 0..3 {
        let source = mounted(stage, "web-source").await?;
        let folder = source.join(format!("round-{round}"));
        std::fs::create_dir_all(&folder)?;
        // The root of a process that is gone cannot be reached; this descriptor can.
        let kept = rustix::fs::open(&folder, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
        let reach = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept)));
        for number in 0..200 {
            if number == 100 {
                kill(stage, "agent")?;
            }
            std::fs::write(reach.join(format!("page-{number}")), format!("round {round}, page {number}\n").repeat(1 + number % 40))?;
        }
        drop(kept);
        all_pods_print(stage, pods, "cat /content/VERSION", "generation two").await?;
        all_pods_print(stage, pods, &format!("ls /content/round-{round} | wc -l"), "200").await?;
    }
    Ok(())
}

async fn a_checkpoint_and_a_verification_are_answered(stage: &Stage, copies: &[(String, String)]) -> Result<()> {
    patch(stage, "pvol/web-source", &[], r#"{"spec":{"publish":{"checkpoint":7}}}"#).await?;
    wait::until("the checkpoint is answered", LIMIT, async || {
        let answer = get(stage, "pvol/web-source", "{.status.node.sync.checkpoint.number} {.status.node.sync.checkpoint.error}").await?;
        Ok((answer.concat().trim() == "7").then_some(()))
    })
    .await?;
    for (name, level) in copies.iter().map(|(name, _)| name).zip(["Content", "Metadata", "Content", "Metadata"]) {
        let kind = format!("pvol/{name}");
        let order = format!(r#"{{"spec":{{"verify":{{"id":"one","level":"{level}","repair":{}}}}}}}"#, level == "Content");
        patch(stage, &kind, &[], &order).await?;
        wait::until(&format!("{name} is verified"), LIMIT, async || {
            let answer = get(stage, &kind, "{.status.node.sync.verified}").await?.concat();
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            ensure!(answer["id"] == "one" && answer["differences"] == 0 && answer["error"].is_null(), "the answer is {answer}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

/// Somebody writes past the agent, on the base mount of a copy.
async fn drift_is_found_mended_and_told(stage: &Stage, copies: &[(String, String)]) -> Result<()> {
    let (name, _) = copies.first().context("a copy")?;
    operate(stage, "compare", "operation: Sync, verify: Metadata").await?;
    std::fs::write(mounted(stage, name).await?.join("VERSION"), "generation three")?;
    let order = r#"{"spec":{"verify":{"id":"drift","level":"Content","repair":true}}}"#;
    patch(stage, &format!("pvol/{name}"), &[], order).await?;
    for (reason, words) in [("SourcePublished", "publishes the source at"), ("SourceCompared", "whole source"), ("DriftFound", name)] {
        let select = format!("--field-selector=reason={reason}");
        let notes = ["--namespace", SHOP, "get", "events", &select, "--output=jsonpath={.items[*].message}"];
        wait::until(&format!("an event of the pool says {reason}"), LIMIT, async || {
            let told = stage.cluster.kubectl(&notes).await?;
            ensure!(told.contains(words), "the events say {told:?}");
            Ok(Some(()))
        })
        .await?;
    }
    rsync_finds_no_difference(stage, copies).await
}

/// What rsync would change on a copy to make it equal to the source. The attributes of users alone: what else there is
/// belongs to one host; so do our directories and that of e2fsck.
pub(super) async fn rsync_finds_no_difference(stage: &Stage, copies: &[(String, String)]) -> Result<()> {
    let source = base_mount(stage, "web-source")?;
    for (name, node) in copies {
        let copy = Path::new("/").join(VOLUMES).join(format!("{SHOP}_{name}"));
        let mut rsync = stage.cluster.node_command(node, "rsync")?;
        rsync.args(["-aHAXSn", "--delete", "-i", "--checksum", "--filter=-x! user.*"]);
        rsync.args(["--exclude=/.treesync", "--exclude=/.volume-dispatcher", "--exclude=/lost+found"]);
        let output = rsync.arg(source.join("")).arg(copy.join("")).output().await.context("rsync is needed: apt-get install rsync")?;
        let found = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && found.is_empty(),
            "{name} on {node} differs: {found}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    println!("rsync finds no difference between the source and {} copies", copies.len());
    Ok(())
}

async fn everything_can_be_unmounted(stage: &Stage, copies: &[(String, String)]) -> Result<()> {
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "deployment/web", "--timeout=60s"]).await?;
    patch(stage, "vp/web", &[], r#"{"spec":{"sync":{"mode":"None"}}}"#).await?;
    stage.cluster.kubectl(&["--namespace", SHOP, "wait", "pvol/web-source", "--for=delete", "--timeout=60s"]).await?;
    for (name, _) in copies {
        let kind = format!("pvol/{name}");
        wait::until(&format!("nothing of {name} is on a node"), LIMIT, async || {
            let side = get(stage, &kind, "{.status.node}").await.unwrap_or_default().concat();
            ensure!(side.is_empty(), "its side is {side}");
            Ok(Some(()))
        })
        .await?;
    }
    wait::until("EC2 has detached the source and kept it", Duration::from_secs(30), async || {
        let all = stage.account.volumes_except("").await?;
        let source = all.iter().find(|volume| volume.volume_id() == Some(stage.source.as_str())).context("the source is gone")?;
        Ok(source.attachments().is_empty().then_some(()))
    })
    .await
}
