//! The chain of checks that every deletion in EC2 must pass. Nothing else can make a [`DeletionProof`].

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::tags::{TAG_CLUSTER, TAG_POOL, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, CloudVolume, ObjectKey, SnapshotId, SnapshotState, Uid, VolumeId, VolumeState};

use super::action::DeletionProof;
use super::observation::{PoolWanted, VolumeSeen};
use super::strays::{GRACE, PoolFacts};

/// How long EC2 may fail to list something that exists. A resource that is unseen for less is unknown, not absent.
///
/// Source: EC2 developer guide, "Eventual consistency": changes are usually visible within seconds; a minute
/// leaves an order of magnitude.
pub const VISIBILITY: SignedDuration = SignedDuration::from_secs(60);

/// Proof for the EBS volume of a PoolVolume: our three tags match, no claim, no agent and no instance has it.
pub(super) fn may_delete_volume(pool: &PoolWanted, volume: &VolumeSeen, cloud: &CloudVolume) -> Option<DeletionProof<VolumeId>> {
    let ours = carries_our_tags(pool, volume, cloud);
    let unused = volume.claim.is_none() && volume.is_off_nodes() && cloud.live_attachments().next().is_none();
    let deletable = matches!(cloud.state, VolumeState::Available | VolumeState::Error);
    (volume.deleting && ours && unused && deletable).then(|| DeletionProof::after_checks(cloud.id.clone()))
}

/// Whether the tags of an EBS volume still say that it is the one of a PoolVolume.
pub(super) fn carries_our_tags(pool: &PoolWanted, volume: &VolumeSeen, cloud: &CloudVolume) -> bool {
    let tag_is = |key: &str, value: &str| cloud.tags.get(key).is_some_and(|found| found == value);
    tag_is(TAG_CLUSTER, &pool.cluster) && tag_is(TAG_POOL_UID, pool.uid.as_str()) && tag_is(TAG_VOLUME_UID, volume.uid.as_str())
}

/// Proof for a snapshot of a pool that is being deleted: our tags match, and no volume is being made from it.
pub(super) fn may_delete_snapshot(pool: &PoolWanted, snapshot: &CloudSnapshot) -> Option<DeletionProof<SnapshotId>> {
    (pool.deleting && is_ours(pool, snapshot)).then(|| DeletionProof::after_checks(snapshot.id.clone()))
}

/// Proof for a snapshot that a living pool keeps no longer: our tags match, it is settled, and nothing needs it.
pub(super) fn may_expire_snapshot(
    pool: &PoolWanted,
    snapshot: &CloudSnapshot,
    needed: &BTreeSet<SnapshotId>,
) -> Option<DeletionProof<SnapshotId>> {
    let is_settled = matches!(snapshot.state, SnapshotState::Completed | SnapshotState::Error);
    let is_free = !pool.deleting && is_settled && !needed.contains(&snapshot.id);
    (is_free && is_ours(pool, snapshot)).then(|| DeletionProof::after_checks(snapshot.id.clone()))
}

fn is_ours(pool: &PoolWanted, snapshot: &CloudSnapshot) -> bool {
    let tag_is = |key: &str, value: &str| snapshot.tags.get(key).is_some_and(|found| found == value);
    tag_is(TAG_CLUSTER, &pool.cluster) && tag_is(TAG_POOL_UID, pool.uid.as_str())
}

/// What a fresh look, past every cache, has shown of a volume that nobody seemed to know.
#[derive(Clone, Debug)]
pub struct StrayProof {
    /// Our cluster.
    pub cluster: String,
    /// The pool whose name the volume carries.
    pub pool: ObjectKey,
    /// That pool as it is now.
    pub facts: PoolFacts,
    /// Since when nobody knows the volume.
    pub since: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// UIDs of all PoolVolumes that exist.
    pub live_objects: BTreeSet<Uid>,
    /// All EBS volumes that a PoolVolume, a PersistentVolume or a pool names.
    pub named_volumes: BTreeSet<VolumeId>,
}

/// Proof for a volume of a living pool that no object knows: all our tags match, nothing names it, and nothing has for
/// longer than the grace.
pub fn prove_stray(fresh: &StrayProof, cloud: &CloudVolume) -> Option<DeletionProof<VolumeId>> {
    let tag_is = |key: &str, value: &str| cloud.tags.get(key).is_some_and(|found| found == value);
    let facts = &fresh.facts;
    let ours = tag_is(TAG_CLUSTER, &fresh.cluster) && tag_is(TAG_POOL, &fresh.pool.to_string()) && tag_is(TAG_POOL_UID, facts.uid.as_str());
    let is_orphan = cloud.tags.get(TAG_VOLUME_UID).is_some_and(|uid| !fresh.live_objects.contains(&Uid::new(uid.as_str())));
    let is_unnamed = !fresh.named_volumes.contains(&cloud.id);
    let is_allowed = !facts.paused && !facts.retains;
    let unused = cloud.live_attachments().next().is_none() && matches!(cloud.state, VolumeState::Available | VolumeState::Error);
    let is_old = fresh.now.duration_since(fresh.since) >= GRACE;
    (ours && is_orphan && is_unnamed && is_allowed && unused && is_old).then(|| DeletionProof::after_checks(cloud.id.clone()))
}
