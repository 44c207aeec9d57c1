//! Everything that the controller watches, in memory.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::api::{PathOperation, PoolNode, PoolVolume, VolumePool};
use crate::domain::ObjectKey;
use crate::k8s::watch::{Wakers, reflect};

/// How each part of the controller is woken.
#[derive(Clone, Debug, Default)]
pub struct Wake {
    /// Wakes supply.
    pub supply: Arc<Notify>,
    /// Wakes demand.
    pub demand: Arc<Notify>,
    /// Wakes path operations.
    pub operations: Arc<Notify>,
}

/// The stores of all kinds, each filled by its own watch.
#[derive(Clone)]
pub struct Stores {
    /// Pools.
    pub pools: Store<VolumePool>,
    /// Volumes of pools.
    pub volumes: Store<PoolVolume>,
    /// Agents.
    pub pool_nodes: Store<PoolNode>,
    /// Nodes.
    pub nodes: Store<Node>,
    /// Claims of all classes.
    pub claims: Store<PersistentVolumeClaim>,
    /// PersistentVolumes of all drivers.
    pub pvs: Store<PersistentVolume>,
    /// Classes.
    pub classes: Store<StorageClass>,
    /// Path operations.
    pub operations: Store<PathOperation>,
}

impl Stores {
    /// Starts all watches; each change wakes who depends on it.
    pub fn watch(client: &Client, tasks: &mut JoinSet<()>, wake: &Wake) -> Self {
        let (supply, demand, operations) = (&wake.supply, &wake.demand, &wake.operations);
        let all = Wakers::new([supply.clone(), demand.clone(), operations.clone()]);
        let both = Wakers::new([supply.clone(), demand.clone()]);
        let demand = Wakers::new([demand.clone()]);
        let config = watcher::Config::default;
        Self {
            pools: reflect(tasks, Api::all(client.clone()), config(), all.clone()),
            volumes: reflect(tasks, Api::all(client.clone()), config(), all),
            pool_nodes: reflect(tasks, Api::all(client.clone()), config(), both.clone()),
            nodes: reflect(tasks, Api::all(client.clone()), config(), both),
            claims: reflect(tasks, Api::all(client.clone()), config(), demand.clone()),
            pvs: reflect(tasks, Api::all(client.clone()), config(), demand.clone()),
            classes: reflect(tasks, Api::all(client.clone()), config(), demand),
            operations: reflect(tasks, Api::all(client.clone()), config(), Wakers::new([operations.clone()])),
        }
    }

    /// Waits until every store has listed everything once.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let lost = "a watch ended before it had listed everything";
        let all = tokio::try_join!(
            self.pools.wait_until_ready(),
            self.volumes.wait_until_ready(),
            self.pool_nodes.wait_until_ready(),
            self.nodes.wait_until_ready(),
            self.claims.wait_until_ready(),
            self.pvs.wait_until_ready(),
            self.classes.wait_until_ready(),
            self.operations.wait_until_ready(),
        );
        all.map(drop).map_err(|error| anyhow::anyhow!("{lost}: {error}"))
    }

    /// A volume by its key.
    pub fn volume(&self, key: &ObjectKey) -> Option<Arc<PoolVolume>> {
        let reference = kube::runtime::reflector::ObjectRef::new(&key.name).within(&key.namespace);
        self.volumes.get(&reference)
    }
}
