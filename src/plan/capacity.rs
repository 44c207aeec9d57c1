//! How many volumes each zone shall have ready, what is missing or too much, and what is out of date.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::{Phase, VolumeState, Zone};

use super::action::{Action, NewVolume};
use super::observation::{PoolSeen, VolumeSeen};
use super::refresh::{self, ContentSeen, Course};
use super::snapshots::Stock;
use super::source::Judged;
use super::volumes::{Life, Lives, drop_instead, is_stuck};

/// What one zone shall have and has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ZoneCount {
    /// Volumes that shall be ready and unclaimed.
    pub desired: u32,
    /// Volumes that are ready and unclaimed.
    pub ready: u32,
    /// Those of them that must be replaced.
    pub outdated: u32,
    /// Those of them that must be refreshed.
    pub behind: u32,
    /// Volumes that are being refreshed, and ready again in a moment.
    pub refreshing: u32,
    /// Volumes that are being made.
    pub filling: u32,
    /// Volumes that a claim holds.
    pub claimed: u32,
    /// Whether the zone has a node.
    pub has_node: bool,
}

impl ZoneCount {
    /// Volumes that are filled and unclaimed.
    pub fn stock(&self) -> u32 {
        self.ready + self.refreshing
    }

    /// How many to make: what is missing, and one more while ready ones must be replaced and none is on its way.
    fn missing(&self) -> u32 {
        let present = self.stock() + self.filling;
        let surge = u32::from(self.outdated > 0 && self.filling == 0 && present == self.desired);
        (self.desired + surge).saturating_sub(present)
    }
}

/// Counts by zone.
pub(super) type Zones = BTreeMap<Zone, ZoneCount>;

/// Makes what is missing from the newest snapshot and deletes what is too much, zone by zone.
///
/// A zone without a node gets nothing new, and loses nothing: its nodes may come back.
pub(super) fn plan(
    seen: &PoolSeen,
    source: &Judged,
    lives: &Lives<'_>,
    (stock, now): (&Stock, Timestamp),
    actions: &mut Vec<Action>,
) -> Zones {
    let fate = |volume: &VolumeSeen| fate(seen, source, volume, (stock, now));
    let zones = count(seen, source, lives, fate);
    let slots: BTreeSet<u32> = seen.volumes.iter().map(|volume| volume.slot).collect();
    let mut free_slots = (0..u32::MAX).filter(|slot| !slots.contains(slot));
    for (zone, have) in zones.iter().filter(|(_, have)| have.has_node) {
        if let (Ok(usable), Some(origin)) = (source, &stock.newest) {
            let attempt = next_attempt(seen, zone);
            let content = Some(ContentSeen { position: stock.newest_position.clone(), time: stock.newest_started });
            let content = content.filter(|_| seen.pool.live.is_some());
            let (size, origin) = (usable.copy_size, || origin.clone());
            let new = |slot| NewVolume { slot, attempt, zone: zone.clone(), size, origin: origin(), content: content.clone() };
            actions.extend(free_slots.by_ref().take(have.missing() as usize).map(new).map(Action::CreatePoolVolume));
        }
        let is_outdated = |volume: &VolumeSeen| fate(volume) == Course::Replace;
        let mut candidates = dispensable(lives, zone);
        candidates.sort_by_cached_key(|life| value(life, is_outdated(life.volume)));
        drop_instead(&surplus(have, &candidates, is_outdated), actions);
    }
    zones
}

/// Which of the dispensable volumes go: as many as are too many, but never a ready one below the target, and not the
/// one that is being made to replace an outdated one.
fn surplus<'a>(have: &ZoneCount, from: &[&Life<'a>], is_outdated: impl Fn(&VolumeSeen) -> bool) -> Vec<&'a VolumeSeen> {
    let mut too_many = (have.stock() + have.filling).saturating_sub(have.desired);
    let mut spare_ready = have.ready.saturating_sub(have.desired);
    // While one is out of date, the one that is being refreshed is awaited: it shall not go in the other's place.
    let mut spare_refreshing = if have.outdated > 0 { 0 } else { have.stock().saturating_sub(have.desired) };
    let is_replacement = |life: &Life<'_>| life.phase() != Phase::Failed && !is_outdated(life.volume);
    let is_filling = |life: &Life<'_>| !matches!(life.phase(), Phase::Ready | Phase::Refreshing);
    let replacements = from.iter().filter(|life| is_filling(life) && is_replacement(life)).count();
    let kept = u32::from(have.outdated > 0 && spare_ready == 0);
    let mut spare_replacements = u32::try_from(replacements).unwrap_or(u32::MAX).saturating_sub(kept);
    let mut gone = Vec::new();
    for life in from {
        let may_go = match life.phase() {
            _ if too_many == 0 => false,
            Phase::Ready => take_one(&mut spare_ready),
            Phase::Refreshing => take_one(&mut spare_refreshing),
            _ if is_replacement(life) => take_one(&mut spare_replacements),
            _ => true,
        };
        if may_go {
            too_many -= 1;
            gone.push(life.volume);
        }
    }
    gone
}

