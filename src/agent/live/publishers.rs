//! The publishers of this node, for those who order something of one, or must have its source closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use treesync::model::Position;
use treesync::publish::Publisher;
use treesync::wire::Sources;

use crate::domain::ObjectKey;

/// A publisher, weakly, so that none outlives its source's mount for the sake of this list; and where it is served.
type Entry = (Weak<Publisher>, Sources<Arc<Publisher>>);

/// Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Publishers(Arc<Mutex<BTreeMap<ObjectKey, Entry>>>);

impl Publishers {
    /// The publisher of a pool, while there is one. Whoever holds it delays the unmount of a source that we have mounted.
    pub(super) fn of(&self, pool: &ObjectKey) -> Option<Arc<Publisher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pool)?.0.upgrade()
    }

    /// Announces a publisher.
    pub(super) fn announce(&self, pool: &ObjectKey, publisher: &Arc<Publisher>, sources: Sources<Arc<Publisher>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (publisher, _)| publisher.strong_count() > 0);
        all.insert(pool.clone(), (Arc::downgrade(publisher), sources));
    }

    /// Has the publisher of a pool close its source, also what streams have open that wait for slow peers. Returns where that was;
    /// none when it could not be had within `longest`. Blocks.
    pub(super) fn let_go(&self, pool: &ObjectKey, longest: Duration) -> Option<Position> {
        let (publisher, sources) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(pool)?;
        let last = publisher.upgrade().and_then(|publisher| publisher.let_go(longest));
        sources.remove(&pool.to_string());
        last
    }
}
