//! Ready volumes of a live pool are brought up to their source while nobody uses them. What they have then is judged without the
//! source: the pool is live no more when pods get them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, get, wait_for_pool};
use demo::{Filesystem, Stage, wait};
use serde_json::Value;

use super::live::{apply_live_pool, in_pod, mounted, patch, wait_for_the_source};
use super::operations::{operate, pod, volume_of};
use super::{LIMIT, on_a_stage};

/// Edits, each a sync generation at least, while ready volumes may lack one.
const EDITS: usize = 3;
/// Ready volumes, half of them in each zone.
const READY: usize = 4;

#[test]
fn ready_volumes_are_refreshed_one_after_the_other_and_a_pod_finds_the_newest_content() {
    on_a_stage("refresh", Filesystem::Xfs, async |stage| {
        apply_live_pool(stage).await?;
        wait_for_pool(stage).await?;
        wait_for_the_source(stage).await?;
        let recycled = a_volume_that_comes_back_says_what_it_has(stage).await?;
        let generation = edit(stage).await?;
        patch(stage, "vp/web", &[], r#"{"spec":{"sync":{"refresh":{"maxGenerations":1}}}}"#).await?;
        let before = objects(stage).await?;
        ensure!(before.iter().any(|volume| name(volume) == recycled), "{recycled} is not ready any more");
        all_are_refreshed(stage, generation).await?;
        it_was_one_at_a_time_in_each_zone(stage).await?;
        everybody_can_see_it(stage).await?;
        pods_find_the_newest_content_without_the_source(stage).await
    });
}

fn name(volume: &Value) -> String {
    volume["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The copies of the pool.
async fn objects(stage: &Stage) -> Result<Vec<Value>> {
    let text = stage.cluster.kubectl(&["--namespace", SHOP, "get", "pvol", "--output=json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    let all = list["items"].as_array().cloned().context("a list")?;
    Ok(all.into_iter().filter(|volume| volume["spec"]["role"] == "Copy").collect())
}

async fn a_volume_that_comes_back_says_what_it_has(stage: &Stage) -> Result<String> {
    pod(stage, "first", "node1", "true").await?;
    let (volume, ..) = volume_of(stage, "first").await?;
    stage.cluster.kubectl(&["--namespace", SHOP, "delete", "pod/first", "--timeout=60s"]).await?;
    wait::until("the pool has as many ready volumes as before, and the one that was used says what it has", LIMIT, async || {
        let all = objects(stage).await?;
        let used = all.iter().find(|other| name(other) == volume).context("it is there")?;
        ensure!(used["spec"]["content"]["generation"].as_u64().is_some(), "its content is {}", used["spec"]["content"]);
        let ready = all.iter().filter(|volume| volume["status"]["phase"] == "Ready").count();
        ensure!(all.len() == READY && ready == READY, "{ready} of {} are ready", all.len());
        Ok(Some(volume.clone()))
    })
    .await
}

/// Changes the source and returns its sync generation after that.
async fn edit(stage: &Stage) -> Result<u64> {
    let source = mounted(stage, "web-source").await?;
    std::fs::create_dir_all(source.join("news"))?;
    for number in 0..EDITS {
        std::fs::write(source.join(format!("news/{number}")), format!("edit {number}"))?;
        // Edits that come together are one generation.
        operate(stage, &format!("edit-{number}"), "operation: Sync", "Complete").await?;
    }
    std::fs::write(source.join("VERSION"), "the newest")?;
    let status = operate(stage, "settled", "operation: Sync", "Complete").await?;
    status["source"]["generation"].as_u64().context("a generation")
}

async fn all_are_refreshed(stage: &Stage, generation: u64) -> Result<()> {
    let (started, wrong) = (std::time::Instant::now(), RefCell::new(BTreeSet::new()));
    wait::until("every ready volume has what the source has", LIMIT, async || {
        let all = objects(stage).await?;
        let mut away: BTreeMap<String, usize> = BTreeMap::new();
        for volume in all.iter().filter(|volume| volume["status"]["phase"] == "Refreshing") {
            *away.entry(volume["spec"]["zone"].to_string()).or_default() += 1;
        }
        wrong.borrow_mut().extend(away.values().any(|count| *count > 1).then(|| format!("{away:?} are away at once")));
        let ready = get(stage, "vp/web", "{.status.conditions[?(@.type==\"Ready\")].status}").await?.concat();
        wrong.borrow_mut().extend((ready != "True").then(|| format!("the pool is Ready: {ready}")));
        let has_all = |volume: &&Value| volume["spec"]["content"]["generation"].as_u64().is_some_and(|own| own >= generation);
        let done = all.iter().filter(has_all).filter(|volume| volume["status"]["phase"] == "Ready").count();
        ensure!(done == READY && all.len() == READY, "{done} of {} have generation {generation}", all.len());
        Ok(Some(()))
    })
    .await?;
    ensure!(wrong.borrow().is_empty(), "a refresh is seen by nobody, but {:?}", wrong.borrow());
    println!("{READY} volumes in two zones were refreshed after {:.1?}", started.elapsed());
    Ok(())
}

async fn it_was_one_at_a_time_in_each_zone(stage: &Stage) -> Result<()> {
    let mut by_zone: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for volume in objects(stage).await? {
        let (refresh, zone) = (&volume["spec"]["refresh"], volume["spec"]["zone"].to_string());
        let time = |field: &str| refresh[field].as_str().map(str::to_owned).with_context(|| format!("{} has no {field}", name(&volume)));
        ensure!(refresh["error"].is_null() && volume["status"]["node"].is_null(), "{} is {volume}", name(&volume));
        by_zone.entry(zone).or_default().push((time("startTime")?, time("endTime")?));
    }
    ensure!(by_zone.len() == 2, "the zones are {by_zone:?}");
    for spans in by_zone.values_mut() {
        spans.sort();
        ensure!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "two were away at once: {spans:?}");
    }
    Ok(())
}

async fn everybody_can_see_it(stage: &Stage) -> Result<()> {
    let wide = stage.cluster.kubectl(&["--namespace", SHOP, "get", "pvol", "--output=wide"]).await?;
    ensure!(wide.contains("HAS") && wide.contains("REFRESHED"), "{wide}");
    let told = stage.cluster.kubectl(&["--namespace", SHOP, "events", "--for", "vp/web"]).await?;
    for reason in ["RefreshStarted", "Refreshed "] {
        let events = told.lines().filter(|line| line.contains(reason)).count();
        ensure!(events == READY, "{events} events say {reason}: {told}");
    }
    Ok(())
}

/// The source is published no more, so that a volume shows what it had.
async fn pods_find_the_newest_content_without_the_source(stage: &Stage) -> Result<()> {
    patch(stage, "vp/web", &[], r#"{"spec":{"replicas":4,"sync":{"mode":"None","refresh":null}}}"#).await?;
    stage.cluster.kubectl(&["--namespace", SHOP, "wait", "pvol/web-source", "--for=delete", "--timeout=60s"]).await?;
    for (reader, node) in [("a-1", "node1"), ("a-2", "node1"), ("b-1", "node2"), ("b-2", "node2")] {
        pod(stage, reader, node, "true").await?;
        let found = in_pod(stage, reader, "cd /content; cat VERSION; echo; ls news | wc -l").await?;
        ensure!(found == format!("the newest\n{EDITS}"), "{reader} finds {found:?}");
    }
    Ok(())
}
