//! The condition `InSync`: is the source published, and do all mounted volumes follow it?

use crate::domain::{Phase, Reason, SyncState};

use super::super::observation::{NodeSide, PoolSeen};
use super::super::report::{Condition, Finding};
use super::super::source::Judged;
use super::super::volumes::Lives;
use super::foreign::{self, Whereabouts};
use super::{SourceObject, place};

/// The condition; none for a pool that is not live.
pub(in super::super) fn finding(seen: &PoolSeen, lives: &Lives<'_>, source: &Judged) -> Option<Finding> {
    seen.pool.live.as_ref()?;
    let trouble = match (source, &seen.source_object) {
        (Err(blocked), _) => Some((blocked.reason, blocked.message.clone())),
        (Ok(_), object) if is_not_mounted(seen) => return Some(at_rest(seen, lives, object.is_some())),
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

fn paused() -> (Reason, String) {
    (Reason::Paused, "spec.paused is true, so the source is attached to no node and published by none".to_owned())
}

/// Why nobody publishes the source; none when somebody does.
fn of_source(seen: &PoolSeen, object: &SourceObject) -> Option<(Reason, String)> {
    let volume = &object.volume;
    let name = volume.recorded.volume.as_ref().map_or_else(|| "the source".to_owned(), ToString::to_string);
    let Some(node) = &volume.node_name else {
        return Some(of_foreign(seen, &name).unwrap_or_else(|| without_node(seen, object, &name)));
    };
    let side = volume.node.as_ref().filter(|side| side.node == node.as_str());
    let sync = side.and_then(|side| side.sync.as_ref());
    let error = side.and_then(|side| side.error.as_ref()).or_else(|| sync.and_then(|sync| sync.error.as_ref()));
    match (sync.map(|sync| sync.state), error) {
        (Some(SyncState::Publishing), None) => None,
        (_, Some(error)) => Some((Reason::SourceFailed, format!("node {node} cannot publish {name}: {error}"))),
        (Some(SyncState::Scanning), None) if side.is_some_and(|side| side.mounted) => {
            Some((Reason::SourceStarting, format!("node {node} compares {name} with what it knows of it, and publishes it then")))
        }
        (_, None) if object.is_foreign() => {
            Some((Reason::SourceStarting, format!("pods on node {node} have {name}, and its agent is about to publish it")))
        }
        (_, None) => Some((Reason::SourceStarting, format!("node {node} is attaching {name}, and publishes it then"))),
    }
}

fn is_not_mounted(seen: &PoolSeen) -> bool {
    foreign::whereabouts(seen) == Some(Whereabouts::NotMounted)
}

/// Why nobody publishes a source that another driver attaches, and that no agent was told to publish.
fn of_foreign(seen: &PoolSeen, name: &str) -> Option<(Reason, String)> {
    let (reason, message) = match foreign::whereabouts(seen)? {
        Whereabouts::Requested(node) if seen.agents.get(&node).is_none_or(|agent| !agent.publishes) => {
            let words = "has no certificate yet, so that it cannot publish it; look at the log of that agent";
            (Reason::NoNodeForSource, format!("pods on node {node} have {name}, whose agent {words}"))
        }
        Whereabouts::Requested(node) => {
            (Reason::SourceStarting, format!("pods on node {node} have {name}; it is published there once EC2 shows it attached there"))
        }
        Whereabouts::Unwatched => {
            let fix = "run the agent on that node, so that it can be published";
            (Reason::SourceInUse, format!("{name} is attached to an instance without an agent, so that changes are not seen; {fix}"))
        }
        Whereabouts::Assigned | Whereabouts::NotMounted => return None,
    };
    Some((reason, message))
}

/// How copies stand against the last position of a source that no pod has.
fn at_rest(seen: &PoolSeen, lives: &Lives<'_>, has_object: bool) -> Finding {
    let mounted = || lives.iter().filter_map(|life| life.volume.node.as_ref().filter(|side| side.mounted));
    let has_all = |side: &NodeSide| {
        let own = side.sync.as_ref().and_then(|sync| sync.position.as_ref());
        own.zip(foreign::rests_at(seen)).is_some_and(|(own, last)| own.is_at_least(last))
    };
    let (all, behind) = (mounted().count(), mounted().filter(|side| !has_all(side)).count());
    let finding = |holds, message| Finding::new(Condition::InSync, holds, Reason::NotMounted, message);
    if !has_object || foreign::rests_at(seen).is_none() {
        let message = format!(
            "no pod has the source mounted, and it is not known what it had last; {behind} mounted volumes are compared with it when a \
             pod mounts it"
        );
        return finding(false, message);
    }
    if behind == 0 {
        return finding(true, format!("no pod has the source mounted; {all} mounted volumes have what it had last"));
    }
    finding(
        false,
        format!(
            "no pod has the source mounted; {behind} of {all} mounted volumes lack changes that it had last, and receive them when a pod mounts it"
        ),
    )
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
