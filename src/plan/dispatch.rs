//! Which volume a claim gets: the best ready copy in the zone of the chosen node, reserved before anything else.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::domain::{ClaimRef, ObjectKey, Phase, Reason, ReclaimPolicy, Role, Zone};

use super::demand::{ClaimSeen, DemandAction, DemandSeen, Offer};
use super::observation::VolumeSeen;
use super::{recall, writer};

/// What this pass has already given away.
#[derive(Default)]
struct Taken {
    volumes: BTreeSet<ObjectKey>,
    slots: BTreeSet<(ObjectKey, u32)>,
}

/// Why a claim gets nothing now.
pub(super) struct Refusal {
    reason: Reason,
    message: String,
    reschedule: bool,
}

impl Refusal {
    pub(super) fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, reschedule: false }
    }

    /// The same, and the scheduler shall choose another node.
    pub(super) fn elsewhere(self) -> Self {
        Self { reschedule: true, ..self }
    }
}

/// Serves claims in the order of their names; each gets at most one step.
pub(super) fn plan(seen: &DemandSeen) -> Vec<DemandAction> {
    let mut claims: Vec<&ClaimSeen> = seen.claims.iter().collect();
    claims.sort_by(|a, b| a.key.cmp(&b.key));
    let mut taken = Taken::default();
    claims.into_iter().flat_map(|claim| step(seen, claim, &mut taken)).collect()
}

fn step(seen: &DemandSeen, claim: &ClaimSeen, taken: &mut Taken) -> Vec<DemandAction> {
    match serve(seen, claim, taken) {
        Ok(action) => action.into_iter().collect(),
        Err(refusal) => {
            let tell =
                DemandAction::Tell { claim: claim.key.clone(), uid: claim.uid.clone(), reason: refusal.reason, message: refusal.message };
            let reschedule = refusal.reschedule.then(|| DemandAction::Reschedule(claim.key.clone()));
            std::iter::once(tell).chain(reschedule).collect()
        }
    }
}

fn serve(seen: &DemandSeen, claim: &ClaimSeen, taken: &mut Taken) -> Result<Option<DemandAction>, Refusal> {
    let (pool_key, offer) = offer_for(seen, claim)?;
    if claim.wants_source {
        return writer::serve(seen, claim, (pool_key, offer));
    }
    if let Some(volume) = held_by(seen, claim) {
        return hand_over(volume, claim, offer).map(Some);
    }
    if claim.waits_for_node && claim.selected_node.is_none() {
        return Ok(None);
    }
    let zones = zones_for(seen, claim, pool_key, offer)?;
    if let Some(volume) = best(seen, claim, pool_key, &zones, taken) {
        taken.volumes.insert(volume.key.clone());
        return Ok(Some(reserve(volume, claim, offer)));
    }
    if let Some(volume) = recall::best(seen, claim, pool_key, &zones, &taken.volumes) {
        taken.volumes.insert(volume.key.clone());
        return recall::take_back(volume, claim, offer).map(Some);
    }
    make_or_wait(seen, claim, (pool_key, offer), &zones, taken).map(Some)
}

fn offer_for<'a>(seen: &'a DemandSeen, claim: &'a ClaimSeen) -> Result<(&'a ObjectKey, &'a Offer), Refusal> {
    let pool_key = claim.pool.as_ref().map_err(|fault| Refusal::new(Reason::InvalidClaim, fault.clone()))?;
    let Some(offer) = seen.offers.get(pool_key) else {
        let message = format!("there is no VolumePool {pool_key}; make it, or name another in spec.dataSourceRef of a new claim");
        return Err(Refusal::new(Reason::PoolNotFound, message));
    };
    let own = claim.key.namespace == pool_key.namespace;
    if !own && !offer.namespaces.iter().any(|name| name == "*" || *name == claim.key.namespace) {
        let message = format!(
            "the VolumePool {pool_key} does not allow namespace {0}; add {0} to its spec.claims.namespaces.matchNames",
            claim.key.namespace
        );
        return Err(Refusal::new(Reason::NamespaceNotAllowed, message));
    }
    if let Some(size) = offer.size.filter(|size| claim.requested > *size) {
        let message = format!(
            "spec.resources.requests.storage is {}, but volumes of the VolumePool {pool_key} have {size}; ask for {size} or less, or raise spec.template.size of the pool",
            claim.requested
        );
        return Err(Refusal::new(Reason::RequestTooLarge, message));
    }
    Ok((pool_key, offer))
}

pub(super) fn held_by<'a>(seen: &'a DemandSeen, claim: &ClaimSeen) -> Option<&'a VolumeSeen> {
    let holds = |volume: &&VolumeSeen| volume.claim.as_ref().is_some_and(|held| held.uid == claim.uid.as_str());
    seen.volumes.iter().filter(holds).min_by(|a, b| a.key.cmp(&b.key))
}

pub(super) fn hand_over(volume: &VolumeSeen, claim: &ClaimSeen, offer: &Offer) -> Result<DemandAction, Refusal> {
    let is_usable = matches!(volume.phase, Some(Phase::Ready | Phase::Refreshing | Phase::Claimed)) && !volume.deleting;
    match (&volume.recorded.volume, &volume.claim) {
        (Some(id), Some(held)) if is_usable => Ok(DemandAction::CreatePv {
            volume: volume.key.clone(),
            claim: held.clone(),
            volume_id: id.clone(),
            zone: volume.zone.clone(),
            size: volume.size,
            retain: offer.reclaim == ReclaimPolicy::Retain,
        }),
        _ => {
            let trouble = volume.recorded.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("the volume {} is being made for {}{trouble}", volume.key.name, claim.key);
            Err(Refusal::new(Reason::WaitingForVolume, message))
        }
    }
}

