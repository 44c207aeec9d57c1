//! The life of each volume: its phase, and the one next step that it needs by itself.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{CloudVolume, NodeName, ObjectKey, Phase, VolumeState};

use super::action::{Action, VolumeRequest};
use super::observation::{PoolSeen, PoolWanted, VolumeSeen};
use super::report::VolumeReport;
use super::{VISIBILITY, age, deletion, refresh, safety};

/// How long a volume stays failed before its replacement is made, from the second failure in a row on: it doubles, so
/// that a lasting cause is no hot loop, up to the longest. The first is replaced at once.
const FAILURE_REST: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_REST: SignedDuration = SignedDuration::from_mins(5);
/// How long EC2 may take to make a volume before another takes its place. Source: Amazon EBS user guide, "Create an
/// Amazon EBS volume": it is available within seconds; ten minutes are two orders of magnitude more.
const CREATION_LIMIT: SignedDuration = SignedDuration::from_mins(10);
/// How long the tags of an adopted volume may be on their way, and in a lagging read of EC2 after that.
const TAGGING_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// A volume and what it is.
pub(super) struct Life<'a> {
    pub volume: &'a VolumeSeen,
    pub report: VolumeReport,
}

impl Life<'_> {
    pub fn phase(&self) -> Phase {
        self.report.phase
    }
}

/// All volumes of a pool in the order of their keys, so that the plan does not depend on the order of a listing. Every
/// step walks along them: to look each up by its key is what would cost most in the plan of a large pool.
pub(super) type Lives<'a> = Vec<Life<'a>>;

/// Gives each volume its phase and at most one action.
pub(super) fn plan<'a>(seen: &'a PoolSeen, now: Timestamp, actions: &mut Vec<Action>) -> Lives<'a> {
    let mut volumes: Vec<&VolumeSeen> = seen.volumes.iter().collect();
    volumes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let life = |volume| {
        let (phase, action) = next(seen, volume, now);
        actions.extend(action);
        Life { volume, report: VolumeReport::of(volume, phase, seen) }
    };
    volumes.into_iter().map(life).collect()
}

fn next(seen: &PoolSeen, volume: &VolumeSeen, now: Timestamp) -> (Phase, Option<Action>) {
    let (phase, action) = step(seen, volume, now);
    let forget = || Action::ForgetNode { key: volume.key.clone(), resource_version: volume.resource_version.clone() };
    (phase, if is_on_lost_node(seen, volume) { Some(forget()) } else { action })
}

/// Whether the agent that reported the volume is gone with its node, and EC2 shows that nothing holds the volume.
///
/// A silent agent proves nothing: its node may still write. A node that is gone from the cluster may come back, so
/// the word of EC2 is needed too.
pub(super) fn is_on_lost_node(seen: &PoolSeen, volume: &VolumeSeen) -> bool {
    let is_lost = volume.node.as_ref().is_some_and(|side| !seen.nodes.contains(&NodeName::new(side.node.as_str())));
    is_lost && volume.cloud.as_ref().is_some_and(CloudVolume::is_free)
}

fn step(seen: &PoolSeen, volume: &VolumeSeen, now: Timestamp) -> (Phase, Option<Action>) {
    if volume.deleting {
        return (Phase::Deleting, deletion_step(&seen.pool, volume, (seen.observed, now)));
    }
    match &volume.cloud {
        Some(cloud) => (phase_of(volume, cloud, seen.observed), repair_step(volume, cloud, now, seen.observed)),
        None if volume.recorded.volume.is_some() => missing(volume, seen.observed),
        None if volume.retired || seen.pool.deleting => (Phase::Pending, None),
        None => (Phase::Pending, Some(Action::CreateVolume(request(volume)))),
    }
}

fn request(volume: &VolumeSeen) -> VolumeRequest {
    VolumeRequest {
        key: volume.key.clone(),
        uid: volume.uid.clone(),
        zone: volume.zone.clone(),
        size: volume.size,
        origin: volume.origin.clone(),
    }
}

/// Whether EC2 has been making the volume for so long that nothing more is expected of this attempt.
pub(super) fn is_stuck(volume: &VolumeSeen, observed: Timestamp) -> bool {
    let is_creating = volume.cloud.as_ref().is_some_and(|cloud| cloud.state == VolumeState::Creating);
    is_creating && volume.recorded.requested.is_some_and(|requested| age(observed, requested) >= CREATION_LIMIT)
}

fn phase_of(volume: &VolumeSeen, cloud: &CloudVolume, observed: Timestamp) -> Phase {
    match cloud.state {
        _ if is_stuck(volume, observed) => return Phase::Failed,
        VolumeState::Error | VolumeState::Deleting | VolumeState::Deleted => return Phase::Failed,
        VolumeState::Creating | VolumeState::Unknown => return Phase::Creating,
        VolumeState::Available | VolumeState::InUse => {}
    }
    match () {
        () if volume.initialized_percent < 100 => Phase::Initializing,
        () if volume.retired => Phase::Retained,
        () if volume.claim.is_some() && volume.node_name.is_none() && volume.node.is_some() => Phase::Releasing,
        () if volume.claim.is_some() => Phase::Claimed,
        () if volume.is_refreshing() => Phase::Refreshing,
        () if volume.is_off_nodes() && cloud.is_free() => Phase::Ready,
        () if refresh::is_returning(volume, observed) => Phase::Refreshing,
        () => Phase::Releasing,
    }
}

