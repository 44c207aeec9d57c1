//! What all parts of live content share.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use kube::Client;
use kube::runtime::events::Recorder;
use tokio::sync::watch;
use treesync::wire::{TlsMaterial, TlsSource};

use super::board::Board;
use super::publishers::Publishers;
use crate::domain::NodeName;
use crate::metrics::LiveMetrics;

/// How agents reach each other.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    /// Where sources are published.
    pub listen: SocketAddr,
    /// The address by which other nodes reach this agent.
    pub advertised: Option<IpAddr>,
}

impl SyncSettings {
    /// Where other nodes reach this agent; none when it does not know its address.
    pub fn advertised(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.advertised?, self.listen.port()))
    }
}

/// Shared by all parts; clones are the same.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) board: Board,
    pub(super) client: Client,
    /// Where events are written.
    pub(super) recorder: Recorder,
    pub(super) node: NodeName,
    pub(super) settings: SyncSettings,
    /// The certificate of this agent, once it has one.
    pub(super) identity: watch::Receiver<Option<TlsMaterial>>,
    /// Where bytes of large files wait until all copies have them.
    pub(super) spool: PathBuf,
    pub(super) metrics: LiveMetrics,
    pub(super) publishers: Publishers,
}

impl Scene {
    /// The certificate of this end, as it is at each connection; or what is missing.
    pub(super) fn tls(&self) -> Result<TlsSource, String> {
        if self.identity.borrow().is_none() {
            return Err("the agent has no certificate yet; its log says why, and that of the controller, which signs it".to_owned());
        }
        Ok(TlsSource::Watched(self.identity.clone()))
    }
}