fn zones_for(seen: &DemandSeen, claim: &ClaimSeen, pool_key: &ObjectKey, offer: &Offer) -> Result<Vec<Zone>, Refusal> {
    let Some(node) = &claim.selected_node else { return Ok(offer.zones.clone()) };
    let zone = seen.node_zones.get(node);
    let in_pool = zone.filter(|zone| offer.zones.is_empty() || offer.zones.contains(zone));
    if let Some(zone) = in_pool {
        return Ok(vec![zone.clone()]);
    }
    let of_node = zone.map_or_else(|| "no zone label".to_owned(), |zone| format!("zone {zone}"));
    let zones: Vec<&str> = offer.zones.iter().map(Zone::as_str).collect();
    let message = format!(
        "node {node} has {of_node}, but the VolumePool {pool_key} keeps volumes in {}; add the zone to its spec.zones, or keep the pod in these zones",
        zones.join(", ")
    );
    Err(Refusal { reason: Reason::ZoneNotInPool, message, reschedule: true })
}

/// On that node already, then newest content, then lowest number.
fn best<'a>(seen: &'a DemandSeen, claim: &ClaimSeen, pool: &ObjectKey, zones: &[Zone], taken: &Taken) -> Option<&'a VolumeSeen> {
    let fits = |volume: &&VolumeSeen| volume.is_claimable() && suits(volume, claim, pool, zones, &taken.volumes);
    let is_elsewhere = |volume: &VolumeSeen| match (&volume.node, &claim.selected_node) {
        (Some(side), Some(node)) => side.node != node.as_str(),
        _ => true,
    };
    let newest = |volume: &VolumeSeen| Reverse((volume.content_rank(), volume.origin.generation));
    seen.volumes.iter().filter(fits).min_by_key(|volume| (is_elsewhere(volume), newest(volume), volume.slot))
}

/// Whether a claim could use a volume that nobody else has.
pub(super) fn suits(volume: &VolumeSeen, claim: &ClaimSeen, pool: &ObjectKey, zones: &[Zone], taken: &BTreeSet<ObjectKey>) -> bool {
    let in_pool = belongs_to(volume, pool) && volume.role == Role::Copy;
    in_pool && volume.size >= claim.requested && zones.contains(&volume.zone) && !taken.contains(&volume.key)
}

pub(super) fn belongs_to(volume: &VolumeSeen, pool: &ObjectKey) -> bool {
    volume.key.namespace == pool.namespace && volume.pool == pool.name
}

fn claim_ref(claim: &ClaimSeen, offer: &Offer) -> ClaimRef {
    ClaimRef { namespace: claim.key.namespace.clone(), name: claim.key.name.clone(), uid: claim.uid.to_string(), access: offer.access }
}

pub(super) fn reserve(volume: &VolumeSeen, claim: &ClaimSeen, offer: &Offer) -> DemandAction {
    DemandAction::Reserve {
        volume: volume.key.clone(),
        resource_version: volume.resource_version.clone(),
        claim: claim_ref(claim, offer),
        node: claim.selected_node.clone(),
    }
}

fn make_or_wait(
    seen: &DemandSeen,
    claim: &ClaimSeen,
    (pool_key, offer): (&ObjectKey, &Offer),
    zones: &[Zone],
    taken: &mut Taken,
) -> Result<DemandAction, Refusal> {
    let waiting = |why: &str| Refusal::new(Reason::WaitingForVolume, format!("no volume of the VolumePool {pool_key} is ready {why}"));
    if offer.is_closed {
        return Err(waiting("and the pool is paused or being deleted, so none is made"));
    }
    if !offer.makes_on_demand {
        return Err(waiting("and its spec.claims.whenEmpty is Wait; raise spec.replicas if this happens often"));
    }
    let (Some(origin), Some(size), Some(zone)) = (&offer.origin, offer.size, zones.first()) else {
        return Err(waiting("and it has no completed snapshot yet; see the conditions of the pool"));
    };
    let failed = |volume: &&VolumeSeen| volume.phase == Some(Phase::Failed) && volume.claim.is_none();
    let of_zone = seen.volumes.iter().filter(|volume| belongs_to(volume, pool_key) && volume.zone == *zone);
    if let Some(failed) = of_zone.filter(failed).min_by_key(|volume| &volume.key) {
        return Err(waiting(&format!("and {} failed in EC2; another is made when that is cleaned up", failed.key.name)));
    }
    Ok(DemandAction::CreateForClaim {
        pool: pool_key.clone(),
        pool_uid: offer.pool_uid.clone(),
        slot: free_slot(seen, pool_key, taken),
        zone: zone.clone(),
        size,
        origin: origin.clone(),
        content: offer.content.clone(),
        claim: claim_ref(claim, offer),
        node: claim.selected_node.clone(),
    })
}

fn free_slot(seen: &DemandSeen, pool: &ObjectKey, taken: &mut Taken) -> u32 {
    let is_copy = |volume: &&VolumeSeen| belongs_to(volume, pool) && volume.role == Role::Copy;
    let used: BTreeSet<u32> = seen.volumes.iter().filter(is_copy).map(|volume| volume.slot).collect();
    let slot = (0..u32::MAX).find(|slot| !used.contains(slot) && !taken.slots.contains(&(pool.clone(), *slot))).unwrap_or(u32::MAX);
    taken.slots.insert((pool.clone(), slot));
    slot
}
