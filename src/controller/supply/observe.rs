//! Joins a pool, its volumes and a sweep into the input of the plan. Reads memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;

use crate::api::keys::LABEL_ZONE;
use crate::api::{PoolNode, PoolVolume, VolumePool};
use crate::controller::context::Context;
use crate::controller::parse;
use crate::controller::sweep::{Interest, Sources, Sweep};
use crate::domain::tags::TAG_POOL_UID;
use crate::domain::{InstanceId, NodeName, SnapshotId, VolumeId, Zone};
use crate::ec2::Ec2;
use crate::plan::{PoolSeen, Source, SourceSeen};

/// Everything of one pool; `None` while this sweep has not asked about its source yet.
pub(super) fn pool<E: Ec2>(context: &Context<E>, sweep: &Sweep, pool: &VolumePool) -> Option<PoolSeen> {
    let wanted = parse::pool_wanted(pool, &context.cluster)?;
    let source = source(sweep, &wanted.source)?;
    let is_ours = |tags: &crate::domain::cloud::Tags| tags.get(TAG_POOL_UID).is_some_and(|uid| uid == wanted.uid.as_str());
    let snapshots = sweep.snapshots.iter().filter(|snapshot| is_ours(&snapshot.tags)).cloned().collect();
    let belongs = |volume: &&Arc<PoolVolume>| {
        volume.namespace().as_deref() == Some(&wanted.key.namespace) && volume.spec.pool_ref.uid == wanted.uid.as_str()
    };
    let volumes = context.stores.volumes.state();
    let seen = volumes.iter().filter(belongs).map(|volume| {
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
        instances: instances(context),
        nodes: nodes(context),
        zones_with_nodes: zones_with_nodes(context),
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

fn instances<E: Ec2>(context: &Context<E>) -> BTreeMap<InstanceId, NodeName> {
    let of_agent = |agent: &Arc<PoolNode>| Some((InstanceId::new(&agent.status.as_ref()?.instance_id), NodeName::new(agent.name_any())));
    context.stores.pool_nodes.state().iter().filter_map(of_agent).collect()
}

fn nodes<E: Ec2>(context: &Context<E>) -> BTreeSet<NodeName> {
    context.stores.nodes.state().iter().map(|node| NodeName::new(node.name_any())).collect()
}

fn zones_with_nodes<E: Ec2>(context: &Context<E>) -> BTreeSet<Zone> {
    let nodes = context.stores.nodes.state();
    nodes.iter().filter_map(|node| node.labels().get(LABEL_ZONE)).map(|zone| Zone::new(zone.as_str())).collect()
}

/// What the next sweep must look at. A pool whose source was not asked about makes it urgent.
pub(super) fn interest<E: Ec2>(context: &Context<E>, sweep: Option<&Sweep>, is_moving: bool) -> Interest {
    let mut sources = Sources::default();
    for pool in context.stores.pools.state() {
        sources.volumes.extend(pool.spec.source.volume_id.as_deref().map(VolumeId::new));
        sources.snapshots.extend(pool.spec.source.snapshot_id.as_deref().map(SnapshotId::new));
    }
    let unasked = sweep.is_none_or(|sweep| sweep.asked != sources);
    Interest { sources, is_moving: is_moving || unasked, initialized: BTreeSet::new() }
}
