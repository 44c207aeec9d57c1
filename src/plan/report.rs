//! How a pool stands: counts, phases and conditions, ready to be published.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::{CloudSnapshot, CloudVolume, NodeName, ObjectKey, Phase, Reason, VolumeId, Zone};

use super::capacity::Zones;
use super::observation::{Modification, Origin, PoolSeen, VolumeSeen};
use super::snapshots::{Stock, is_just_asked_for};
use super::source::Judged;
use super::volumes::Lives;
use super::{findings, live};

/// Types of conditions on a pool.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Condition {
    /// The pool keeps its promise: the sum of the others.
    Ready,
    /// The source exists, is shared with the pool and fits.
    SourceReady,
    /// There is a completed snapshot to fill from.
    SnapshotFresh,
    /// As many volumes are ready as were asked for.
    PoolFilled,
    /// The source is published, and all mounted volumes have what it has; only of a live pool.
    InSync,
    /// Something failed and is being retried.
    Degraded,
    /// Changes in EC2 are stopped by the user.
    Paused,
}

impl Condition {
    /// The spelling in `status.conditions`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::SourceReady => "SourceReady",
            Self::SnapshotFresh => "SnapshotFresh",
            Self::PoolFilled => "PoolFilled",
            Self::InSync => "InSync",
            Self::Degraded => "Degraded",
            Self::Paused => "Paused",
        }
    }
}

/// One condition and why it is so.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which condition.
    pub condition: Condition,
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence that names the field and the fix where there is one.
    pub message: String,
}

impl Finding {
    /// Joins the parts.
    pub fn new(condition: Condition, holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { condition, holds, reason, message: message.into() }
    }
}

/// How a pool stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The source that was judged usable: id, zone, size in GiB.
    pub source: Option<SourceReport>,
    /// The newest completed snapshot.
    pub newest: Option<Origin>,
    /// Snapshots of the pool, newest first.
    pub snapshots: Vec<CloudSnapshot>,
    /// When the next snapshot is due, if that is in the future.
    pub next_snapshot: Option<Timestamp>,
    /// Counts by zone.
    pub zones: BTreeMap<Zone, ZoneReport>,
    /// Each volume.
    pub volumes: BTreeMap<ObjectKey, VolumeReport>,
    /// The object of the source volume, of a pool that is live or was.
    pub source_volume: Option<(ObjectKey, VolumeReport)>,
    /// Conditions, `Ready` last, since it is the sum of the others.
    pub findings: Vec<Finding>,
    /// Whether something moves in EC2, so that it is worth looking again soon.
    pub is_moving: bool,
}

/// A usable source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceReport {
    /// Its id.
    pub id: String,
    /// Its zone; none for a snapshot.
    pub zone: Option<Zone>,
    /// Its size in GiB.
    pub size_gib: u32,
    /// Its filesystem, as long as a node has a copy mounted.
    pub filesystem: Option<String>,
}

/// Counts of a zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZoneReport {
    /// Volumes that shall be ready.
    pub desired: u32,
    /// Volumes that are.
    pub ready: u32,
    /// Volumes that are being refreshed, and ready again in a moment.
    pub refreshing: u32,
    /// Ready volumes that must be refreshed.
    pub behind: u32,
    /// Volumes that are being made.
    pub filling: u32,
    /// Volumes that a claim holds.
    pub claimed: u32,
}

/// How a volume stands.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeReport {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its EBS volume.
    pub volume: Option<VolumeId>,
    /// The state that EC2 reports, none when it lists nothing.
    pub state: Option<crate::domain::VolumeState>,
    /// Percent of blocks loaded.
    pub initialized_percent: u8,
    /// The last change in place, as EC2 shows it now.
    pub modification: Option<Modification>,
    /// Since when EC2 does not list it.
    pub missing_since: Option<Timestamp>,
    /// The node whose agents must watch it: wanted, or not yet let go.
    pub watched_by: Option<NodeName>,
}

