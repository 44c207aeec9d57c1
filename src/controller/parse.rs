//! From custom resources to the values that plans are made of. Everything that was validated is trusted here.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::api::keys::FINALIZER;
use crate::api::volume_pool::{DeletionPolicy, WhenEmpty};
use crate::api::{PoolVolume, VolumePool};
use crate::domain::{CloudVolume, GiB, NodeName, ObjectKey, SnapshotId, Uid, VolumeId, Zone};
use crate::plan::{NodeSide, Offer, Origin, PoolWanted, Recorded, Source, VolumeSeen};

/// The spelling of [`crate::domain::VolumeState::Deleting`] in `status.cloud.state`.
pub const STATE_DELETING: &str = "deleting";

/// Namespace and name of an object.
pub fn key_of(object: &impl ResourceExt) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// The spec of a pool; `None` when the schema let something through that this version cannot read.
pub fn pool_wanted(pool: &VolumePool, cluster: &str) -> Option<PoolWanted> {
    let spec = &pool.spec;
    let source = match (&spec.source.volume_id, &spec.source.snapshot_id) {
        (Some(id), None) => Source::Volume(VolumeId::new(id)),
        (None, Some(id)) => Source::Snapshot(SnapshotId::new(id)),
        _ => return None,
    };
    let size = match &spec.template.size {
        Some(text) => Some(GiB::from_quantity(text)?),
        None => None,
    };
    let intent = pool.status.as_ref().and_then(|status| status.snapshot_intent.as_ref());
    Some(PoolWanted {
        key: key_of(pool),
        uid: Uid::new(pool.uid().unwrap_or_default()),
        cluster: cluster.to_owned(),
        deleting: pool.metadata.deletion_timestamp.is_some(),
        has_finalizer: pool.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
        paused: spec.paused,
        replicas: spec.replicas,
        source,
        size,
        zones: spec.zones.iter().map(|zone| Zone::new(zone.as_str())).collect(),
        retain_on_deletion: spec.deletion_policy == DeletionPolicy::Retain,
        snapshot_intent: intent.map(|intent| (intent.generation, intent.time.0)),
    })
}

/// What a pool offers to claims, by what was published of it.
pub fn offer(pool: &VolumePool) -> Offer {
    let (spec, status) = (&pool.spec, pool.status.clone().unwrap_or_default());
    let source_size = status.source.as_ref().map(|source| GiB(source.size_gib));
    let wanted_zones = spec.zones.iter().map(|zone| Zone::new(zone.as_str())).collect::<Vec<_>>();
    let kept_zones = status.zones.iter().map(|zone| Zone::new(zone.name.as_str())).collect();
    let newest = status.snapshots.iter().filter(|snapshot| snapshot.state == "completed").max_by_key(|snapshot| snapshot.generation);
    let stocked = newest.map(|snapshot| Origin { snapshot: SnapshotId::new(&snapshot.id), generation: snapshot.generation });
    let fixed = spec.source.snapshot_id.as_ref().map(|id| Origin { snapshot: SnapshotId::new(id), generation: 1 });
    Offer {
        pool_uid: Uid::new(pool.uid().unwrap_or_default()),
        size: spec.template.size.as_deref().and_then(GiB::from_quantity).max(source_size),
        zones: if wanted_zones.is_empty() { kept_zones } else { wanted_zones },
        access: spec.claims.access,
        reclaim: spec.claims.reclaim_policy,
        makes_on_demand: spec.claims.when_empty == WhenEmpty::Create,
        namespaces: spec.claims.namespaces.match_names.clone(),
        origin: fixed.filter(|_| status.source.is_some()).or(stocked),
        is_closed: spec.paused || pool.metadata.deletion_timestamp.is_some(),
    }
}

/// A volume joined with what EC2 shows of it; `initialized` is newer than what is stored.
pub fn volume_seen(volume: &PoolVolume, cloud: Option<CloudVolume>, initialized: Option<u8>) -> VolumeSeen {
    let spec = &volume.spec;
    let status = volume.status.clone().unwrap_or_default();
    let stored = status.cloud.unwrap_or_default();
    VolumeSeen {
        key: key_of(volume),
        uid: Uid::new(volume.uid().unwrap_or_default()),
        resource_version: volume.resource_version().unwrap_or_default(),
        pool: spec.pool_ref.name.clone(),
        slot: spec.slot,
        zone: Zone::new(spec.zone.as_str()),
        size: GiB(spec.size_gib),
        origin: Origin { snapshot: SnapshotId::new(&spec.origin.snapshot_id), generation: spec.origin.generation },
        claim: spec.claim_ref.clone(),
        node_name: spec.node_name.as_deref().map(NodeName::new),
        deleting: volume.metadata.deletion_timestamp.is_some(),
        retired: spec.retired,
        phase: status.phase,
        initialized_percent: initialized.unwrap_or(stored.initialized_percent),
        recorded: Recorded {
            volume: stored.volume_id.as_deref().map(VolumeId::new),
            requested: stored.requested_time.map(|time| time.0),
            missing_since: stored.missing_since.map(|time| time.0),
            deletion_accepted: stored.state.as_deref() == Some(STATE_DELETING),
            error: stored.error,
        },
        cloud,
        node: status.node.map(|node| NodeSide {
            node: node.name,
            attached: node.attached,
            mounted: node.mounted,
            published: node.published,
            error: node.error,
        }),
    }
}

/// Now, for everything that is decided or published.
pub fn now() -> Timestamp {
    Timestamp::now()
}
