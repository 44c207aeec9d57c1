//! Joins a pool, its volumes and a sweep into the input of the plan. Reads memory only.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;

use crate::api::{PoolVolume, VolumePool};
use crate::controller::parse;
use crate::controller::sweep::{Interest, Sources, Sweep};
use crate::domain::{SnapshotId, VolumeId};
use crate::plan::{PoolSeen, Source, SourceSeen};

use super::view::View;

/// Everything of one pool; `None` while this sweep has not asked about its source yet.
pub fn pool(view: &View, cluster: &str, sweep: &Sweep, pool: &VolumePool) -> Option<PoolSeen> {
    let wanted = parse::pool_wanted(pool, cluster)?;
    let source = source(sweep, &wanted.source)?;
    let snapshots = sweep.snapshots_of(wanted.uid.as_str()).cloned().collect();
    let seen = view.volumes_of(pool).map(|volume| {
        let id = volume.status.as_ref().and_then(|status| status.cloud.as_ref()?.volume_id.as_deref().map(VolumeId::new));
        let cloud = sweep.find(id.as_ref(), wanted.uid.as_str(), &volume.uid().unwrap_or_default());
        let told = cloud.and_then(|cloud| sweep.initialized_percent.get(&cloud.id).copied());
        let initialized = told.or_else(|| is_silence_over(volume, sweep).then_some(100));
        parse::volume_seen(volume, cloud.cloned(), initialized)
    });
    let volumes = seen.collect();
    Some(PoolSeen {
        observed: sweep.started,
        pool: wanted,
        source,
        snapshots,
        volumes,
        instances: view.instances.clone(),
        nodes: view.nodes.clone(),
        zones_with_nodes: view.zones_with_nodes.clone(),
    })
}

/// Whether EC2 has had the time to say that blocks are still being loaded, and has not.
///
/// Source: EBS user guide, "Monitor the status of volume initialization": the information may be five minutes late.
fn is_silence_over(volume: &PoolVolume, sweep: &Sweep) -> bool {
    let requested = volume.status.as_ref().and_then(|status| status.cloud.as_ref()?.requested_time.clone());
    requested.is_some_and(|time| sweep.started.duration_since(time.0) > SignedDuration::from_mins(5))
}

fn source(sweep: &Sweep, source: &Source) -> Option<SourceSeen> {
    match source {
        Source::Volume(id) => {
            sweep.asked.volumes.contains(id).then(|| sweep.source_volumes.get(id).cloned().map_or(SourceSeen::Missing, SourceSeen::Volume))
        }
        Source::Snapshot(id) => sweep
            .asked
            .snapshots
            .contains(id)
            .then(|| sweep.source_snapshots.get(id).cloned().map_or(SourceSeen::Missing, SourceSeen::Snapshot)),
    }
}

/// What the next sweep must look at. A pool whose source was not asked about makes it urgent.
pub fn interest(pools: &[Arc<VolumePool>], sweep: Option<&Sweep>, is_moving: bool) -> Interest {
    let mut sources = Sources::default();
    for pool in pools {
        sources.volumes.extend(pool.spec.source.volume_id.as_deref().map(VolumeId::new));
        sources.snapshots.extend(pool.spec.source.snapshot_id.as_deref().map(SnapshotId::new));
    }
    let unasked = sweep.is_none_or(|sweep| sweep.asked != sources);
    Interest { sources, is_moving: is_moving || unasked, initialized: BTreeSet::new() }
}