impl VolumeReport {
    pub(super) fn of(volume: &VolumeSeen, phase: Phase, seen: &PoolSeen) -> Self {
        let observed = seen.observed;
        let known = volume.recorded.volume.clone();
        let was_there = known.is_some() && volume.recorded.requested.is_none_or(|requested| requested < observed);
        let missing = was_there && volume.cloud.is_none();
        Self {
            phase,
            volume: volume.cloud.as_ref().map(|cloud| cloud.id.clone()).or(known),
            state: volume.cloud.as_ref().map(|cloud| cloud.state),
            initialized_percent: volume.initialized_percent,
            modification: volume.recorded.modification.clone(),
            missing_since: missing.then(|| volume.recorded.missing_since.unwrap_or(observed)),
            watched_by: watcher(volume, seen),
        }
    }
}

/// The node that is wanted, else the one whose agent has not let go, else the one whose instance EC2 shows: an
/// attachment that came late must find an agent that takes it away.
fn watcher(volume: &VolumeSeen, seen: &PoolSeen) -> Option<NodeName> {
    let reported = || volume.node.as_ref().map(|side| NodeName::new(side.node.clone()));
    let attached = || {
        let mut instances = volume.cloud.iter().flat_map(CloudVolume::live_attachments).map(|attachment| &attachment.instance);
        instances.find_map(|instance| seen.instances.get(instance)).cloned()
    };
    volume.node_name.clone().or_else(reported).or_else(attached)
}

pub(super) fn of(seen: &PoolSeen, now: Timestamp, lives: Lives<'_>, source: Judged, (stock, zones): (Stock, Zones)) -> Report {
    let findings = findings::of(seen, &lives, &source, (&stock, &zones));
    let mut sides = lives.iter().filter_map(|life| life.volume.node.as_ref());
    let filesystem = sides.find_map(|side| side.filesystem.clone());
    let source = source.ok().map(|usable| SourceReport { id: usable.id, zone: usable.zone, size_gib: usable.source_size.0, filesystem });
    let zone_report = |count: super::capacity::ZoneCount| ZoneReport {
        desired: count.desired,
        ready: count.ready,
        refreshing: count.refreshing,
        behind: count.behind,
        filling: count.filling,
        claimed: count.claimed,
    };
    let zones: BTreeMap<_, _> = zones.into_iter().map(|(zone, count)| (zone, zone_report(count))).collect();
    let is_moving =
        stock.pending_percent.is_some() || is_just_asked_for(seen) || stock.awaits_checkpoint || moves(&lives) || live::moves(seen);
    let next_snapshot = stock.next.filter(|due| *due > now);
    let (newest, snapshots, volumes) = (stock.newest, newest_first(seen), by_key(lives));
    Report { source, newest, snapshots, next_snapshot, zones, volumes, findings, is_moving, source_volume: None }
}

pub(super) fn of_deletion(seen: &PoolSeen, lives: Lives<'_>, finding: Finding) -> Report {
    Report { snapshots: newest_first(seen), volumes: by_key(lives), findings: vec![finding], is_moving: true, ..Report::default() }
}

fn by_key(lives: Lives<'_>) -> BTreeMap<ObjectKey, VolumeReport> {
    lives.into_iter().map(|life| (life.volume.key.clone(), life.report)).collect()
}

fn moves(lives: &Lives<'_>) -> bool {
    lives.iter().any(|life| {
        let report = &life.report;
        let is_changing = report.modification.as_ref().is_some_and(Modification::is_under_way);
        let is_settled = match report.phase {
            Phase::Ready | Phase::Claimed | Phase::Retained => true,
            // Until it is taken off its node it waits for its agent, not for EC2.
            Phase::Refreshing => life.volume.node_name.is_some(),
            _ => false,
        };
        !is_settled || report.missing_since.is_some() || is_changing
    })
}

fn newest_first(seen: &PoolSeen) -> Vec<CloudSnapshot> {
    let mut snapshots = seen.snapshots.clone();
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse((super::snapshots::generation_of(snapshot), snapshot.id.clone())));
    snapshots
}
