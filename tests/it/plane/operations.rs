//! Path operations on a real API server: what its schema and its policy refuse, and how operations end without a source.

use anyhow::{Context, Result, ensure};
use demo::wait;
use ec2_sim::Profile;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use volume_dispatcher::api::PathOperation;
use volume_dispatcher::api::path_operation::OperationPhase;

use super::{SHOP, Scene, on_a_plane};
use crate::cluster::LIMIT;

#[test]
fn path_operations_are_checked_done_and_cleared_away() {
    on_a_plane("operations", Profile::Fast, async |scene| {
        unsafe_and_senseless_specs_are_refused(scene).await?;
        the_name_of_another_user_is_refused(scene).await?;
        operations_without_a_live_source_fail_and_are_cleared_away(scene).await?;
        an_operation_runs_through_with_the_answers_of_agents(scene).await
    });
}

fn operations(scene: &Scene) -> Api<PathOperation> {
    Api::namespaced(scene.client.clone(), SHOP)
}

fn object(name: &str, spec: &Value) -> Result<PathOperation> {
    let object = json!({"apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PathOperation", "metadata": {"name": name}, "spec": spec});
    Ok(serde_json::from_value(object)?)
}

async fn make(scene: &Scene, name: &str, spec: Value) -> Result<PathOperation> {
    Ok(operations(scene).create(&PostParams::default(), &object(name, &spec)?).await?)
}

async fn unsafe_and_senseless_specs_are_refused(scene: &Scene) -> Result<()> {
    let path = |path: &str| json!({"poolRef": {"name": "web"}, "operation": "Delete", "path": path});
    let mut specs: Vec<Value> =
        ["", "/", "/etc/passwd", "..", "a/../../b", "a//b", "a/", ".", "./a", ".treesync/index", ".volume-dispatcher"].map(path).to_vec();
    specs.extend([
        json!({"poolRef": {"name": "web"}, "operation": "Sync", "path": "a"}),
        json!({"poolRef": {"name": "web"}, "operation": "Push"}),
        json!({"poolRef": {"name": "web"}, "operation": "Push", "path": "a", "verify": "Content"}),
        json!({"poolRef": {"name": "web"}, "operation": "Sync", "timeout": "soon"}),
    ]);
    for spec in specs {
        let Err(error) = make(scene, "bad", spec.clone()).await else { anyhow::bail!("{spec} was taken") };
        let words = format!("{error:#}");
        ensure!(words.contains("spec"), "{spec} is refused with {words}");
    }
    make(scene, "good", path("a/.hidden/..b")).await?;
    let change = Patch::Merge(json!({"spec": {"path": "b"}}));
    let error = operations(scene).patch("good", &PatchParams::default(), &change).await.err().context("the spec was changed")?;
    ensure!(error.to_string().contains("spec cannot change"), "{error}");
    operations(scene).delete("good", &DeleteParams::default()).await?;
    Ok(())
}

async fn the_name_of_another_user_is_refused(scene: &Scene) -> Result<()> {
    let mut operation = object("forged", &json!({"poolRef": {"name": "web"}, "operation": "Sync"}))?;
    operation.annotations_mut().insert("volumedispatcher.io/requested-by".to_owned(), "somebody-else".to_owned());
    let error = operations(scene).create(&PostParams::default(), &operation).await.err().context("a forged name was taken")?;
    ensure!(error.to_string().contains("requested-by"), "{error}");
    Ok(())
}

async fn wait_for_end(scene: &Scene, name: &str) -> Result<PathOperation> {
    wait::until(&format!("{name} ended"), LIMIT, async || {
        let operation = operations(scene).get(name).await?;
        let status = operation.status.clone().unwrap_or_default();
        ensure!(matches!(status.phase, Some(OperationPhase::Complete | OperationPhase::Failed)), "it is {status:?}");
        Ok(Some(operation))
    })
    .await
}

/// The reason of the condition that holds.
fn reason(operation: &PathOperation) -> Option<(String, String)> {
    let condition = operation.status.as_ref()?.conditions.iter().find(|condition| condition.status == "True")?;
    Some((condition.type_.clone(), condition.reason.clone()))
}

