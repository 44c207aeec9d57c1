//! The end of a pool: volumes first, then snapshots, then the pool itself; and the guard that makes that possible.

use crate::domain::Reason;

use super::action::Action;
use super::observation::PoolSeen;
use super::report::{Condition, Finding};
use super::safety;
use super::snapshots::{generation_of, is_just_asked_for};
use super::volumes::{Lives, drop_instead};

/// Puts the finalizer on before anything else is done, so that nothing in EC2 outlives its pool unseen.
pub(super) fn guard(seen: &PoolSeen, actions: &mut Vec<Action>) {
    if !seen.pool.has_finalizer {
        *actions = vec![Action::AddPoolFinalizer];
    }
}

/// One step of the deletion; claimed volumes hold it up and are named.
pub(super) fn plan(seen: &PoolSeen, lives: &Lives, actions: &mut Vec<Action>) -> Finding {
    for volume in seen.volumes_by_key().into_values().filter(|volume| !volume.deleting && volume.claim.is_none()) {
        drop_instead(volume, actions);
    }
    if lives.is_empty() {
        actions.extend(last_steps(seen));
    }
    if seen.pool.paused {
        actions.retain(|action| !action.writes_to_ec2());
    }
    finding(seen)
}

/// Snapshots, then the pool; which waits for a snapshot that EC2 does not list yet, lest it be left behind.
fn last_steps(seen: &PoolSeen) -> Vec<Action> {
    let release = Some(Action::RemovePoolFinalizer).filter(|_| seen.pool.has_finalizer).into_iter();
    if seen.pool.retain_on_deletion {
        return release.collect();
    }
    let mut snapshots: Vec<_> = seen.snapshots.iter().collect();
    snapshots.sort_by(|a, b| a.id.cmp(&b.id));
    let proofs = snapshots.into_iter().filter_map(|snapshot| safety::may_delete_snapshot(&seen.pool, snapshot));
    let deletions: Vec<Action> = proofs.map(Action::DeleteSnapshot).collect();
    match deletions.is_empty() {
        true if is_snapshot_hidden(seen) => Vec::new(),
        true => release.collect(),
        false => deletions,
    }
}

fn is_snapshot_hidden(seen: &PoolSeen) -> bool {
    let is_listed = |intended| seen.snapshots.iter().any(|snapshot| generation_of(snapshot) >= intended);
    is_just_asked_for(seen) && seen.pool.snapshot_intent.is_some_and(|(intended, _)| !is_listed(intended))
}

fn finding(seen: &PoolSeen) -> Finding {
    let mut claims: Vec<String> =
        seen.volumes.iter().filter_map(|volume| volume.claim.as_ref()).map(|claim| format!("{}/{}", claim.namespace, claim.name)).collect();
    claims.sort();
    if claims.is_empty() {
        let message = format!("the pool is being deleted; {} volumes and {} snapshots are left", seen.volumes.len(), seen.snapshots.len());
        return Finding::new(Condition::Ready, false, Reason::Deleting, message);
    }
    let message = format!("the pool is being deleted and waits for these claims to be deleted: {}", claims.join(", "));
    Finding::new(Condition::Ready, false, Reason::ClaimsRemain, message)
}
