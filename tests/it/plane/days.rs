//! Days pass: the controller in this process, by a clock that the test puts forward, mostly together with that of EC2.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use demo::account::REGION;
use demo::{CLUSTER, NAMESPACE, wait};
use ec2_sim::Profile;
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinHandle;
use volume_dispatcher::api::volume_pool::{SnapshotStatus, VolumePool};
use volume_dispatcher::clock::Clock;
use volume_dispatcher::controller::{self, Settings};
use volume_dispatcher::ec2::aws::Aws;
use volume_dispatcher::ec2::pacing::{Gate, Limits};

use super::{Scene, on_a_plane};
use crate::cluster::LIMIT;

const COPIES: usize = 2;
/// Two days of a snapshot each six hours.
const TURNS: u64 = 8;
/// How far the clock goes beyond a due time.
const BEYOND: SignedDuration = SignedDuration::from_secs(5);

#[test]
fn snapshots_follow_their_schedule_and_are_kept_by_count_and_age_over_four_days() {
    on_a_plane("days", Profile::Fast, async |scene| {
        scene.plane.stop_controller().await?;
        let days = Days::begin(scene)?;
        let source = json!({"volumeID": scene.shared_source().await?});
        let snapshots = json!({"schedule": "0 */6 * * *", "timeZone": "Etc/UTC", "skipUnchanged": false, "retain": {"count": 3}});
        scene.make_pool_with("web", json!({"replicas": COPIES, "source": source, "snapshots": snapshots})).await?;
        days.turn(1, "the first at once", |held| held == [1]).await?;
        for generation in 2..=TURNS {
            days.pass().await?;
            let kept = generation.saturating_sub(2).max(1)..=generation;
            days.turn(generation, "the last three", |held| held.iter().copied().eq(kept.clone())).await?;
        }
        days.retain(&json!({"count": 100, "maxAge": "25h"})).await?;
        for generation in TURNS + 1..=2 * TURNS {
            days.pass().await?;
            // A day has the snapshots of five due times: its ends are two of them.
            let kept = generation.saturating_sub(4).max(TURNS - 2)..=generation;
            days.turn(generation, "those of the last 25 hours", |held| held.iter().copied().eq(kept.clone())).await?;
        }
        let asked = scene.plane.audit().await?["calls"]["CreateSnapshot"]["ok"].as_u64();
        // And the one that was there before the pool.
        ensure!(asked == Some(2 * TURNS + 1), "EC2 was asked for {asked:?} snapshots in {} turns", 2 * TURNS);
        days.a_deletion_that_waits_for_ec2_says_so().await?;
        ensure!(!days.controller.is_finished(), "the controller has ended: {:?}", days.controller.await?);
        days.controller.abort();
        Ok(())
    });
}

/// A controller whose days pass when the test says so.
struct Days<'a> {
    scene: &'a Scene,
    ahead_millis: Arc<AtomicI64>,
    controller: JoinHandle<Result<()>>,
}

impl<'a> Days<'a> {
    fn begin(scene: &'a Scene) -> Result<Self> {
        let ahead_millis = Arc::new(AtomicI64::new(0));
        let ahead = ahead_millis.clone();
        let clock = Clock::new(move || Timestamp::now() + SignedDuration::from_millis(ahead.load(Ordering::Relaxed)));
        let gate = Gate::new(Limits::default());
        let ec2 = Aws::for_simulator(REGION, &scene.plane.ec2_endpoint()?, gate.clone());
        let settings = Settings {
            cluster: CLUSTER.to_owned(),
            namespace: NAMESPACE.to_owned(),
            identity: "days".to_owned(),
            admin_address: ([127, 0, 0, 1], 0).into(),
        };
        let controller = tokio::spawn(controller::run(scene.client.clone(), (ec2, gate), clock, settings));
        Ok(Self { scene, ahead_millis, controller })
    }

    /// Lets the time pass until the next snapshot is due, for EC2 and for the controller.
    async fn pass(&self) -> Result<()> {
        let status = self.pool().await?.status.context("the pool has a status")?;
        let due = status.next_snapshot_time.context("the pool says when the next snapshot is due")?.0;
        let now = Timestamp::now() + SignedDuration::from_millis(self.ahead_millis.load(Ordering::Relaxed));
        let pause = due.duration_since(now) + BEYOND;
        ensure!(pause <= SignedDuration::from_hours(6) + BEYOND, "the next snapshot is due only in {pause:#}");
        let millis = i64::try_from(pause.as_millis())?;
        self.scene.plane.tell_simulator("/_sim/clock", &json!({"advance_millis": millis})).await?;
        self.put_forward(pause).await
    }

    /// Puts the clock of the controller alone forward.
    async fn put_forward(&self, by: SignedDuration) -> Result<()> {
        let ahead = self.ahead_millis.fetch_add(i64::try_from(by.as_millis())?, Ordering::Relaxed);
        // Any change of an object wakes the controller, which else would look within seconds.
        let touch = json!({"metadata": {"annotations": {"touched": ahead.to_string()}}});
        self.scene.pools().patch("web", &PatchParams::default(), &Patch::Merge(&touch)).await?;
        Ok(())
    }

    /// While EC2 cannot be reached nothing is decided, and who waits for something is told why; then it goes on.
    async fn a_deletion_that_waits_for_ec2_says_so(&self) -> Result<()> {
        self.scene.plane.stop_simulator().await?;
        self.scene.pools().delete("web", &DeleteParams::default()).await?;
        wait::until("an event says that EC2 cannot be read", LIMIT, async || {
            self.put_forward(SignedDuration::from_secs(10)).await?;
            let told = self.scene.kubectl(&["get", "events", "--field-selector", "reason=Ec2Unreadable"]).await?;
            ensure!(told.contains("the deletion of the pool waits until it can"), "the events say {told}");
            Ok(Some(()))
        })
        .await?;
        self.scene.plane.start_simulator(None)?;
        self.scene.wait_for_end("web").await
    }

    /// Waits until the pool holds the asked snapshots, in EC2 too, and all its volumes are copies of the newest.
    async fn turn(&self, generation: u64, kept: &str, is_kept: impl Fn(&[u64]) -> bool) -> Result<()> {
        wait::until(&format!("turn {generation} is done"), LIMIT, async || {
            let snapshots = self.pool().await?.status.unwrap_or_default().snapshots;
            let held = held(&snapshots);
            ensure!(is_kept(&held), "it holds the generations {held:?}, not {kept}");
            let in_ec2 = self.scene.plane.account.snapshot_count().await?;
            // The one snapshot that was there before the pool.
            ensure!(in_ec2 == held.len() + 1, "EC2 holds {in_ec2} snapshots");
            let volumes = self.scene.volumes().list(&ListParams::default()).await?.items;
            let fresh = volumes.iter().filter(|volume| volume.spec.origin.generation == generation).count();
            ensure!((fresh, volumes.len()) == (COPIES, COPIES), "{fresh} of {} volumes are copies of it", volumes.len());
            Ok(Some(()))
        })
        .await
    }

    async fn retain(&self, retain: &serde_json::Value) -> Result<()> {
        let patch = json!({"spec": {"snapshots": {"retain": retain}}});
        self.scene.pools().patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    async fn pool(&self) -> Result<VolumePool> {
        Ok(self.scene.pools().get("web").await?)
    }
}

/// Generations of completed snapshots, in order.
fn held(snapshots: &[SnapshotStatus]) -> Vec<u64> {
    let mut generations: Vec<u64> =
        snapshots.iter().filter(|snapshot| snapshot.state == "completed").map(|snapshot| snapshot.generation).collect();
    generations.sort_unstable();
    generations
}
