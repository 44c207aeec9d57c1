//! Joins a pool, its volumes and a sweep into the input of the plan. Reads memory only.

use jiff::SignedDuration;
use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::api::keys::GROUP;
use crate::api::volume_pool::SyncMode;
use crate::api::{PoolVolume, VolumePool};
use crate::controller::parse;
use crate::controller::parse_sync::publish_told;
use crate::controller::sweep::{Interest, Sources, Sweep};
use crate::domain::{SnapshotId, SnapshotState, VolumeId};
use crate::plan::{PoolSeen, PoolWanted, Source, SourceLoad, SourceObject, SourceSeen, VISIBILITY, VolumeSeen};

use super::view::View;

/// Everything of one pool; `None` while this sweep has not asked about its source yet.
pub fn pool(view: &View, cluster: &str, sweep: &Sweep, pool: &VolumePool) -> Option<PoolSeen> {
    let mut wanted = parse::pool_wanted(pool, cluster)?;
    let source = source(view, sweep, &wanted)?;
    let snapshots = sweep.snapshots_of(wanted.uid.as_str()).cloned().collect();
    let seen = view.volumes_of(pool).map(|volume| {
        let id = parse::volume_id_of(volume);
        let cloud = sweep.find(id.as_ref(), wanted.uid.as_str(), &volume.uid().unwrap_or_default());
        let told = cloud.and_then(|cloud| sweep.initialized_percent.get(&cloud.id).copied());
        let initialized = told.or_else(|| is_silence_over(volume, sweep).then_some(100));
        with_modification(parse::volume_seen(volume, cloud.cloned(), initialized), sweep)
    });
    let volumes = seen.collect();
    let source_object = view.source_of(pool).map(|object| source_object(view, &source, object));
    let agents = if wanted.live.is_some() { view.agents.clone() } else { BTreeMap::new() };
    let source_volume = if let SourceSeen::Volume(volume) = &source { Some(volume.id.clone()) } else { None };
    if let (Some(publish), Some(id)) = (&mut wanted.live, &source_volume) {
        publish.attached_by = attached_by(view, &wanted.source, id);
    }
    Some(PoolSeen {
        observed: sweep.started,
        source_load: source_volume.as_ref().map(|id| load(sweep, id)).unwrap_or_default(),
        source_free: source_volume.and_then(|id| sweep.free_spans.get(&id).copied()),
        pool: wanted,
        source,
        snapshots,
        volumes,
        source_object,
        agents,
        instances: view.instances.clone(),
        nodes: view.nodes.clone(),
        zones_with_nodes: view.zones_with_nodes.clone(),
    })
}

/// The driver that attaches the source, when our agents do not attach it for its pool: whoever a PersistentVolume names, and our
/// own for a claim of ours, whose volume is attached for that claim.
fn attached_by(view: &View, source: &Source, id: &VolumeId) -> Option<String> {
    let is_claim = matches!(source, Source::Claim(_));
    view.foreign_driver(id).or_else(|| is_claim.then(|| GROUP.to_owned()))
}

/// The object of a source. What EC2 shows of it was asked about as the source, since it carries no tag of ours.
fn source_object(view: &View, source: &SourceSeen, object: &PoolVolume) -> SourceObject {
    let cloud = if let SourceSeen::Volume(cloud) = source { Some(cloud.clone()) } else { None };
    let id = cloud.as_ref().map(|cloud| cloud.id.clone()).or_else(|| parse::volume_id_of(object));
    let requested_by = id.and_then(|id| view.requested_by(&id, cloud.as_ref()).cloned());
    SourceObject {
        requested_by,
        volume: parse::volume_seen(object, cloud, Some(100)),
        publish: object.spec.publish.as_ref().map(publish_told),
        checkpoint: object.spec.publish.as_ref().and_then(|publish| publish.checkpoint),
    }
}

/// The state of the last change in place as this sweep shows it. An older change of the volume says nothing about it;
/// a minute stands for clocks that differ.
fn with_modification(mut seen: VolumeSeen, sweep: &Sweep) -> VolumeSeen {
    let shown = seen.cloud.as_ref().and_then(|cloud| sweep.modifications.get(&cloud.id));
    if let (Some(last), Some(shown)) = (&mut seen.recorded.modification, shown)
        && shown.started.is_some_and(|started| started.duration_since(last.requested) > -VISIBILITY)
    {
        last.state = Some(shown.state);
    }
    seen
}

/// Whether EC2 has had the time to say that blocks are still being loaded, and has not.
///
/// Source: EBS user guide, "Monitor the status of volume initialization": the information may be five minutes late.
fn is_silence_over(volume: &PoolVolume, sweep: &Sweep) -> bool {
    let requested = volume.status.as_ref().and_then(|status| status.cloud.as_ref()?.requested_time.clone());
    // An adopted volume was never asked for under this object; it is older than it.
    let since = requested.or_else(|| volume.metadata.creation_timestamp.clone());
    since.is_some_and(|time| sweep.started.duration_since(time.0) > SignedDuration::from_mins(5))
}

/// All snapshots that this cluster takes of a volume count, of whichever pool.
fn load(sweep: &Sweep, volume: &VolumeId) -> SourceLoad {
    let of_volume = || sweep.snapshots.iter().filter(|snapshot| snapshot.volume == *volume);
    let unfinished = of_volume().filter(|snapshot| matches!(snapshot.state, SnapshotState::Pending | SnapshotState::Error)).count();
    SourceLoad {
        unfinished: u32::try_from(unfinished).unwrap_or(u32::MAX),
        last_started: of_volume().filter_map(|snapshot| snapshot.started).max(),
    }
}

/// `None` while this sweep has not asked about it.
fn source(view: &View, sweep: &Sweep, pool: &PoolWanted) -> Option<SourceSeen> {
    let of_volume = |id: &VolumeId| {
        let found = || sweep.source_volumes.get(id).cloned().map_or_else(|| SourceSeen::Missing(id.to_string()), SourceSeen::Volume);
        sweep.asked.volumes.contains(id).then(found)
    };
    match &pool.source {
        Source::Volume(id) => of_volume(id),
        Source::Claim(name) => match view.claimed(&pool.key.namespace, name, pool.live.is_some()) {
            Ok(id) => of_volume(&id),
            Err(fault) => Some(SourceSeen::Faulty(fault)),
        },
        Source::Snapshot(id) => {
            let found =
                || sweep.source_snapshots.get(id).cloned().map_or_else(|| SourceSeen::Missing(id.to_string()), SourceSeen::Snapshot);
            sweep.asked.snapshots.contains(id).then(found)
        }
    }
}

/// What the next sweep must look at. A pool whose source was not asked about makes it urgent.
pub fn interest(view: &View, sweep: Option<&Sweep>, is_moving: bool) -> Interest {
    let mut sources = Sources::default();
    for pool in &view.pools {
        let claim = pool.spec.source.persistent_volume_claim.as_ref();
        let namespace = pool.namespace().unwrap_or_default();
        sources.volumes.extend(claim.and_then(|claim| view.claimed(&namespace, &claim.name, pool.spec.sync.mode == SyncMode::Live).ok()));
        sources.volumes.extend(pool.spec.source.volume_id.as_deref().map(VolumeId::new));
        sources.snapshots.extend(pool.spec.source.snapshot_id.as_deref().map(SnapshotId::new));
    }
    let unasked = sweep.is_none_or(|sweep| sweep.asked != sources);
    Interest { sources, is_moving: is_moving || unasked, ..Interest::default() }
}
