//! Every reason that a plan can give is reachable, and no other is given.

use std::collections::BTreeSet;

use crate::domain::tags::TAG_SOURCE;
use crate::domain::{GiB, Reason, SnapshotState, VolumeState};
use crate::plan::{ClaimFault, ClaimSeen, DemandAction, NodeSide, Plan, SourceSeen};

use super::build::{NOW, at, key, pool, snapshot, snapshot_in, source_volume, volume};
use super::demand_build::{DemandBuild, claim, claim_in, claim_on, demand_on_web};

fn of_plan(plan: &Plan) -> Vec<Reason> {
    plan.report.findings.iter().map(|finding| finding.reason).collect()
}

fn of_demand(demand: &DemandBuild) -> Vec<Reason> {
    let reason = |action: &DemandAction| if let DemandAction::Tell { reason, .. } = action { Some(*reason) } else { None };
    demand.plan().iter().filter_map(reason).collect()
}

fn from_supply() -> Vec<(Reason, Plan)> {
    let mut unshared = source_volume();
    unshared.tags.remove(TAG_SOURCE);
    let failing = source_volume();
    let failing = crate::domain::CloudVolume { state: VolumeState::Error, ..failing };
    let deleted = || pool("web").but(|seen| seen.pool.deleting = true);
    let refused = volume("web-0").but(|volume| volume.recorded.error = Some("no".to_owned()));
    let side = NodeSide { error: Some("no".to_owned()), ..NodeSide::default() };
    let broken = volume("web-0").used_by("cart").but(|volume| volume.node = Some(side));
    vec![
        (Reason::AsWanted, pool("web").with([volume("web-0").ready()]).plan()),
        (Reason::PoolReady, pool("web").with([volume("web-0").ready()]).plan()),
        (Reason::Deleting, deleted().plan()),
        (Reason::DeletionDenied, deleted().but(|seen| seen.pool.denied_since = Some(at(NOW))).plan()),
        (Reason::ClaimsRemain, deleted().with([volume("web-0").used_by("cart")]).plan()),
        (Reason::Paused, pool("web").but(|seen| seen.pool.paused = true).plan()),
        (Reason::Active, pool("web").plan()),
        (Reason::SourceNotFound, pool("web").source(SourceSeen::Missing("vol-source".to_owned())).plan()),
        (Reason::SourceNotShared, pool("web").source(SourceSeen::Volume(unshared)).plan()),
        (Reason::SourceNotUsable, pool("web").source(SourceSeen::Volume(failing)).plan()),
        (Reason::SizeBelowSource, pool("web").but(|seen| seen.pool.size = Some(GiB(1))).plan()),
        (Reason::ZoneHasNoNode, pool("web").nodes_in(&[]).plan()),
        (Reason::SourceNotBound, pool("web").claimed(SourceSeen::Faulty(ClaimFault::NotBound)).plan()),
        (Reason::SourceNotEbs, pool("web").claimed(SourceSeen::Faulty(ClaimFault::NotEbs("a disk".to_owned()))).plan()),
        (Reason::SourceChanged, pool("web").but(|seen| seen.pool.recorded_source = Some("vol-before".to_owned())).plan()),
        (Reason::InvalidSchedule, pool("web").but(|seen| seen.pool.snapshots.schedule = Err("no".to_owned())).plan()),
        (Reason::Replacing, pool("web").snapshots([snapshot(2)]).with([volume("web-0").ready()]).plan()),
        (Reason::SnapshotPending, pool("web").snapshots([]).intent(None).plan()),
        (Reason::SnapshotFailed, pool("web").snapshots([snapshot_in(SnapshotState::Error, 1)]).plan()),
        (Reason::Filling, pool("web").plan()),
        (Reason::Shrinking, pool("web").replicas(0).with([volume("web-0").ready()]).plan()),
        (Reason::Ec2Failed, pool("web").with([refused]).plan()),
        (Reason::AgentFailed, pool("web").with([broken]).plan()),
    ]
    .into_iter()
    .chain(super::live::reasons())
    .chain(super::refresh::reasons())
    .chain(super::live_foreign::reasons())
    .collect()
}

fn from_demand() -> Vec<(Reason, DemandBuild)> {
    let with = |claim| demand_on_web().claims([claim]);
    vec![
        (Reason::InvalidClaim, with(ClaimSeen { pool: Err("no".to_owned()), ..claim("cart") })),
        (Reason::PoolNotFound, with(ClaimSeen { pool: Ok(key("nope")), ..claim("cart") })),
        (Reason::NamespaceNotAllowed, with(claim_in("blog", "cart"))),
        (Reason::RequestTooLarge, with(ClaimSeen { requested: GiB(99), ..claim("cart") })),
        (Reason::ZoneNotInPool, with(claim_on("cart", "node-c"))),
        (Reason::WaitingForVolume, with(claim("cart")).offer(|offer| offer.makes_on_demand = false)),
    ]
}

/// Reasons that only operations give; `operations` shows that each is given.
const OF_OPERATIONS: [Reason; 7] = [
    Reason::SourceNotLive,
    Reason::SourceNotPublished,
    Reason::OperationRunning,
    Reason::OperationComplete,
    Reason::OperationRefused,
    Reason::OperationTimedOut,
    Reason::VolumesDiffer,
];

/// Reasons of events that only the execution of an action gives.
const OF_EXECUTION: [Reason; 17] = [
    Reason::RefreshStarted,
    Reason::Refreshed,
    Reason::RefreshStopped,
    Reason::NotRecycled,
    Reason::SourceAssigned,
    Reason::Ec2Unreadable,
    Reason::SnapshotDeleted,
    Reason::VolumeModified,
    Reason::Adopted,
    Reason::OrphanDeleted,
    Reason::SnapshotCreated,
    Reason::VolumeCreated,
    Reason::VolumeFailed,
    Reason::VolumeDeleted,
    Reason::Dispatched,
    Reason::Recycled,
    Reason::Retained,
];

/// Reasons of events that agents give.
const OF_AGENTS: [Reason; 3] = [Reason::SourcePublished, Reason::SourceCompared, Reason::DriftFound];

#[test]
fn each_reason_of_a_plan_is_reachable() {
    for (reason, plan) in from_supply() {
        assert!(of_plan(&plan).contains(&reason), "{reason}: {:?}", plan.report.findings);
    }
    for (reason, demand) in from_demand() {
        assert_eq!(of_demand(&demand), [reason]);
    }
}

/// A new reason breaks the count until one of the tables has it.
#[test]
fn the_tables_leave_no_reason_out() {
    let mut listed: BTreeSet<Reason> = OF_EXECUTION.into();
    listed.extend(OF_AGENTS);
    listed.extend(OF_OPERATIONS);
    listed.extend(from_supply().iter().map(|(reason, _)| *reason));
    listed.extend(from_demand().iter().map(|(reason, _)| *reason));
    let count_of_reasons = include_str!("../../domain/reason.rs").lines().filter(|line| line.trim().starts_with("Self::")).count();
    assert_eq!(listed.len(), count_of_reasons);
    let spellings: BTreeSet<&str> = listed.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(spellings.len(), listed.len(), "two reasons are spelled alike");
}
