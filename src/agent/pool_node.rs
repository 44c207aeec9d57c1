//! Keeps this node's `PoolNode` object: made once, and written only when something changed.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};
use treesync::wire::TlsMaterial;

use super::Place;
use super::state::{Agent, Requests, is_foreign};
use crate::api::keys::{GROUP, MANAGER_AGENT};
use crate::api::{PoolNode, PoolNodeStatus};
use crate::domain::VolumeId;

/// The longest time between two looks at what is attached.
const REFRESH: Duration = Duration::from_secs(5);

/// Makes the object, owned by the node so that it goes with it. Returns what an earlier process asked for.
pub(super) async fn register<E>(agent: &Agent<E>) -> anyhow::Result<Vec<VolumeId>> {
    let node_uid = Place::of_node(&agent.client, &agent.settings.node).await?.node_uid;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: agent.settings.node.to_string(),
        uid: node_uid,
        ..OwnerReference::default()
    };
    let object = json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": "PoolNode",
        "metadata": {"name": agent.settings.node.as_str(), "ownerReferences": [owner]},
        "spec": {},
    });
    let api: Api<PoolNode> = Api::all(agent.client.clone());
    let made = api.patch(agent.settings.node.as_str(), &PatchParams::apply(MANAGER_AGENT).force(), &Patch::Apply(&object)).await?;
    info!(node = %agent.settings.node, instance_id = %agent.place.instance, zone = %agent.place.zone, "registered");
    Ok(made.status.into_iter().flat_map(|status| status.requested).map(VolumeId::new).collect())
}

/// Writes the status whenever it changed.
pub(super) async fn run<E>(agent: Agent<E>, mut identity: watch::Receiver<Option<TlsMaterial>>) {
    let api: Api<PoolNode> = Api::all(agent.client.clone());
    let mut requested = agent.requested();
    let mut written: Option<PoolNodeStatus> = None;
    loop {
        let can_publish = identity.borrow_and_update().is_some();
        let status = status(&agent, &requested.borrow_and_update(), can_publish);
        if written.as_ref() != Some(&status) {
            let document = json!({"apiVersion": format!("{GROUP}/v1alpha1"), "kind": "PoolNode", "metadata": {"name": agent.settings.node.as_str()}, "status": &status});
            match api.patch_status(agent.settings.node.as_str(), &PatchParams::apply(MANAGER_AGENT).force(), &Patch::Apply(&document)).await
            {
                Ok(_) => written = Some(status),
                Err(kube::Error::Api(error)) if error.code == 404 => {
                    // Deleted by a person, or with a Node that was registered anew.
                    if let Err(error) = register(&agent).await {
                        warn!(%error, "the PoolNode is gone and was not made again yet");
                    }
                }
                Err(error) => warn!(%error, "the PoolNode was not written and is written again"),
            }
        }
        tokio::select! {
            changed = requested.changed() => if changed.is_err() { return },
            changed = identity.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

fn status<E>(agent: &Agent<E>, requested: &Requests, can_publish: bool) -> PoolNodeStatus {
    let attached = agent.volumes.state().iter().filter(|volume| is_attached(agent, volume)).count();
    PoolNodeStatus {
        instance_id: agent.place.instance.to_string(),
        zone: agent.place.zone.to_string(),
        attach_limit: agent.place.attach_limit,
        attached: u32::try_from(attached).unwrap_or(u32::MAX),
        requested: requested.all().into_iter().map(ToString::to_string).collect(),
        sync_address: agent.settings.sync.advertised().filter(|_| can_publish).map(|address| address.to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn is_attached<E>(agent: &Agent<E>, volume: &crate::api::PoolVolume) -> bool {
    let side = volume.status.as_ref().and_then(|status| status.node.as_ref());
    !is_foreign(volume) && side.is_some_and(|side| side.attached && side.name == agent.settings.node.as_str())
}
