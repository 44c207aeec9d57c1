//! When a refresh that is under way is over, and how it ends; whatever happened to the controller meanwhile.

use crate::domain::{Phase, Reason, SyncState, VolumeState};
use crate::plan::{Condition, NodeSide, Plan, PoolSeen};

use super::build::{NOW, VolumeBuild, attachment, claim_ref};
use super::refresh_build::{SOURCE, current, elsewhere, following, last_refresh, position, refreshed, refreshing, stale};
use super::words::{assert_finding, words};

/// Something that happens to a pool.
type Change = fn(&mut PoolSeen);

fn plan_of(built: VolumeBuild) -> Plan {
    refreshed([built]).plan()
}

#[test]
fn a_refresh_is_done_once_the_volume_is_in_sync_and_has_what_the_source_had() {
    let so_far = |state, generation| words(&plan_of(following(refreshing("web-0", 20), state, position(generation))));
    assert_eq!(so_far(SyncState::InSync, SOURCE), ["web-0 is refreshed"]);
    assert_eq!(so_far(SyncState::InSync, SOURCE - 1), [""; 0], "the word is older than the refresh");
    assert_eq!(so_far(SyncState::CatchingUp, SOURCE), [""; 0], "what came since is near");
    let later = following(refreshing("web-0", 20), SyncState::InSync, crate::domain::SyncPosition { epoch: 2, ..position(1) });
    assert_eq!(words(&plan_of(later)), ["web-0 is refreshed"], "it was compared with a later epoch");
}

#[test]
fn it_is_in_its_own_phase_from_the_order_until_its_agent_lets_go() {
    let phase = |built: VolumeBuild| plan_of(built).report.volumes[&super::build::key("web-0")].phase;
    let here = || following(refreshing("web-0", 20), SyncState::CatchingUp, position(1));
    assert_eq!(phase(refreshing("web-0", 1)), Phase::Refreshing);
    assert_eq!(phase(here()), Phase::Refreshing);
    let ended = here().but(|volume| (volume.node_name, volume.refresh) = (None, Some(last_refresh(20, Some(0), 0))));
    assert_eq!(phase(ended.clone()), Phase::Refreshing, "no other is made for the moment that its node takes");
    let held = ended.clone().but(|volume| volume.refresh = Some(last_refresh(700, Some(600), 0)));
    assert_eq!(phase(held), Phase::Releasing, "a node that does not let go costs a volume");
    let detached = ended.but(|volume| {
        volume.node = None;
        volume.cloud.as_mut().unwrap().state = VolumeState::Available;
    });
    assert_eq!(phase(detached), Phase::Ready);
    assert_eq!(phase(here().but(|volume| volume.claim = Some(claim_ref("cart")))), Phase::Claimed);
}

#[test]
fn a_volume_that_is_away_for_a_moment_is_not_replaced_and_breaks_no_promise() {
    let plan = refreshed([refreshing("web-0", 20), current("web-1")]).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::PoolFilled, true, Reason::Refreshing, &["1 of 2", "1 are being refreshed"]);
    assert_finding(&plan, Condition::Ready, true, Reason::PoolReady, &[]);
    let behind = refreshed([following(refreshing("web-0", 20), SyncState::CatchingUp, position(1))]).plan();
    assert_finding(&behind, Condition::InSync, true, Reason::AsWanted, &["0 mounted"]);
    assert!(!plan.report.is_moving, "its agent says when it is done; EC2 need not be asked");
}

#[test]
fn a_refresh_ends_after_ten_minutes_and_says_why() {
    let late = |built: VolumeBuild| words(&plan_of(built));
    assert_eq!(late(refreshing("web-0", 59)), [""; 0]);
    assert_eq!(late(refreshing("web-0", 60)), ["web-0 is not refreshed: the agent of node node-d has not begun within 1m"]);
    assert_eq!(late(following(refreshing("web-0", 599), SyncState::CatchingUp, position(1))), [""; 0]);
    let why = |what: &str| vec![format!("web-0 is not refreshed: node node-d did not bring it up to the source within 10m: {what}")];
    let side = |change: fn(&mut NodeSide)| {
        following(refreshing("web-0", 600), SyncState::CatchingUp, position(1)).but(|volume| change(volume.node.as_mut().unwrap()))
    };
    assert_eq!(late(side(|side| side.error = Some("no such device".to_owned()))), why("no such device"));
    assert_eq!(late(side(|side| side.sync.as_mut().unwrap().error = Some("it is full".to_owned()))), why("it is full"));
    assert_eq!(late(side(|side| side.mounted = false)), why("it is not mounted yet"));
    assert_eq!(late(side(|_| {})), why("it is CatchingUp"));
    let nearly = following(refreshing("web-0", 600), SyncState::CatchingUp, position(SOURCE));
    assert_eq!(late(nearly), ["web-0 is refreshed"], "a source that never rests is never in sync");
    let failed = |built: VolumeBuild| plan_of(built.but(|volume| volume.refresh = Some(last_refresh(700, Some(60), 1))));
    assert_finding(&failed(stale("web-0")), Condition::Degraded, true, Reason::RefreshFailed, &["web-0", "it was slow"]);
    assert_finding(&failed(current("web-0")), Condition::Degraded, false, Reason::AsWanted, &["nothing fails"]);
}

