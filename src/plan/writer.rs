//! Claims that get the source itself of a live pool, to write it: one at a time, and the source outlives each.

use crate::domain::{Access, ClaimRef, ObjectKey, Reason, Role};

use super::demand::{ClaimSeen, DemandAction, DemandSeen, Offer, PvSeen};
use super::dispatch::{Refusal, belongs_to, hand_over, held_by};
use super::observation::VolumeSeen;
use super::release::{follow, free, pv_name};

/// One step for a claim that wants the source.
pub(super) fn serve(seen: &DemandSeen, claim: &ClaimSeen, (key, offer): (&ObjectKey, &Offer)) -> Result<Option<DemandAction>, Refusal> {
    if claim.key.namespace != key.namespace {
        let message = format!("the source of the VolumePool {key} is written from its own namespace {} only", key.namespace);
        return Err(Refusal::new(Reason::NamespaceNotAllowed, message));
    }
    is_ours_to_give(seen, offer, key)?;
    if let Some(volume) = held_by(seen, claim) {
        return hand_over(volume, claim, offer).map(Some);
    }
    let source = free_source(seen, claim, key)?;
    if claim.waits_for_node && claim.selected_node.is_none() {
        return Ok(None);
    }
    is_in_reach(seen, claim, source)?;
    // It stays where it is until the node of the pod asks for it.
    let node = source.node_name.clone().or_else(|| claim.selected_node.clone().filter(|_| source.node.is_none()));
    Ok(Some(DemandAction::Reserve {
        volume: source.key.clone(),
        resource_version: source.resource_version.clone(),
        claim: writer(claim),
        node,
    }))
}

/// The source is given to pods only where our agents attach it.
fn is_ours_to_give(seen: &DemandSeen, offer: &Offer, key: &ObjectKey) -> Result<(), Refusal> {
    let driver = seen.volumes.iter().find(|volume| belongs_to(volume, key) && volume.role == Role::Source);
    let driver = driver.and_then(|source| source.attached_by.as_deref());
    let message = match (&offer.source_claim, driver) {
        (Some(claim), _) => {
            format!("the source of the VolumePool {key} is the PersistentVolumeClaim {claim}; use that claim itself to write it")
        }
        (None, Some(driver)) => format!(
            "the source of the VolumePool {key} is attached by the driver {driver}; write it by the PersistentVolumeClaim of its \
             PersistentVolume"
        ),
        (None, None) => return Ok(()),
    };
    Err(Refusal::new(Reason::InvalidClaim, message))
}

fn writer(claim: &ClaimSeen) -> ClaimRef {
    ClaimRef { namespace: claim.key.namespace.clone(), name: claim.key.name.clone(), uid: claim.uid.to_string(), access: Access::ReadWrite }
}

fn free_source<'a>(seen: &'a DemandSeen, claim: &ClaimSeen, pool: &ObjectKey) -> Result<&'a VolumeSeen, Refusal> {
    let is_source = |volume: &&VolumeSeen| belongs_to(volume, pool) && volume.role == Role::Source;
    let source = seen.volumes.iter().find(is_source).filter(|source| !source.deleting && source.recorded.volume.is_some());
    let Some(source) = source else {
        let message = format!(
            "the VolumePool {pool} has no source to be written yet; it needs spec.sync.mode Live, and its condition InSync says how far that is"
        );
        return Err(Refusal::new(Reason::WaitingForVolume, message));
    };
    match &source.claim {
        Some(other) => {
            let message = format!("the source of the VolumePool {pool} is held by the claim {}; one claim writes it at a time", other.name);
            Err(Refusal::new(Reason::WaitingForVolume, message))
        }
        None if claim.requested > source.size => {
            let message = format!(
                "spec.resources.requests.storage is {}, but the source of the VolumePool {pool} has {}; ask for that or less",
                claim.requested, source.size
            );
            Err(Refusal::new(Reason::RequestTooLarge, message))
        }
        None => Ok(source),
    }
}

fn is_in_reach(seen: &DemandSeen, claim: &ClaimSeen, source: &VolumeSeen) -> Result<(), Refusal> {
    let Some(node) = &claim.selected_node else { return Ok(()) };
    match seen.node_zones.get(node) {
        Some(zone) if *zone == source.zone => Ok(()),
        zone => {
            let of_node = zone.map_or_else(|| "no zone label".to_owned(), |zone| format!("zone {zone}"));
            let message = format!("node {node} has {of_node}, but the source is in {0}; keep the pod in {0}", source.zone);
            Err(Refusal::new(Reason::ZoneNotInPool, message).elsewhere())
        }
    }
}

/// One step for the source while a claim holds it. It follows the claim's pods and stays when the claim is gone.
pub(super) fn release(seen: &DemandSeen, volume: &VolumeSeen, claim: &ClaimRef, pv: Option<&PvSeen>) -> Option<DemandAction> {
    match pv {
        Some(pv) if pv.is_released => Some(free(volume, None, false)),
        Some(_) => follow(seen, volume),
        None if seen.live_claims.contains(&claim.uid) && !volume.deleting => None,
        None => Some(free(volume, Some(pv_name(&claim.uid)), false)),
    }
}
