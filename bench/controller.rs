//! The controller as the process that it is, on a real API server and an EC2 with the rates of a real account: how long it
//! takes to fill a large pool, and what it costs while nothing changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use demo::shared_snapshot::{apply, with_snapshot};
use demo::{ControlPlane, Report, ZONE, clear, wait};
use ec2_sim::world::{Action, CreateVolume, Reply, Tag, TagSpecification};
use ec2_sim::{Profile, World};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use volume_dispatcher::api::keys::{FINALIZER, LABEL_POOL};
use volume_dispatcher::api::{PoolVolume, VolumePool};
use volume_dispatcher::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL, TAG_POOL_UID, TAG_VOLUME_UID};

use crate::row::{Comparison, Row};
use crate::supply::{COMMAND, VOLUMES, count, floor_seconds};

const IDLE_COMMAND: &str = "make bench ONLY=idle";
const SHOP: &str = "shop";
const POOLS: usize = 500;
const VOLUMES_A_POOL: usize = 20;
/// Two of the longest pauses between two sweeps.
const WATCHED: Duration = Duration::from_mins(1);
/// A refill that takes longer than this has failed.
const LIMIT: Duration = Duration::from_mins(10);
/// The time in which EC2 refills one CreateVolume call. Source: EC2 developer guide, "Request throttling": five a second.
const ONE_CALL: SignedDuration = SignedDuration::from_millis(200);
/// How long ago the account's first volumes were made: all can have been asked for and filled since.
const LONG: SignedDuration = SignedDuration::from_hours(3);
/// Requests that are made at the same time.
const CONCURRENCY: usize = 16;

pub(crate) fn run(measure: impl AsyncFnOnce(&Scene) -> Result<Vec<Row>>) -> Result<Vec<Row>> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the controller on a real API server: it makes namespaces, which needs root");
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(on_a_plane(measure))
}

/// A control plane without a controller, and the account that its simulator has.
pub(crate) struct Scene {
    plane: ControlPlane,
    client: Client,
    world: World,
    snapshot: String,
}

async fn on_a_plane(measure: impl AsyncFnOnce(&Scene) -> Result<Vec<Row>>) -> Result<Vec<Row>> {
    let report: Report = Arc::new(|line: &str| eprintln!("{line}"));
    let folder = std::env::temp_dir().join(format!("vd-bench-{}", std::process::id()));
    let (world, snapshot) = with_snapshot(Profile::Aws, Timestamp::now() - LONG)?;
    let plane = match ControlPlane::set(&folder, Profile::Aws, Some(&world), report.clone()).await {
        Ok(plane) => plane,
        Err(error) => {
            clear(&folder, &report).await?;
            return Err(error);
        }
    };
    plane.cluster.kubectl(&["create", "namespace", SHOP]).await?;
    let scene = Scene { client: plane.cluster.client().await?, plane, world, snapshot };
    let rows = measure(&scene).await;
    scene.plane.clear(report).await?;
    rows
}

