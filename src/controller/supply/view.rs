//! All pools with their volumes and nodes at one moment: read once a pass, so that a thousand volumes are not searched
//! a thousand times.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::api::keys::{GROUP, LABEL_ZONE};
use crate::api::volume_pool::SyncMode;
use crate::api::{PoolNode, PoolVolume, Role, VolumePool};
use crate::controller::stores::Stores;
use crate::domain::{CloudVolume, InstanceId, NodeName, VolumeId, Zone};
use crate::plan::{AgentSeen, ClaimFault};

use super::claim_source;

/// What Kubernetes holds that supply depends on.
#[derive(Debug, Default)]
pub struct View {
    /// All pools.
    pub pools: Vec<Arc<VolumePool>>,
    /// The node of each instance that has an agent.
    pub instances: BTreeMap<InstanceId, NodeName>,
    /// Nodes that exist.
    pub nodes: BTreeSet<NodeName>,
    /// Zones in which at least one node exists.
    pub zones_with_nodes: BTreeSet<Zone>,
    /// Agents that could publish a source.
    pub agents: BTreeMap<NodeName, AgentSeen>,
    /// The nodes whose pods wait for volumes that they do not have.
    requests: BTreeMap<VolumeId, BTreeSet<NodeName>>,
    /// The other drivers that PersistentVolumes name, by the EBS volume.
    foreign: BTreeMap<VolumeId, String>,
    /// EBS volumes that PersistentVolumes of any CSI driver name.
    pub handles: BTreeSet<VolumeId>,
    volumes: HashMap<String, Vec<Arc<PoolVolume>>>,
    /// The EBS volumes of claims that are sources.
    claimed: HashMap<ClaimKey, Result<VolumeId, ClaimFault>>,
}

/// Namespace and name of a claim, and whether a live pool has it as its source.
type ClaimKey = (String, String, bool);

impl View {
    /// What the watches hold at present.
    pub fn of_stores(stores: &Stores) -> Self {
        let view = Self::new(stores.pools.state(), stores.volumes.state(), &stores.nodes.state(), &stores.pool_nodes.state());
        let find_claim = |namespace: &str, name: &str| stores.claims.get(&ObjectRef::new(name).within(namespace));
        view.with_handles(&stores.pvs.state()).with_claims(find_claim, |name| stores.pvs.get(&ObjectRef::new(name)))
    }

    /// The same with the EBS volumes of the claims that pools name as their sources.
    #[must_use]
    pub fn with_claims(
        self,
        find_claim: impl Fn(&str, &str) -> Option<Arc<PersistentVolumeClaim>>,
        find_pv: impl Fn(&str) -> Option<Arc<PersistentVolume>>,
    ) -> Self {
        let claim_of = |pool: &Arc<VolumePool>| {
            let claim = pool.spec.source.persistent_volume_claim.clone()?;
            Some((pool.namespace()?, claim.name, pool.spec.sync.mode == SyncMode::Live))
        };
        let resolved = |(namespace, name, is_live): ClaimKey| {
            let found = claim_source::resolve(find_claim(&namespace, &name), &find_pv, is_live);
            ((namespace, name, is_live), found)
        };
        let claimed = self.pools.iter().filter_map(claim_of).map(resolved).collect();
        Self { claimed, ..self }
    }

    /// The EBS volume of a claim that a pool names as its source.
    pub fn claimed(&self, namespace: &str, name: &str, is_live: bool) -> Result<VolumeId, ClaimFault> {
        self.claimed.get(&(namespace.to_owned(), name.to_owned(), is_live)).cloned().unwrap_or(Err(ClaimFault::NotFound))
    }

    /// Joins objects that were read at one moment.
    pub fn new(pools: Vec<Arc<VolumePool>>, volumes: Vec<Arc<PoolVolume>>, nodes: &[Arc<Node>], agents: &[Arc<PoolNode>]) -> Self {
        let agents_seen = agents_seen(agents, nodes, &volumes);
        let mut by_pool: HashMap<String, Vec<Arc<PoolVolume>>> = HashMap::new();
        for volume in volumes {
            by_pool.entry(volume.spec.pool_ref.uid.clone()).or_default().push(volume);
        }
        let of_agent =
            |agent: &Arc<PoolNode>| Some((InstanceId::new(&agent.status.as_ref()?.instance_id), NodeName::new(agent.name_any())));
        let zone_of = |node: &Arc<Node>| node.labels().get(LABEL_ZONE).map(|zone| Zone::new(zone.as_str()));
        Self {
            pools,
            instances: agents.iter().filter_map(of_agent).collect(),
            nodes: nodes.iter().map(|node| NodeName::new(node.name_any())).collect(),
            zones_with_nodes: nodes.iter().filter_map(zone_of).collect(),
            agents: agents_seen,
            requests: requests_of(agents),
            foreign: BTreeMap::new(),
            handles: BTreeSet::new(),
            volumes: by_pool,
            claimed: HashMap::new(),
        }
    }

    /// The same with what PersistentVolumes name.
    #[must_use]
    pub fn with_handles(self, pvs: &[Arc<PersistentVolume>]) -> Self {
        let handle = |pv: &Arc<PersistentVolume>| {
            let csi = pv.spec.as_ref()?.csi.as_ref()?;
            Some(VolumeId::new(&csi.volume_handle))
        };
        let foreign = |pv: &Arc<PersistentVolume>| {
            let csi = pv.spec.as_ref()?.csi.as_ref().filter(|csi| csi.driver != GROUP)?;
            Some((VolumeId::new(&csi.volume_handle), csi.driver.clone()))
        };
        Self { handles: pvs.iter().filter_map(handle).collect(), foreign: pvs.iter().filter_map(foreign).collect(), ..self }
    }

