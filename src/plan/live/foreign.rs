//! A source that another driver attaches: it is published where pods have it, and left alone wherever nobody has.
//!
//! Nothing is attached, moved or detached for its sake. The agent of a node whose pods have it asks for it; it is given the
//! source once EC2 shows the volume attached to that node's instance, and keeps it until it has let go or EC2 shows it elsewhere.
//! What the last agent said stays in the object: while no pod has the source, that is where its content is.

use jiff::SignedDuration;

use crate::domain::{CloudVolume, NodeName, SyncPosition, SyncState};

use super::super::action::Action;
use super::super::observation::{NodeSide, PoolSeen, VolumeSeen};
use super::super::report::Finding;
use super::{SourceObject, SyncSeen};

/// Where a source is that another driver attaches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Whereabouts {
    /// An agent was told to publish it.
    Assigned,
    /// Pods of a node have it, and that node does not publish it yet.
    Requested(NodeName),
    /// It is attached to an instance without an agent, so that nobody can tell who writes it.
    Unwatched,
    /// No pod has it.
    NotMounted,
}

/// Where it is; none for a source that our agents attach.
pub(super) fn whereabouts(seen: &PoolSeen) -> Option<Whereabouts> {
    seen.pool.live.as_ref()?.attached_by.as_ref()?;
    let Some(object) = &seen.source_object else { return Some(Whereabouts::NotMounted) };
    Some(match (&object.volume.node_name, &object.requested_by) {
        (Some(_), _) => Whereabouts::Assigned,
        (None, Some(node)) => Whereabouts::Requested(node.clone()),
        (None, None) if super::place::is_held_elsewhere(seen, &object.volume) => Whereabouts::Unwatched,
        (None, None) => Whereabouts::NotMounted,
    })
}

/// The last position of a source that no pod has had since it was there. Everything up to it is on the volume.
pub(in super::super) fn rests_at(seen: &PoolSeen) -> Option<&SyncPosition> {
    last_words(seen)?.position.as_ref()
}

/// What the agent said that let the source go last; none once somebody else has it, or may have.
pub(in super::super) fn last_words(seen: &PoolSeen) -> Option<&SyncSeen> {
    (whereabouts(seen)? == Whereabouts::NotMounted).then_some(())?;
    let object = seen.source_object.as_ref().filter(|object| object.is_foreign())?;
    let side = object.volume.node.as_ref().filter(|side| !may_be_had_again(seen, &object.volume, side))?;
    side.sync.as_ref().filter(|sync| sync.state == SyncState::NotMounted && !side.mounted)
}

/// The condition `SourceReady` of a source that no pod has.
pub(in super::super) fn not_mounted(seen: &PoolSeen, id: &str) -> Option<Finding> {
    use super::super::report::Condition;
    use crate::domain::Reason;
    (whereabouts(seen)? == Whereabouts::NotMounted).then_some(())?;
    let driver = seen.pool.live.as_ref()?.attached_by.as_deref()?;
    let message = format!(
        "{id} can be copied; no pod has it mounted, so that its content cannot change. {driver} attaches it, and the agent of the node \
         where a pod mounts it publishes it"
    );
    Some(Finding::new(Condition::SourceReady, true, Reason::NotMounted, message))
}

/// How long EC2 may show a volume free that is attached. An agent that asks for it longer has been gone for long.
const LAG: SignedDuration = SignedDuration::from_mins(1);

/// Whether it is worth looking at EC2 soon: pods of a node have it, and EC2 was not seen to show that.
pub(super) fn moves(seen: &PoolSeen, object: &SourceObject) -> bool {
    let is_free_for_long = seen.source_free.as_ref().is_some_and(|free| {
        let is_free = object.volume.cloud.as_ref().is_some_and(CloudVolume::is_free);
        is_free && free.until.duration_since(free.since) > LAG
    });
    object.volume.node_name.is_none() && object.requested_by.is_some() && !is_free_for_long
}

