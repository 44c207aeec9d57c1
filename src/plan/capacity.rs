//! How many volumes each zone shall have ready, and what is missing or too much.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Phase, VolumeState, Zone};

use super::action::Action;
use super::observation::{PoolSeen, VolumeSeen};
use super::snapshots::Stock;
use super::source::Judged;
use super::volumes::{Lives, drop_instead};

/// What one zone shall have and has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ZoneCount {
    /// Volumes that shall be ready and unclaimed.
    pub desired: u32,
    /// Volumes that are ready and unclaimed.
    pub ready: u32,
    /// Volumes that are being made.
    pub filling: u32,
    /// Volumes that a claim holds.
    pub claimed: u32,
    /// Whether the zone has a node.
    pub has_node: bool,
}

/// Counts by zone.
pub(super) type Zones = BTreeMap<Zone, ZoneCount>;

/// Makes what is missing from the newest snapshot and deletes what is too much, zone by zone.
///
/// A zone without a node gets nothing new, and loses nothing: its nodes may come back.
pub(super) fn plan(seen: &PoolSeen, source: &Judged, stock: &Stock, lives: &Lives, actions: &mut Vec<Action>) -> Zones {
    let zones = count(seen, source, lives);
    let mut slots: BTreeSet<u32> = seen.volumes.iter().map(|volume| volume.slot).collect();
    for (zone, have) in &zones {
        if !have.has_node {
            continue;
        }
        let present = have.ready + have.filling;
        if let (Ok(usable), Some(origin)) = (source, &stock.newest) {
            for _ in present..have.desired {
                let slot = free_slot(&mut slots);
                actions.push(Action::CreatePoolVolume { slot, zone: zone.clone(), size: usable.copy_size, origin: origin.clone() });
            }
        }
        let surplus = present.saturating_sub(have.desired) as usize;
        for volume in dispensable(seen, lives, zone).into_iter().take(surplus) {
            drop_instead(volume, actions);
        }
    }
    zones
}

/// Unclaimed volumes of a zone, the first to go first: failed, unfinished, then stale, then with the highest number.
fn dispensable<'a>(seen: &'a PoolSeen, lives: &Lives, zone: &Zone) -> Vec<&'a VolumeSeen> {
    let unclaimed = |volume: &&VolumeSeen| volume.zone == *zone && is_stock(volume, lives[&volume.key].phase);
    let mut volumes: Vec<_> = seen.volumes.iter().filter(unclaimed).collect();
    volumes.sort_by_key(|volume| {
        let phase = lives[&volume.key].phase;
        (phase != Phase::Failed, phase == Phase::Ready, volume.origin.generation, Reverse(volume.slot))
    });
    volumes
}

/// Whether a volume counts toward `replicas`: ready, or on its way to be. One that failed in EC2 counts until it has
/// rested, so that its replacement is not made before.
fn is_stock(volume: &VolumeSeen, phase: Phase) -> bool {
    let on_its_way = matches!(phase, Phase::Pending | Phase::Creating | Phase::Initializing | Phase::Ready);
    let is_resting = phase == Phase::Failed && volume.cloud.as_ref().is_some_and(|cloud| cloud.state == VolumeState::Error);
    (on_its_way || is_resting) && volume.claim.is_none() && !volume.retired && !volume.deleting
}

fn count(seen: &PoolSeen, source: &Judged, lives: &Lives) -> Zones {
    let mut zones = targets(seen, source);
    let wanted: BTreeSet<Zone> = zones.keys().cloned().collect();
    for volume in &seen.volumes {
        let phase = lives[&volume.key].phase;
        let zone = zones.entry(volume.zone.clone()).or_insert_with(|| ZoneCount { has_node: true, ..ZoneCount::default() });
        match phase {
            _ if volume.claim.is_some() => zone.claimed += 1,
            Phase::Ready => zone.ready += 1,
            _ if is_stock(volume, phase) => zone.filling += 1,
            _ => {}
        }
    }
    for (_, count) in zones.iter_mut().filter(|(zone, _)| !wanted.contains(*zone) && keeps_what_it_has(seen, source, zone)) {
        count.desired = count.ready + count.filling;
    }
    zones
}

/// Without `spec.zones`, the source or the nodes say which zones are wanted. While the source is not usable or the
/// nodes of a zone are gone, that is unknown, and nothing is lost for it.
fn keeps_what_it_has(seen: &PoolSeen, source: &Judged, zone: &Zone) -> bool {
    let is_unknown = source.as_ref().map_or(true, |usable| usable.zone.is_none() && !seen.zones_with_nodes.contains(zone));
    seen.pool.zones.is_empty() && is_unknown
}

/// Spreads `replicas` evenly over the wanted zones; the first zones get the rest.
fn targets(seen: &PoolSeen, source: &Judged) -> Zones {
    let wanted = wanted_zones(seen, source);
    let zone_count = u32::try_from(wanted.len()).unwrap_or(u32::MAX).max(1);
    let (share, rest) = (seen.pool.replicas / zone_count, seen.pool.replicas % zone_count);
    let target = |(index, zone): (u32, Zone)| {
        let has_node = seen.zones_with_nodes.contains(&zone);
        (zone, ZoneCount { desired: share + u32::from(index < rest), has_node, ..ZoneCount::default() })
    };
    (0..).zip(wanted).map(target).collect()
}

fn wanted_zones(seen: &PoolSeen, source: &Judged) -> Vec<Zone> {
    let source_zone = source.as_ref().ok().and_then(|usable| usable.zone.clone());
    match (seen.pool.zones.is_empty(), source_zone) {
        (false, _) => seen.pool.zones.clone(),
        (true, Some(zone)) => vec![zone],
        (true, None) if source.is_ok() => seen.zones_with_nodes.iter().cloned().collect(),
        (true, None) => Vec::new(),
    }
}

fn free_slot(slots: &mut BTreeSet<u32>) -> u32 {
    let slot = (0..u32::MAX).find(|slot| !slots.contains(slot)).unwrap_or(u32::MAX);
    slots.insert(slot);
    slot
}
