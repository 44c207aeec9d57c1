//! From custom resources to the values that plans are made of. Everything that was validated is trusted here.

use kube::ResourceExt;

use crate::api::keys::{ANNOTATION_ADOPTS, FINALIZER};
use crate::api::volume_pool::{DeletionPolicy, SnapshotsSpec, SyncMode, WhenEmpty};
use crate::api::{PoolVolume, VolumePool, VolumePoolStatus};
use crate::domain::{
    CloudVolume, Encryption, GiB, NodeName, ObjectKey, Schedule, SnapshotId, SyncPosition, Uid, VolumeId, VolumeSettings, Zone,
};
use crate::plan::{
    Condition, ContentSeen, Modification, NodeSide, Offer, Origin, PoolWanted, Recorded, SnapshotsWanted, Source, TemplateWanted,
    VolumeSeen,
};

use super::parse_sync::{content_seen, publish_wanted, refresh_seen, refresh_wanted, sync_seen};

/// The spelling of [`crate::domain::VolumeState::Deleting`] in `status.cloud.state`.
pub const STATE_DELETING: &str = "deleting";

/// Namespace and name of an object.
pub fn key_of(object: &impl ResourceExt) -> ObjectKey {
    ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// The spec of a pool; `None` when the schema let something through that this version cannot read.
pub fn pool_wanted(pool: &VolumePool, cluster: &str) -> Option<PoolWanted> {
    let spec = &pool.spec;
    let source = match (&spec.source.volume_id, &spec.source.snapshot_id, &spec.source.persistent_volume_claim) {
        (Some(id), None, None) => Source::Volume(VolumeId::new(id)),
        (None, Some(id), None) => Source::Snapshot(SnapshotId::new(id)),
        (None, None, Some(claim)) => Source::Claim(claim.name.clone()),
        _ => return None,
    };
    let size = match &spec.template.size {
        Some(text) => Some(GiB::from_quantity(text)?),
        None => None,
    };
    let snapshots = snapshots_wanted(&spec.snapshots);
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
        recorded_source: pool.status.as_ref().and_then(|status| status.source.as_ref()).map(|source| source.id.clone()),
        size,
        template: template(pool),
        zones: spec.zones.iter().map(|zone| Zone::new(zone.as_str())).collect(),
        snapshots,
        retain_on_deletion: spec.deletion_policy == DeletionPolicy::Retain,
        completed_generation: pool.status.as_ref().and_then(|status| status.source.as_ref()).map_or(0, |source| source.generation),
        denied_since: pool.status.as_ref().and_then(|status| status.denied_since.as_ref()).map(|time| time.0),
        snapshot_intent: intent.map(|intent| (intent.generation, intent.time.0)),
        checkpoint_order: pool
            .status
            .as_ref()
            .and_then(|status| status.checkpoint_order.as_ref())
            .map(|order| (order.number, order.time.0)),
        live: publish_wanted(pool),
        refresh: refresh_wanted(pool),
    })
}

fn template(pool: &VolumePool) -> TemplateWanted {
    let template = &pool.spec.template;
    let settings =
        VolumeSettings { volume_type: template.volume_type.as_str().to_owned(), iops: template.iops, throughput: template.throughput };
    TemplateWanted { settings, encryption: encryption(pool), tags: template.tags.clone() }
}

/// The encryption that the template asks for.
pub fn encryption(pool: &VolumePool) -> Encryption {
    Encryption { encrypted: pool.spec.template.encrypted, kms_key_id: pool.spec.template.kms_key_id.clone() }
}

/// When snapshots are wanted; what cannot be understood is told, and stops only what depends on it.
fn snapshots_wanted(spec: &SnapshotsSpec) -> SnapshotsWanted {
    let zone = spec.time_zone.as_deref().unwrap_or("Etc/UTC");
    let schedule = spec.schedule.as_deref().map(|expression| Schedule::parse(expression, zone)).transpose();
    SnapshotsWanted {
        schedule: schedule.map_err(|fault| fault.to_string()),
        skip_unchanged: spec.skip_unchanged,
        keep_count: spec.retain.count,
        // The schema has checked it; what it let through by mistake keeps everything.
        keep_age: spec.retain.max_age.as_deref().and_then(|text| text.parse().ok()),
        allowed_lag: u64::from(spec.allowed_lag),
    }
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
        restores: restores(pool),
        makes_on_demand: spec.claims.when_empty == WhenEmpty::Create,
        namespaces: spec.claims.namespaces.match_names.clone(),
        origin: fixed.filter(|_| is_true(&status, Condition::SourceReady)).or(stocked),
        content: newest.filter(|_| spec.sync.mode == SyncMode::Live).map(|snapshot| ContentSeen {
            position: snapshot.position.as_deref().and_then(SyncPosition::parse),
            time: snapshot.start_time.as_ref().map(|time| time.0),
        }),
        source_claim: spec.source.persistent_volume_claim.as_ref().map(|claim| claim.name.clone()),
        is_closed: spec.paused || pool.metadata.deletion_timestamp.is_some(),
    }
}

