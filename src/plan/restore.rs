//! How a volume that pods could write becomes as its source again, so that it can be recycled: on the node where it is
//! mounted its agent compares every byte and mends what differs. Until the answer is there, and the volume is off its node,
//! the claim that is gone holds it, so that no other can have it.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Access, ClaimRef, ObjectKey, RECYCLE_ORDER, ReclaimPolicy};

use super::age;
use super::demand::{DemandAction, DemandSeen};
use super::live::VerifiedSeen;
use super::observation::VolumeSeen;

/// How long the agent has: a volume that cannot be read in that time is sooner made anew.
const LIMIT: SignedDuration = SignedDuration::from_mins(10);

/// Whether a volume that this claim had can be made as its source again, by what the pool is now.
pub(super) fn is_wanted(seen: &DemandSeen, volume: &VolumeSeen, claim: &ClaimRef) -> bool {
    let pool = ObjectKey::new(volume.key.namespace.clone(), volume.pool.clone());
    let recycles = seen.offers.get(&pool).is_some_and(|offer| offer.restores && offer.reclaim == ReclaimPolicy::Recycle);
    recycles && claim.access == Access::ReadWrite && !volume.deleting
}

/// Whether nothing of what the pods of this claim wrote is left.
pub(super) fn is_done(volume: &VolumeSeen, claim: &ClaimRef) -> bool {
    volume.restored_after.as_deref() == Some(claim.uid.as_str())
}

/// `Some(None)`: wait for the agent. `None`: there is nothing to be done on a node.
#[expect(clippy::option_option, reason = "the outer says whether the volume is on a node, the inner what to do about it")]
pub(super) fn step(seen: &DemandSeen, volume: &VolumeSeen, claim: &ClaimRef) -> Option<Option<DemandAction>> {
    let node = volume.node_name.as_ref()?;
    let (key, resource_version) = (volume.key.clone(), volume.resource_version.clone());
    if !seen.node_zones.contains_key(node) {
        return Some(Some(DemandAction::GiveUp { volume: key, resource_version, why: format!("node {node} is gone") }));
    }
    if volume.node.as_ref().is_some_and(|side| side.published > 0) {
        return Some(None);
    }
    let Some(ordered) = ordered_at(volume, claim) else {
        let id = format!("{RECYCLE_ORDER}{}.{}", claim.uid, seen.now.as_second());
        return Some(Some(DemandAction::Restore { volume: key, resource_version, id }));
    };
    let step = match answer(volume).map(verdict) {
        Some(Ok(mended)) => DemandAction::Restored { volume: key, resource_version, claim_uid: claim.uid.clone(), mended },
        Some(Err(why)) => DemandAction::GiveUp { volume: key, resource_version, why },
        None if age(seen.now, ordered) >= LIMIT => {
            let why = format!("the agent of node {node} did not compare it with the source within {LIMIT:#}");
            DemandAction::GiveUp { volume: key, resource_version, why }
        }
        None => return Some(None),
    };
    Some(Some(step))
}

/// When the comparison after this claim was ordered; its id says so.
fn ordered_at(volume: &VolumeSeen, claim: &ClaimRef) -> Option<Timestamp> {
    let rest = volume.ordered.as_deref()?.strip_prefix(RECYCLE_ORDER)?;
    let second = rest.strip_prefix(claim.uid.as_str())?.strip_prefix('.')?.parse().ok()?;
    Timestamp::from_second(second).ok()
}

/// The answer to the order that stands.
fn answer(volume: &VolumeSeen) -> Option<&VerifiedSeen> {
    let verified = volume.node.as_ref()?.sync.as_ref()?.verified.as_ref()?;
    volume.ordered.as_deref().filter(|id| *id == verified.id).map(|_| verified)
}

/// How many paths were mended, or why the volume is not as its source.
fn verdict(answer: &VerifiedSeen) -> Result<u64, String> {
    match &answer.error {
        Some(error) => Err(format!("it could not be compared with the source: {error}")),
        None if answer.differences == 0 || answer.repaired => Ok(answer.differences),
        None => Err(format!("{} paths differ from the source and could not be mended", answer.differences)),
    }
}
