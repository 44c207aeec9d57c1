//! Leadership by a Lease: compare-and-swap on its resourceVersion, expiry by our own monotonic clock.
//!
//! A Lease is advisory: a leader that stalls may still have a call in flight. That is harmless, since EC2 writes
//! carry tokens and Kubernetes writes carry preconditions. See docs/decisions/0003.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// How long a holder that stays silent keeps the lease. Source: client-go leaderelection defaults, `LeaseDuration`.
const LEASE: Duration = Duration::from_secs(15);
/// How long a holder tries to renew before it gives up. Source: client-go defaults, `RenewDeadline`.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between tries. Source: client-go defaults, `RetryPeriod`.
const RETRY: Duration = Duration::from_secs(2);

/// One candidate for a Lease.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The lease as last seen, and when that version was first seen.
    seen: Option<(String, Instant)>,
}

impl Elector {
    /// A candidate under `identity`, which must be unique among the replicas.
    pub fn new(api: Api<Lease>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self { api, name: name.into(), identity: identity.into(), seen: None }
    }

    /// Returns when this candidate holds the lease. Cancel safe.
    pub async fn acquire(&mut self) {
        info!(lease = %self.name, identity = %self.identity, "waiting for leadership");
        loop {
            match self.try_hold().await {
                Ok(Hold::Ours) => {
                    info!(lease = %self.name, identity = %self.identity, "leading");
                    return;
                }
                Ok(hold) => debug!(lease = %self.name, ?hold, "another replica leads"),
                Err(error) => warn!(lease = %self.name, %error, "cannot read or write the lease"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews until that fails for [`RENEW_DEADLINE`] or another holds the lease; then leadership is lost and the
    /// process must end. Cancel safe.
    pub async fn keep(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < RENEW_DEADLINE {
            tokio::time::sleep(RETRY).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_hold()).await {
                Ok(Ok(Hold::Ours)) => renewed = Instant::now(),
                Ok(Ok(Hold::Contended)) => debug!(lease = %self.name, "somebody wrote the lease; it is read again"),
                Ok(Err(error)) => warn!(lease = %self.name, %error, "cannot renew the lease"),
                Ok(Ok(Hold::Theirs)) | Err(_) => return,
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait for its expiry.
    pub async fn release(&mut self) {
        let Ok(mut lease) = self.api.get(&self.name).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.identity) {
            spec.holder_identity = None;
            if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
                debug!(%error, "the lease was not given back; it expires by itself");
            }
        }
    }

    async fn try_hold(&mut self) -> kube::Result<Hold> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease { metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, spec: Some(self.spec(0)) };
            return taken(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
        let is_expired = self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() > LEASE);
        if holder.as_deref().is_some_and(|holder| holder != self.identity) && !is_expired {
            return Ok(Hold::Theirs);
        }
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let changes_hands = holder.as_deref() != Some(&self.identity);
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
            holder_identity: Some(self.identity.clone()),
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