/// A volume whose creation failed in EC2, or does not come to an end, is replaced as a whole: one object is one attempt.
fn repair_step(volume: &VolumeSeen, cloud: &CloudVolume, now: Timestamp, observed: Timestamp) -> Option<Action> {
    let failed = cloud.state == VolumeState::Error;
    let rested = volume.recorded.requested.is_none_or(|requested| age(now, requested) >= rest(volume.attempt));
    let is_over = failed && rested || is_stuck(volume, observed);
    (is_over && volume.claim.is_none()).then(|| delete_object(volume))
}

fn rest(attempt: u32) -> SignedDuration {
    match attempt.checked_sub(1) {
        None => SignedDuration::ZERO,
        Some(before) => FAILURE_REST.checked_mul(1 << before.min(8)).unwrap_or(LONGEST_REST).min(LONGEST_REST),
    }
}

/// A volume that EC2 does not list may be hidden by a lagging read; only an answer of [`VISIBILITY`] later that
/// misses it too makes it lost. The age of an answer proves nothing, so the time is that of the answer.
fn missing(volume: &VolumeSeen, observed: Timestamp) -> (Phase, Option<Action>) {
    let lost = volume.recorded.missing_since.is_some_and(|since| age(observed, since) >= VISIBILITY);
    if !lost {
        return (volume.phase.filter(|phase| *phase != Phase::Ready).unwrap_or(Phase::Creating), None);
    }
    let replaceable = volume.claim.is_none() && volume.is_off_nodes() && !volume.retired;
    (Phase::Failed, replaceable.then(|| delete_object(volume)))
}

/// Deletes the objects of volumes, in place of any other step that was planned for them.
pub(super) fn drop_instead(volumes: &[&VolumeSeen], actions: &mut Vec<Action>) {
    let dropped: BTreeSet<&ObjectKey> = volumes.iter().map(|volume| &volume.key).collect();
    actions.retain(|action| action.volume().is_none_or(|key| !dropped.contains(key)));
    actions.extend(volumes.iter().map(|volume| delete_object(volume)));
}

fn delete_object(volume: &VolumeSeen) -> Action {
    Action::DeletePoolVolume { key: volume.key.clone(), uid: volume.uid.clone(), resource_version: volume.resource_version.clone() }
}

/// Deletion in order: no claim, off the nodes, deleted in EC2, forgotten.
///
/// It ends in any case: a volume that no longer carries our tags is not ours to delete, and one that EC2 denies to
/// delete, or is still making after a long time, does not hold its pool for ever. These stay in EC2. An adopted one gets
/// our tags only after its object.
fn deletion_step(pool: &PoolWanted, volume: &VolumeSeen, (observed, now): (Timestamp, Timestamp)) -> Option<Action> {
    if volume.claim.is_some() {
        return None;
    }
    if volume.node_name.is_some() {
        return Some(Action::Unassign(volume.key.clone()));
    }
    if volume.node.is_some() {
        return None;
    }
    let is_denied = deletion::is_denied_for_long(volume.recorded.denied_since, now);
    let is_hopeless = is_denied || is_stuck(volume, observed);
    let keep_in_ec2 = pool.deleting && (pool.retain_on_deletion || volume.retired || is_hopeless);
    match &volume.cloud {
        _ if keep_in_ec2 => Some(Action::RemoveVolumeFinalizer(volume.key.clone())),
        Some(cloud) if cloud.state == VolumeState::Deleted => Some(Action::RemoveVolumeFinalizer(volume.key.clone())),
        Some(cloud) if !safety::carries_our_tags(pool, volume, cloud) => {
            let are_tags_awaited = volume.recorded.adopted.is_some_and(|adopted| age(observed, adopted) < TAGGING_LIMIT);
            (!are_tags_awaited).then(|| Action::RemoveVolumeFinalizer(volume.key.clone()))
        }
        Some(cloud) => {
            let proof = safety::may_delete_volume(pool, volume, cloud)?;
            Some(Action::DeleteVolume { key: volume.key.clone(), proof })
        }
        None => is_gone(volume, observed).then(|| Action::RemoveVolumeFinalizer(volume.key.clone())),
    }
}

/// Whether an unlisted volume is really gone: its deletion was accepted, it was never asked for, or nobody has
/// listed it for longer than a read can lag.
fn is_gone(volume: &VolumeSeen, observed: Timestamp) -> bool {
    let recorded = &volume.recorded;
    match (&recorded.volume, recorded.requested) {
        _ if recorded.deletion_accepted => true,
        (Some(_), _) => recorded.missing_since.is_some_and(|since| age(observed, since) >= VISIBILITY),
        (None, Some(requested)) => age(observed, requested) >= VISIBILITY,
        (None, None) => true,
    }
}
