//! A live source that another driver attaches: it follows the pods that have it, and nothing is attached or taken away for it.

use crate::domain::tags::TAG_POSITION;
use crate::domain::{CloudSnapshot, Reason, SyncPosition, SyncState, VolumeState};
use crate::plan::{Condition, FreeSpan, NodeSide, Plan, PoolSeen, PublishWanted, Source, SourceObject, SyncSeen};

use super::build::{NOW, PoolBuild, VolumeBuild, at, snapshot, volume};
use super::demand_build::{claim, demand_on_web};
use super::live::{mounted, on, publish, sync, with_object};
use super::words::{assert_finding, words};

const DRIVER: &str = "ebs.csi.aws.com";

fn foreign() -> PublishWanted {
    PublishWanted { attached_by: Some(DRIVER.to_owned()), ..publish() }
}

/// A live pool whose source is a claim, that nobody has, after a change.
fn with_claim(change: impl FnOnce(&mut SourceObject)) -> PoolBuild {
    let told = |object: &mut SourceObject| {
        object.publish = Some(foreign());
        change(object);
    };
    with_object(told).but(|seen| {
        seen.pool.source = Source::Claim("web-src".to_owned());
        seen.pool.live = Some(foreign());
    })
}

fn position(generation: u64) -> SyncPosition {
    SyncPosition { source: "src".to_owned(), epoch: 1, generation }
}

/// EC2 shows it attached to the instance of a node.
fn attached_to(node: &str) -> impl FnOnce(&mut SourceObject) {
    let attach = on(node, SyncState::Publishing);
    move |object| {
        attach(object);
        (object.volume.node_name, object.volume.node) = (None, None);
    }
}

fn asked_by(node: &'static str) -> impl FnOnce(&mut SourceObject) {
    move |object| object.requested_by = Some(node.into())
}

/// The last words of the agent of `node-a`, so many seconds ago.
fn let_go(generation: Option<u64>, seconds: i64) -> impl FnOnce(&mut SourceObject) {
    move |object| {
        let last = SyncSeen { position: generation.map(position), last_in_sync: Some(at(NOW - seconds)), ..sync(SyncState::NotMounted) };
        object.volume.node = Some(NodeSide { node: "node-a".to_owned(), sync: Some(last), ..NodeSide::default() });
    }
}

fn both(first: impl FnOnce(&mut SourceObject), second: impl FnOnce(&mut SourceObject)) -> impl FnOnce(&mut SourceObject) {
    move |object| {
        first(object);
        second(object);
    }
}

fn holding(generation: u64) -> CloudSnapshot {
    let mut taken = snapshot(1);
    taken.tags.insert(TAG_POSITION.to_owned(), position(generation).to_string());
    taken
}

fn copy_at(name: &str, generation: u64) -> VolumeBuild {
    mounted(name, SyncState::Disconnected, None).but(|volume| {
        let side = volume.node.as_mut().expect("it is on a node");
        side.sync.as_mut().expect("it follows").position = Some(position(generation));
    })
}

pub(super) fn reasons() -> Vec<(Reason, Plan)> {
    vec![(Reason::NotMounted, with_claim(|_| {}).plan())]
}

/// A snapshot was taken when the source was at a generation, asked for at second 0.
fn with_snapshot_at(generation: u64, change: impl FnOnce(&mut SourceObject)) -> PoolBuild {
    with_claim(change).snapshots([holding(generation)]).intent(Some((1, 0)))
}

#[test]
fn a_source_that_nobody_has_goes_to_no_node_and_is_ready() {
    let plan = with_claim(|_| {}).plan();
    assert_eq!(words(&plan), [""; 0], "there are nodes with room, and none attaches it");
    assert_finding(&plan, Condition::SourceReady, true, Reason::NotMounted, &["vol-source", DRIVER]);
    assert_finding(&plan, Condition::InSync, false, Reason::NotMounted, &["no pod", "not known what it had last", "0 mounted volumes"]);
    assert_finding(&plan, Condition::Ready, true, Reason::PoolReady, &[]);
    assert_eq!(words(&with_claim(attached_to("node-a")).plan()), [""; 0], "it is attached, and no pod has it");
}

