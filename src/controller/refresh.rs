//! Effects of refreshes: a volume is given to a node, and taken off it again. Supply begins and ends them, demand cuts them short.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use tracing::info;

use crate::api::{PoolVolume, RefreshSpec};
use crate::domain::{NodeName, ObjectKey, Reason, SyncPosition};
use crate::k8s::write::Outcome;
use crate::plan::RefreshEnd;

use super::context::{Context, Part};
use super::error::Error;
use super::volume_write::edit_spec;

/// Gives the volume to a node, only on the version that was judged. The intent and the order are one write.
pub(super) async fn begin<E>(
    context: &Context<E>,
    (key, judged): (&ObjectKey, &str),
    node: &NodeName,
    target: &SyncPosition,
) -> Result<Outcome, Error> {
    let start_time = Time(context.clock.now());
    let begun = edit_spec(context, key, Some(judged), |spec| {
        spec.node_name = Some(node.to_string());
        spec.refresh = Some(RefreshSpec {
            node_name: node.to_string(),
            start_time,
            source: target.source.clone(),
            epoch: target.epoch,
            generation: target.generation,
            failures: spec.refresh.as_ref().map_or(0, |last| last.failures),
            end_time: None,
            error: None,
        });
    })
    .await?;
    if begun == Outcome::Done {
        info!(volume = %key, %node, generation = target.generation, "is refreshed");
        let message = format!("{} goes to node {node} to receive what it lacks, up to sync generation {}", key.name, target.generation);
        tell(context, key, (false, Reason::RefreshStarted), &message).await;
    }
    Ok(begun)
}

/// Takes the volume off its node and notes what came of it, only on the version that was judged.
pub(super) async fn end<E>(context: &Context<E>, (key, judged): (&ObjectKey, &str), end: &RefreshEnd) -> Result<Outcome, Error> {
    let (now, mut took) = (context.clock.now(), SignedDuration::ZERO);
    let ended = edit_spec(context, key, Some(judged), |spec| {
        spec.node_name = None;
        if let Some(refresh) = &mut spec.refresh {
            took = now.duration_since(refresh.start_time.0);
            refresh.failures = end.failures(refresh.failures);
            (refresh.end_time, refresh.error) = (Some(Time(now)), end.error().map(str::to_owned));
        }
    })
    .await?;
    if ended == Outcome::Done {
        info!(volume = %key, seconds = took.as_secs(), result = end.word(), error = end.error(), "its refresh has ended");
        context.metrics.refreshed(end.word(), took.as_secs_f64());
        let (is_warning, reason, message) = match end {
            RefreshEnd::Done => {
                let message = format!("{} has what it lacked, after {} s, and leaves its node", key.name, took.as_secs());
                (false, Reason::Refreshed, message)
            }
            RefreshEnd::Failed(why) => (true, Reason::RefreshFailed, format!("{} was not refreshed: {why}", key.name)),
            RefreshEnd::Stopped(why) => (false, Reason::RefreshStopped, format!("the refresh of {} was cut short: {why}", key.name)),
        };
        tell(context, key, (is_warning, reason), &message).await;
    }
    Ok(ended)
}

/// Says it on the pool, as an event of its own for each volume.
async fn tell<E>(context: &Context<E>, key: &ObjectKey, (is_warning, reason): (bool, Reason), message: &str) {
    let Some(volume) = context.stores.volume(key) else { return };
    let pool = context.stores.pools.get(&ObjectRef::new(&volume.spec.pool_ref.name).within(&key.namespace));
    let Some(pool) = pool else { return };
    let part = Part::Object(Box::new(PoolVolume::object_ref(&*volume, &())));
    context.say_of(&Context::<E>::reference(&pool), part, (is_warning, reason), message).await;
}
