//! Where is the source of a live pool published? Its object is kept, given to a node, and taken from one that is gone.
//!
//! The source volume itself is the user's: it is attached and detached, never tagged, changed or deleted. One that another
//! driver attaches is not even that (`foreign`).

mod finding;
mod foreign;
mod place;
mod seen;

use crate::domain::{NodeName, ObjectKey, Phase, Reason, VolumeId};

use super::action::Action;
use super::observation::{PoolSeen, VolumeSeen};
use super::report::VolumeReport;
use super::source::{Judged, Usable};
use super::volumes::is_on_lost_node;

pub(super) use finding::finding;
pub(super) use foreign::{last_words, not_mounted, rests_at};
pub use seen::{AgentSeen, CheckpointSeen, NewSource, PublishWanted, SourceObject, SyncSeen, VerifiedSeen};

/// What becomes of the object of the source.
enum Wish<'a> {
    /// It is wanted, to be published like this.
    Published(&'a PublishWanted, &'a VolumeId, &'a Usable),
    /// It stays as it is: what is known of the source does not suffice to change anything.
    Kept,
    /// It stays, on no node: the owner of the source has taken back that it may be read.
    Withdrawn,
    /// It is not wanted.
    Gone,
}

/// Plans one step for the object of the source, and says how that stands. None for a pool that never was live.
pub(super) fn plan(seen: &PoolSeen, source: &Judged, actions: &mut Vec<Action>) -> Option<(ObjectKey, VolumeReport)> {
    match (&seen.source_object, wish(seen, source)) {
        (None, Wish::Published(publish, volume, usable)) => actions.extend(created(seen, publish, volume, usable)),
        (None, _) => {}
        (Some(object), wish) => actions.extend(step(seen, object, &wish)),
    }
    report(seen)
}

/// Plans one step toward the end of the object of the source, of a pool that is being deleted.
pub(super) fn leave(seen: &PoolSeen, actions: &mut Vec<Action>) -> Option<(ObjectKey, VolumeReport)> {
    actions.extend(seen.source_object.as_ref().and_then(|object| step(seen, object, &Wish::Gone)));
    report(seen)
}

/// Whether the source is between two nodes, so that it is worth looking at EC2 again soon.
pub(super) fn moves(seen: &PoolSeen) -> bool {
    seen.source_object.as_ref().is_some_and(|object| {
        let volume = &object.volume;
        if object.is_foreign() {
            return volume.deleting || foreign::moves(seen, object);
        }
        let is_on_its_way = volume.node_name.is_some() && !volume.node.as_ref().is_some_and(|side| side.attached);
        volume.deleting || is_on_its_way || volume.node_name.is_none() && volume.node.is_some() || is_node_gone(seen, volume)
    })
}

fn wish<'a>(seen: &'a PoolSeen, source: &'a Judged) -> Wish<'a> {
    let Some(publish) = &seen.pool.live else { return Wish::Gone };
    match source {
        Ok(usable) => usable.volume.as_ref().map_or(Wish::Gone, |volume| Wish::Published(publish, volume, usable)),
        Err(blocked) if blocked.reason == Reason::SourceNotShared => Wish::Withdrawn,
        Err(_) => Wish::Kept,
    }
}

fn created(seen: &PoolSeen, publish: &PublishWanted, volume: &VolumeId, usable: &Usable) -> Option<Action> {
    let (volume, publish) = (volume.clone(), publish.clone());
    let new = NewSource { volume, zone: usable.zone.clone()?, size: usable.source_size, publish };
    (!seen.pool.paused).then_some(Action::CreateSourceObject(new))
}

fn step(seen: &PoolSeen, object: &SourceObject, wish: &Wish<'_>) -> Option<Action> {
    let volume = &object.volume;
    if !object.is_foreign() && is_on_lost_node(seen, volume) && volume.node_name.is_none() {
        return Some(Action::ForgetNode { key: volume.key.clone(), resource_version: volume.resource_version.clone() });
    }
    if volume.deleting {
        return foreign_end(seen, object).or_else(|| leaving(volume));
    }
    match wish {
        Wish::Gone => Some(deleted(volume)),
        Wish::Withdrawn if volume.node_name.is_some() => Some(Action::Unassign(volume.key.clone())),
        Wish::Kept | Wish::Withdrawn => foreign::doubted(seen, object),
        Wish::Published(publish, _, usable) => published(seen, object, publish, usable),
    }
}

