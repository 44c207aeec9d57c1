//! What all parts of live content share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kube::Client;
use treesync::publish::Publisher;
use treesync::wire::{TlsFiles, TlsSource};

use super::board::Board;
use crate::domain::{NodeName, ObjectKey};
use crate::metrics::LiveMetrics;

/// How agents reach each other.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    /// Where sources are published.
    pub listen: SocketAddr,
    /// The address by which other nodes reach this agent.
    pub advertised: Option<IpAddr>,
    /// The folder with tls.crt, tls.key and ca.crt. Without it nothing is published and nothing followed.
    pub tls: Option<PathBuf>,
}

impl SyncSettings {
    /// Where other nodes reach this agent; none when it has no certificate, or does not know its address.
    pub fn advertised(&self) -> Option<SocketAddr> {
        let address = self.advertised.filter(|_| self.tls.is_some())?;
        Some(SocketAddr::new(address, self.listen.port()))
    }
}

/// Shared by all parts; clones are the same.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) board: Board,
    pub(super) client: Client,
    pub(super) node: NodeName,
    pub(super) settings: SyncSettings,
    /// Where bytes of large files wait until all copies have them.
    pub(super) spool: PathBuf,
    pub(super) metrics: LiveMetrics,
    /// Publishers of this node; weak, so that none outlives its source's mount for their sake.
    pub(super) publishers: Arc<Mutex<BTreeMap<ObjectKey, Weak<Publisher>>>>,
}

impl Scene {
    /// The publisher of a pool, while there is one. Whoever holds it delays the unmount of the source.
    pub(super) fn publisher(&self, pool: &ObjectKey) -> Option<Arc<Publisher>> {
        self.publishers.lock().unwrap_or_else(PoisonError::into_inner).get(pool)?.upgrade()
    }

    /// Announces a publisher.
    pub(super) fn announce(&self, pool: &ObjectKey, publisher: &Arc<Publisher>) {
        let mut all = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, publisher| publisher.strong_count() > 0);
        all.insert(pool.clone(), Arc::downgrade(publisher));
    }

    /// The files of this end, which are read at each connection; or what is missing.
    pub(super) fn tls(&self) -> Result<TlsSource, String> {
        let folder = self.settings.tls.as_ref().ok_or("the agent has no certificate; set agent.syncTLSSecret of the chart")?;
        Ok(TlsFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key"), authority: folder.join("ca.crt") }.into())
    }
}