    /// The volumes of all pools, those of pools that are gone included.
    pub fn all_volumes(&self) -> impl Iterator<Item = &Arc<PoolVolume>> {
        self.volumes.values().flatten()
    }

    /// The copies of a pool, by its UID: a later pool of the same name has others.
    pub fn volumes_of(&self, pool: &VolumePool) -> impl Iterator<Item = &Arc<PoolVolume>> {
        self.of_pool(pool).filter(|volume| volume.spec.role == Role::Copy)
    }

    /// The object of a pool's source.
    pub fn source_of(&self, pool: &VolumePool) -> Option<&Arc<PoolVolume>> {
        self.of_pool(pool).find(|volume| volume.spec.role == Role::Source)
    }

    fn of_pool(&self, pool: &VolumePool) -> impl Iterator<Item = &Arc<PoolVolume>> {
        let namespace = pool.namespace();
        let volumes = pool.uid().and_then(|uid| self.volumes.get(&uid)).into_iter().flatten();
        volumes.filter(move |volume| volume.namespace() == namespace)
    }

    /// The other driver that attaches a volume, by a PersistentVolume that names it.
    pub fn foreign_driver(&self, id: &VolumeId) -> Option<String> {
        self.foreign.get(id).cloned()
    }

    /// The node whose pods wait for a volume that another node may have. Of several one whose instance has it: an agent that
    /// is gone takes back no request.
    pub fn requested_by(&self, id: &VolumeId, cloud: Option<&CloudVolume>) -> Option<&NodeName> {
        let nodes = self.requests.get(id)?;
        let mut holders = cloud.into_iter().flat_map(CloudVolume::live_attachments);
        let holder = holders.find_map(|attachment| self.instances.get(&attachment.instance).filter(|node| nodes.contains(*node)));
        holder.or_else(|| nodes.first())
    }
}

fn agents_seen(agents: &[Arc<PoolNode>], nodes: &[Arc<Node>], volumes: &[Arc<PoolVolume>]) -> BTreeMap<NodeName, AgentSeen> {
    let on_nodes = on_nodes(volumes);
    let is_cordoned = |node: &Arc<Node>| node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let cordoned: BTreeSet<String> = nodes.iter().filter(|node| is_cordoned(node)).map(|node| node.name_any()).collect();
    let of_agent = |agent: &Arc<PoolNode>| {
        let (name, status) = (agent.name_any(), agent.status.as_ref()?);
        let seen = AgentSeen {
            zone: Zone::new(status.zone.as_str()),
            // An agent counts what is attached, every few seconds; what was ordered meanwhile takes a place too.
            free_slots: status.attach_limit.saturating_sub(status.attached.max(on_nodes.get(name.as_str()).copied().unwrap_or(0))),
            publishes: status.sync_address.is_some(),
            is_cordoned: cordoned.contains(&name),
        };
        Some((NodeName::new(name), seen))
    };
    agents.iter().filter_map(of_agent).collect()
}

/// How many volumes each node has or was given by us.
fn on_nodes(volumes: &[Arc<PoolVolume>]) -> HashMap<&str, u32> {
    let mut counts = HashMap::new();
    let is_ours = |volume: &&Arc<PoolVolume>| volume.spec.publish.as_ref().is_none_or(|publish| publish.attached_by.is_none());
    for volume in volumes.iter().filter(is_ours) {
        let side = volume.status.as_ref().and_then(|status| status.node.as_ref());
        if let Some(node) = volume.spec.node_name.as_deref().or(side.map(|side| side.name.as_str())) {
            *counts.entry(node).or_insert(0) += 1;
        }
    }
    counts
}

fn requests_of(agents: &[Arc<PoolNode>]) -> BTreeMap<VolumeId, BTreeSet<NodeName>> {
    let mut requests: BTreeMap<VolumeId, BTreeSet<NodeName>> = BTreeMap::new();
    for agent in agents {
        for id in agent.status.iter().flat_map(|status| &status.requested) {
            requests.entry(VolumeId::new(id.as_str())).or_default().insert(NodeName::new(agent.name_any()));
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object<K: serde::de::DeserializeOwned>(value: serde_json::Value) -> Arc<K> {
        Arc::new(serde_json::from_value(value).expect("the object is valid"))
    }

    fn volume(number: usize, node_name: Option<&str>, side: Option<&str>) -> Arc<PoolVolume> {
        let node = side.map(|name| serde_json::json!({"name": name, "instanceID": "i-1", "attached": false, "mounted": false}));
        object(serde_json::json!({
            "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolVolume", "metadata": {"name": format!("web-{number}")},
            "spec": {"poolRef": {"name": "web", "uid": "u"}, "zone": "a", "slot": number, "sizeGiB": 1, "nodeName": node_name},
            "status": {"node": node},
        }))
    }

    #[test]
    fn what_was_ordered_to_a_node_takes_a_place_before_its_agent_counts_it() {
        let agent = |attached: u32| {
            let status = serde_json::json!({"instanceID": "i-1", "zone": "a", "attachLimit": 9, "attached": attached, "version": "1"});
            object::<PoolNode>(serde_json::json!({
                "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolNode", "metadata": {"name": "n"}, "spec": {}, "status": status,
            }))
        };
        let volumes = [volume(0, Some("n"), Some("n")), volume(1, Some("n"), None), volume(2, None, Some("n")), volume(3, Some("m"), None)];
        let free = |attached| agents_seen(&[agent(attached)], &[], &volumes)[&NodeName::new("n")].free_slots;
        assert_eq!((free(0), free(1), free(5)), (6, 6, 4), "three are there, go there or leave there; it may count more");
    }
}
