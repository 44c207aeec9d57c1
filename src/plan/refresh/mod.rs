//! Ready volumes that fall behind their source are refreshed: one at a time in each zone is attached to a node, whose agent brings it
//! up to the source as it does with every mounted volume, and is detached again.
//!
//! A refresh takes a volume only from a zone that has all it promises, and demand ends it when a claim finds nothing else.

mod course;
mod seen;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{NodeName, ObjectKey, Phase, SyncState, Zone};

use super::action::Action;
use super::age;
use super::capacity::{ZoneCount, Zones};
use super::observation::{PoolSeen, VolumeSeen};
use super::snapshots::Stock;
use super::volumes::{Life, Lives};

pub(super) use course::{Course, course};
pub use seen::{ContentSeen, RefreshEnd, RefreshSeen, RefreshWanted};

/// How long a node has to bring a volume up to the source: a volume that takes longer is sooner made anew.
const LIMIT: SignedDuration = SignedDuration::from_mins(10);
/// How long an agent has to begin: it says so before it asks EC2 for anything. One that does not is away.
const BEGUN_WITHIN: SignedDuration = SignedDuration::from_mins(1);
/// The shortest time between two refreshes of a volume: a source that never rests must not keep volumes on the way for ever.
const PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// The longest time between two refreshes that fail; it doubles in between, from [`PAUSE`] on.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// Free places that a node must have: the volume takes one, and the next pod finds another.
const PLACES: u32 = 2;

/// Ends the refreshes that are over, and begins the next one in each zone. Neither changes anything in EC2 by itself.
pub(super) fn plan(seen: &PoolSeen, (stock, zones): (&Stock, &Zones), lives: &Lives<'_>, now: Timestamp, actions: &mut Vec<Action>) {
    let busy: BTreeSet<ObjectKey> = actions.iter().filter_map(Action::volume).cloned().collect();
    let idle = || lives.iter().filter(|life| !busy.contains(&life.volume.key));
    let over = idle().filter(|life| life.volume.is_refreshing()).filter_map(|life| Some((life.volume, end(seen, life, now)?)));
    actions.extend(over.map(|(volume, end)| Action::EndRefresh {
        key: volume.key.clone(),
        resource_version: volume.resource_version.clone(),
        end,
    }));
    if seen.pool.paused {
        return;
    }
    for zone in zones.iter().filter(|(_, count)| can_spare_one(count)).map(|(zone, _)| zone) {
        let in_zone = idle().filter(|life| life.volume.zone == *zone).map(|life| (life.phase(), life.volume));
        let ready = in_zone.filter(|(phase, _)| *phase == Phase::Ready).map(|(_, volume)| volume);
        let due = ready.filter(|volume| is_rested(volume, now) && course(seen, stock, volume, now) == Course::Refresh);
        actions.extend(due.min_by_key(|volume| staleness(seen, volume)).and_then(|volume| begin(seen, volume)));
    }
}

/// Whether a zone has all it promises, and nothing in it is being made, replaced or refreshed.
fn can_spare_one(count: &ZoneCount) -> bool {
    let is_calm = (count.filling, count.outdated, count.refreshing) == (0, 0, 0);
    is_calm && count.behind > 0 && count.ready >= count.desired
}

/// What compares least is refreshed first: what nobody knows, then the oldest content.
fn staleness(seen: &PoolSeen, volume: &VolumeSeen) -> (Option<(u64, u64)>, Option<Timestamp>, u32) {
    let content = course::content(seen, volume);
    let source = seen.published_position();
    let position = content.position.filter(|own| source.is_some_and(|source| own.source == source.source));
    (position.map(|position| (position.epoch, position.generation)), content.time, volume.slot)
}

fn begin(seen: &PoolSeen, volume: &VolumeSeen) -> Option<Action> {
    Some(Action::BeginRefresh {
        key: volume.key.clone(),
        resource_version: volume.resource_version.clone(),
        node: place(seen, &volume.zone, volume.refresh.as_ref())?.clone(),
        target: seen.published_position()?.clone(),
    })
}

/// The node with the most room in the zone that takes pods and can follow; another than the one that failed, if there is one.
fn place<'a>(seen: &'a PoolSeen, zone: &Zone, last: Option<&RefreshSeen>) -> Option<&'a NodeName> {
    let fit = seen.agents.iter().filter(|(node, agent)| {
        let is_open = agent.publishes && !agent.is_cordoned && seen.nodes.contains(*node);
        agent.zone == *zone && is_open && agent.free_slots >= PLACES
    });
    let has_failed = |node: &NodeName| last.is_some_and(|last| last.failures > 0 && last.node == *node);
    fit.min_by_key(|(node, agent)| (has_failed(node), Reverse(agent.free_slots), (*node).clone())).map(|(node, _)| node)
}

