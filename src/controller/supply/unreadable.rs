//! While EC2 cannot be read nothing is decided: pools that wait for something say so, in an event each.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::api::VolumePool;
use crate::controller::context::Context;
use crate::controller::parse;
use crate::controller::sweep::Failing;
use crate::domain::{ObjectKey, Reason};
use crate::plan::Condition;

/// How long EC2 must have been unreadable: longer than what passes by itself, shorter than the patience of who waits.
const TOLD_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Tells each waiting pool once an outage. `told` are those that know already.
pub(super) async fn tell<E>(context: &Context<E>, told: &mut BTreeSet<ObjectKey>, failing: Option<&Failing>, now: Timestamp) {
    let Some(failing) = failing else { return told.clear() };
    if now.duration_since(failing.since) < TOLD_AFTER {
        return;
    }
    for pool in context.stores.pools.state().iter().filter(|pool| is_waiting(pool)) {
        if told.insert(parse::key_of(&**pool)) {
            context.say(&Context::<E>::reference(pool), true, Reason::Ec2Unreadable, &words(pool, failing)).await;
        }
    }
}

/// Whether somebody waits for what only supply can do: a deletion, or a promise that is not kept.
fn is_waiting(pool: &VolumePool) -> bool {
    let status = pool.status.as_ref();
    let is_ready = |status: &crate::api::VolumePoolStatus| {
        let holds = |kind: Condition| status.conditions.iter().any(|one| one.type_ == kind.as_str() && one.status == "True");
        holds(Condition::Ready) && status.observed_generation == pool.metadata.generation
    };
    pool.metadata.deletion_timestamp.is_some() || !status.is_some_and(is_ready)
}

fn words(pool: &VolumePool, failing: &Failing) -> String {
    let what =
        if pool.metadata.deletion_timestamp.is_some() { "the deletion of the pool waits" } else { "nothing is decided for the pool" };
    let Failing { since, error } = failing;
    format!("EC2 cannot be read since {since:.0}, and {what} until it can: {error}")
}