/// One step.
pub(super) fn placed(seen: &PoolSeen, object: &SourceObject) -> Option<Action> {
    let volume = &object.volume;
    let Some(node) = &volume.node_name else { return doubted(seen, object).or_else(|| assigned(seen, object)) };
    let side = volume.node.as_ref().filter(|side| side.node == node.as_str());
    let is_lost = !seen.nodes.contains(node) || volume.cloud.is_some() && holder(seen, volume) != Some(node);
    (is_lost || side.is_some_and(has_let_go)).then(|| Action::Unassign(volume.key.clone()))
}

/// The node whose pods have it gets it. An agent that has said that nobody has it takes that back before it asks.
fn assigned(seen: &PoolSeen, object: &SourceObject) -> Option<Action> {
    let volume = &object.volume;
    let node = object.requested_by.as_ref().filter(|node| holder(seen, volume) == Some(*node) && seen.nodes.contains(*node))?;
    let has_word = volume.node.as_ref().is_some_and(|side| side.node == node.as_str() && has_let_go(side));
    let publishes = seen.agents.get(node).is_some_and(|agent| agent.publishes);
    let resource_version = volume.resource_version.clone();
    (publishes && !has_word).then(|| Action::AssignSource { key: volume.key.clone(), resource_version, node: node.clone() })
}

/// What the last agent said is forgotten as soon as somebody may have the volume again, or asks for it: before a pod there can have
/// written, or as soon as one has. Before it is given to another node, so that it does not count again when that node is lost;
/// and also while the source cannot be used, since agents go by what is said.
pub(super) fn doubted(seen: &PoolSeen, object: &SourceObject) -> Option<Action> {
    let volume = &object.volume;
    let side = volume.node.as_ref().filter(|side| object.is_foreign() && volume.node_name.is_none() && has_let_go(side))?;
    let is_asked_for = object.requested_by.as_ref().is_some_and(|node| side.node != node.as_str());
    (is_asked_for || may_be_had_again(seen, volume, side)).then(|| forgotten(volume))
}

/// One step toward an object that no agent has anything of: told to let go, waited for, forgotten.
pub(super) fn cleared(seen: &PoolSeen, volume: &VolumeSeen) -> Option<Action> {
    if volume.node_name.is_some() {
        return Some(Action::Unassign(volume.key.clone()));
    }
    let side = volume.node.as_ref()?;
    let is_node_gone = !seen.nodes.contains(&NodeName::new(side.node.as_str()));
    // Pods may have it for as long as they like; `mounted` says that the agent publishes it.
    (!side.mounted || is_node_gone).then(|| forgotten(volume))
}

fn forgotten(volume: &VolumeSeen) -> Action {
    Action::ForgetNode { key: volume.key.clone(), resource_version: volume.resource_version.clone() }
}

/// Whether its agent has nothing of it open any more, and says so.
fn has_let_go(side: &NodeSide) -> bool {
    let is_word = |sync: &SyncSeen| matches!(sync.state, SyncState::NotMounted | SyncState::Disconnected);
    !side.mounted && side.sync.as_ref().is_some_and(is_word)
}

/// The node of the one instance that has it.
fn holder<'a>(seen: &'a PoolSeen, volume: &VolumeSeen) -> Option<&'a NodeName> {
    super::place::holders(seen, volume).into_iter().next()
}

/// Whether pods may have had the volume since a node said that none has: another instance has it, or the same one again after
/// EC2 was seen to show it free, whose agent has not looked yet.
fn may_be_had_again(seen: &PoolSeen, volume: &VolumeSeen, side: &NodeSide) -> bool {
    let is_attached = volume.cloud.iter().flat_map(CloudVolume::live_attachments).next().is_some();
    let said = side.sync.as_ref().and_then(|sync| sync.last_in_sync);
    let was_free_since = seen.source_free.as_ref().is_some_and(|free| said.is_none_or(|said| free.until > said));
    is_attached_beyond(seen, volume, side) || is_attached && was_free_since
}

/// Whether an instance other than that of a node has the volume.
fn is_attached_beyond(seen: &PoolSeen, volume: &VolumeSeen, side: &NodeSide) -> bool {
    let mut attachments = volume.cloud.iter().flat_map(CloudVolume::live_attachments);
    attachments.any(|attachment| seen.instances.get(&attachment.instance).is_none_or(|node| side.node != node.as_str()))
}
