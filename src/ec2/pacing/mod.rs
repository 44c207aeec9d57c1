//! Keeps our calls below the rates of the account: every call passes the gate first and tells it what became of it.

mod bucket;
mod budget;
mod limits;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

pub use bucket::Bucket;
pub use budget::Budget;
pub use limits::{Limit, Limits, Raised};

use super::error::{Class, Error};

/// Code of an error that we make ourselves, when a write comes after the end of our leadership.
const NOT_LEADING: &str = "NotLeading";

/// What became of a call, for whoever counts.
pub type Listener = Box<dyn Fn(&'static str, &'static str) + Send + Sync>;
/// Whether this process may write at this moment.
pub type Fence = Box<dyn Fn() -> bool + Send + Sync>;

/// The gate that every call of one process passes. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    opened: Instant,
    budget: Mutex<Budget>,
    listener: OnceLock<Listener>,
    fence: OnceLock<Fence>,
}

impl Gate {
    /// A gate with full buckets.
    pub fn new(limits: Limits) -> Self {
        let budget = Mutex::new(Budget::new(limits));
        Self { shared: Arc::new(Shared { opened: Instant::now(), budget, listener: OnceLock::new(), fence: OnceLock::new() }) }
    }

    /// Tells every call's action and result from now on. Only the first listener is heard.
    pub fn listen(&self, listener: Listener) {
        drop(self.shared.listener.set(listener));
    }

    /// Stops every write from the moment at which `fence` says false. Only the first fence counts.
    pub fn guard(&self, fence: Fence) {
        drop(self.shared.fence.set(fence));
    }

    /// How many calls of an action would pass at once.
    pub fn available(&self, action: &'static str) -> u32 {
        self.with_budget(|budget, now| budget.available(action, now))
    }

    /// Waits until the action may be called. A write is refused once this process may not write. Cancel safe: a token is
    /// lost at most.
    pub async fn pass(&self, action: &'static str) -> Result<(), Error> {
        while let Err(wait) = self.with_budget(|budget, now| budget.take(action, now)) {
            tokio::time::sleep(wait).await;
        }
        let is_write = !action.starts_with("Describe");
        if is_write && self.shared.fence.get().is_some_and(|fence| !fence()) {
            let message = "this process leads no more; the next leader asks".to_owned();
            return Err(Error { action, object: String::new(), code: NOT_LEADING.to_owned(), message, request_id: None });
        }
        Ok(())
    }

    /// Learns what became of a call: a refusal for its rate slows the action down.
    pub fn learn(&self, action: &'static str, error: Option<&Error>) {
        if error.is_some_and(Error::is_rate_refusal) {
            self.with_budget(|budget, now| budget.refused(action, now));
        }
        if let Some(listener) = self.shared.listener.get() {
            listener(action, result_of(error));
        }
    }

    fn with_budget<T>(&self, work: impl FnOnce(&mut Budget, std::time::Duration) -> T) -> T {
        let now = self.shared.opened.elapsed();
        work(&mut self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("budget", &self.shared.budget).finish_non_exhaustive()
    }
}

/// The closed set of results that are counted.
fn result_of(error: Option<&Error>) -> &'static str {
    match error {
        None => "ok",
        Some(error) if error.is_rate_refusal() => "throttled",
        Some(error) => match error.class() {
            Class::NotFound => "not_found",
            Class::Denied => "denied",
            Class::Transient => "unreachable",
            _ => "refused",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    fn error(code: &str) -> Error {
        Error { action: "CreateVolume", object: "snap-1".into(), code: code.into(), message: String::new(), request_id: None }
    }

    #[tokio::test]
    async fn a_refusal_for_its_rate_closes_the_gate_of_that_action_only() {
        let gate = Gate::new(Limits::default());
        assert_eq!(gate.available("CreateVolume"), 99);
        gate.learn("CreateVolume", Some(&error("InvalidParameterValue")));
        assert_eq!(gate.available("CreateVolume"), 99);
        gate.learn("CreateVolume", Some(&error("RequestLimitExceeded")));
        assert_eq!((gate.available("CreateVolume"), gate.available("DeleteVolume")), (0, 99));
    }

    #[tokio::test]
    async fn calls_wait_for_their_token() {
        let gate = Gate::new(Limits::raised(["CreateVolume=1/50".parse().unwrap()]));
        let started = Instant::now();
        for _ in 0..6 {
            gate.pass("CreateVolume").await.unwrap();
        }
        assert!(started.elapsed().as_millis() >= 90, "five tokens at 50 a second: {:?}", started.elapsed());
    }

    #[tokio::test]
    async fn behind_the_fence_reads_go_on_and_writes_do_not() {
        let gate = Gate::new(Limits::default());
        let leads = Arc::new(AtomicBool::new(true));
        let fence = leads.clone();
        gate.guard(Box::new(move || fence.load(Ordering::Relaxed)));
        gate.pass("CreateVolume").await.unwrap();
        leads.store(false, Ordering::Relaxed);
        assert_eq!(gate.pass("CreateVolume").await.unwrap_err().code, NOT_LEADING);
        gate.pass("DescribeVolumes").await.unwrap();
    }

    #[tokio::test]
    async fn every_call_is_told() {
        let gate = Gate::new(Limits::default());
        let throttled = Arc::new(AtomicUsize::new(0));
        let count = throttled.clone();
        gate.listen(Box::new(move |action, result| {
            assert_eq!(action, "CreateVolume");
            count.fetch_add(usize::from(result == "throttled"), Ordering::Relaxed);
        }));
        for code in ["RequestLimitExceeded", "Client.RequestLimitExceeded", "IncorrectState"] {
            gate.learn("CreateVolume", Some(&error(code)));
        }
        gate.learn("CreateVolume", None);
        assert_eq!(throttled.load(Ordering::Relaxed), 2);
    }
}
