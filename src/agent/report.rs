//! Writes the node's side of a volume's status, only on a version that still is this node's.

use kube::{Api, ResourceExt};
use serde_json::json;

use super::state::Agent;
use crate::api::keys::{LABEL_NODE, MANAGER_AGENT};
use crate::api::{NodeStatus, PoolVolume};
use crate::k8s::write::{Outcome, apply_status};

/// Tries against concurrent writers of the same object before giving up until the next wake.
const TRIES: usize = 5;

/// Reports `side`, or that nothing of the volume is on this node any more. Does nothing when that is known already.
pub(super) async fn report<E>(agent: &Agent<E>, volume: &PoolVolume, side: Option<NodeStatus>) -> kube::Result<Outcome> {
    let api: Api<PoolVolume> = Api::namespaced(agent.client.clone(), &volume.namespace().unwrap_or_default());
    let mut current = volume.clone();
    for _ in 0..TRIES {
        if current.status.as_ref().and_then(|status| status.node.as_ref()) == side.as_ref() {
            return Ok(Outcome::Done);
        }
        let status = side.as_ref().map_or_else(|| json!({}), |side| json!({"node": side}));
        if apply_status(&api, MANAGER_AGENT, &current, status).await? == Outcome::Done {
            return Ok(Outcome::Done);
        }
        let Some(newer) = api.get_opt(&volume.name_any()).await? else { return Ok(Outcome::Stale) };
        let is_mine = newer.labels().get(LABEL_NODE).is_some_and(|node| node == agent.settings.node.as_str());
        if !is_mine || newer.uid() != volume.uid() {
            return Ok(Outcome::Stale);
        }
        current = newer;
    }
    Ok(Outcome::Stale)
}
