//! The source of a live pool: its object, its node, and the condition `InSync`.

use crate::domain::tags::TAG_SOURCE;
use crate::domain::{Attachment, AttachmentState, NodeName, ObjectKey, Reason, Role, SyncState, VolumeState};
use crate::plan::{AgentSeen, Condition, NodeSide, Plan, PublishWanted, SourceObject, SourceSeen, SyncSeen};

use super::build::{PoolBuild, VolumeBuild, claim_ref, pool, source_volume, volume};
use super::words::{assert_finding, words};

pub(super) fn publish() -> PublishWanted {
    PublishWanted { max_staleness_milliseconds: 5000, ..PublishWanted::default() }
}

pub(super) fn agent(zone: &str, free_slots: u32) -> AgentSeen {
    AgentSeen { zone: zone.into(), free_slots, publishes: true, is_cordoned: false }
}

/// A live pool with one ready copy, agents on `node-a`, `node-d` (more room) in zone `a` and `node-b` in `b`, and a detached source.
pub(super) fn live_pool() -> PoolBuild {
    let mut source = source_volume();
    source.state = VolumeState::Available;
    pool("web").with([volume("web-0").ready()]).source(SourceSeen::Volume(source)).but(|seen| {
        seen.pool.live = Some(publish());
        seen.nodes.insert("node-d".into());
        seen.instances.insert("i-d".into(), "node-d".into());
        seen.agents = [("node-a", agent("a", 3)), ("node-b", agent("b", 9)), ("node-d", agent("a", 5))]
            .map(|(node, agent)| (NodeName::from(node), agent))
            .into();
    })
}

/// The object of the source, on no node.
pub(super) fn source_object() -> SourceObject {
    let seen = volume("web-0").but(|volume| {
        (volume.key, volume.role) = (ObjectKey::new("shop", "web-source"), Role::Source);
        volume.recorded.volume = Some("vol-source".into());
        volume.initialized_percent = 100;
    });
    SourceObject { volume: seen.seen(), publish: Some(publish()), checkpoint: None, requested_by: None }
}

pub(super) fn sync(state: SyncState) -> SyncSeen {
    SyncSeen { state, ..SyncSeen::default() }
}

/// The same pool with that object, joined with what EC2 shows, after a change.
pub(super) fn with_object(change: impl FnOnce(&mut SourceObject)) -> PoolBuild {
    live_pool().but(|seen| {
        let mut object = source_object();
        if let SourceSeen::Volume(cloud) = &seen.source {
            object.volume.cloud = Some(cloud.clone());
        }
        change(&mut object);
        seen.source_object = Some(object);
    })
}

/// An agent has it, in a state.
pub(super) fn on(node: &str, state: SyncState) -> impl FnOnce(&mut SourceObject) {
    move |object| {
        object.volume.node_name = Some(node.into());
        object.volume.node =
            Some(NodeSide { node: node.to_owned(), attached: true, mounted: true, sync: Some(sync(state)), ..NodeSide::default() });
        if let Some(cloud) = &mut object.volume.cloud {
            let instance = node.replace("node-", "i-");
            cloud.state = VolumeState::InUse;
            let attached = Attachment { instance: instance.as_str().into(), device: String::new(), state: AttachmentState::Attached };
            cloud.attachments = vec![attached];
        }
    }
}

pub(super) fn mounted(name: &str, state: SyncState, error: Option<&str>) -> VolumeBuild {
    volume(name).used_by("cart").but(|volume| {
        let sync = SyncSeen { error: error.map(str::to_owned), ..sync(state) };
        volume.node.as_mut().expect("it is on a node").sync = Some(sync);
    })
}

/// A plan for each reason that only live pools have.
pub(super) fn reasons() -> Vec<(Reason, Plan)> {
    let of_copy = |state| with_object(on("node-a", SyncState::Publishing)).with([volume("web-0").ready(), mounted("web-1", state, None)]);
    vec![
        (Reason::SourceStarting, with_object(|_| {}).plan()),
        (Reason::SourceInUse, with_object(held_by_somebody).plan()),
        (Reason::NoNodeForSource, with_object(|_| {}).but(|seen| seen.agents.clear()).plan()),
        (Reason::SourceFailed, with_object(|object| fail(object, "no such device")).plan()),
        (Reason::CatchingUp, of_copy(SyncState::CatchingUp).plan()),
        (Reason::CopyFailed, of_copy(SyncState::Failed).plan()),
    ]
}

