//! The condition `InSync`: is the source published, and do all mounted volumes follow it?

use crate::domain::{Phase, Reason, SyncState};

use super::super::observation::{NodeSide, PoolSeen};
use super::super::report::{Condition, Finding};
use super::super::source::Judged;
use super::super::volumes::Lives;
use super::{SourceObject, place};

/// The condition; none for a pool that is not live.
pub(in super::super) fn finding(seen: &PoolSeen, lives: &Lives<'_>, source: &Judged) -> Option<Finding> {
    seen.pool.live.as_ref()?;
    let trouble = match (source, &seen.source_object) {
        (Err(blocked), _) => Some((blocked.reason, blocked.message.clone())),
        (Ok(_), _) if seen.source_pv.is_some() => seen.source_pv.as_deref().map(managed),
        (Ok(_), None) if seen.pool.paused => Some(paused()),
        (Ok(_), None) => Some((Reason::SourceStarting, "the source is about to be given to a node".to_owned())),
        (Ok(_), Some(object)) => of_source(seen, object),
    };
    let (holds, (reason, message)) = match trouble {
        Some(trouble) => (false, trouble),
        None => of_copies(lives),
    };
    Some(Finding::new(Condition::InSync, holds, reason, message))
}

fn managed(pv: &str) -> (Reason, String) {
    let message = format!(
        "spec.source.volumeID: the PersistentVolume {pv} of another driver names it, and that driver attaches it; delete that          PersistentVolume and keep the EBS volume, or set spec.sync.mode to None"
    );
    (Reason::SourceInUse, message)
}

fn paused() -> (Reason, String) {
    (Reason::Paused, "spec.paused is true, so the source is attached to no node and published by none".to_owned())
}

/// Why nobody publishes the source; none when somebody does.
fn of_source(seen: &PoolSeen, object: &SourceObject) -> Option<(Reason, String)> {
    let volume = &object.volume;
    let name = volume.recorded.volume.as_ref().map_or_else(|| "the source".to_owned(), ToString::to_string);
    let Some(node) = &volume.node_name else { return Some(without_node(seen, object, &name)) };
    let side = volume.node.as_ref().filter(|side| side.node == node.as_str());
    let sync = side.and_then(|side| side.sync.as_ref());
    let error = side.and_then(|side| side.error.as_ref()).or_else(|| sync.and_then(|sync| sync.error.as_ref()));
    match (sync.map(|sync| sync.state), error) {
        (Some(SyncState::Publishing), None) => None,
        (_, Some(error)) => Some((Reason::SourceFailed, format!("node {node} cannot publish {name}: {error}"))),
        (Some(SyncState::Scanning), None) if side.is_some_and(|side| side.mounted) => {
            Some((Reason::SourceStarting, format!("node {node} compares {name} with what it knows of it, and publishes it then")))
        }
        (_, None) => Some((Reason::SourceStarting, format!("node {node} is attaching {name}, and publishes it then"))),
    }
}

fn without_node(seen: &PoolSeen, object: &SourceObject, name: &str) -> (Reason, String) {
    if seen.pool.paused {
        return paused();
    }
    if object.volume.node.is_some() {
        return (Reason::SourceStarting, format!("{name} is taken off its node, and another publishes it then"));
    }
    if place::is_held_elsewhere(seen, &object.volume) {
        let message = format!(
            "spec.source.volumeID: {name} is attached to an instance without an agent, and is not taken from it; detach it there, so that an agent can publish it"
        );
        return (Reason::SourceInUse, message);
    }
    if place::best(seen, object).is_none() {
        let zone = &object.volume.zone;
        let message = format!(
            "no node in {zone}, the zone of {name}, has an agent with a certificate and room for one more volume; add a node there, or look at the log of the agents"
        );
        return (Reason::NoNodeForSource, message);
    }
    (Reason::SourceStarting, format!("{name} is about to be given to a node"))
}

/// Whether all mounted volumes follow, and how that is told. No figure in it changes with the content. One that is being refreshed
/// is behind by its nature, and no pod sees it.
fn of_copies(lives: &Lives<'_>) -> (bool, (Reason, String)) {
    let of_use = || lives.iter().filter(|life| life.phase() != Phase::Refreshing);
    let mounted = || of_use().filter_map(|life| Some((life.volume, life.volume.node.as_ref().filter(|side| side.mounted)?)));
    let state = |side: &NodeSide| side.sync.as_ref().map(|sync| sync.state);
    let broken = mounted().find(|(_, side)| state(side) == Some(SyncState::Failed));
    if let Some((volume, side)) = broken {
        let error = side.sync.as_ref().and_then(|sync| sync.error.as_deref()).unwrap_or("its agent does not say why");
        return (false, (Reason::CopyFailed, format!("{} on node {} cannot follow: {error}", volume.key.name, side.node)));
    }
    let (all, behind) = (mounted().count(), mounted().filter(|(_, side)| state(side) != Some(SyncState::InSync)).count());
    match behind {
        0 => (true, (Reason::AsWanted, format!("the source is published, and {all} mounted volumes have what it has"))),
        _ => (false, (Reason::CatchingUp, format!("{behind} of {all} mounted volumes are behind the source, and receive what they lack"))),
    }
}