#[test]
fn the_node_whose_pods_have_it_gets_it_once_ec2_shows_it_there() {
    let early = with_claim(asked_by("node-a")).plan();
    assert_eq!(words(&early), [""; 0]);
    assert!(early.report.is_moving, "EC2 is looked at soon");
    assert_finding(&early, Condition::InSync, false, Reason::SourceStarting, &["node-a", "EC2"]);
    assert_finding(&early, Condition::SourceReady, true, Reason::AsWanted, &[]);
    let elsewhere = with_claim(both(attached_to("node-d"), asked_by("node-a"))).plan();
    assert_eq!(words(&elsewhere), [""; 0]);
    let shown = || with_claim(both(attached_to("node-a"), asked_by("node-a")));
    assert_eq!(words(&shown().plan()), ["assign web-source to node-a"]);
    let plan = shown().but(|seen| seen.agents.values_mut().for_each(|agent| agent.publishes = false)).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::InSync, false, Reason::NoNodeForSource, &["node-a", "certificate"]);
    let full = shown().but(|seen| seen.agents.values_mut().for_each(|agent| agent.free_slots = 0));
    assert_eq!(words(&full.plan()), ["assign web-source to node-a"], "it takes no room that it does not have already");
}

#[test]
fn a_published_one_stays_whatever_other_nodes_would_be_better() {
    let plan = with_claim(both(on("node-a", SyncState::Publishing), asked_by("node-a"))).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::InSync, true, Reason::AsWanted, &[]);
    assert_finding(&plan, Condition::SourceReady, true, Reason::AsWanted, &[]);
    let cordoned = with_claim(both(on("node-a", SyncState::Publishing), asked_by("node-a")))
        .but(|seen| seen.agents.get_mut(&"node-a".into()).expect("it is there").is_cordoned = true);
    assert_eq!(words(&cordoned.plan()), [""; 0], "nothing is moved");
}

#[test]
fn it_is_taken_off_a_node_that_let_go_that_ec2_does_not_show_or_that_is_gone() {
    let published = || on("node-a", SyncState::Publishing);
    let said = |state| {
        with_claim(both(published(), move |object| {
            let side = object.volume.node.as_mut().expect("it is on a node");
            (side.mounted, side.sync) = (false, Some(sync(state)));
        }))
    };
    assert_eq!(words(&said(SyncState::NotMounted).plan()), ["unassign web-source"]);
    assert_eq!(words(&said(SyncState::Disconnected).plan()), ["unassign web-source"], "cut short");
    let moved = with_claim(both(published(), |object| {
        let other = super::live::source_object();
        let mut cloud = object.volume.cloud.clone().or(other.volume.cloud).expect("EC2 lists it");
        cloud.attachments[0].instance = "i-d".into();
        object.volume.cloud = Some(cloud);
    }));
    assert_eq!(words(&moved.plan()), ["unassign web-source"]);
    let detached = with_claim(both(published(), |object| {
        let cloud = object.volume.cloud.as_mut().expect("EC2 lists it");
        (cloud.state, cloud.attachments) = (VolumeState::Available, Vec::new());
    }));
    assert_eq!(words(&detached.plan()), ["unassign web-source"]);
    let gone = with_claim(published()).but(|seen| seen.nodes.retain(|node| *node != "node-a".into()));
    assert_eq!(words(&gone.plan()), ["unassign web-source"]);
    let fresh = with_claim(both(published(), |object| object.volume.node = None));
    assert_eq!(words(&fresh.plan()), [""; 0], "its agent has not heard of it yet");
}

#[test]
fn last_words_stay_until_somebody_else_has_the_volume_or_asks_for_it() {
    assert_eq!(words(&with_snapshot_at(7, let_go(Some(7), 5)).plan()), [""; 0]);
    let there = with_snapshot_at(7, both(attached_to("node-a"), let_go(Some(7), 5)));
    assert_eq!(words(&there.plan()), [""; 0], "the driver has not detached it yet");
    let asked = with_snapshot_at(7, both(let_go(Some(7), 5), asked_by("node-d")));
    assert_eq!(words(&asked.plan()), ["forget the node of web-source"]);
    let both_ways = with_snapshot_at(7, both(both(attached_to("node-d"), let_go(Some(7), 5)), asked_by("node-d")));
    assert_eq!(words(&both_ways.plan()), ["forget the node of web-source"], "first, and assigned then");
    for node in ["node-d", "node-x"] {
        let attached = with_snapshot_at(7, both(attached_to(node), let_go(Some(7), 5)));
        assert_eq!(words(&attached.plan()), ["forget the node of web-source"], "a pod of {node} may be about to write");
    }
    let same = with_snapshot_at(7, both(both(attached_to("node-a"), let_go(Some(7), 5)), asked_by("node-a")));
    assert_eq!(words(&same.plan()), [""; 0], "its agent takes them back first");
}

