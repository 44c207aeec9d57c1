//! Which node publishes the source: the one whose pods write it, else the one that has it, else the one with the most room.

use std::cmp::Reverse;

use crate::domain::{CloudVolume, NodeName};

use super::super::observation::{PoolSeen, VolumeSeen};
use super::{AgentSeen, SourceObject};

/// The node that shall get the source; none when no agent of its zone can publish it.
pub(super) fn best<'a>(seen: &'a PoolSeen, object: &SourceObject) -> Option<&'a NodeName> {
    let attached = holders(seen, &object.volume);
    let rank = |(node, agent): &(&NodeName, &AgentSeen)| {
        let (is_requested, is_there) = (object.requested_by.as_ref() == Some(*node), attached.contains(node));
        (!is_requested, agent.is_cordoned, !is_there, Reverse(agent.free_slots), (*node).clone())
    };
    let fit = seen.agents.iter().filter(|(node, agent)| {
        let has_room = agent.free_slots > 0 || attached.contains(node);
        agent.zone == object.volume.zone && agent.publishes && has_room && seen.nodes.contains(*node)
    });
    fit.min_by_key(rank).map(|(node, _)| node)
}

/// Whether the source shall go to another node while its own still works: pods there wait for it, or its own takes no pods any
/// more and nobody writes the source.
pub(super) fn should_leave(seen: &PoolSeen, object: &SourceObject, node: &NodeName) -> bool {
    let is_used = object.volume.node.as_ref().is_some_and(|side| side.published > 0);
    let is_cordoned = |node: &NodeName| seen.agents.get(node).is_some_and(|agent| agent.is_cordoned);
    let wants_it = |other: &NodeName| object.requested_by.as_ref() == Some(other) || is_cordoned(node) && !is_cordoned(other);
    !is_used && !seen.pool.paused && best(seen, object).is_some_and(|other| other != node && wants_it(other))
}

/// Whether an instance without an agent has the source: we never take a volume from somebody else.
pub(super) fn is_held_elsewhere(seen: &PoolSeen, volume: &VolumeSeen) -> bool {
    let mut attachments = volume.cloud.iter().flat_map(CloudVolume::live_attachments);
    attachments.any(|attachment| !seen.instances.contains_key(&attachment.instance))
}

/// The nodes of the instances that have the source.
pub(super) fn holders<'a>(seen: &'a PoolSeen, volume: &VolumeSeen) -> Vec<&'a NodeName> {
    let attachments = volume.cloud.iter().flat_map(CloudVolume::live_attachments);
    attachments.filter_map(|attachment| seen.instances.get(&attachment.instance)).collect()
}