fn is_rested(volume: &VolumeSeen, now: Timestamp) -> bool {
    volume.refresh.as_ref().is_none_or(|last| {
        let pause = PAUSE.checked_mul(1 << last.failures.min(8)).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
        age(now, last.ended.unwrap_or(last.started)) >= pause
    })
}

/// Whether a volume is on its way back from its refresh. One that its node does not let go of is not waited for: another is made.
pub(super) fn is_returning(volume: &VolumeSeen, observed: Timestamp) -> bool {
    let ended = volume.refresh.as_ref().and_then(|last| last.ended);
    volume.claim.is_none() && volume.node_name.is_none() && ended.is_some_and(|ended| age(observed, ended) < LIMIT)
}

/// Whether a refresh that is under way is over, and how it ends.
fn end(seen: &PoolSeen, life: &Life<'_>, now: Timestamp) -> Option<RefreshEnd> {
    let (volume, refresh) = (life.volume, life.volume.refresh.as_ref()?);
    let node = &refresh.node;
    let side = volume.node.as_ref().filter(|side| side.node == node.as_str() && side.mounted);
    let sync = side.and_then(|side| side.sync.as_ref());
    let has_target = sync.and_then(|sync| sync.position.as_ref()).is_some_and(|own| own.is_at_least(&refresh.target));
    let (is_in_sync, is_late) = (sync.is_some_and(|sync| sync.state == SyncState::InSync), age(now, refresh.started) >= LIMIT);
    if has_target && (is_in_sync || is_late) {
        return Some(RefreshEnd::Done);
    }
    match life.phase() {
        Phase::Failed => return Some(RefreshEnd::Failed("EC2 does not have its volume any more".to_owned())),
        _ if !seen.nodes.contains(node) => return Some(RefreshEnd::Failed(format!("node {node} is gone"))),
        _ if volume.node.is_none() && age(now, refresh.started) >= BEGUN_WITHIN => {
            return Some(RefreshEnd::Failed(format!("the agent of node {node} has not begun within {BEGUN_WITHIN:#}")));
        }
        _ if is_late => return Some(RefreshEnd::Failed(too_late(volume, node))),
        _ => {}
    }
    unwanted(seen, node).map(RefreshEnd::Stopped)
}

fn too_late(volume: &VolumeSeen, node: &NodeName) -> String {
    let side = volume.node.as_ref();
    let sync = side.and_then(|side| side.sync.as_ref());
    let error = side.and_then(|side| side.error.clone()).or_else(|| sync.and_then(|sync| sync.error.clone()));
    let state = || match (side, sync) {
        (Some(side), _) if !side.mounted => "it is not mounted yet".to_owned(),
        (_, sync) => format!("it is {}", sync.map_or_else(|| "not followed".to_owned(), |sync| format!("{:?}", sync.state))),
    };
    format!("node {node} did not bring it up to the source within {LIMIT:#}: {}", error.unwrap_or_else(state))
}

/// Why a refresh that is under way leads to nothing.
fn unwanted(seen: &PoolSeen, node: &NodeName) -> Option<String> {
    let is_assigned = seen.source_object.as_ref().is_some_and(|source| source.volume.node_name.is_some());
    match () {
        () if seen.pool.refresh.is_none() => Some("the pool has no spec.sync.refresh any more".to_owned()),
        () if !is_assigned => Some("no node publishes the source".to_owned()),
        () if seen.agents.get(node).is_some_and(|agent| agent.is_cordoned) => Some(format!("node {node} takes no pods any more")),
        () => None,
    }
}

/// Why volumes that are to be refreshed are not, in words for the condition of the pool.
pub(super) fn obstacle(seen: &PoolSeen, zones: &Zones) -> Option<String> {
    let waiting = || zones.iter().filter(|(_, count)| count.behind > 0 && count.refreshing == 0);
    let full = waiting().map(|(zone, _)| zone).find(|zone| place(seen, zone, None).is_none());
    match (waiting().next(), full) {
        (Some(_), _) if seen.pool.paused => Some("none is while spec.paused is true".to_owned()),
        (Some(_), Some(zone)) => Some(format!(
            "none is in {zone}, where no node that takes pods has an agent with a certificate and room for {PLACES} more volumes"
        )),
        _ => None,
    }
}
