//! The controller, as the process that it is, on a real API server and a simulated EC2 without disks: for what needs no pod.

mod certificates;
mod days;
mod deletion;
mod loss;
mod operations;
mod scale;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use demo::shared_snapshot::with_snapshot;
use demo::{ControlPlane, Report, clear, wait};
use ec2_sim::Profile;
use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use volume_dispatcher::api::{PoolVolume, VolumePool};

use crate::cluster::{LIMIT, as_root, state_folder};

/// The namespace of the pools.
const SHOP: &str = "shop";

/// A control plane with a snapshot that every pool may copy.
struct Scene {
    plane: ControlPlane,
    client: Client,
    snapshot: String,
}

/// Runs a test on a control plane of its own and clears it afterwards, also when the test fails.
fn on_a_plane(name: &str, profile: Profile, test: impl AsyncFnOnce(&Scene) -> Result<()>) {
    as_root(name, async || {
        let report: Report = Arc::new(|line: &str| println!("{line}"));
        let folder = state_folder();
        let scene = match Scene::set(profile, report.clone()).await {
            Ok(scene) => scene,
            Err(error) => {
                clear(&folder, &report).await.context("the control plane that cannot be set cannot be cleared")?;
                return Err(error.context("the control plane cannot be set"));
            }
        };
        let result = test(&scene).await;
        if result.is_err() {
            scene.show().await;
        }
        scene.plane.clear(report).await.context("the control plane cannot be cleared")?;
        result
    });
}

impl Scene {
    async fn set(profile: Profile, report: Report) -> Result<Self> {
        let (world, snapshot) = with_snapshot(profile, Timestamp::now())?;
        let plane = ControlPlane::set(&state_folder(), profile, Some(&world), report).await?;
        plane.cluster.kubectl(&["create", "namespace", SHOP]).await?;
        plane.start_controller().await?;
        let client = plane.cluster.client().await?;
        Ok(Self { plane, client, snapshot })
    }

    /// What a person would ask first when a test has failed.
    async fn show(&self) {
        let log = self.plane.controller_log();
        let last: Vec<&str> = log.lines().rev().take(40).collect();
        println!("--- the end of the controller's log, the last line first\n{}", last.join("\n"));
        for kind in ["volumepools", "poolvolumes", "events"] {
            let shown = self.kubectl(&["get", kind, "--output", "wide"]).await.unwrap_or_else(|error| format!("{error:#}"));
            println!("--- {kind}\n{}", shown.lines().take(60).collect::<Vec<_>>().join("\n"));
        }
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.plane.cluster.kubectl(&[&["--namespace", SHOP], arguments].concat()).await
    }

    fn pools(&self) -> Api<VolumePool> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    fn volumes(&self) -> Api<PoolVolume> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    /// Waits until a pool and its volumes are gone, in the cluster and in EC2.
    async fn wait_for_end(&self, name: &str) -> Result<()> {
        wait::until(&format!("nothing of {name} is left"), LIMIT, async || {
            let pool = self.pools().get_opt(name).await?;
            ensure!(pool.is_none(), "the pool says {:?}", pool.and_then(|pool| condition(&pool, "Ready")));
            let (objects, volumes) = (self.volumes().list(&ListParams::default()).await?.items.len(), self.ids_in_ec2().await?);
            ensure!(objects == 0 && volumes.is_empty(), "{objects} objects and {volumes:?} are left");
            Ok(Some(()))
        })
        .await
    }

    /// Asks for the deletion of a pool, and waits until it gives this reason for not being ready; returns its words.
    async fn delete_until(&self, name: &str, reason: &str) -> Result<String> {
        self.pools().delete(name, &DeleteParams::default()).await?;
        wait::until(&format!("{name} says {reason}"), LIMIT, async || {
            let (_, found, message) = condition(&self.pools().get(name).await?, "Ready").context("it has no condition")?;
            ensure!(found == reason, "it says {found}: {message}");
            Ok(Some(message))
        })
        .await
    }

    /// Makes a pool of the snapshot.
    async fn make_pool(&self, name: &str, replicas: usize) -> Result<()> {
        self.make_pool_with(name, json!({"replicas": replicas, "source": {"snapshotID": self.snapshot}})).await
    }

    async fn make_pool_with(&self, name: &str, spec: Value) -> Result<()> {
        let object = json!({"apiVersion": "volumedispatcher.io/v1alpha1", "kind": "VolumePool", "metadata": {"name": name}, "spec": spec});
        self.pools().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    /// Waits until all pools say that they are ready.
    async fn wait_for_pools(&self, count: usize) -> Result<()> {
        wait::until(&format!("{count} pools are ready"), LIMIT, async || {
            let pools = self.pools().list(&ListParams::default()).await?.items;
            let ready = pools.iter().filter(|pool| condition(pool, "Ready").is_some_and(|(holds, ..)| holds)).count();
            ensure!((ready, pools.len()) == (count, count), "{ready} of {} are", pools.len());
            Ok(Some(()))
        })
        .await
    }

    /// The id of the volume of which the snapshot was taken, shared with all pools.
    async fn shared_source(&self) -> Result<String> {
        let volumes = self.plane.account.volumes_except("").await?;
        let source = volumes.iter().find(|volume| volume.snapshot_id().is_none_or(str::is_empty)).context("there is a source")?;
        let id = source.volume_id().context("it has an id")?;
        self.plane.account.tag(id, "volumedispatcher.io/source", "*").await?;
        Ok(id.to_owned())
    }

    /// Ids of the volumes in EC2 beside the one of which the snapshot was taken, in order.
    async fn ids_in_ec2(&self) -> Result<Vec<String>> {
        let volumes = self.plane.account.volumes_except("").await?;
        let copies = volumes.iter().filter(|volume| volume.snapshot_id().is_some_and(|id| !id.is_empty()));
        let mut ids: Vec<String> = copies.filter_map(|volume| volume.volume_id().map(str::to_owned)).collect();
        ids.sort();
        Ok(ids)
    }
}

/// Whether a condition of a pool holds, its reason and its message.
fn condition(pool: &VolumePool, kind: &str) -> Option<(bool, String, String)> {
    let conditions = &pool.status.as_ref()?.conditions;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status == "True", found.reason.clone(), found.message.clone()))
}
