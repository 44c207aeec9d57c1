//! Calls of clients: who asks, whether they may, and the answer once it is durable.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Shell;
use crate::iam::{self, AccessKey};
use crate::sigv4::{self, SignedRequest};
use crate::world::{ApiError, Call, Reply, SnapshotPhase, VolumePhase};

/// The answer to a call, with what is needed to write it down.
pub(crate) struct Answer {
    pub(crate) request_id: String,
    pub(crate) now: Timestamp,
    pub(crate) result: Result<Reply, ApiError>,
}

/// An answer, and whether it reaches the client.
pub(crate) struct Delivered {
    pub(crate) answer: Answer,
    pub(crate) lost: bool,
}

impl Delivered {
    /// An answer that nothing happens to.
    pub(crate) fn safely(answer: Answer) -> Self {
        Self { answer, lost: false }
    }
}

impl Shell {
    /// Finds out who signed a request; nobody in particular when no credentials are configured.
    ///
    /// The time is that of the machine, as it is for the client.
    pub(crate) fn authenticate(&self, request: &SignedRequest<'_>) -> Result<Option<Arc<AccessKey>>, ApiError> {
        let Some(credentials) = &self.credentials else {
            return Ok(None);
        };
        let secret = |id: &str| credentials.find(id).map(|key| key.secret());
        let id = sigv4::verify(request, &self.region, Timestamp::now(), secret)?;
        Ok(credentials.find(&id).cloned())
    }

    /// Carries a call out with what the injected faults do to it on its way: late, twice, or without an answer.
    pub(crate) async fn carry_out(&self, key: Option<&AccessKey>, call: &Call) -> Delivered {
        let due = self.script.lock().unwrap_or_else(PoisonError::into_inner).due(call.action.name());
        for fault in due {
            if let Err(error) = self.inject(fault).await {
                tracing::warn!(%error, "a fault of the script cannot happen");
            }
        }
        let delivery = self.world.lock().await.deliver(call);
        pause(delivery.request_delay_ms).await;
        let mut answer = self.call(key, call).await;
        for _ in 1..delivery.copies {
            answer = self.call(key, call).await;
        }
        pause(delivery.reply_delay_ms).await;
        Delivered { answer, lost: delivery.reply_lost }
    }

    /// Answers a call of this access key. A change is on disk before this returns.
    async fn call(&self, key: Option<&AccessKey>, call: &Call) -> Answer {
        let mut world = self.world.lock().await;
        let now = self.now();
        let is_owed = !self.step(&mut world, now).is_empty();
        let request_id = world.request_id();
        if let Some(key) = key
            && let Err(denied) = iam::authorize(key, &world, &call.action)
        {
            world.count(call.action.name(), false);
            return Answer { request_id, now, result: Err(denied) };
        }
        let changes = !call.action.is_read() && !call.dry_run;
        let mut result = world.apply(now, call);
        if changes
            && result.is_ok()
            && let Err(error) = self.save(&mut world).await
        {
            tracing::error!(%error, "the state cannot be stored");
            world.undo_call();
            result = Err(ApiError::new("InternalError", error.to_string()));
        }
        drop(world);
        // What only reads owes the driver nothing: to wake it would cost more than the answer.
        if changes || is_owed {
            self.work.notify_one();
        }
        let copied = result.as_ref().map(copies_of_now).unwrap_or_default();
        for id in &copied {
            if let Err(error) = self.copied(id).await {
                result = Err(error);
                break;
            }
        }
        Answer { request_id, now, result }
    }

    /// Answers a request that never became a call.
    pub(crate) async fn refuse(&self, action: &str, error: ApiError) -> Answer {
        let mut world = self.world.lock().await;
        world.count(action, false);
        Answer { request_id: world.request_id(), now: self.now(), result: Err(error) }
    }

    /// Waits until the data plane has made the file of a snapshot or of a copied volume:
    /// its content is that of the call.
    async fn copied(&self, id: &str) -> Result<(), ApiError> {
        let mut settled = self.settled.subscribe();
        loop {
            let (waiting, failed) = {
                let world = self.world().await;
                let snapshot = world.snapshots().get(id).map(|s| &s.phase);
                let volume = world.volumes().get(id).map(|v| &v.phase);
                let waiting = matches!(snapshot, Some(SnapshotPhase::Pending { cloned: false, .. }))
                    || matches!(volume, Some(VolumePhase::Creating { filled: false, .. }));
                (waiting, matches!(snapshot, Some(SnapshotPhase::Error)) || matches!(volume, Some(VolumePhase::Error)))
            };
            if failed {
                return Err(ApiError::new("InternalError", format!("'{id}' could not be made.")));
            }
            if !waiting || settled.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

/// A delay of an injected fault. None is no sleep: the timer of the runtime rounds up to its next millisecond.
async fn pause(delay_ms: u64) {
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
}

/// The resources whose content must be that of the moment of the call.
fn copies_of_now(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Snapshot(snapshot) => vec![snapshot.id.clone()],
        Reply::SnapshotSet(snapshots) => snapshots.iter().map(|snapshot| snapshot.id.clone()).collect(),
        Reply::CopiedVolumes(volumes) => volumes.iter().map(|volume| volume.id.clone()).collect(),
        _ => Vec::new(),
    }
}
