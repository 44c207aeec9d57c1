//! All pools with their volumes and nodes at one moment: read once a pass, so that a thousand volumes are not searched
//! a thousand times.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use crate::api::keys::LABEL_ZONE;
use crate::api::{PoolNode, PoolVolume, VolumePool};
use crate::controller::stores::Stores;
use crate::domain::{InstanceId, NodeName, VolumeId, Zone};
use crate::plan::ClaimFault;

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
    volumes: HashMap<String, Vec<Arc<PoolVolume>>>,
    /// The EBS volumes of claims that are sources, by namespace and name of the claim.
    claimed: HashMap<(String, String), Result<VolumeId, ClaimFault>>,
}

impl View {
    /// What the watches hold at present.
    pub fn of_stores(stores: &Stores) -> Self {
        let pools = stores.pools.state();
        let claim_of = |pool: &Arc<VolumePool>| Some((pool.namespace()?, pool.spec.source.persistent_volume_claim.clone()?.name));
        let resolved = |key: (String, String)| {
            let found = claim_source::resolve(&stores.claims, &stores.pvs, (&key.0, &key.1));
            (key, found)
        };
        let claimed = pools.iter().filter_map(claim_of).map(resolved).collect();
        Self { claimed, ..Self::new(pools, stores.volumes.state(), &stores.nodes.state(), &stores.pool_nodes.state()) }
    }

    /// The EBS volume of a claim that a pool names as its source.
    pub fn claimed(&self, namespace: &str, name: &str) -> Result<VolumeId, ClaimFault> {
        self.claimed.get(&(namespace.to_owned(), name.to_owned())).cloned().unwrap_or(Err(ClaimFault::NotFound))
    }

    /// Joins objects that were read at one moment.
    pub fn new(pools: Vec<Arc<VolumePool>>, volumes: Vec<Arc<PoolVolume>>, nodes: &[Arc<Node>], agents: &[Arc<PoolNode>]) -> Self {
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
            volumes: by_pool,
            claimed: HashMap::new(),
        }
    }

    /// The volumes of a pool, by its UID: a later pool of the same name has others.
    pub fn volumes_of(&self, pool: &VolumePool) -> impl Iterator<Item = &Arc<PoolVolume>> {
        let namespace = pool.namespace();
        let volumes = pool.uid().and_then(|uid| self.volumes.get(&uid)).into_iter().flatten();
        volumes.filter(move |volume| volume.namespace() == namespace)
    }
}
