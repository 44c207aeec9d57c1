//! How volumes come back: made clean where that is possible, unmounted and detached, then what the pool's policy says, then
//! the PersistentVolume.

use std::collections::BTreeMap;

use crate::domain::{Access, ClaimRef, ObjectKey, Phase, ReclaimPolicy, Role};

use super::demand::{DemandAction, DemandSeen, PvSeen};
use super::observation::VolumeSeen;
use super::{restore, writer};

/// One step for each volume whose claim is gone or moves, and for each PersistentVolume that is done with.
pub(super) fn plan(seen: &DemandSeen) -> Vec<DemandAction> {
    let pvs: BTreeMap<&str, &PvSeen> = seen.pvs.iter().map(|pv| (pv.claim_uid.as_str(), pv)).collect();
    let mut volumes: Vec<&VolumeSeen> = seen.volumes.iter().collect();
    volumes.sort_by(|a, b| a.key.cmp(&b.key));
    let of_volume = |volume: &VolumeSeen| {
        let claim = volume.claim.as_ref()?;
        if volume.role == Role::Source {
            return writer::release(seen, volume, claim, pvs.get(claim.uid.as_str()).copied());
        }
        match pvs.get(claim.uid.as_str()) {
            // Two passes on old views may have reserved two volumes for one claim; the PersistentVolume names the one.
            Some(pv) if pv.volume.as_ref().is_some_and(|named| *named != volume.key) => give_back(volume, None),
            Some(pv) if pv.is_released => settle(seen, volume, claim, pv),
            Some(_) => follow(seen, volume),
            None => abandon(seen, volume, claim),
        }
    };
    let mut actions: Vec<DemandAction> = volumes.iter().filter_map(|volume| of_volume(volume)).collect();
    let is_held = |pv: &PvSeen| volumes.iter().any(|volume| volume.claim.as_ref().is_some_and(|claim| claim.uid == pv.claim_uid));
    let done = pvs.values().filter(|pv| pv.is_released && !is_held(pv) && (pv.deleting || !pv.is_retained));
    actions.extend(done.map(|pv| DemandAction::DeletePv(pv.name.clone())));
    actions
}

/// A released volume: made clean where that is possible, off its node, then recycled, deleted or kept. Never handed out on trust.
fn settle(seen: &DemandSeen, volume: &VolumeSeen, claim: &ClaimRef, pv: &PvSeen) -> Option<DemandAction> {
    if !pv.is_retained
        && restore::is_wanted(seen, volume, claim)
        && let Some(step) = restore::step(seen, volume, claim)
    {
        return step;
    }
    if let Some(step) = leave_node(volume) {
        return step;
    }
    if pv.is_retained {
        return pv.deleting.then(|| free(volume, None, true));
    }
    let is_clean = claim.access == Access::ReadOnly || restore::is_done(volume, claim);
    let may_recycle = policy(seen, volume) == ReclaimPolicy::Recycle && is_clean;
    if may_recycle || volume.deleting {
        return Some(free(volume, None, false));
    }
    Some(DemandAction::Discard { volume: volume.key.clone(), uid: volume.uid.clone() })
}

/// `Some(None)`: wait for the agent. `None`: it is off its node.
#[expect(clippy::option_option, reason = "the outer says whether the volume is on a node, the inner what to do about it")]
fn leave_node(volume: &VolumeSeen) -> Option<Option<DemandAction>> {
    let unassign = DemandAction::Unassign { volume: volume.key.clone(), resource_version: volume.resource_version.clone() };
    match (&volume.node_name, &volume.node) {
        (Some(_), _) => Some(Some(unassign)),
        (None, Some(_)) => Some(None),
        (None, None) => None,
    }
}

/// The policy of the pool as it is now; a pool that is gone takes nothing back.
fn policy(seen: &DemandSeen, volume: &VolumeSeen) -> ReclaimPolicy {
    let pool = ObjectKey::new(volume.key.namespace.clone(), volume.pool.clone());
    seen.offers.get(&pool).map_or(ReclaimPolicy::Delete, |offer| offer.reclaim)
}

/// A volume in use moves to the node whose agent asks for it, once the old node has let it go.
pub(super) fn follow(seen: &DemandSeen, volume: &VolumeSeen) -> Option<DemandAction> {
    let wanted = seen.requests.get(volume.recorded.volume.as_ref()?)?;
    match (&volume.node_name, &volume.node) {
        (Some(current), _) if current == wanted => None,
        (Some(_), Some(side)) if side.published > 0 => None,
        (Some(_), _) => Some(DemandAction::Unassign { volume: volume.key.clone(), resource_version: volume.resource_version.clone() }),
        (None, Some(_)) => None,
        (None, None) => Some(DemandAction::Assign {
            volume: volume.key.clone(),
            resource_version: volume.resource_version.clone(),
            node: wanted.clone(),
        }),
    }
}

/// A reservation that cannot be kept and has no PersistentVolume, so that no pod can have seen it: the claim vanished,
/// or the volume will never be usable and the claim must get another.
fn abandon(seen: &DemandSeen, volume: &VolumeSeen, claim: &ClaimRef) -> Option<DemandAction> {
    let is_hopeless = volume.deleting || volume.phase == Some(Phase::Failed);
    if seen.live_claims.contains(&claim.uid) && !is_hopeless {
        return None;
    }
    // Somebody may have deleted the PersistentVolume by force after pods wrote: what can have been written goes.
    if claim.access == Access::ReadWrite && !volume.deleting {
        return Some(DemandAction::Discard { volume: volume.key.clone(), uid: volume.uid.clone() });
    }
    give_back(volume, Some(pv_name(&claim.uid)))
}

/// Takes a claim off a volume that none of its pods can have used: off its node first.
fn give_back(volume: &VolumeSeen, unless_pv: Option<String>) -> Option<DemandAction> {
    leave_node(volume).unwrap_or_else(|| Some(free(volume, unless_pv, false)))
}

pub(super) fn free(volume: &VolumeSeen, unless_pv: Option<String>, retire: bool) -> DemandAction {
    DemandAction::Free { volume: volume.key.clone(), resource_version: volume.resource_version.clone(), unless_pv, retire }
}

/// The name of the PersistentVolume of a claim: one claim, one name, however often it is made.
pub fn pv_name(claim_uid: &str) -> String {
    format!("pvc-{claim_uid}")
}