fn held_by_somebody(object: &mut SourceObject) {
    on("node-x", SyncState::Publishing)(object);
    (object.volume.node_name, object.volume.node) = (None, None);
}

fn fail(object: &mut SourceObject, error: &str) {
    on("node-a", SyncState::Failed)(object);
    object.volume.node.as_mut().expect("it is on a node").error = Some(error.to_owned());
}

#[test]
fn a_live_pool_gets_an_object_for_its_source() {
    assert_eq!(words(&live_pool().plan()), ["make the object of vol-source"]);
    assert_eq!(words(&live_pool().but(|seen| seen.pool.paused = true).plan()), [""; 0], "a pause attaches nothing");
    let plain = live_pool().but(|seen| seen.pool.live = None);
    assert_eq!(words(&plain.plan()), [""; 0]);
}

#[test]
fn the_source_goes_to_the_node_with_the_most_room_in_its_zone() {
    assert_eq!(words(&with_object(|_| {}).plan()), ["assign web-source to node-d"]);
    let asked = with_object(|object| object.requested_by = Some("node-a".into()));
    assert_eq!(words(&asked.plan()), ["assign web-source to node-a"], "pods wait for it there");
    let cordoned = with_object(|_| {}).but(|seen| seen.agents.get_mut(&NodeName::from("node-d")).expect("it is there").is_cordoned = true);
    assert_eq!(words(&cordoned.plan()), ["assign web-source to node-a"]);
    let paused = with_object(|_| {}).but(|seen| seen.pool.paused = true).plan();
    assert_eq!(words(&paused), [""; 0]);
    assert_finding(&paused, Condition::InSync, false, Reason::Paused, &["spec.paused"]);
}

#[test]
fn a_node_without_certificate_room_or_node_object_gets_no_source() {
    let unfit: [fn(&mut AgentSeen); 2] = [|agent| agent.publishes = false, |agent| agent.free_slots = 0];
    for make_unfit in unfit {
        let plan = with_object(|_| {}).but(|seen| seen.agents.values_mut().for_each(make_unfit)).plan();
        assert_eq!(words(&plan), [""; 0]);
        assert_finding(&plan, Condition::InSync, false, Reason::NoNodeForSource, &["no node in a", "vol-source", "certificate"]);
    }
    let gone = with_object(|_| {}).but(|seen| seen.nodes.retain(|node| *node != "node-d".into()));
    assert_eq!(words(&gone.plan()), ["assign web-source to node-a"]);
}

#[test]
fn a_published_source_stays_and_the_pool_is_in_sync() {
    let plan = with_object(on("node-a", SyncState::Publishing)).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::InSync, true, Reason::AsWanted, &["0 mounted volumes"]);
    let (key, report) = plan.report.source_volume.expect("the object is reported");
    assert_eq!((key.name.as_str(), report.watched_by), ("web-source", Some("node-a".into())));
    assert!(!plan.report.volumes.contains_key(&key), "it is no copy");
}

#[test]
fn another_node_takes_over_only_when_the_last_has_let_go() {
    let lost = |seen: &mut crate::plan::PoolSeen| seen.nodes.retain(|node| *node != "node-a".into());
    let first = with_object(on("node-a", SyncState::Publishing)).but(lost);
    assert_eq!(words(&first.plan()), ["unassign web-source"]);
    let held = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        object.volume.node_name = None;
    });
    assert_eq!(words(&held.but(lost).plan()), [""; 0], "EC2 still shows it attached, and the instance may write");
    let freed = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        object.volume.node_name = None;
        let cloud = object.volume.cloud.as_mut().expect("EC2 lists it");
        (cloud.state, cloud.attachments) = (VolumeState::Available, Vec::new());
    });
    assert_eq!(words(&freed.but(lost).plan()), ["forget the node of web-source"]);
    assert_eq!(words(&with_object(|_| {}).but(lost).plan()), ["assign web-source to node-d"]);
}

