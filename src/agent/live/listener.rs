//! The one port on which this agent publishes its sources, and who is let in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use kube::ResourceExt;
use kube::runtime::reflector::Store;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;
use treesync::publish::Publisher;
use treesync::wire::{Address, Authorize, Call, Listening, Peer, Sources};

use super::names::may_ask;
use super::scene::Scene;
use crate::api::PoolVolume;
use crate::api::keys::LABEL_NODE;
use crate::domain::ObjectKey;

/// Knows the volumes of each pool whose source is published here.
#[derive(Clone, Default)]
struct Gatekeeper(Arc<RwLock<BTreeMap<String, Store<PoolVolume>>>>);

impl Authorize for Gatekeeper {
    fn authorize(&self, peer: &Peer, source: &str, call: Call) -> Result<(), String> {
        let volumes = self.0.read().unwrap_or_else(PoisonError::into_inner).get(source).cloned();
        let volumes = volumes.map(|store| store.state()).unwrap_or_default();
        let holders: BTreeSet<String> = volumes.iter().filter_map(|volume| volume.labels().get(LABEL_NODE).cloned()).collect();
        may_ask(&peer.dns_names, source, &holders, call).inspect_err(|why| warn!(source, why, "a peer was refused"))
    }
}

/// A port that is served.
pub(super) struct Listener {
    sources: Sources<Arc<Publisher>>,
    gatekeeper: Gatekeeper,
    /// Where other nodes reach it.
    address: String,
    /// Dropped with this, which ends the serving.
    _stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Listener {
    /// Binds the port.
    pub(super) async fn start(scene: &Scene) -> Result<Self, String> {
        let tls = scene.tls()?;
        let address = scene.settings.advertised().ok_or("the agent does not know the address of its pod: POD_IP is not set")?.to_string();
        let listen = Address::Tcp { host: scene.settings.listen.ip().to_string(), port: scene.settings.listen.port() };
        let (sources, gatekeeper) = (Sources::default(), Gatekeeper::default());
        let listening = Listening::bind_sources(sources.clone(), Arc::new(gatekeeper.clone()), listen, Some(&tls)).await;
        let listening = listening.map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            if let Err(error) = listening.serve(async { drop(stopped.await) }).await {
                warn!(%error, "sources are not served any more");
            }
        });
        Ok(Self { sources, gatekeeper, address, _stop: stop, serving })
    }

    pub(super) fn is_serving(&self) -> bool {
        !self.serving.is_finished()
    }

    /// Serves a source to the nodes that hold one of these volumes; says where.
    pub(super) fn open(&self, pool: &ObjectKey, publisher: Arc<Publisher>, volumes: Store<PoolVolume>) -> String {
        self.gatekeeper.0.write().unwrap_or_else(PoisonError::into_inner).insert(pool.to_string(), volumes);
        self.sources.add(&pool.to_string(), publisher);
        self.address.clone()
    }

    /// What it serves.
    pub(super) fn sources(&self) -> Sources<Arc<Publisher>> {
        self.sources.clone()
    }

    /// Serves a source no more.
    pub(super) fn close(&self, pool: &ObjectKey) {
        self.sources.remove(&pool.to_string());
        self.gatekeeper.0.write().unwrap_or_else(PoisonError::into_inner).remove(&pool.to_string());
    }
}
