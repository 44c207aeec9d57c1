//! Guarded writes to PoolVolumes, shared by supply and demand.

use kube::ResourceExt;
use kube::api::PostParams;

use crate::api::keys::{LABEL_NODE, MANAGER_CONTROLLER};
use crate::api::{CloudStatus, PoolVolume, PoolVolumeSpec, Role};
use crate::domain::{ObjectKey, Phase};
use crate::k8s::write::{Outcome, applied_status, apply_status, outcome};

use super::context::Context;
use super::error::Error;
use super::parse;
use super::parse_sync::content_reported;

/// Changes the spec of a volume only if it is the version that was judged (`None`: the one in the store).
///
/// The label by which agents select follows `nodeName` when that is set; it is taken off only by
/// [`set_watcher`], once the agent has let go. When `nodeName` goes, `content` keeps what the agent last said.
pub(super) async fn edit_spec<E>(
    context: &Context<E>,
    key: &ObjectKey,
    judged: Option<&str>,
    edit: impl FnOnce(&mut PoolVolumeSpec),
) -> Result<Outcome, Error> {
    let Some(seen) = context.stores.volume(key) else { return Ok(Outcome::Stale) };
    if judged.is_some_and(|version| seen.resource_version().as_deref() != Some(version)) {
        return Ok(Outcome::Stale);
    }
    let mut volume = (*seen).clone();
    edit(&mut volume.spec);
    note_content(&mut volume, seen.spec.node_name.as_deref());
    if let Some(node) = volume.spec.node_name.clone() {
        volume.labels_mut().insert(LABEL_NODE.to_owned(), node);
    }
    Ok(outcome(context.volumes(&key.namespace).replace(&key.name, &PostParams::default(), &volume).await)?)
}

/// A copy that is taken off a node keeps what its agent last said that it has: the agent's own words go with its side.
fn note_content(volume: &mut PoolVolume, node_before: Option<&str>) {
    let is_taken_off = node_before.is_some() && volume.spec.node_name.as_deref() != node_before;
    let side = volume.status.as_ref().and_then(|status| status.node.as_ref()).filter(|side| Some(side.name.as_str()) == node_before);
    let sync = side.and_then(|side| side.sync.as_ref()).filter(|_| is_taken_off && volume.spec.role == Role::Copy);
    if let Some(content) = sync.and_then(|sync| content_reported(sync, volume.spec.content.as_ref())) {
        volume.spec.content = Some(content);
    }
}

/// Names the node whose agent watches the volume, or none once nothing of it is on a node.
pub(super) async fn set_watcher<E>(context: &Context<E>, volume: &PoolVolume, node: Option<&str>) -> Result<Outcome, Error> {
    let mut volume = volume.clone();
    match node {
        Some(node) => volume.labels_mut().insert(LABEL_NODE.to_owned(), node.to_owned()),
        None => volume.labels_mut().remove(LABEL_NODE),
    };
    let api = context.volumes(&volume.namespace().unwrap_or_default());
    Ok(outcome(api.replace(&volume.name_any(), &PostParams::default(), &volume).await)?)
}

/// Writes the EC2 side of a volume, phase kept.
pub(super) async fn store_cloud<E>(context: &Context<E>, volume: &PoolVolume, cloud: CloudStatus) -> Result<Outcome, Error> {
    let phase = volume.status.as_ref().and_then(|status| status.phase).unwrap_or_default();
    store_status(context, volume, phase, cloud).await
}

/// Writes the EC2 side of a volume, phase kept, and gives the volume as it is stored then; `None` when the write was stale.
pub(super) async fn note_cloud<E>(context: &Context<E>, volume: &PoolVolume, cloud: CloudStatus) -> Result<Option<PoolVolume>, Error> {
    let phase = volume.status.as_ref().and_then(|status| status.phase).unwrap_or_default();
    let api = context.volumes(&parse::key_of(volume).namespace);
    let status = serde_json::json!({"phase": phase, "cloud": cloud});
    Ok(applied_status(&api, MANAGER_CONTROLLER, volume, status).await?)
}

/// Writes phase and EC2 side of a volume, the controller's part of the status.
pub(super) async fn store_status<E>(context: &Context<E>, volume: &PoolVolume, phase: Phase, cloud: CloudStatus) -> Result<Outcome, Error> {
    let api = context.volumes(&parse::key_of(volume).namespace);
    let status = serde_json::json!({"phase": phase, "cloud": cloud});
    Ok(apply_status(&api, MANAGER_CONTROLLER, volume, status).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(node_name: Option<&str>, role: &str) -> PoolVolume {
        let sync = serde_json::json!({"state": "InSync", "source": "a-b", "epoch": 1, "generation": 7});
        serde_json::from_value(serde_json::json!({
            "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolVolume", "metadata": {"name": "web-0"},
            "spec": {"poolRef": {"name": "web", "uid": "u"}, "role": role, "zone": "a", "slot": 0, "sizeGiB": 1, "nodeName": node_name},
            "status": {"node": {"name": "node1", "instanceID": "i-1", "attached": true, "mounted": true, "sync": sync}},
        }))
        .expect("a volume")
    }

    #[test]
    fn a_copy_that_is_taken_off_its_node_keeps_what_its_agent_said() {
        let noted = |mut volume: PoolVolume, before: Option<&str>| {
            note_content(&mut volume, before);
            volume.spec.content.map(|content| content.generation)
        };
        assert_eq!(noted(volume(None, "Copy"), Some("node1")), Some(7));
        assert_eq!(noted(volume(Some("node2"), "Copy"), Some("node1")), Some(7), "it moves");
        assert_eq!(noted(volume(Some("node1"), "Copy"), Some("node1")), None, "it stays");
        assert_eq!(noted(volume(None, "Copy"), Some("node2")), None, "another agent's words");
        assert_eq!(noted(volume(None, "Source"), Some("node1")), None, "a source is no copy");
    }
}
