//! Five hundred pools cost nothing while nothing changes, and a refill keeps to the rates of a real account.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use demo::wait;
use ec2_sim::Profile;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use volume_dispatcher::domain::Phase;

use super::{Scene, on_a_plane};
use crate::cluster::LIMIT;

const POOLS: usize = 500;
/// Pools with a volume: as many as the account gives at once. Source: EC2 developer guide, "Request throttling": a burst
/// of 100 CreateVolume calls.
const FILLED: usize = 90;
/// More than a burst, so that the rest comes at the rate of the account.
const REFILL: usize = 150;
/// Longer than the pause between two passes that nothing has woken, 5 s.
const WATCHED: Duration = Duration::from_secs(7);
/// Requests that are made at the same time.
const CONCURRENCY: usize = 16;

#[test]
fn five_hundred_pools_are_quiet_and_a_refill_keeps_to_the_rates_of_the_account() {
    on_a_plane("scale", Profile::Aws, async |scene| {
        let pools = stream::iter(0..POOLS).map(|number| async move {
            let name = format!("p{number}");
            scene.make_pool(&name, usize::from(number < FILLED)).await
        });
        pools.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
        blocks_are_loaded(scene, FILLED).await?;
        scene.wait_for_pools(POOLS).await?;
        nothing_is_written_while_nothing_changes(scene).await?;
        let patch = json!({"spec": {"replicas": REFILL}});
        scene.pools().patch("p0", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        blocks_are_loaded(scene, FILLED - 1 + REFILL).await?;
        scene.wait_for_pools(POOLS).await?;
        let calls = scene.plane.audit().await?["traffic"].clone();
        let made = scene.ids_in_ec2().await?.len();
        ensure!(made == FILLED - 1 + REFILL, "EC2 holds {made} volumes");
        let throttled = calls["throttled_permille"].as_u64().context("the audit tells what was throttled")?;
        ensure!(throttled <= 10, "{throttled} of a thousand calls were refused for their rate: {calls}");
        Ok(())
    });
}

/// Waits until EC2 has made so many volumes, then lets the account's clock pass by the time in which it loads their blocks
/// and tells of it: a few minutes for a GiB, and five more.
async fn blocks_are_loaded(scene: &Scene, volumes: usize) -> Result<()> {
    wait::until(&format!("{volumes} volumes wait for their blocks or are ready"), LIMIT, async || {
        let objects = scene.volumes().list(&ListParams::default()).await?.items;
        let phases = objects.iter().filter_map(|volume| volume.status.as_ref()?.phase);
        let made = phases.filter(|phase| matches!(phase, Phase::Initializing | Phase::Ready)).count();
        ensure!(made == volumes, "{made} of {} do", objects.len());
        Ok(Some(()))
    })
    .await?;
    let hours_millis = 3 * 3_600_000;
    scene.plane.tell_simulator("/_sim/clock", &json!({"advance_millis": hours_millis})).await.map(drop)
}

async fn nothing_is_written_while_nothing_changes(scene: &Scene) -> Result<()> {
    // What the last changes have set off comes to rest first.
    wait::until("nothing is written for a second", LIMIT, async || {
        let first = scene.plane.writes().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok((first == scene.plane.writes().await?).then_some(()))
    })
    .await?;
    let before = scene.plane.writes().await?;
    ensure!(before >= u64::try_from(POOLS)?, "the API server has counted {before} writes");
    tokio::time::sleep(WATCHED).await;
    let after = scene.plane.writes().await?;
    ensure!(before == after, "{} writes were made for {POOLS} quiet pools", after - before);
    Ok(())
}