#[test]
fn last_words_do_not_outlive_pods_that_came_while_their_agent_was_away() {
    let again = |until: i64| {
        let there = with_snapshot_at(7, both(attached_to("node-a"), let_go(Some(7), 60)));
        there.but(|seen| seen.source_free = Some(FreeSpan { since: at(NOW - 100), until: at(until) }))
    };
    assert_eq!(words(&again(NOW - 30).plan()), ["forget the node of web-source"], "it was free, and the same node has it again");
    assert_eq!(words(&again(NOW - 70).plan()), [""; 0], "it was free before pods had it, and the driver has not detached it yet");
    let free = with_snapshot_at(7, let_go(Some(7), 60)).but(|seen| {
        seen.source_free = Some(FreeSpan { since: at(NOW - 50), until: at(NOW) });
    });
    assert_eq!(words(&free.plan()), [""; 0]);
}

#[test]
fn last_words_are_forgotten_also_while_the_source_cannot_be_used() {
    let blocked = |change: fn(&mut SourceObject)| {
        let there = with_snapshot_at(7, both(let_go(Some(7), 5), change));
        words(&there.but(|seen| seen.pool.recorded_source = Some("vol-before".to_owned())).plan())
    };
    assert_eq!(blocked(|object| object.requested_by = Some("node-d".into())), ["forget the node of web-source"]);
    assert_eq!(blocked(|_| {}), [""; 0]);
}

#[test]
fn an_agent_that_is_gone_asks_for_it_for_a_minute_only() {
    let asked = |seconds| {
        let free = FreeSpan { since: at(NOW - seconds), until: at(NOW) };
        with_claim(asked_by("node-a")).but(|seen| seen.source_free = Some(free)).plan().report.is_moving
    };
    assert!(asked(60) && !asked(61), "EC2 shows late what is attached, but not so late");
}

#[test]
fn copies_are_judged_by_the_last_position() {
    let pool = |own| with_snapshot_at(7, let_go(Some(7), 5)).with([volume("web-0").ready(), copy_at("web-1", own)]);
    assert_finding(&pool(7).plan(), Condition::InSync, true, Reason::NotMounted, &["1 mounted volumes have"]);
    let behind = pool(6).plan();
    assert_finding(&behind, Condition::InSync, false, Reason::NotMounted, &["1 of 1", "lack changes"]);
    assert_finding(&behind, Condition::Ready, true, Reason::PoolReady, &[]);
    let unknown = with_claim(|_| {}).with([volume("web-0").ready(), copy_at("web-1", 6)]).plan();
    assert_finding(&unknown, Condition::InSync, false, Reason::NotMounted, &["not known"]);
}

#[test]
fn an_instance_without_an_agent_is_told() {
    let plan = with_claim(attached_to("node-x")).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::InSync, false, Reason::SourceInUse, &["vol-source", "run the agent"]);
    assert_finding(&plan, Condition::SourceReady, true, Reason::AsWanted, &[]);
}

#[test]
fn a_snapshot_is_taken_when_pods_let_the_source_go_and_has_its_position() {
    let due = |change: fn(&mut PoolSeen)| words(&with_snapshot_at(6, let_go(Some(7), 5)).but(change).plan());
    assert_eq!(due(|_| {}), ["snapshot vol-source as 2 at src.1.7"]);
    assert_eq!(due(|seen| seen.pool.snapshots.skip_unchanged = false), ["snapshot vol-source as 2 at src.1.7"]);
    assert_eq!(words(&with_snapshot_at(7, let_go(Some(7), 5)).plan()), [""; 0], "the newest snapshot has it");
    assert_eq!(words(&with_snapshot_at(6, both(let_go(Some(7), 5), asked_by("node-d"))).plan()), ["forget the node of web-source"]);
    let cut_short = words(&with_snapshot_at(6, let_go(None, 5)).plan());
    assert_eq!(
        cut_short,
        ["snapshot vol-source as 2 without a checkpoint, at least src.1.6"],
        "what it holds is not known, and it may be new"
    );
    assert_eq!(words(&with_snapshot_at(6, let_go(None, NOW + 1)).plan()), [""; 0], "the newest snapshot was asked for later");
}

