//! The end of a pool: volumes first, then snapshots, then the pool itself; and the guard that makes that possible.

use jiff::{SignedDuration, Timestamp};

use crate::domain::Reason;

use super::action::Action;
use super::age;
use super::observation::PoolSeen;
use super::report::{Condition, Finding};
use super::safety;
use super::snapshots::{generation_of, is_just_asked_for};
use super::volumes::{Lives, drop_instead};

/// How long EC2 may deny a deletion before what it denies is kept, so that a pool can always be deleted.
const DENIAL_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// Whether EC2 has denied a deletion for so long that nothing else is expected of it.
pub(super) fn is_denied_for_long(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|since| age(now, since) >= DENIAL_LIMIT)
}

/// Puts the finalizer on before anything else is done, so that nothing in EC2 outlives its pool unseen.
pub(super) fn guard(seen: &PoolSeen, actions: &mut Vec<Action>) {
    if !seen.pool.has_finalizer {
        *actions = vec![Action::AddPoolFinalizer];
    }
}

/// One step of the deletion; claimed volumes hold it up and are named.
pub(super) fn plan(seen: &PoolSeen, lives: &Lives<'_>, now: Timestamp, actions: &mut Vec<Action>) -> Finding {
    let volumes = lives.iter().map(|life| life.volume);
    let unclaimed: Vec<_> = volumes.filter(|volume| !volume.deleting && volume.claim.is_none()).collect();
    drop_instead(&unclaimed, actions);
    if lives.is_empty() && seen.source_object.is_none() {
        actions.extend(last_steps(seen, now));
    }
    if seen.pool.paused {
        actions.retain(|action| !action.writes_to_ec2());
    }
    finding(seen)
}

/// Snapshots, then the pool; which waits for a snapshot that EC2 does not list yet, lest it be left behind.
fn last_steps(seen: &PoolSeen, now: Timestamp) -> Vec<Action> {
    let release = Some(Action::RemovePoolFinalizer).filter(|_| seen.pool.has_finalizer).into_iter();
    if seen.pool.retain_on_deletion || is_denied_for_long(seen.pool.denied_since, now) {
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

/// What EC2 denies to delete, and what becomes of it.
fn denied(seen: &PoolSeen) -> Option<String> {
    let recorded = seen.volumes.iter().map(|volume| &volume.recorded);
    let mut what: Vec<String> =
        recorded.filter_map(|known| known.denied_since.and(known.volume.as_ref())).map(ToString::to_string).collect();
    what.extend(seen.pool.denied_since.map(|_| "the snapshots of the pool".to_owned()));
    what.sort();
    let message = format!(
        "EC2 denies to delete {}; allow ec2:DeleteVolume and ec2:DeleteSnapshot for the controller, else they are kept in EC2 \
         after five minutes and cost money until someone deletes them",
        what.join(", ")
    );
    (!what.is_empty()).then_some(message)
}

fn is_snapshot_hidden(seen: &PoolSeen) -> bool {
    let is_listed = |intended| seen.snapshots.iter().any(|snapshot| generation_of(snapshot) >= intended);
    let is_unseen = |intended| intended > seen.pool.completed_generation && !is_listed(intended);
    is_just_asked_for(seen) && seen.pool.snapshot_intent.is_some_and(|(intended, _)| is_unseen(intended))
}

fn finding(seen: &PoolSeen) -> Finding {
    let source = seen.source_object.iter().map(|object| &object.volume);
    let mut claims: Vec<String> = seen
        .volumes
        .iter()
        .chain(source)
        .filter_map(|volume| volume.claim.as_ref())
        .map(|claim| format!("{}/{}", claim.namespace, claim.name))
        .collect();
    claims.sort();
    if let (true, Some(message)) = (claims.is_empty(), denied(seen)) {
        return Finding::new(Condition::Ready, false, Reason::DeletionDenied, message);
    }
    if claims.is_empty() {
        let message = format!("the pool is being deleted; {} volumes and {} snapshots are left", seen.volumes.len(), seen.snapshots.len());
        return Finding::new(Condition::Ready, false, Reason::Deleting, message);
    }
    let message = format!("the pool is being deleted and waits for these claims to be deleted: {}", claims.join(", "));
    Finding::new(Condition::Ready, false, Reason::ClaimsRemain, message)
}
