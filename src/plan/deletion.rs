//! The end of a pool: volumes first, then snapshots, then the pool itself; and the guard that makes that possible.

use crate::domain::Reason;

use super::action::Action;
use super::observation::PoolSeen;
use super::report::{Condition, Finding};
use super::safety;
use super::volumes::{Lives, delete_object};

/// Puts the finalizer on before anything else is done, so that nothing in EC2 outlives its pool unseen.
pub(super) fn guard(seen: &PoolSeen, actions: &mut Vec<Action>) {
    if !seen.pool.has_finalizer {
        actions.insert(0, Action::AddPoolFinalizer);
    }
}

/// One step of the deletion; claimed volumes hold it up and are named.
pub(super) fn plan(seen: &PoolSeen, lives: &Lives, actions: &mut Vec<Action>) -> Finding {
    let unclaimed = seen.volumes.iter().filter(|volume| !volume.deleting && volume.claim.is_none());
    actions.extend(unclaimed.map(delete_object));
    if lives.is_empty() {
        let proofs = seen.snapshots.iter().filter_map(|snapshot| safety::may_delete_snapshot(&seen.pool, snapshot));
        let before = actions.len();
        if !seen.pool.retain_on_deletion {
            actions.extend(proofs.map(Action::DeleteSnapshot));
        }
        if actions.len() == before && seen.pool.has_finalizer {
            actions.push(Action::RemovePoolFinalizer);
        }
    }
    if seen.pool.paused {
        actions.retain(|action| !action.writes_to_ec2());
    }
    finding(seen)
}

fn finding(seen: &PoolSeen) -> Finding {
    let claims: Vec<String> =
        seen.volumes.iter().filter_map(|volume| volume.claim.as_ref()).map(|claim| format!("{}/{}", claim.namespace, claim.name)).collect();
    if claims.is_empty() {
        let message = format!("the pool is being deleted; {} volumes and {} snapshots are left", seen.volumes.len(), seen.snapshots.len());
        return Finding::new(Condition::Ready, false, Reason::Deleting, message);
    }
    let message = format!("the pool is being deleted and waits for these claims to be deleted: {}", claims.join(", "));
    Finding::new(Condition::Ready, false, Reason::ClaimsRemain, message)
}
