//! What is lost comes back: volumes whose objects are gone, rights, the chart and the definitions.

use anyhow::{Context, Result, ensure};
use demo::wait;
use ec2_sim::Profile;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Scene, on_a_plane};
use crate::cluster::LIMIT;

const COPIES: usize = 3;

#[test]
fn what_is_lost_comes_back_and_deletions_go_on() {
    on_a_plane("loss", Profile::Fast, async |scene| {
        volumes_are_adopted_after_the_loss_of_all_objects(scene).await?;
        a_deletion_goes_on_when_lost_rights_are_back(scene).await?;
        a_deletion_goes_on_when_the_chart_is_installed_again(scene).await?;
        pools_go_with_their_definition_and_it_can_come_back(scene).await
    });
}

async fn forget<K>(objects: &Api<K>) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    for object in objects.list(&ListParams::default()).await? {
        let patch = json!({"metadata": {"finalizers": null}});
        objects.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        // Background: the objects themselves are what is deleted here, not what an owner takes along.
        objects.delete(&object.name_any(), &DeleteParams::default()).await?;
    }
    wait::until("all objects are gone", LIMIT, async || Ok(objects.list(&ListParams::default()).await?.items.is_empty().then_some(())))
        .await
}

/// How often EC2 was asked for what makes or deletes something.
async fn changes(scene: &Scene) -> Result<Vec<u64>> {
    let calls = scene.plane.audit().await?["calls"].clone();
    let names = ["CreateVolume", "CreateSnapshot", "DeleteVolume", "DeleteSnapshot"];
    Ok(names.map(|name| calls[name]["ok"].as_u64().unwrap_or(0)).to_vec())
}

async fn volumes_are_adopted_after_the_loss_of_all_objects(scene: &Scene) -> Result<()> {
    let spec = json!({"replicas": COPIES, "source": {"volumeID": scene.shared_source().await?}});
    scene.make_pool_with("web", spec.clone()).await?;
    scene.wait_for_pools(1).await?;
    let (volumes, before) = (scene.ids_in_ec2().await?, changes(scene).await?);
    ensure!(volumes.len() == COPIES, "EC2 holds {volumes:?}");

    scene.plane.stop_controller().await?;
    forget(&scene.volumes()).await?;
    forget(&scene.pools()).await?;
    scene.plane.start_controller().await?;
    scene.make_pool_with("web", spec).await?;
    scene.wait_for_pools(1).await?;
    let objects = scene.volumes().list(&ListParams::default()).await?.items;
    let mut adopted: Vec<String> = objects.iter().filter_map(|volume| volume.status.as_ref()?.cloud.as_ref()?.volume_id.clone()).collect();
    adopted.sort();
    ensure!(adopted == volumes, "the pool had {volumes:?} and got {adopted:?} back");
    let after = changes(scene).await?;
    ensure!(after == before, "EC2 was asked for volumes and snapshots, and to delete them, {before:?} times, then {after:?} times");
    scene.pools().delete("web", &DeleteParams::default()).await?;
    scene.wait_for_end("web").await?;
    ensure!(scene.plane.account.snapshot_count().await? == 1, "the snapshots of the adopted pool are not gone with it");
    Ok(())
}

const BINDING: &str = "clusterrolebinding/volume-dispatcher-controller";

async fn a_deletion_goes_on_when_lost_rights_are_back(scene: &Scene) -> Result<()> {
    scene.make_pool("rightless", COPIES).await?;
    scene.wait_for_pools(1).await?;
    let rights = scene.kubectl(&["get", BINDING, "--output", "json"]).await?;
    scene.kubectl(&["delete", BINDING]).await?;
    scene.pools().delete("rightless", &DeleteParams::default()).await?;
    wait::until("the controller says that it is forbidden", LIMIT, async || {
        Ok(scene.plane.controller_log().contains("is forbidden").then_some(()))
    })
    .await?;
    let volumes = scene.ids_in_ec2().await?;
    ensure!(volumes.len() == COPIES, "without rights in the cluster, {volumes:?} are left in EC2");
    let mut rights: serde_json::Value = serde_json::from_str(&rights)?;
    rights["metadata"]
        .as_object_mut()
        .context("it has metadata")?
        .retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
    scene.plane.apply(&rights.to_string()).await?;
    scene.wait_for_end("rightless").await
}

async fn a_deletion_goes_on_when_the_chart_is_installed_again(scene: &Scene) -> Result<()> {
    scene.make_pool("orphan", COPIES).await?;
    scene.wait_for_pools(1).await?;
    scene.plane.stop_controller().await?;
    scene.plane.uninstall().await?;
    scene.pools().delete("orphan", &DeleteParams::default()).await?;
    let pool = scene.pools().get("orphan").await.context("its finalizer holds the pool while nobody can clear up")?;
    ensure!(pool.metadata.deletion_timestamp.is_some(), "the pool is not being deleted");
    ensure!(scene.ids_in_ec2().await?.len() == COPIES, "somebody deleted volumes without a controller");
    scene.plane.install().await?;
    scene.plane.start_controller().await?;
    scene.wait_for_end("orphan").await
}

async fn pools_go_with_their_definition_and_it_can_come_back(scene: &Scene) -> Result<()> {
    scene.make_pool("defined", COPIES).await?;
    scene.wait_for_pools(1).await?;
    scene.kubectl(&["delete", "crd", "volumepools.volumedispatcher.io", "--timeout=60s"]).await?;
    wait::until("the volumes went with their pool", LIMIT, async || Ok(scene.ids_in_ec2().await?.is_empty().then_some(()))).await?;
    for (_, definition) in volume_dispatcher::api::definitions() {
        scene.plane.apply(&serde_json::to_string(&definition)?).await?;
    }
    scene.kubectl(&["wait", "crd", "volumepools.volumedispatcher.io", "--for=condition=Established", "--timeout=60s"]).await?;
    // The controller was not restarted: its watch finds the new definition.
    scene.make_pool("defined", COPIES).await?;
    scene.wait_for_pools(1).await
}