async fn operations_without_a_live_source_fail_and_are_cleared_away(scene: &Scene) -> Result<()> {
    scene.make_pool("fixed", 1).await?;
    for (name, pool, expected) in [("nowhere", "none", "PoolNotFound"), ("still", "fixed", "SourceNotLive")] {
        let spec = json!({"poolRef": {"name": pool}, "operation": "Push", "path": "a", "timeout": "2s", "ttlAfterFinished": "4s"});
        make(scene, name, spec).await?;
        let found = reason(&wait_for_end(scene, name).await?);
        ensure!(found == Some(("Failed".to_owned(), expected.to_owned())), "{name} ended with {found:?}");
        wait::until(&format!("{name} is cleared away"), LIMIT, async || Ok(operations(scene).get_opt(name).await?.is_none().then_some(())))
            .await?;
    }
    scene.pools().delete("fixed", &DeleteParams::default()).await?;
    scene.wait_for_end("fixed").await
}

async fn report(scene: &Scene, volume: &str, node: &Value) -> Result<()> {
    let patch = Patch::Merge(json!({"status": {"node": node}}));
    scene.volumes().patch_status(volume, &PatchParams::default(), &patch).await?;
    Ok(())
}

fn side(sync: &Value) -> Value {
    json!({"name": "node1", "instanceID": "i-1", "attached": true, "mounted": true, "sync": sync})
}

/// With objects as the controller and agents write them, and no agent: what is tested is who waits for what.
async fn an_operation_runs_through_with_the_answers_of_agents(scene: &Scene) -> Result<()> {
    // Without a source in EC2 nobody makes or changes volumes of this pool.
    let spec = json!({"replicas": 0, "source": {"volumeID": "vol-00000000000000001"}, "sync": {"mode": "Live"}});
    scene.make_pool_with("live", spec).await?;
    let uid = scene.pools().get("live").await?.uid().context("a pool has a UID")?;
    for (name, role) in [("live-source", "Source"), ("live-7", "Copy")] {
        let volume = json!({"apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolVolume", "metadata": {"name": name},
            "spec": {"poolRef": {"name": "live", "uid": uid}, "role": role, "zone": "us-east-1a", "slot": 7, "sizeGiB": 1,
                "nodeName": "node1", "retired": false, "claimRef": {"namespace": SHOP, "name": "c", "uid": name, "access": "ReadOnly"}}});
        scene.volumes().create(&PostParams::default(), &serde_json::from_value(volume)?).await?;
    }
    make(scene, "push", json!({"poolRef": {"name": "live"}, "operation": "Push", "path": "a"})).await?;
    phase_is(scene, "push", OperationPhase::Pending).await?;
    report(scene, "live-7", &side(&json!({"state": "InSync", "source": "s", "epoch": 1, "generation": 4}))).await?;
    report(scene, "live-source", &side(&json!({"state": "Publishing", "source": "s", "epoch": 1, "generation": 4}))).await?;
    phase_is(scene, "push", OperationPhase::Running).await?;
    let node = operations(scene).get("push").await?.labels().get("volumedispatcher.io/node").cloned();
    ensure!(node.as_deref() == Some("node1"), "it is labelled with {node:?}");
    let done = json!({"status": {"source": {"node": "node1", "source": "s", "epoch": 1, "generation": 5, "pathsTotal": 1}}});
    operations(scene).patch_status("push", &PatchParams::default(), &Patch::Merge(&done)).await?;
    wait::until("the volume is waited for", LIMIT, async || {
        let targets = operations(scene).get("push").await?.status.and_then(|status| status.targets);
        Ok(targets.filter(|targets| (targets.total, targets.done) == (1, 0)).map(drop))
    })
    .await?;
    report(scene, "live-7", &side(&json!({"state": "InSync", "source": "s", "epoch": 1, "generation": 5}))).await?;
    scene.kubectl(&["wait", "pathop/push", "--for=condition=Complete", "--timeout=30s"]).await?;
    let status = operations(scene).get("push").await?.status.unwrap_or_default();
    ensure!(status.receipts == ["live-7"], "the receipts are {:?}", status.receipts);
    for kind in ["PathOperation", "VolumePool"] {
        let selector = format!("reason=OperationComplete,regarding.kind={kind}");
        let told =
            scene.kubectl(&["get", "events.events.k8s.io", "--field-selector", &selector, "--output", "jsonpath={.items[*].note}"]).await?;
        ensure!(told.contains("1 volume has it"), "no event of a {kind} tells the end: {told}");
    }
    Ok(())
}

async fn phase_is(scene: &Scene, name: &str, phase: OperationPhase) -> Result<()> {
    wait::until(&format!("{name} is {phase:?}"), LIMIT, async || {
        let status = operations(scene).get(name).await?.status.unwrap_or_default();
        Ok((status.phase == Some(phase)).then_some(()))
    })
    .await
}
