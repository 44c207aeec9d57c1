//! Claims that find nothing ready while a volume is away to be refreshed: they get that one, sooner than EC2 makes another.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::domain::{ObjectKey, Phase, Reason, Zone};

use super::age;
use super::demand::{ClaimSeen, DemandAction, DemandSeen, Offer};
use super::dispatch::{Refusal, reserve, suits};
use super::observation::VolumeSeen;

/// How long a node may take to unmount and detach a volume before another is made for the claim. Both take seconds.
const RETURN: SignedDuration = SignedDuration::from_mins(1);

/// The volume that the claim can have soonest: on its node, else on its way back, else any that is being refreshed.
pub(super) fn best<'a>(
    seen: &'a DemandSeen,
    claim: &ClaimSeen,
    pool: &ObjectKey,
    zones: &[Zone],
    taken: &BTreeSet<ObjectKey>,
) -> Option<&'a VolumeSeen> {
    let is_filled = |volume: &VolumeSeen| matches!(volume.phase, Some(Phase::Ready | Phase::Refreshing | Phase::Releasing));
    let is_free = |volume: &&VolumeSeen| is_filled(volume) && volume.claim.is_none() && !volume.deleting && !volume.retired;
    let is_away = |volume: &&VolumeSeen| volume.is_refreshing() || is_returning(seen, volume);
    let away = seen.volumes.iter().filter(is_free).filter(is_away).filter(|volume| suits(volume, claim, pool, zones, taken));
    away.min_by_key(|volume| (!is_at_hand(volume, claim), volume.is_refreshing(), volume.slot))
}

/// Where the claim's pod will run, the volume is claimed as it is. Elsewhere its refresh is cut short.
pub(super) fn take_back(volume: &VolumeSeen, claim: &ClaimSeen, offer: &Offer) -> Result<DemandAction, Refusal> {
    if is_at_hand(volume, claim) {
        return Ok(reserve(volume, claim, offer));
    }
    if volume.is_refreshing() {
        return Ok(DemandAction::CutRefresh {
            volume: volume.key.clone(),
            resource_version: volume.resource_version.clone(),
            why: format!("the claim {} waits for a volume", claim.key),
        });
    }
    let node = volume.node.as_ref().map_or_else(|| "its node".to_owned(), |side| format!("node {}", side.node));
    let message = format!("{} was being refreshed, and is taken off {node} for {}", volume.key.name, claim.key);
    Err(Refusal::new(Reason::WaitingForVolume, message))
}

fn is_at_hand(volume: &VolumeSeen, claim: &ClaimSeen) -> bool {
    volume.is_refreshing() && volume.node_name == claim.selected_node
}

/// Whether its refresh has just ended, and its node has not let go yet, or supply has not seen that.
fn is_returning(seen: &DemandSeen, volume: &VolumeSeen) -> bool {
    let ended = volume.refresh.as_ref().and_then(|last| last.ended);
    let is_back = volume.is_claimable();
    volume.node_name.is_none() && !is_back && ended.is_some_and(|ended| age(seen.now, ended) < RETURN)
}
