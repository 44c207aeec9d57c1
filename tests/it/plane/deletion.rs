//! A pool can be deleted whatever went before it: its claims, its source, its zone, or the right to delete in EC2.

use anyhow::{Context, Result, ensure};
use demo::wait;
use ec2_sim::Profile;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{SHOP, Scene, on_a_plane};
use crate::cluster::LIMIT;

#[test]
fn a_pool_can_be_deleted_in_every_order() {
    on_a_plane("deletion", Profile::Fast, async |scene| {
        a_pool_that_goes_first_waits_for_its_claims(scene).await?;
        a_pool_that_goes_after_its_claims_waits_for_nothing(scene).await?;
        a_pool_goes_after_its_zone(scene).await?;
        a_pool_waits_for_the_right_to_delete_and_says_so(scene).await?;
        a_pool_keeps_in_ec2_what_it_is_denied_to_delete_for_long(scene).await
    });
}

/// A claim of a pool for the one node, as the scheduler leaves it, and its volume.
async fn bind(scene: &Scene, pool: &str) -> Result<Api<PersistentVolumeClaim>> {
    let claims = Api::namespaced(scene.client.clone(), SHOP);
    let claim = json!({
        "metadata": {"name": "claim", "annotations": {"volume.kubernetes.io/selected-node": "node1"}},
        "spec": {"storageClassName": "volumepool", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "dataSourceRef": {"apiGroup": "volumedispatcher.io", "kind": "VolumePool", "name": pool}},
    });
    claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    wait::until("the claim is bound", LIMIT, async || {
        let claim: PersistentVolumeClaim = claims.get("claim").await?;
        Ok(claim.status.and_then(|status| status.phase).filter(|phase| phase == "Bound").map(drop))
    })
    .await?;
    Ok(claims)
}

async fn a_pool_that_goes_first_waits_for_its_claims(scene: &Scene) -> Result<()> {
    scene.make_pool("first", 2).await?;
    scene.wait_for_pools(1).await?;
    let claims = bind(scene, "first").await?;
    let words = scene.delete_until("first", "ClaimsRemain").await?;
    ensure!(words.contains("shop/claim"), "the pool does not name the claim: {words}");
    wait::until("only the claimed volume is left in EC2", LIMIT, async || Ok((scene.ids_in_ec2().await?.len() == 1).then_some(()))).await?;
    claims.delete("claim", &DeleteParams::default()).await?;
    scene.wait_for_end("first").await
}

async fn a_pool_that_goes_after_its_claims_waits_for_nothing(scene: &Scene) -> Result<()> {
    scene.make_pool("last", 2).await?;
    scene.wait_for_pools(1).await?;
    bind(scene, "last").await?.delete("claim", &DeleteParams::default()).await?;
    scene.pools().delete("last", &DeleteParams::default()).await?;
    scene.wait_for_end("last").await
}

async fn a_pool_goes_after_its_zone(scene: &Scene) -> Result<()> {
    scene.make_pool("nowhere", 2).await?;
    scene.wait_for_pools(1).await?;
    let node = scene.kubectl(&["get", "node/node1", "--output", "jsonpath={.metadata.labels}"]).await?;
    scene.kubectl(&["delete", "node/node1"]).await?;
    scene.pools().delete("nowhere", &DeleteParams::default()).await?;
    scene.wait_for_end("nowhere").await?;
    let labels: serde_json::Value = serde_json::from_str(&node)?;
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1", "labels": labels}});
    scene.plane.apply(&node.to_string()).await
}

/// Starts the simulator anew with a policy for everybody that allows all, and denies what is named.
async fn deny(scene: &Scene, action: Option<&str>) -> Result<()> {
    let allowed = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"});
    let denied = action.map(|action| json!({"Effect": "Deny", "Action": action, "Resource": "*"}));
    let statements: Vec<_> = [allowed].into_iter().chain(denied).collect();
    let policy = json!({"Version": "2012-10-17", "Statement": statements});
    let key =
        json!({"access-key-id": demo::account::ACCESS_KEY_ID, "secret-access-key": demo::account::SECRET_ACCESS_KEY, "policies": [policy]});
    scene.plane.stop_simulator().await?;
    scene.plane.start_simulator(Some(&json!({"access-keys": [key]}).to_string()))?;
    wait::until("EC2 answers", LIMIT, async || Ok(scene.plane.audit().await.ok().map(drop))).await
}

async fn a_pool_waits_for_the_right_to_delete_and_says_so(scene: &Scene) -> Result<()> {
    scene.make_pool("denied", 1).await?;
    scene.wait_for_pools(1).await?;
    let volumes = scene.ids_in_ec2().await?;
    deny(scene, Some("ec2:DeleteVolume")).await?;
    let words = scene.delete_until("denied", "DeletionDenied").await?;
    ensure!(words.contains(&volumes[0]) && words.contains("ec2:DeleteVolume"), "it does not say what is denied: {words}");
    deny(scene, None).await?;
    scene.wait_for_end("denied").await
}

async fn a_pool_keeps_in_ec2_what_it_is_denied_to_delete_for_long(scene: &Scene) -> Result<()> {
    scene.make_pool("kept", 1).await?;
    scene.wait_for_pools(1).await?;
    let volumes = scene.ids_in_ec2().await?;
    deny(scene, Some("ec2:DeleteVolume")).await?;
    scene.delete_until("kept", "DeletionDenied").await?;
    // Six minutes ago, in place of a wait that long.
    let object = scene.volumes().list(&ListParams::default()).await?.items.pop().context("its volume is there")?;
    let earlier = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(6);
    let patch = json!({"status": {"cloud": {"deniedSince": earlier.round(jiff::Unit::Second)?.to_string()}}});
    let name = object.metadata.name.context("it has a name")?;
    scene.volumes().patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    wait::until("the pool is gone", LIMIT, async || Ok(scene.pools().get_opt("kept").await?.is_none().then_some(()))).await?;
    ensure!(scene.ids_in_ec2().await? == volumes, "EC2 does not hold {volumes:?} any more");
    let told = scene.kubectl(&["get", "events", "--field-selector", "reason=DeletionDenied"]).await?;
    ensure!(told.contains(&format!("volume {} of {name} stays in EC2", volumes[0])), "no event says that it is kept: {told}");
    Ok(())
}
