//! Asks EC2 for a snapshot, and the agent of a live source for a checkpoint before it: the intent is stored first.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tracing::info;

use crate::api::keys::MANAGER_CONTROLLER;
use crate::api::volume_pool::{CheckpointOrder, SnapshotIntent};
use crate::api::{VolumePool, VolumePoolStatus};
use crate::controller::context::{Context, Part};
use crate::controller::error::Error;
use crate::controller::parse;
use crate::controller::volume_write::edit_spec;
use crate::domain::tags::{TAG_NAME, TAG_POSITION};
use crate::domain::{ObjectKey, Reason, VolumeId};
use crate::ec2::{Class, Ec2};
use crate::k8s::write::{Outcome, apply_status};
use crate::plan::SnapshotContent;

use super::execute::pool_tags;

/// Stores when it was ordered, then orders. After a crash between the two the next leader orders the same number.
pub(super) async fn order_checkpoint<E: Ec2>(
    context: &Context<E>,
    pool: &VolumePool,
    source: &ObjectKey,
    judged: &str,
    number: u64,
) -> Result<Outcome, Error> {
    let mut status = pool.status.clone().unwrap_or_default();
    if status.checkpoint_order.as_ref().is_none_or(|order| order.number != number) {
        status.checkpoint_order = Some(CheckpointOrder { number, time: Time(context.clock.now()) });
        if apply_status(&context.pools(&source.namespace), MANAGER_CONTROLLER, pool, &status).await? == Outcome::Stale {
            return Ok(Outcome::Stale);
        }
    }
    let ordered = edit_spec(context, source, Some(judged), |spec| {
        if let Some(publish) = &mut spec.publish {
            publish.checkpoint = Some(number);
        }
    })
    .await?;
    info!(source = %source, number, ?ordered, "a checkpoint is ordered");
    Ok(ordered)
}

/// What an event says of the content of a snapshot.
fn words(held: &SnapshotContent) -> String {
    match held {
        SnapshotContent::Unknown => String::new(),
        SnapshotContent::Checkpoint(position) => format!(", at sync generation {} of epoch {}", position.generation, position.epoch),
        SnapshotContent::Crash { least, why } => {
            let least = least.as_ref().map_or_else(String::new, |least| format!("; it has sync generation {} at least", least.generation));
            format!(", without a checkpoint, since {why}{least}")
        }
    }
}

/// Stores the intent with a compare-and-swap, then asks. A second controller, or this one after a crash, sees the
/// intent and looks for the snapshot instead of making another.
pub(super) async fn create<E: Ec2>(
    context: &Context<E>,
    pool: &VolumePool,
    volume: &VolumeId,
    (generation, held): (u64, &SnapshotContent),
) -> Result<Outcome, Error> {
    let mut status = pool.status.clone().unwrap_or_default();
    status.snapshot_intent = Some(SnapshotIntent { generation, time: Time(context.clock.now()) });
    let api = context.pools(&pool.namespace().unwrap_or_default());
    if apply_status(&api, MANAGER_CONTROLLER, pool, &status).await? == Outcome::Stale {
        return Ok(Outcome::Stale);
    }
    let mut tags = pool_tags(pool, &context.cluster, generation);
    tags.insert(TAG_NAME.to_owned(), format!("{} generation {generation}", parse::key_of(pool)));
    if let Some(position) = held.position() {
        tags.insert(TAG_POSITION.to_owned(), position.to_string());
    }
    let made = context.ec2.create_snapshot(volume, &tags).await;
    if made.as_ref().is_err_and(|error| error.class() == Class::Throttled) {
        // Nothing was made, so that nothing needs to be waited for: the next try comes with the back-off.
        take_intent_back(context, pool, generation).await?;
    }
    let snapshot = made?;
    info!(pool = %parse::key_of(pool), snapshot_id = %snapshot.id, volume_id = %volume, generation, "asked for a snapshot");
    let message = format!("asked for snapshot {} of {volume}, generation {generation}{}", snapshot.id, words(held));
    let part = Part::Numbered(generation);
    context.say_of(&Context::<E>::reference(pool), part, (false, Reason::SnapshotCreated), &message).await;
    Ok(Outcome::Done)
}

/// Stores again what the intent was before one that came to nothing, unless somebody has stored another since.
async fn take_intent_back<E: Ec2>(context: &Context<E>, before: &VolumePool, generation: u64) -> Result<(), Error> {
    let api = context.pools(&before.namespace().unwrap_or_default());
    let pool = api.get(&before.name_any()).await?;
    let status = pool.status.clone().unwrap_or_default();
    if status.snapshot_intent.as_ref().is_some_and(|intent| intent.generation == generation) {
        let snapshot_intent = before.status.as_ref().and_then(|status| status.snapshot_intent.clone());
        apply_status(&api, MANAGER_CONTROLLER, &pool, &VolumePoolStatus { snapshot_intent, ..status }).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SyncPosition;

    #[test]
    fn an_event_says_what_a_snapshot_holds() {
        let position = SyncPosition { source: "s".to_owned(), epoch: 2, generation: 7 };
        assert_eq!(words(&SnapshotContent::Unknown), "");
        assert_eq!(words(&SnapshotContent::Checkpoint(position.clone())), ", at sync generation 7 of epoch 2");
        let crash = |least| words(&SnapshotContent::Crash { least, why: "nobody publishes the source".to_owned() });
        assert_eq!(crash(None), ", without a checkpoint, since nobody publishes the source");
        assert!(crash(Some(position)).ends_with("; it has sync generation 7 at least"));
    }
}