impl Scene {
    fn pools(&self) -> Api<VolumePool> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    async fn make_pool(&self, name: &str, replicas: usize) -> Result<VolumePool> {
        let object = json!({
            "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "VolumePool", "metadata": {"name": name, "finalizers": [FINALIZER]},
            "spec": {"replicas": replicas, "source": {"snapshotID": self.snapshot}, "zones": [ZONE]},
        });
        Ok(self.pools().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// Calls that EC2 has answered so far, and those that it refused for their rate.
    async fn calls(&self) -> Result<(u64, u64)> {
        let traffic = self.plane.audit().await?["traffic"].clone();
        let number = |name: &str| traffic[name].as_u64().with_context(|| format!("the audit tells no {name}"));
        Ok((number("calls")?, number("throttled")?))
    }
}

/// From the making of a pool to the last of its volumes in EC2.
pub(crate) async fn refill(scene: &Scene) -> Result<Vec<Row>> {
    scene.plane.start_controller().await?;
    wait::until("the controller leads", LIMIT, async || Ok(scene.plane.controller_log().contains("leading").then_some(()))).await?;
    let begun = Instant::now();
    scene.make_pool("web", VOLUMES as usize).await?;
    let wanted = u64::from(VOLUMES) + 1;
    wait::until(&format!("EC2 has made {VOLUMES} volumes"), LIMIT, async || {
        let available = scene.plane.audit().await?["volumes"]["available"].as_u64();
        ensure!(available == Some(wanted), "it has {available:?}, the source among them");
        Ok(Some(()))
    })
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (calls, throttled) = scene.calls().await?;
    eprintln!("refill: {VOLUMES} volumes in {seconds:.1} seconds with {calls} calls, {throttled} of them throttled");
    let time = Comparison {
        name: "real_refill_1000_volumes",
        unit: "s",
        rival: "the account's CreateVolume bucket alone",
        target: 1.05,
        command: COMMAND,
    };
    let share =
        Comparison { name: "real_refill_throttled_calls", unit: "%", rival: "one call of a hundred", target: 1.0, command: COMMAND };
    Ok(vec![time.row(seconds, floor_seconds()), share.row(100.0 * count(throttled) / count(calls), 1.0)])
}

/// A controller that is started where there are ten thousand volumes, of which it learns everything; and what one costs that
/// is started after it, when nothing is left to learn.
pub(crate) async fn idle(scene: &Scene) -> Result<Vec<Row>> {
    let volumes = make_volumes(scene).await?;
    scene.plane.replace_account(&account_with(scene, &volumes)?).await?;
    let first = scene.plane.start_controller().await?;
    wait::until(&format!("{POOLS} pools are ready"), LIMIT, async || {
        let pools = scene.pools().list(&ListParams::default()).await?.items;
        let is_ready = |pool: &&VolumePool| {
            let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let ready = pools.iter().filter(is_ready).count();
        ensure!(ready == POOLS, "{ready} are");
        Ok(Some(()))
    })
    .await?;
    // What the start has set off comes to rest first, here and below.
    tokio::time::sleep(WATCHED / 2).await;
    let (learnt, peak) = (mebibytes(first, "VmRSS")?, mebibytes(first, "VmHWM")?);
    eprintln!("memory after {} volumes were learnt: {learnt:.0} MiB, at the peak {peak:.0} MiB", volumes.len());
    scene.plane.stop_controller().await?;
    let second = scene.plane.start_controller().await?;
    tokio::time::sleep(WATCHED / 2).await;
    let (writes, (calls, _), begun) = (scene.plane.writes().await?, scene.calls().await?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (writes, calls) = (scene.plane.writes().await? - writes, scene.calls().await?.0 - calls);
    let of = |name, unit, rival| Comparison { name, unit, rival, target: 1.0, command: IDLE_COMMAND };
    Ok(vec![
        Comparison { target: 0.0, ..of("idle_10000_writes", "", "one write to the API server") }.row(count(writes), 1.0),
        of("idle_10000_ec2_calls", "/s", "two calls a second").row(count(calls) / seconds, 2.0),
        of("idle_10000_memory", "MiB", "150 MiB").row(mebibytes(second, "VmRSS")?, 150.0),
        of("learnt_10000_memory", "MiB", "150 MiB").row(learnt, 150.0),
    ])
}

/// A figure of `/proc/<pid>/status`, which is in KiB. Source: proc(5).
fn mebibytes(process: u32, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the controller has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).with_context(|| format!("no {name}"))?;
    let kibibytes: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kibibytes) / 1024.0)
}

/// The object of a volume: its UID, and the name and UID of its pool.
struct Made {
    uid: String,
    pool: String,
    pool_uid: String,
}

async fn make_volumes(scene: &Scene) -> Result<Vec<Made>> {
    let pools = stream::iter(0..POOLS).map(|number| async move { scene.make_pool(&format!("p{number}"), VOLUMES_A_POOL).await });
    let pools: Vec<VolumePool> = pools.buffer_unordered(CONCURRENCY).try_collect().await?;
    let slots = pools.iter().flat_map(|pool| (0..VOLUMES_A_POOL).map(move |slot| (pool, slot)));
    let volumes = stream::iter(slots).map(|(pool, slot)| make_volume(scene, pool, slot));
    volumes.buffer_unordered(CONCURRENCY).try_collect().await
}

/// An object whose EBS volume the controller finds by its tags.
async fn make_volume(scene: &Scene, pool: &VolumePool, slot: usize) -> Result<Made> {
    let (pool_name, pool_uid) = (pool.name_any(), pool.uid().context("a pool has a UID")?);
    let object = json!({
        "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolVolume",
        "metadata": {"name": format!("{pool_name}-{slot}"), "labels": {LABEL_POOL: pool_name}, "finalizers": [FINALIZER]},
        "spec": {"poolRef": {"name": pool_name, "uid": pool_uid}, "zone": ZONE, "slot": slot, "sizeGiB": 1,
            "origin": {"snapshotID": scene.snapshot, "generation": 1}},
    });
    let api: Api<PoolVolume> = Api::namespaced(scene.client.clone(), SHOP);
    let made = api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(Made { uid: made.uid().context("a volume has a UID")?, pool: pool_name, pool_uid })
}

/// The account with an EBS volume for each object, asked for one after the other as its rates allow, and filled since.
fn account_with(scene: &Scene, volumes: &[Made]) -> Result<World> {
    let mut world = scene.world.clone();
    let mut now = Timestamp::now() - LONG;
    for volume in volumes {
        let tags = [
            (TAG_CLUSTER, "demo".to_owned()),
            (TAG_POOL, format!("{SHOP}/{}", volume.pool)),
            (TAG_POOL_UID, volume.pool_uid.clone()),
            (TAG_VOLUME_UID, volume.uid.clone()),
            (TAG_GENERATION, "1".to_owned()),
        ];
        let tags = tags.map(|(key, value)| Tag { key: key.to_owned(), value }).to_vec();
        let request = CreateVolume {
            snapshot_id: Some(scene.snapshot.clone()),
            zone: Some(ZONE.to_owned()),
            volume_type: Some("gp3".to_owned()),
            tag_specifications: vec![TagSpecification { resource_type: "volume".to_owned(), tags }],
            ..CreateVolume::default()
        };
        let Reply::Volume(_) = apply(&mut world, now, Action::CreateVolume(request))? else { anyhow::bail!("CreateVolume gave no volume") };
        now += ONE_CALL;
    }
    world.settle(Timestamp::now());
    Ok(world)
}