#[test]
fn a_cordoned_node_hands_the_source_on_unless_pods_write_it() {
    let cordon = |seen: &mut crate::plan::PoolSeen| seen.agents.get_mut(&NodeName::from("node-a")).expect("it is there").is_cordoned = true;
    assert_eq!(words(&with_object(on("node-a", SyncState::Publishing)).but(cordon).plan()), ["unassign web-source"]);
    let written = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        object.volume.node.as_mut().expect("it is on a node").published = 1;
    });
    assert_eq!(words(&written.but(cordon).plan()), [""; 0]);
}

#[test]
fn what_agents_are_told_follows_the_pool() {
    let stale = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        object.publish = Some(PublishWanted { max_staleness_milliseconds: 1, ..publish() });
    });
    assert_eq!(words(&stale.plan()), ["tell how web-source is published"]);
    let grown = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        object.volume.size = crate::domain::GiB(5);
    });
    assert_eq!(words(&grown.plan()), ["record 10Gi of web-source"]);
}

#[test]
fn a_pool_that_is_live_no_more_lets_the_source_go_and_never_deletes_it() {
    let off = |seen: &mut crate::plan::PoolSeen| seen.pool.live = None;
    assert_eq!(words(&with_object(on("node-a", SyncState::Publishing)).but(off).plan()), ["drop web-source"]);
    let deleting = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        object.volume.deleting = true;
    });
    assert_eq!(words(&deleting.but(off).plan()), ["unassign web-source"]);
    let free = with_object(|object| object.volume.deleting = true);
    assert_eq!(words(&free.but(off).plan()), ["let web-source go"]);
}

#[test]
fn the_deletion_of_a_pool_waits_for_the_object_and_names_its_writer() {
    let deleted = |seen: &mut crate::plan::PoolSeen| {
        (seen.pool.deleting, seen.volumes, seen.snapshots) = (true, Vec::new(), Vec::new());
    };
    assert_eq!(words(&with_object(|_| {}).but(deleted).plan()), ["drop web-source"]);
    let written = with_object(|object| (object.volume.deleting, object.volume.claim) = (true, Some(claim_ref("editor"))));
    let plan = written.but(deleted).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::Ready, false, Reason::ClaimsRemain, &["shop/editor"]);
}

#[test]
fn a_source_that_somebody_else_holds_is_left_alone() {
    let plan = with_object(held_by_somebody).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::InSync, false, Reason::SourceInUse, &["vol-source", "detach it there"]);
}

#[test]
fn a_source_that_is_not_shared_any_more_is_published_no_more() {
    let unshared = with_object(on("node-a", SyncState::Publishing)).but(|seen| {
        if let SourceSeen::Volume(volume) = &mut seen.source {
            volume.tags.remove(TAG_SOURCE);
        }
    });
    assert_eq!(words(&unshared.plan()), ["unassign web-source"]);
    let missing = with_object(on("node-a", SyncState::Publishing)).source(SourceSeen::Missing("vol-source".to_owned()));
    assert_eq!(words(&missing.plan()), [""; 0], "a read may lag");
}

#[test]
fn a_copy_that_is_behind_does_not_break_the_promise_and_a_silent_source_does() {
    let publishing = || with_object(on("node-a", SyncState::Publishing));
    let behind = publishing().with([volume("web-0").ready(), mounted("web-1", SyncState::CatchingUp, None)]).plan();
    assert_finding(&behind, Condition::InSync, false, Reason::CatchingUp, &["1 of 1"]);
    assert_finding(&behind, Condition::Ready, true, Reason::PoolReady, &[]);
    let broken = publishing().with([volume("web-0").ready(), mounted("web-1", SyncState::Failed, Some("it is full"))]).plan();
    assert_finding(&broken, Condition::InSync, false, Reason::CopyFailed, &["web-1", "it is full"]);
    let silent = with_object(|object| fail(object, "no such device")).plan();
    assert_finding(&silent, Condition::InSync, false, Reason::SourceFailed, &["node-a", "no such device"]);
    assert_finding(&silent, Condition::Ready, false, Reason::SourceFailed, &[]);
}
