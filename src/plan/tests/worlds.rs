//! Arbitrary worlds, possible or not: what no plan may ever do must hold for all of them.

use proptest::prelude::*;

use crate::domain::tags::{TAG_CLUSTER, TAG_POOL_UID, TAG_SOURCE, TAG_VOLUME_UID};
use crate::domain::{GiB, NodeName, Phase, Schedule, SnapshotState, VolumeState, Zone};
use crate::plan::{ClaimSeen, ContentSeen, DemandSeen, NodeSide, PoolSeen, RefreshSeen, RefreshWanted, SourceSeen, VolumeSeen};

use super::build::{NOW, at, attachment, claim_ref, fixed_snapshot, pool, snapshot_in, source_volume, volume};
use super::demand_build::{claim, demand_on_web, pv_of};
use super::refresh_build::{last_refresh, position, refreshed};

const ZONES: [&str; 3] = ["a", "b", "c"];
const STATES: [VolumeState; 7] = [
    VolumeState::Creating,
    VolumeState::Available,
    VolumeState::InUse,
    VolumeState::Deleting,
    VolumeState::Deleted,
    VolumeState::Error,
    VolumeState::Unknown,
];
const PHASES: [Phase; 10] = [
    Phase::Pending,
    Phase::Creating,
    Phase::Initializing,
    Phase::Ready,
    Phase::Refreshing,
    Phase::Claimed,
    Phase::Releasing,
    Phase::Retained,
    Phase::Failed,
    Phase::Deleting,
];
const TAGS: [&str; 3] = [TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID];

fn second() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), Just(Some(0)), Just(Some(NOW - 45)), Just(Some(NOW - 10)), Just(Some(NOW + 5))]
}

/// EC2's side: nothing, or any state, with any one tag wrong in some.
fn with_cloud(built: VolumeSeen) -> impl Strategy<Value = VolumeSeen> {
    let cloud = (prop::option::weighted(0.8, prop::sample::select(STATES.to_vec())), prop::option::weighted(0.2, 0..3usize));
    (cloud, prop::bool::weighted(0.2), prop::bool::ANY).prop_map(move |((state, wrong_tag), is_attached, is_recorded)| {
        let Some(state) = state else { return built.clone() };
        let listed = volume(&built.key.name).zone(built.zone.as_str()).cloud(state).seen();
        let mut cloud = listed.cloud.clone().unwrap();
        if let Some(tag) = wrong_tag {
            cloud.tags.insert(TAGS[tag].to_owned(), "of others".to_owned());
        }
        if is_attached {
            cloud.attachments.push(attachment());
        }
        let recorded = if is_recorded { listed.recorded } else { crate::plan::Recorded::default() };
        VolumeSeen { cloud: Some(cloud), recorded, ..built.clone() }
    })
}

fn any_volume(slot: usize) -> impl Strategy<Value = VolumeSeen> {
    let spec = (0..3usize, prop::bool::weighted(0.3), prop::bool::weighted(0.3), prop::bool::weighted(0.3), prop::bool::weighted(0.1));
    let status =
        (prop::option::of(prop::sample::select(PHASES.to_vec())), prop::bool::weighted(0.3), prop::sample::select(vec![0, 50, 100]));
    let recorded = (second(), second(), prop::bool::weighted(0.2), 1..4u64);
    (spec, status, recorded)
        .prop_map(move |((zone, claimed, assigned, deleting, retired), (phase, on_node, percent), recorded)| {
            let mut built = volume(&format!("web-{slot}")).zone(ZONES[zone]).generation(recorded.3).seen();
            built.claim = claimed.then(|| claim_ref(&format!("claim-{}", slot % 3)));
            built.node_name = assigned.then(|| NodeName::new("node-a"));
            (built.deleting, built.retired, built.phase, built.initialized_percent) = (deleting, retired, phase, percent);
            built.node = on_node.then(|| NodeSide { node: "node-a".to_owned(), published: u32::from(claimed), ..NodeSide::default() });
            built.recorded.requested = recorded.0.map(at);
            built.recorded.missing_since = recorded.1.map(at);
            built.recorded.deletion_accepted = recorded.2;
            built
        })
        .prop_flat_map(with_cloud)
        .prop_flat_map(with_content)
}

/// Anything that it may have of its source, and any refresh, of now or before.
fn with_content(built: VolumeSeen) -> impl Strategy<Value = VolumeSeen> {
    let content = prop::option::of((prop::option::of(0..3u64), second()));
    let refresh = prop::option::of((prop::sample::select(vec!["node-a", "node-b"]), -1000..0i64, second(), 0..3u32));
    (content, refresh).prop_map(move |(content, refresh)| VolumeSeen {
        content: content.map(|(generation, time)| ContentSeen { position: generation.map(position), time: time.map(at) }),
        refresh: refresh.map(|(node, began, ended, failures)| RefreshSeen {
            node: node.into(),
            started: at(NOW + began),
            ended: ended.map(at),
            ..last_refresh(0, None, failures)
        }),
        ..built.clone()
    })
}

/// A source that is published, with agents that could refresh what follows it.
fn live(seen: &mut PoolSeen) {
    let published = refreshed([]).seen();
    let limits = RefreshWanted { max_generations: Some(1), max_age: None };
    (seen.pool.live, seen.pool.refresh) = (published.pool.live, Some(limits));
    (seen.source_object, seen.agents) = (published.source_object, published.agents);
    let side = seen.source_object.as_mut().and_then(|object| object.volume.node.as_mut());
    side.and_then(|side| side.sync.as_mut()).unwrap().position = Some(position(3));
}