/// Who attaches it changes hands only while no agent has anything of it.
fn published(seen: &PoolSeen, object: &SourceObject, publish: &PublishWanted, usable: &Usable) -> Option<Action> {
    let volume = &object.volume;
    let changes_hands = object.publish.as_ref().is_some_and(|told| told.attached_by != publish.attached_by);
    if changes_hands && !volume.is_off_nodes() {
        let step = volume.node_name.is_some().then(|| Action::Unassign(volume.key.clone()));
        return foreign_end(seen, object).or(step);
    }
    told(object, publish, usable).or_else(|| if object.is_foreign() { foreign::placed(seen, object) } else { placed(seen, object) })
}

/// One step by which agents have nothing of a source that another driver attaches.
fn foreign_end(seen: &PoolSeen, object: &SourceObject) -> Option<Action> {
    object.is_foreign().then(|| foreign::cleared(seen, &object.volume)).flatten()
}

fn deleted(volume: &VolumeSeen) -> Action {
    Action::DeletePoolVolume { key: volume.key.clone(), uid: volume.uid.clone(), resource_version: volume.resource_version.clone() }
}

/// The end of the object: no claim has it, no node has it, forgotten. The source volume stays.
fn leaving(volume: &VolumeSeen) -> Option<Action> {
    match (&volume.claim, &volume.node_name, &volume.node) {
        (Some(_), _, _) | (None, None, Some(_)) => None,
        (None, Some(_), _) => Some(Action::Unassign(volume.key.clone())),
        (None, None, None) => Some(Action::RemoveVolumeFinalizer(volume.key.clone())),
    }
}

/// What agents read in the object follows the pool.
fn told(object: &SourceObject, publish: &PublishWanted, usable: &Usable) -> Option<Action> {
    let (key, resource_version) = (object.volume.key.clone(), object.volume.resource_version.clone());
    if object.publish.as_ref() != Some(publish) {
        return Some(Action::Publish { key, resource_version, publish: publish.clone() });
    }
    // The owner may have made it larger.
    let size = usable.source_size;
    (object.volume.size != size).then_some(Action::RecordSize { key, resource_version, size })
}

/// On one node at a time: the next one gets it only when EC2 and the last agent have let it go.
fn placed(seen: &PoolSeen, object: &SourceObject) -> Option<Action> {
    let volume = &object.volume;
    match (&volume.node_name, &volume.node) {
        (Some(_), _) if is_node_gone(seen, volume) => Some(Action::Unassign(volume.key.clone())),
        (Some(node), _) if place::should_leave(seen, object, node) => Some(Action::Unassign(volume.key.clone())),
        (Some(_), _) | (None, Some(_)) => None,
        (None, None) => {
            let node = place::best(seen, object).filter(|_| !seen.pool.paused && !place::is_held_elsewhere(seen, volume))?;
            let resource_version = volume.resource_version.clone();
            Some(Action::AssignSource { key: volume.key.clone(), resource_version, node: node.clone() })
        }
    }
}

fn is_node_gone(seen: &PoolSeen, volume: &VolumeSeen) -> bool {
    volume.node_name.as_ref().is_some_and(|node| !seen.nodes.contains(node))
}

fn report(seen: &PoolSeen) -> Option<(ObjectKey, VolumeReport)> {
    let volume = &seen.source_object.as_ref()?.volume;
    let phase = match () {
        () if volume.deleting => Phase::Deleting,
        () if volume.claim.is_some() => Phase::Claimed,
        () => Phase::Ready,
    };
    let report = VolumeReport {
        phase,
        volume: volume.cloud.as_ref().map(|cloud| cloud.id.clone()).or_else(|| volume.recorded.volume.clone()),
        state: volume.cloud.as_ref().map(|cloud| cloud.state),
        initialized_percent: 100,
        modification: None,
        missing_since: None,
        // Unlike a copy, it may be attached by somebody else: only what our agents have said counts.
        watched_by: volume.node_name.clone().or_else(|| volume.node.as_ref().map(|side| NodeName::new(side.node.as_str()))),
    };
    Some((volume.key.clone(), report))
}
