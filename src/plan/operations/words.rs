//! What operations say to people.

use crate::domain::{NodeName, ObjectKey, Operation, SyncPosition};

use super::{CopySeen, OperatedPool, OperationSeen, PoolContent, Targets};

/// How many volumes a sentence names.
const NAMED: usize = 5;

pub(super) fn no_pool(pool: &ObjectKey) -> String {
    format!("spec.poolRef: there is no VolumePool {} in namespace {}; make it, or another PathOperation", pool.name, pool.namespace)
}

pub(super) fn not_live(pool: &str, content: PoolContent) -> String {
    if content == PoolContent::Fixed {
        return format!("pool {pool} has spec.source.snapshotID, which is fixed content; use a pool with a source volume");
    }
    format!("the volumes of pool {pool} do not follow their source; set spec.sync.mode of the pool to Live, and make another PathOperation")
}

pub(super) fn paused(pool: &str) -> String {
    format!("pool {pool} is paused; set spec.paused of the pool to false, and make another PathOperation")
}

pub(super) fn at_source(operation: &OperationSeen, node: &NodeName) -> String {
    format!("{} begins at the source on node {node}", what(operation))
}

pub(super) fn source_late(operation: &OperationSeen, pool: &OperatedPool) -> String {
    let node = operation.node.as_ref().map_or("", NodeName::as_str);
    let why = pool.publisher.as_ref().err().map_or_else(String::new, |why| format!("; the source is not published: {why}"));
    format!("node {node} has not done it at the source within {:#}{why}", operation.timeout)
}

pub(super) fn would(paths: u64) -> String {
    format!("it would change {paths} paths, see status.source.paths; nothing was changed")
}

/// What an operation is, such as `Push of htdocs`.
pub(super) fn what(operation: &OperationSeen) -> String {
    let dry = if operation.dry_run { "dry run of " } else { "" };
    match (&operation.path, operation.operation) {
        (Some(path), kind @ (Operation::Push | Operation::Delete)) => format!("{dry}{} of {path}", kind.as_str()),
        (_, kind) => format!("{dry}{}", kind.as_str()),
    }
}

/// Some names, and how many more there are.
pub(super) fn named(names: &[&str]) -> String {
    let some = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

pub(super) fn complete(done: usize) -> String {
    match done {
        0 => "no volume is mounted; those that are attached later have it before pods see them".to_owned(),
        1 => "1 volume has it".to_owned(),
        done => format!("{done} volumes have it"),
    }
}

pub(super) fn running(targets: Targets) -> String {
    format!("{} of {} volumes have it", targets.done, targets.total)
}

pub(super) fn timed_out(operation: &OperationSeen, targets: Targets, names: &[&str]) -> String {
    let Targets { total, failed, .. } = targets;
    format!("{failed} of {total} volumes do not have it after {:#}: {}; see status.failures", operation.timeout, named(names))
}

pub(super) fn differ(targets: Targets, names: &[&str]) -> String {
    let Targets { total, failed, .. } = targets;
    format!("{failed} of {total} volumes are not as the source: {}; see status.failures", named(names))
}

pub(super) fn behind(copy: &CopySeen, position: &SyncPosition) -> String {
    let why = copy.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    match &copy.position {
        Some(own) if own.source == position.source && own.epoch == position.epoch => {
            format!("it is at sync generation {} of {}{why}", own.generation, position.generation)
        }
        Some(_) => format!("it has another history than the source{why}"),
        None => format!("it has not told where it is{why}"),
    }
}