#[test]
fn what_makes_a_refresh_pointless_ends_it() {
    let built = || refreshed([following(refreshing("web-0", 20), SyncState::CatchingUp, position(1))]);
    let cases: [(Change, &str); 5] = [
        (|seen| seen.pool.refresh = None, "stop refreshing web-0: the pool has no spec.sync.refresh any more"),
        (|seen| seen.pool.paused = true, ""),
        (
            |seen| seen.agents.get_mut(&"node-d".into()).unwrap().is_cordoned = true,
            "stop refreshing web-0: node node-d takes no pods any more",
        ),
        (|seen| seen.nodes.retain(|node| *node != "node-d".into()), "web-0 is not refreshed: node node-d is gone"),
        (|seen| seen.pool.refresh = Some(super::refresh_build::limits(Some(u64::MAX), None)), ""),
    ];
    for (change, expected) in cases {
        assert_eq!(words(&built().but(change).plan()).concat(), expected);
    }
    let withdrawn = |seen: &mut PoolSeen| seen.source_object.as_mut().unwrap().volume.node_name = None;
    let plan = built().but(withdrawn).plan();
    assert_eq!(words(&plan), ["stop refreshing web-0: no node publishes the source"]);
    let moved = |seen: &mut PoolSeen| {
        let sync = seen.source_object.as_mut().unwrap().volume.node.as_mut().unwrap().sync.as_mut().unwrap();
        (sync.state, sync.position) = (SyncState::Scanning, Some(elsewhere()));
    };
    assert_eq!(words(&built().but(moved).plan()), [""; 0], "another node takes over, and the volume follows that");
}

#[test]
fn a_node_that_is_lost_with_the_volume_is_forgotten_as_with_any_other() {
    let lost = |seen: &mut PoolSeen| seen.nodes.retain(|node| *node != "node-d".into());
    let held = following(refreshing("web-0", 20), SyncState::CatchingUp, position(1));
    let attached = held.clone().but(|volume| volume.cloud.as_mut().unwrap().attachments = vec![attachment()]);
    assert_eq!(words(&refreshed([attached]).but(lost).plan()), ["web-0 is not refreshed: node node-d is gone"]);
    let off = held.but(|volume| {
        (volume.node_name, volume.refresh) = (None, Some(last_refresh(20, Some(0), 1)));
        volume.cloud.as_mut().unwrap().state = VolumeState::Available;
    });
    assert_eq!(words(&refreshed([off]).but(lost).plan()), ["forget the node of web-0"]);
}

#[test]
fn a_volume_that_ec2_lost_meanwhile_is_let_go_and_replaced() {
    let lost = |built: VolumeBuild| {
        built.but(|volume| {
            volume.cloud = None;
            volume.recorded.missing_since = Some(super::build::at(NOW - 60));
        })
    };
    assert_eq!(
        words(&plan_of(lost(refreshing("web-0", 20)))),
        ["add 1 in a", "web-0 is not refreshed: EC2 does not have its volume any more"]
    );
    let ended = lost(refreshing("web-0", 20)).but(|volume| (volume.node_name, volume.refresh) = (None, Some(last_refresh(20, Some(0), 1))));
    assert_eq!(words(&plan_of(ended)), ["drop web-0", "add 1 in a"]);
}

#[test]
fn a_pool_that_shrinks_lets_the_one_that_is_away_go_first() {
    let built = || refreshed([refreshing("web-0", 20), current("web-1"), current("web-2")]);
    assert_eq!(words(&built().but(|seen| seen.pool.replicas = 2).plan()), ["drop web-0"]);
    assert_eq!(words(&built().but(|seen| seen.pool.replicas = 1).plan()), ["drop web-0", "drop web-2"]);
    let dropped = refreshed([refreshing("web-0", 20).deleting()]).but(|seen| seen.pool.replicas = 0);
    assert_eq!(words(&dropped.plan()), ["unassign web-0"], "as with any volume that is deleted on a node");
    let old_key = current("web-1").but(|volume| volume.encryption.encrypted = Some(true));
    let replaced = refreshed([refreshing("web-0", 20), old_key, current("web-2")]).but(|seen| seen.pool.replicas = 2);
    assert_eq!(words(&replaced.plan()), [""; 0], "the old one goes when this one is back");
}

#[test]
fn a_deleted_pool_takes_its_volume_back() {
    let deleted = |seen: &mut PoolSeen| (seen.pool.deleting, seen.pool.live, seen.source_object) = (true, None, None);
    let plan = refreshed([refreshing("web-0", 20)]).but(deleted).plan();
    assert_eq!(words(&plan), ["drop web-0"]);
    let next = refreshed([refreshing("web-0", 20).deleting()]).but(deleted).plan();
    assert_eq!(words(&next), ["unassign web-0"]);
}

#[test]
fn a_claimed_volume_has_no_refresh_that_could_end() {
    let claimed =
        following(refreshing("web-0", 700), SyncState::InSync, position(SOURCE)).but(|volume| volume.claim = Some(claim_ref("cart")));
    assert_eq!(words(&refreshed([claimed]).but(|seen| seen.pool.replicas = 0).plan()), [""; 0]);
}
