//! One try of an effect: only when it is due, counted by how it ends, rested after a failure.

use std::time::Instant;

use tracing::warn;

use super::backoff::Backoff;
use super::context::Context;
use super::error::Error;
use crate::k8s::write::Outcome;

/// Carries out `effect` unless its object still rests from a failure. A future that is not due is dropped unpolled.
pub(super) async fn attempt<E>(
    context: &Context<E>,
    backoff: &Backoff,
    (name, object): (&'static str, String),
    effect: impl Future<Output = Result<Outcome, Error>>,
) {
    let object = format!("{name} {object}");
    if !backoff.is_due(&object, Instant::now()) {
        return;
    }
    match effect.await {
        Ok(Outcome::Done) => {
            backoff.succeeded(&object);
            context.metrics.count(name, "done");
        }
        Ok(Outcome::Stale) => context.metrics.count(name, "stale"),
        Err(error) => {
            let wait = backoff.failed(&object, Instant::now());
            context.metrics.count(name, "failed");
            warn!(action = name, %object, %error, retry_in_seconds = wait.as_secs(), "failed and is tried again");
        }
    }
}