#[test]
fn no_scheduled_snapshot_is_taken_while_the_source_rests_where_the_newest_has_it() {
    let scheduled = |generation| with_snapshot_at(generation, let_go(Some(7), 5)).schedule("* * * * *");
    assert_eq!(words(&scheduled(7).plan()), [""; 0]);
    let always = scheduled(7).but(|seen| seen.pool.snapshots.skip_unchanged = false);
    assert_eq!(words(&always.plan()), ["snapshot vol-source as 2 at src.1.7"]);
}

#[test]
fn who_attaches_it_changes_hands_only_while_no_agent_has_it() {
    let ours = || with_object(on("node-a", SyncState::Publishing)).but(|seen| seen.pool.live = Some(foreign()));
    assert_eq!(words(&ours().plan()), ["unassign web-source"], "a PersistentVolume names it now");
    let leaving = with_object(both(on("node-a", SyncState::Publishing), |object| object.volume.node_name = None));
    assert_eq!(words(&leaving.but(|seen| seen.pool.live = Some(foreign())).plan()), [""; 0]);
    let off = with_object(|_| {}).but(|seen| seen.pool.live = Some(foreign()));
    assert_eq!(words(&off.plan()), ["tell how web-source is published"]);
    let back = |change: fn(&mut SourceObject)| {
        let told = both(let_go(Some(7), 5), |object| object.publish = Some(foreign()));
        words(&with_object(both(told, change)).plan())
    };
    assert_eq!(back(|_| {}), ["forget the node of web-source"]);
    assert_eq!(back(|object| object.volume.node.as_mut().expect("its last words").mounted = true), [""; 0], "its agent has it open");
    assert_eq!(back(|object| object.volume.node = None), ["tell how web-source is published"]);
}

#[test]
fn the_end_of_its_pool_waits_for_the_agent_and_for_nothing_else() {
    let deleted = |seen: &mut PoolSeen| {
        (seen.pool.deleting, seen.volumes, seen.snapshots) = (true, Vec::new(), Vec::new());
    };
    let deleting = |object: &mut SourceObject| object.volume.deleting = true;
    let end = |change: Box<dyn FnOnce(&mut SourceObject)>| words(&with_claim(both(deleting, change)).but(deleted).plan());
    assert_eq!(end(Box::new(on("node-a", SyncState::Publishing))), ["unassign web-source"]);
    let leaving = both(on("node-a", SyncState::Publishing), |object: &mut SourceObject| object.volume.node_name = None);
    assert_eq!(end(Box::new(leaving)), [""; 0], "its agent has it open");
    assert_eq!(end(Box::new(let_go(Some(7), 5))), ["forget the node of web-source"]);
    let used = both(on("node-a", SyncState::Publishing), |object: &mut SourceObject| {
        object.volume.node_name = None;
        let side = object.volume.node.as_mut().expect("it is on a node");
        (side.mounted, side.sync, side.published) = (false, None, 1);
    });
    assert_eq!(end(Box::new(used)), ["forget the node of web-source"], "pods may have it for ever");
    assert_eq!(end(Box::new(|object| object.volume.node = None)), ["let web-source go"]);
}

#[test]
fn nobody_gets_it_by_a_claim_of_ours() {
    let source = super::live::source_object().volume;
    let wants = || crate::plan::ClaimSeen { wants_source: true, ..claim("editor") };
    let told = demand_on_web().offer(|offer| offer.source_claim = Some("web-src".to_owned())).claims([wants()]);
    assert_eq!(told.words(), ["tell editor: InvalidClaim"]);
    let named = demand_on_web().but(|seen| {
        seen.volumes.push(crate::plan::VolumeSeen { attached_by: Some(DRIVER.to_owned()), ..source });
    });
    assert_eq!(named.claims([wants()]).words(), ["tell editor: InvalidClaim"]);
}
