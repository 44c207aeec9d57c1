//! Which snapshots of the pool are too many, too old, doubled or failed, and needed by nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::{CloudSnapshot, Phase, SnapshotId, SnapshotState};

use super::super::action::DeletionProof;
use super::super::observation::PoolSeen;
use super::super::volumes::Lives;
use super::super::{age, safety};
use super::{best_in, generation_of};

/// Proofs for all that may go, in the order of their ids.
pub(super) fn deletions(seen: &PoolSeen, lives: &Lives<'_>, now: Timestamp) -> Vec<DeletionProof<SnapshotId>> {
    let needed = needed(seen, lives);
    let mut surplus: Vec<&CloudSnapshot> = surplus(seen, now);
    surplus.sort_by(|a, b| a.id.cmp(&b.id));
    surplus.into_iter().filter_map(|snapshot| safety::may_expire_snapshot(&seen.pool, snapshot, &needed)).collect()
}

/// The newest completed snapshot, and those that a volume is still being filled from.
fn needed(seen: &PoolSeen, lives: &Lives<'_>) -> BTreeSet<SnapshotId> {
    let is_filled = |phase| matches!(phase, Phase::Ready | Phase::Refreshing | Phase::Claimed | Phase::Releasing | Phase::Retained);
    let unfilled = lives.iter().filter(|life| !is_filled(life.phase()) && !life.volume.deleting);
    let newest = best_in(seen, SnapshotState::Completed).map(|snapshot| snapshot.id.clone());
    unfilled.map(|life| life.volume.origin.snapshot.clone()).chain(newest).collect()
}

fn surplus(seen: &PoolSeen, now: Timestamp) -> Vec<&CloudSnapshot> {
    let mut completed: Vec<&CloudSnapshot> = seen.snapshots.iter().filter(|snapshot| snapshot.state == SnapshotState::Completed).collect();
    completed.sort_by_key(|snapshot| (Reverse(generation_of(snapshot)), snapshot.started, &snapshot.id));
    let rules = &seen.pool.snapshots;
    let is_old = |snapshot: &CloudSnapshot| match (rules.keep_age, snapshot.started) {
        (Some(longest), Some(started)) => age(now, started) > longest,
        _ => false,
    };
    let mut generations = BTreeSet::new();
    let mut surplus = Vec::new();
    for snapshot in completed {
        let is_double = !generations.insert(generation_of(snapshot));
        let is_too_many = generations.len() > rules.keep_count as usize;
        if is_double || is_too_many || is_old(snapshot) {
            surplus.push(snapshot);
        }
    }
    let newest_completed = generations.last().copied();
    let failed = best_in(seen, SnapshotState::Error).filter(|snapshot| newest_completed.is_none_or(|good| generation_of(snapshot) > good));
    let is_done_with = |snapshot: &&CloudSnapshot| {
        let is_last_failure = failed.is_some_and(|last| last.id == snapshot.id);
        snapshot.state == SnapshotState::Error && !is_last_failure
    };
    surplus.extend(seen.snapshots.iter().filter(is_done_with));
    surplus
}