fn take_one(left: &mut u32) -> bool {
    left.checked_sub(1).map(|rest| *left = rest).is_some()
}

/// Unclaimed volumes of a zone.
fn dispensable<'a, 'b>(lives: &'a Lives<'b>, zone: &Zone) -> Vec<&'a Life<'b>> {
    lives.iter().filter(|life| life.volume.zone == *zone && is_stock(life)).collect()
}

/// What is worth least goes first: failed, unfinished, being refreshed, out of date, then stale, then with the highest number.
fn value(life: &Life<'_>, is_outdated: bool) -> impl Ord + use<> {
    let (volume, phase) = (life.volume, life.phase());
    let worth = match phase {
        Phase::Failed => 0,
        Phase::Ready => 3,
        Phase::Refreshing => 2,
        _ => 1,
    };
    (worth, !is_outdated, volume.content_rank(), volume.origin.generation, Reverse(volume.slot))
}

/// Whether a volume counts toward `replicas`: ready, or on its way to be. One that failed in EC2 counts until it has
/// rested, so that its replacement is not made before.
fn is_stock(life: &Life<'_>) -> bool {
    let (volume, phase) = (life.volume, life.phase());
    let on_its_way = matches!(phase, Phase::Pending | Phase::Creating | Phase::Initializing | Phase::Ready | Phase::Refreshing);
    let is_resting = phase == Phase::Failed && volume.cloud.as_ref().is_some_and(|cloud| cloud.state == VolumeState::Error);
    (on_its_way || is_resting) && volume.claim.is_none() && !volume.retired && !volume.deleting
}

/// What becomes of a ready volume: it is replaced when it differs in what cannot be changed in place; else its content decides.
fn fate(seen: &PoolSeen, source: &Judged, volume: &VolumeSeen, (stock, now): (&Stock, Timestamp)) -> Course {
    let (Ok(usable), Some(_)) = (source, &stock.newest) else { return Course::Stay };
    let is_of_another_kind = volume.encryption != seen.pool.template.encryption || volume.size > usable.copy_size;
    if is_of_another_kind { Course::Replace } else { refresh::course(seen, stock, volume, now) }
}

/// A volume that replaces one that EC2 could not make is the next attempt, so that a lasting cause is met ever more
/// seldom.
fn next_attempt(seen: &PoolSeen, zone: &Zone) -> u32 {
    let failed = seen.volumes.iter().filter(|volume| volume.zone == *zone).filter(|volume| {
        let has_error = volume.cloud.as_ref().is_some_and(|cloud| cloud.state == VolumeState::Error);
        has_error || is_stuck(volume, seen.observed)
    });
    failed.map(|volume| volume.attempt.saturating_add(1)).max().unwrap_or(0)
}

fn count(seen: &PoolSeen, source: &Judged, lives: &Lives<'_>, fate: impl Fn(&VolumeSeen) -> Course) -> Zones {
    let mut zones = targets(seen, source);
    let wanted: BTreeSet<Zone> = zones.keys().cloned().collect();
    for life in lives {
        let volume = life.volume;
        let zone = zones.entry(volume.zone.clone()).or_insert_with(|| ZoneCount { has_node: true, ..ZoneCount::default() });
        match life.phase() {
            _ if volume.claim.is_some() => zone.claimed += 1,
            Phase::Ready => {
                zone.ready += 1;
                let fate = fate(volume);
                zone.outdated += u32::from(fate == Course::Replace);
                zone.behind += u32::from(fate == Course::Refresh);
            }
            Phase::Refreshing if is_stock(life) => zone.refreshing += 1,
            _ if is_stock(life) => zone.filling += 1,
            _ => {}
        }
    }
    for (_, count) in zones.iter_mut().filter(|(zone, _)| !wanted.contains(*zone) && keeps_what_it_has(seen, source, zone)) {
        (count.desired, count.outdated, count.behind) = (count.stock() + count.filling, 0, 0);
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