/// Whether all that pods write to a volume can be found and mended. The source of a pool that is being deleted is published no
/// more, so that nobody would answer.
fn restores(pool: &VolumePool) -> bool {
    let sync = &pool.spec.sync;
    let leaves_nothing_out = sync.exclude.is_empty() && sync.preserve_on_copies.is_empty();
    sync.mode == SyncMode::Live && leaves_nothing_out && pool.metadata.deletion_timestamp.is_none()
}

fn is_true(status: &VolumePoolStatus, condition: Condition) -> bool {
    status.conditions.iter().any(|stored| stored.type_ == condition.as_str() && stored.status == "True")
}

/// The EBS volume of an object: the one that EC2 gave, or the one that it was made for.
pub fn volume_id_of(volume: &PoolVolume) -> Option<VolumeId> {
    let given = volume.status.as_ref().and_then(|status| status.cloud.as_ref()?.volume_id.as_deref());
    given.or_else(|| volume.annotations().get(ANNOTATION_ADOPTS).map(String::as_str)).map(VolumeId::new)
}

/// A volume joined with what EC2 shows of it; `initialized` is newer than what is stored.
pub fn volume_seen(volume: &PoolVolume, cloud: Option<CloudVolume>, initialized: Option<u8>) -> VolumeSeen {
    let spec = &volume.spec;
    let status = volume.status.clone().unwrap_or_default();
    let stored = status.cloud.unwrap_or_default();
    let is_adopted = volume.annotations().contains_key(ANNOTATION_ADOPTS);
    VolumeSeen {
        key: key_of(volume),
        role: spec.role,
        uid: Uid::new(volume.uid().unwrap_or_default()),
        resource_version: volume.resource_version().unwrap_or_default(),
        pool: spec.pool_ref.name.clone(),
        slot: spec.slot,
        attempt: spec.attempt,
        encryption: spec.encryption.clone(),
        zone: Zone::new(spec.zone.as_str()),
        size: GiB(spec.size_gib),
        origin: Origin { snapshot: SnapshotId::new(&spec.origin.snapshot_id), generation: spec.origin.generation },
        claim: spec.claim_ref.clone(),
        attached_by: spec.publish.as_ref().and_then(|publish| publish.attached_by.clone()),
        node_name: spec.node_name.as_deref().map(NodeName::new),
        deleting: volume.metadata.deletion_timestamp.is_some(),
        retired: spec.retired,
        ordered: spec.verify.as_ref().map(|order| order.id.clone()),
        restored_after: spec.restored_after.clone(),
        content: spec.content.as_ref().map(content_seen),
        refresh: spec.refresh.as_ref().map(refresh_seen),
        phase: status.phase,
        initialized_percent: initialized.unwrap_or(stored.initialized_percent),
        recorded: Recorded {
            volume: volume_id_of(volume),
            requested: stored.requested_time.map(|time| time.0),
            adopted: volume.metadata.creation_timestamp.as_ref().filter(|_| is_adopted).map(|time| time.0),
            missing_since: stored.missing_since.map(|time| time.0),
            deletion_accepted: stored.state.as_deref() == Some(STATE_DELETING),
            modification: stored.modification.map(|last| Modification {
                requested: last.requested_time.0,
                state: last.state,
                refusal: last.error,
            }),
            denied_since: stored.denied_since.map(|time| time.0),
            error: stored.error,
        },
        cloud,
        node: status.node.map(|node| NodeSide {
            node: node.name,
            attached: node.attached,
            filesystem: node.filesystem,
            mounted: node.mounted,
            published: node.published,
            error: node.error,
            sync: node.sync.as_ref().map(sync_seen),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_volumes_are_restored_only_where_everything_is_compared_and_somebody_answers() {
        let pool = |sync: serde_json::Value| {
            let spec = serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}, "sync": sync});
            VolumePool::new("web", serde_json::from_value(spec).expect("a spec"))
        };
        let live = || pool(serde_json::json!({"mode": "Live"}));
        assert!(offer(&live()).restores);
        assert!(!offer(&pool(serde_json::json!({}))).restores);
        for left_out in ["exclude", "preserveOnCopies"] {
            assert!(!offer(&pool(serde_json::json!({"mode": "Live", left_out: ["cache/**"]}))).restores, "{left_out}");
        }
        let mut deleted = live();
        deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()));
        assert!(!offer(&deleted).restores);
    }
}