fn any_volumes() -> impl Strategy<Value = Vec<VolumeSeen>> {
    (0..7usize).prop_flat_map(|count| (0..count).map(any_volume).collect::<Vec<_>>())
}

fn any_source() -> impl Strategy<Value = SourceSeen> {
    let mut foreign = source_volume();
    foreign.tags.insert(TAG_SOURCE.to_owned(), "of others".to_owned());
    let shared = Just(SourceSeen::Volume(source_volume()));
    prop_oneof![4 => shared, 1 => Just(SourceSeen::Missing("vol-source".to_owned())), 1 => Just(SourceSeen::Volume(foreign))]
}

fn subset() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(ZONES.to_vec(), 0..=3)
}

/// Any pool with any volumes.
pub(super) fn any_world() -> impl Strategy<Value = PoolSeen> {
    let state = prop::sample::select(vec![SnapshotState::Completed, SnapshotState::Pending, SnapshotState::Error, SnapshotState::Unknown]);
    let snapshots = prop::collection::btree_map(1..5u64, (state, prop::option::weighted(0.2, 0..2usize)), 0..4);
    let flags =
        (prop::bool::weighted(0.3), prop::bool::weighted(0.9), prop::bool::weighted(0.2), prop::bool::ANY, prop::bool::weighted(0.2));
    let wishes = (0..7u32, subset(), subset(), second(), prop::option::weighted(0.2, 5..15u32));
    let rules = (1..4u32, 0..3u64, prop::bool::ANY, prop::bool::ANY, prop::bool::weighted(0.3));
    let is_live = prop::bool::weighted(0.5);
    let all = (any_volumes(), any_source(), snapshots, flags, (wishes, rules, is_live));
    all.prop_map(|(volumes, source, snapshots, flags, (wishes, rules, is_live))| {
        let snapshots = snapshots.into_iter().map(|(generation, (state, wrong_tag))| {
            let mut snapshot = snapshot_in(state, generation);
            snapshot.tags.extend(wrong_tag.map(|tag| (TAGS[tag].to_owned(), "of others".to_owned())));
            snapshot
        });
        let built = pool("web").replicas(wishes.0).zones(&wishes.1).nodes_in(&wishes.2).source(source);
        let built = if flags.4 { built.fixed_content(SourceSeen::Snapshot(fixed_snapshot())) } else { built };
        let mut seen = built.snapshots(snapshots).intent(wishes.3.map(|second| (2, second))).seen();
        (seen.pool.deleting, seen.pool.has_finalizer, seen.pool.paused, seen.pool.retain_on_deletion) =
            (flags.0, flags.1, flags.2, flags.3);
        seen.pool.size = wishes.4.map(GiB);
        (seen.pool.snapshots.keep_count, seen.pool.snapshots.allowed_lag) = (rules.0, rules.1);
        seen.pool.snapshots.keep_age = rules.2.then(|| jiff::SignedDuration::from_mins(1));
        seen.pool.snapshots.schedule = Ok(rules.3.then(|| Schedule::parse("* * * * *", "Etc/UTC").unwrap()));
        seen.pool.template.settings.iops = rules.4.then_some(4000);
        seen.volumes = volumes;
        if is_live && !flags.4 {
            live(&mut seen);
        }
        seen
    })
}

fn any_claim(number: usize) -> impl Strategy<Value = ClaimSeen> {
    let node = prop::option::of(prop::sample::select(vec!["node-a", "node-b", "node-c", "node-x"]));
    (node, prop::bool::ANY, 1..12u32).prop_map(move |(node, waits_for_node, size)| ClaimSeen {
        requested: GiB(size),
        waits_for_node,
        selected_node: node.map(NodeName::new),
        ..claim(&format!("claim-{number}"))
    })
}

/// Any claims, volumes and `PersistentVolume`s of one pool.
pub(super) fn any_demand() -> impl Strategy<Value = DemandSeen> {
    let claims = (0..4usize).prop_flat_map(|count| (0..count).map(any_claim).collect::<Vec<_>>());
    let pvs = prop::collection::btree_map(0..5usize, (prop::bool::ANY, prop::bool::ANY, prop::bool::ANY), 0..4);
    let offer = (prop::bool::ANY, prop::bool::weighted(0.2), subset());
    let requests = prop::collection::btree_map(0..7usize, prop::sample::select(vec!["node-a", "node-b"]), 0..3);
    (claims, any_volumes(), pvs, offer, requests).prop_map(|(claims, volumes, pvs, offer, requests)| {
        let waiting = claims.len();
        let mut demand = demand_on_web().claims(claims).offer(|to| {
            (to.makes_on_demand, to.is_closed) = (offer.0, offer.1);
            to.zones = offer.2.iter().map(|zone| Zone::new(*zone)).collect();
        });
        for (number, (is_released, deleting, is_retained)) in pvs {
            let pv = pv_of(&format!("claim-{number}"));
            // Kubernetes releases no PersistentVolume of a claim that lives.
            let is_released = is_released && number >= waiting;
            demand = demand.pv(crate::plan::PvSeen { is_released, deleting, is_retained, ..pv });
        }
        for (slot, node) in requests {
            demand = demand.wanted_on(&format!("web-{slot}"), node);
        }
        demand.but(|seen| seen.volumes = volumes).seen()
    })
}
