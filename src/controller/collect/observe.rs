//! What EC2 holds under our tag that nothing in the cluster names. Reads memory only.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::keys::ANNOTATION_ADOPTS;
use crate::api::volume_pool::DeletionPolicy;
use crate::api::{Role, VolumePool};
use crate::controller::parse::{key_of, volume_id_of};
use crate::controller::supply::View;
use crate::controller::sweep::Sweep;
use crate::domain::tags::{TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{Access, ObjectKey, Uid, VolumeId};
use crate::plan::strays::{Adopted, PoolFacts, Stray, StraysSeen};

/// Joins a view and a sweep. `since` remembers what was unknown before, and forgets what is no more.
pub(super) fn strays(view: &View, cluster: &str, sweep: &Sweep, since: &mut BTreeMap<String, Timestamp>) -> StraysSeen {
    let named = named(view);
    let live: BTreeSet<String> = view.all_volumes().filter_map(|volume| volume.uid()).collect();
    let is_ours = |tags: &crate::domain::cloud::Tags| tags.get(TAG_CLUSTER).is_some_and(|tag| tag == cluster);
    let has_object = |tags: &crate::domain::cloud::Tags| tags.get(TAG_VOLUME_UID).is_some_and(|uid| live.contains(uid));
    let pool_uids: BTreeSet<String> = view.pools.iter().filter_map(|pool| pool.uid()).collect();
    let has_pool = |tags: &crate::domain::cloud::Tags| tags.get(TAG_POOL_UID).is_some_and(|uid| pool_uids.contains(uid));
    let volumes: Vec<_> = sweep
        .volumes
        .iter()
        .filter(|volume| is_ours(&volume.tags) && !named.contains(&volume.id) && !has_object(&volume.tags))
        .cloned()
        .collect();
    let snapshots: Vec<_> =
        sweep.snapshots.iter().filter(|snapshot| is_ours(&snapshot.tags) && !has_pool(&snapshot.tags)).cloned().collect();
    let ids = volumes.iter().map(|volume| volume.id.to_string()).chain(snapshots.iter().map(|snapshot| snapshot.id.to_string()));
    *since = ids.map(|id| (id.clone(), since.get(&id).copied().unwrap_or(sweep.started))).collect();
    let since_of = |id: &str| since.get(id).copied().unwrap_or(sweep.started);
    StraysSeen {
        observed: sweep.started,
        pools: all_facts(view),
        volumes: volumes.into_iter().map(|item| Stray { since: since_of(item.id.as_str()), item }).collect(),
        snapshots: snapshots.into_iter().map(|item| Stray { since: since_of(item.id.as_str()), item }).collect(),
        adopted: adopted(view, sweep),
    }
}

/// All EBS volumes that something in the cluster names.
pub(super) fn named(view: &View) -> BTreeSet<VolumeId> {
    let of_objects = view.all_volumes().filter_map(|volume| volume_id_of(volume));
    let sources = view.pools.iter().filter_map(|pool| pool.spec.source.volume_id.as_deref().map(VolumeId::new));
    of_objects.chain(sources).chain(view.handles.iter().cloned()).collect()
}

/// What the collector must know of a pool, but for the numbers of its volumes.
pub(super) fn facts(pool: &VolumePool) -> PoolFacts {
    let recorded = pool.status.as_ref().and_then(|status| status.source.as_ref()).map(|source| source.id.as_str());
    let source = pool.spec.source.volume_id.as_deref().or(recorded.filter(|id| id.starts_with("vol-")));
    PoolFacts {
        uid: Uid::new(pool.uid().unwrap_or_default()),
        deleting: pool.metadata.deletion_timestamp.is_some(),
        paused: pool.spec.paused,
        retains: pool.spec.deletion_policy == DeletionPolicy::Retain,
        is_read_only: pool.spec.claims.access == Access::ReadOnly,
        source: source.map(VolumeId::new),
        slots: BTreeSet::new(),
    }
}

/// The facts of all pools. Volumes of an earlier pool of the same name take up numbers too, since names are shared.
fn all_facts(view: &View) -> BTreeMap<ObjectKey, PoolFacts> {
    let mut all: BTreeMap<ObjectKey, PoolFacts> = view.pools.iter().map(|pool| (key_of(&**pool), facts(pool))).collect();
    for volume in view.all_volumes().filter(|volume| volume.spec.role == Role::Copy) {
        let pool = ObjectKey::new(volume.namespace().unwrap_or_default(), volume.spec.pool_ref.name.clone());
        if let Some(facts) = all.get_mut(&pool) {
            facts.slots.insert(volume.spec.slot);
        }
    }
    all
}

fn adopted(view: &View, sweep: &Sweep) -> Vec<Adopted> {
    let of_object = |volume: &std::sync::Arc<crate::api::PoolVolume>| {
        let id = volume.annotations().get(ANNOTATION_ADOPTS).map(|id| VolumeId::new(id.as_str()))?;
        let cloud = sweep.find(Some(&id), "", "")?.clone();
        Some(Adopted { pool_uid: Uid::new(&volume.spec.pool_ref.uid), uid: Uid::new(volume.uid()?), cloud })
    };
    view.all_volumes().filter_map(of_object).collect()
}
