//! The pools whose effects are under way: one task each, so that a slow one holds up no other.

use std::collections::{BTreeMap, HashMap};

use tokio::task::JoinSet;

use crate::domain::ObjectKey;

/// Calls of EC2, by action.
pub(super) type Calls = BTreeMap<&'static str, u32>;

/// Tasks, at most one a pool. Dropping it stops them all.
#[derive(Debug, Default)]
pub(super) struct Crew {
    tasks: JoinSet<(ObjectKey, bool)>,
    busy: HashMap<ObjectKey, Calls>,
}

impl Crew {
    /// Whether effects of the pool are under way, so that what was seen of it is about to be out of date.
    pub(super) fn is_busy(&self, pool: &ObjectKey) -> bool {
        self.busy.contains_key(pool)
    }

    /// How many pools are being worked on.
    pub(super) fn len(&self) -> usize {
        self.busy.len()
    }

    /// How many calls of an action may still be made by tasks that were started before.
    pub(super) fn outstanding(&self, call: &str) -> u32 {
        self.busy.values().filter_map(|calls| calls.get(call)).sum()
    }

    /// Starts the work on a pool that is not busy; it says whether it changed anything.
    pub(super) fn start(&mut self, pool: ObjectKey, calls: Calls, work: impl Future<Output = bool> + Send + 'static) {
        self.busy.insert(pool.clone(), calls);
        self.tasks.spawn(async move { (pool, work.await) });
    }

    /// Waits for the next pool whose work is done, and says whether it changed anything; for ever while there is none.
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> bool {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok((pool, changed))) => {
                self.busy.remove(&pool);
                changed
            }
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) => false,
        }
    }

    /// Takes note of all work that is done by now, and says whether any of it changed something.
    pub(super) fn settle(&mut self) -> bool {
        let mut changed = false;
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok((pool, has_changed)) => {
                    self.busy.remove(&pool);
                    changed |= has_changed;
                }
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {}
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pool_is_busy_until_its_work_is_done_and_its_calls_count_until_then() {
        let (mut crew, pool) = (Crew::default(), ObjectKey::new("shop", "web"));
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        crew.start(pool.clone(), [("CreateVolume", 3)].into(), async { finished.await.is_ok() });
        assert!(crew.is_busy(&pool) && !crew.settle());
        assert_eq!((crew.outstanding("CreateVolume"), crew.outstanding("DeleteVolume"), crew.len()), (3, 0, 1));
        finish.send(()).unwrap();
        assert!(crew.next().await, "it changed something");
        assert_eq!((crew.is_busy(&pool), crew.outstanding("CreateVolume")), (false, 0));
    }
}
