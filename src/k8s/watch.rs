//! Watches that keep a store filled and wake whoever reads it.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures::StreamExt;
use kube::Resource;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::warn;

/// Everyone who wants to know that some store changed.
#[derive(Clone, Debug, Default)]
pub struct Wakers(Vec<Arc<Notify>>);

impl Wakers {
    /// Wakes all of these.
    pub fn new(notifies: impl IntoIterator<Item = Arc<Notify>>) -> Self {
        Self(notifies.into_iter().collect())
    }

    fn wake(&self) {
        self.0.iter().for_each(|notify| notify.notify_one());
    }
}

/// Keeps the objects of `api` in a store for as long as `tasks` lives.
///
/// Each watch has its own back-off and swallows its own errors, so that one that is refused does not slow the others.
pub fn reflect<K>(tasks: &mut JoinSet<()>, api: Api<K>, config: watcher::Config, wakers: Wakers) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone,
{
    let (store, writer) = reflector::store();
    let mut events = watcher(api, config).default_backoff().modify(forget_managers).reflect(writer).boxed();
    tasks.spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                Ok(_) => wakers.wake(),
                Err(error) => warn!(kind = %K::kind(&()), %error, "a watch failed and is tried again"),
            }
        }
    });
    store
}

/// Drops what only the API server reads: the owners of single fields would take more memory than all else of an object.
fn forget_managers<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}
