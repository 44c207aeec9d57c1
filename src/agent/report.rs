//! Writes the node's side of a volume's status, only on a version that still is this node's.

use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::api::keys::{LABEL_NODE, MANAGER_AGENT};
use crate::api::{NodeStatus, PoolVolume};
use crate::domain::{InstanceId, NodeName};
use crate::k8s::write::{Outcome, apply_status};

/// Tries against concurrent writers of the same object before giving up until the next wake.
const TRIES: usize = 5;

/// Reports for one node.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) client: Client,
    pub(super) node: NodeName,
    pub(super) instance: InstanceId,
}

impl Reporter {
    /// What is stored of this node's side; none when nothing is, or when it is another node's.
    pub(super) fn stored(&self, volume: &PoolVolume) -> Option<NodeStatus> {
        let side = volume.status.as_ref().and_then(|status| status.node.clone());
        side.filter(|side| side.name == self.node.as_str())
    }

    /// The side of a volume of which nothing is on this node yet.
    pub(super) fn blank(&self) -> NodeStatus {
        NodeStatus { name: self.node.to_string(), instance_id: self.instance.to_string(), ..NodeStatus::default() }
    }

    /// Reports what `change` makes of the stored side; none says that nothing of the volume is on this node. Parts of the
    /// agent each change their own fields. Does nothing when all is known already.
    pub(super) async fn report(
        &self,
        volume: &PoolVolume,
        change: impl Fn(Option<NodeStatus>) -> Option<NodeStatus>,
    ) -> kube::Result<Outcome> {
        let api: Api<PoolVolume> = Api::namespaced(self.client.clone(), &volume.namespace().unwrap_or_default());
        let mut current = volume.clone();
        for _ in 0..TRIES {
            let side = change(self.stored(&current));
            if current.status.as_ref().and_then(|status| status.node.as_ref()) == side.as_ref() {
                return Ok(Outcome::Done);
            }
            let status = side.as_ref().map_or_else(|| json!({}), |side| json!({"node": side}));
            if apply_status(&api, MANAGER_AGENT, &current, status).await? == Outcome::Done {
                return Ok(Outcome::Done);
            }
            let Some(newer) = api.get_opt(&volume.name_any()).await? else { return Ok(Outcome::Stale) };
            let is_mine = newer.labels().get(LABEL_NODE).is_some_and(|node| *node == self.node.as_str());
            if !is_mine || newer.uid() != volume.uid() {
                return Ok(Outcome::Stale);
            }
            current = newer;
        }
        Ok(Outcome::Stale)
    }
}
