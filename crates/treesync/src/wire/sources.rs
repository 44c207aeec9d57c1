//! The sources that one listener serves, and who may ask which of them what.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tonic::{Request, Status};

use super::connection::Link;
use super::hub::Hub;

/// The metadata that names the source of a call; without it, the one that has no name.
pub(super) const SOURCE_METADATA: &str = "treesync-source";

/// What a peer asks of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Its changes, its bytes, comparisons; and to tell where copies are.
    Follow,
    /// To look at a path at once, or to remove one.
    Change,
    /// A checkpoint, or a comparison with the index.
    Maintain,
    /// How it is.
    Status,
}

/// Who asks. Peers on a Unix socket have no names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Peer {
    /// DNS names in the certificate of the peer, which an authority that is trusted has signed.
    pub dns_names: Vec<String>,
}

/// Says who may ask what. Called with each call, so that an answer can change while a connection stands; it must not block.
pub trait Authorize: Send + Sync + 'static {
    /// # Errors
    /// Why not, in words for the peer.
    fn authorize(&self, peer: &Peer, source: &str, call: Call) -> Result<(), String>;
}

/// Everybody whose certificate is trusted may ask everything.
#[derive(Clone, Copy, Debug)]
pub struct Anybody;

impl Authorize for Anybody {
    fn authorize(&self, _peer: &Peer, _source: &str, _call: Call) -> Result<(), String> {
        Ok(())
    }
}

/// Sources by name. Clones are the same; sources come and go while they are served.
pub struct Sources<S> {
    by_name: Arc<RwLock<BTreeMap<String, Arc<Hub<S>>>>>,
}

impl<S> Clone for Sources<S> {
    fn clone(&self) -> Self {
        Self { by_name: self.by_name.clone() }
    }
}

impl<S> Default for Sources<S> {
    fn default() -> Self {
        Self { by_name: Arc::default() }
    }
}

impl<S> Sources<S> {
    /// Serves a source from now on. One that had the name is served no more.
    pub fn add(&self, name: &str, source: S) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = by_name.insert(name.to_owned(), Arc::new(Hub::new(source))) {
            before.close();
        }
    }

    /// Ends the streams of a source soon, and refuses new ones. False when there is none of this name.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.by_name.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        removed.inspect(|hub| hub.close()).is_some()
    }

    pub(super) fn close(&self) {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().for_each(|hub| hub.close());
    }

    /// The source that a call is for, if its peer may ask that.
    pub(super) fn of<T>(&self, request: &Request<T>, authorize: &dyn Authorize, call: Call) -> Result<Arc<Hub<S>>, Status> {
        let name = request.metadata().get(SOURCE_METADATA).map_or(Ok(""), |value| value.to_str());
        let name = name.map_err(|_| Status::invalid_argument(format!("{SOURCE_METADATA} is no plain text")))?;
        authorize.authorize(&Link::of(request).0, name, call).map_err(Status::permission_denied)?;
        let found = self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("source {name:?} is not served here; see where it is published")))
    }
}
