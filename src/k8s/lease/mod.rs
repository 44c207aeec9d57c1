//! Leadership by a Lease: compare-and-swap on its resourceVersion, expiry by our own monotonic clock.
//!
//! A Lease is advisory: a leader that stalls may still have a call in flight. That is harmless, since EC2 writes
//! carry tokens and Kubernetes writes carry preconditions. See docs/decisions/0003.

mod candidate;
mod term;

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use tracing::{debug, info, warn};

pub use candidate::{Candidate, LEASE, RENEW_DEADLINE, Read, Verdict};
pub use term::{Term, boot_time};

/// Pause between tries. Source: client-go defaults, `RetryPeriod`.
const RETRY: Duration = Duration::from_secs(2);

/// One candidate for a Lease.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    term: Term,
}

impl Elector {
    /// A candidate under `identity`, which must be unique among the replicas. `api` must not be fenced by its own term.
    pub fn new(api: Api<Lease>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self { api, name: name.into(), candidate: Candidate::new(identity), term: Term::default() }
    }

    /// The term of this candidate: begun once it leads.
    pub fn term(&self) -> Term {
        self.term.clone()
    }

    /// Returns when this candidate holds the lease: at once when it is given back, since it is watched. Cancel safe.
    pub async fn acquire(&mut self) {
        info!(lease = %self.name, identity = %self.candidate.identity(), "waiting for leadership");
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut changes = watcher(self.api.clone(), only).default_backoff().touched_objects().boxed();
        loop {
            match self.try_hold().await {
                Ok(Hold::Ours) => {
                    info!(lease = %self.name, identity = %self.candidate.identity(), "leading");
                    return;
                }
                Ok(hold) => debug!(lease = %self.name, ?hold, "another replica leads"),
                Err(error) => warn!(lease = %self.name, %error, "cannot read or write the lease"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                Some(Ok(_)) = changes.next() => {}
            }
        }
    }

    /// Renews until that fails for [`RENEW_DEADLINE`] or another holds the lease; then leadership is lost and the
    /// process must end. Cancel safe.
    pub async fn keep(&mut self) {
        while self.term.lasts() {
            tokio::time::sleep(RETRY).await;
            match tokio::time::timeout(RENEW_DEADLINE / 2, self.try_hold()).await {
                Ok(Ok(Hold::Ours)) => {}
                Ok(Ok(Hold::Contended)) => debug!(lease = %self.name, "somebody wrote the lease; it is read again"),
                Ok(Err(error)) => warn!(lease = %self.name, %error, "cannot renew the lease"),
                Err(_) => warn!(lease = %self.name, "the API server does not answer; the lease is not renewed"),
                Ok(Ok(Hold::Theirs)) => break,
            }
        }
        self.term.end();
    }

    /// Ends the term and gives the lease back, so that another replica need not wait for its expiry.
    pub async fn release(&mut self) {
        self.term.end();
        let Ok(mut lease) = self.api.get(&self.name).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(self.candidate.identity()) {
            spec.holder_identity = None;
            if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
                debug!(%error, "the lease was not given back; it expires by itself");
            }
        }
    }

    /// Reads, judges and writes. The term is counted from before the first request, since nobody knows when it arrived.
    async fn try_hold(&mut self) -> kube::Result<Hold> {
        let asked = boot_time();
        let hold = match self.api.get_opt(&self.name).await? {
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.spec(0)) };
                taken(self.api.create(&PostParams::default(), &lease).await)?
            }
            Some(lease) => self.try_write(lease, asked).await?,
        };
        if hold == Hold::Ours {
            self.term.extend(asked + RENEW_DEADLINE);
        }
        Ok(hold)
    }

    async fn try_write(&mut self, mut lease: Lease, now: Duration) -> kube::Result<Hold> {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
        let read = Read { version: lease.metadata.resource_version.clone().unwrap_or_default(), holder };
        let Verdict::Write { changes_hands } = self.candidate.judge(&read, now) else { return Ok(Hold::Theirs) };
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let acquired = lease.spec.as_ref().and_then(|spec| spec.acquire_time.clone());
        let mut spec = self.spec(transitions + i32::from(changes_hands));
        if !changes_hands {
            spec.acquire_time = acquired;
        }
        lease.spec = Some(spec);
        taken(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.candidate.identity().to_owned()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Whose the lease is after a try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hold {
    Ours,
    Theirs,
    /// Written by somebody at the same moment: whose it is shows at the next read.
    Contended,
}

fn taken(result: kube::Result<Lease>) -> kube::Result<Hold> {
    match result {
        Ok(_) => Ok(Hold::Ours),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Hold::Contended),
        Err(error) => Err(error),
    }
}
