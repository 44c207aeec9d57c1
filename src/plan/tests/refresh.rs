//! Which ready volumes are refreshed, in which order, where, and when they are replaced instead.

use jiff::SignedDuration;

use crate::domain::{NodeName, Reason};
use crate::plan::{Action, Condition, ContentSeen, Plan};

use super::build::{NOW, PoolBuild, VolumeBuild, at, snapshot, volume};
use super::refresh_build::{
    MOST, SOURCE, at_generation, current, elsewhere, last_refresh, limits, position, refreshed, refreshing, room, snapshot_at, stale,
};
use super::words::{assert_finding, words};

/// A plan for each reason that only the refreshing of volumes has.
pub(super) fn reasons() -> Vec<(Reason, Plan)> {
    let failed = stale("web-0").but(|volume| volume.refresh = Some(last_refresh(700, Some(60), 1)));
    vec![(Reason::Refreshing, refreshed([stale("web-0")]).plan()), (Reason::RefreshFailed, refreshed([failed]).plan())]
}

#[test]
fn a_ready_volume_that_lacks_too_much_is_refreshed_where_there_is_most_room() {
    let plan = refreshed([at_generation("web-0", SOURCE - MOST - 1), current("web-1")]).plan();
    assert_eq!(words(&plan), ["refresh web-0 on node-d up to 1000"]);
    assert_finding(&plan, Condition::PoolFilled, true, Reason::Refreshing, &["2 of 2", "1 more"]);
    assert_finding(&plan, Condition::Ready, true, Reason::PoolReady, &[]);
    assert_eq!(words(&refreshed([at_generation("web-0", SOURCE - MOST), current("web-1")]).plan()), [""; 0]);
    let Some(Action::BeginRefresh { resource_version, target, .. }) = plan.actions.first() else { panic!("{:?}", plan.actions) };
    assert_eq!((resource_version.as_str(), target), ("7", &position(SOURCE)), "compare and swap, and what it shall have");
}

#[test]
fn a_pool_that_says_nothing_of_it_or_is_not_live_refreshes_nothing() {
    assert_eq!(words(&refreshed([stale("web-0")]).but(|seen| seen.pool.refresh = None).plan()), [""; 0]);
    let plan = refreshed([stale("web-0")]).but(|seen| (seen.pool.live, seen.source_object) = (None, None)).plan();
    assert_eq!(words(&plan), [""; 0]);
}

#[test]
fn age_counts_only_while_something_is_lacking() {
    let had_all = |seconds: i64, generation| {
        let built = at_generation("web-0", generation).but(|volume| volume.content.as_mut().unwrap().time = Some(at(NOW - seconds)));
        words(&refreshed([built]).but(|seen| seen.pool.refresh = Some(limits(None, Some(SignedDuration::from_hours(1))))).plan())
    };
    assert_eq!(had_all(3601, SOURCE - 1), ["refresh web-0 on node-d up to 1000"]);
    assert_eq!(had_all(3600, SOURCE - 1), [""; 0]);
    assert_eq!(had_all(9999, SOURCE), [""; 0], "it has all, however long ago that was noted");
}

#[test]
fn a_volume_that_was_never_attached_has_what_its_snapshot_has() {
    let made = |generation| refreshed([volume("web-0").ready()]).snapshots([snapshot_at(1, &position(generation))]).plan();
    assert_eq!(words(&made(SOURCE)), [""; 0]);
    assert_eq!(words(&made(1)), ["refresh web-0 on node-d up to 1000"]);
    let unknown = refreshed([volume("web-0").ready()]).plan();
    assert_eq!(words(&unknown), ["refresh web-0 on node-d up to 1000"], "nobody knows what it has, so it is compared before a pod waits");
}

#[test]
fn a_new_volume_is_noted_to_have_what_its_snapshot_has() {
    let plan = refreshed([]).but(|seen| seen.pool.replicas = 1).snapshots([snapshot_at(1, &position(7))]).plan();
    let Some(Action::CreatePoolVolume(new)) = plan.actions.first() else { panic!("{:?}", plan.actions) };
    assert_eq!(new.content, Some(ContentSeen { position: Some(position(7)), time: Some(at(0)) }), "the snapshot may be gone one day");
    let other = super::build::pool("web").plan();
    let Some(Action::CreatePoolVolume(new)) = other.actions.first() else { panic!("{:?}", other.actions) };
    assert_eq!(new.content, None, "the pool follows nothing");
}

#[test]
fn the_stalest_goes_first_and_one_at_a_time_in_each_zone() {
    let unknown = || stale("web-3").but(|volume| volume.content = Some(ContentSeen::default()));
    let volumes = || [at_generation("web-0", 600), at_generation("web-1", 400), at_generation("web-2", 500)];
    assert_eq!(words(&refreshed(volumes()).plan()), ["refresh web-1 on node-d up to 1000"]);
    let with_unknown = refreshed(volumes().into_iter().chain([unknown()]));
    assert_eq!(words(&with_unknown.plan()), ["refresh web-3 on node-d up to 1000"], "it may lack everything");
    let in_two = [stale("web-0"), stale("web-1"), stale("web-2").zone("b"), stale("web-3").zone("b")];
    let plan = refreshed(in_two).zones(&["a", "b"]).plan();
    assert_eq!(words(&plan), ["refresh web-0 on node-d up to 1000", "refresh web-2 on node-b up to 1000"]);
    assert_eq!(words(&refreshed([stale("web-0"), refreshing("web-1", 5)]).plan()), [""; 0], "the next one waits for it");
}

#[test]
fn only_a_zone_that_has_all_it_promises_lends_one() {
    let short = refreshed([stale("web-0"), stale("web-1")]).but(|seen| seen.pool.replicas = 3);
    assert_eq!(words(&short.plan()), ["add 2 in a"]);
    let filling = refreshed([stale("web-0"), volume("web-1").initializing()]);
    assert_eq!(words(&filling.plan()), [""; 0]);
    let single = refreshed([stale("web-0")]).plan();
    assert_eq!(words(&single), ["refresh web-0 on node-d up to 1000"], "a claim that comes meanwhile gets it all the same");
    let old_key = stale("web-1").but(|volume| volume.encryption.encrypted = Some(true));
    assert_eq!(words(&refreshed([stale("web-0"), old_key]).plan()), ["add 2 in a"], "one is replaced, the other waits");
}

#[test]
fn a_volume_that_is_not_free_is_never_refreshed() {
    let unfit: [fn(VolumeBuild) -> VolumeBuild; 4] = [
        |built| built.used_by("cart"),
        |built| built.reserved_for("cart"),
        |built| built.deleting(),
        |built| built.but(|volume| volume.retired = true),
    ];
    for make_unfit in unfit {
        let plan = refreshed([make_unfit(stale("web-0"))]).but(|seen| seen.pool.replicas = 0).plan();
        assert!(!words(&plan).iter().any(|word| word.starts_with("refresh")), "{:?}", words(&plan));
    }
}

#[test]
fn a_node_must_take_pods_follow_be_there_and_keep_a_place_free() {
    assert_eq!(
        words(&refreshed([stale("web-0")]).but(room(2)).plan()),
        ["refresh web-0 on node-a up to 1000"],
        "that of the source is as good"
    );
    let full = refreshed([stale("web-0")]).but(room(1)).plan();
    assert_eq!(words(&full), [""; 0]);
    assert_finding(&full, Condition::PoolFilled, true, Reason::Refreshing, &["none is in a", "room for 2"]);
    let unfit: [fn(&mut crate::plan::AgentSeen); 2] = [|agent| agent.is_cordoned = true, |agent| agent.publishes = false];
    for make_unfit in unfit {
        let built = refreshed([stale("web-0")]).but(|seen| make_unfit(seen.agents.get_mut(&NodeName::from("node-d")).unwrap()));
        assert_eq!(words(&built.plan()), ["refresh web-0 on node-a up to 1000"]);
    }
    let gone = refreshed([stale("web-0")]).but(|seen| seen.nodes.retain(|node| *node != "node-d".into()));
    assert_eq!(words(&gone.plan()), ["refresh web-0 on node-a up to 1000"]);
}

#[test]
fn a_paused_pool_and_one_that_is_deleted_begin_none() {
    let paused = refreshed([stale("web-0")]).but(|seen| seen.pool.paused = true).plan();
    assert_eq!(words(&paused), [""; 0]);
    assert_finding(&paused, Condition::PoolFilled, true, Reason::Refreshing, &["spec.paused"]);
    let deleted = refreshed([stale("web-0")]).but(|seen| seen.pool.deleting = true).plan();
    assert!(!words(&deleted).iter().any(|word| word.contains("refresh")), "{:?}", words(&deleted));
}

#[test]
fn a_volume_rests_between_two_refreshes_and_longer_after_failures() {
    let rested = |ended, failures| {
        let built = stale("web-0").but(|volume| volume.refresh = Some(last_refresh(ended + 10, Some(ended), failures)));
        words(&refreshed([built]).plan())
    };
    assert_eq!(rested(299, 0), [""; 0]);
    assert_eq!(rested(300, 0), ["refresh web-0 on node-d up to 1000"]);
    assert_eq!(rested(599, 1), [""; 0]);
    assert_eq!(rested(600, 1), ["refresh web-0 on node-a up to 1000"], "another node than the one that failed");
    assert_eq!(rested(3599, 9), [""; 0]);
    assert_eq!(rested(3600, u32::MAX), ["refresh web-0 on node-a up to 1000"]);
}

/// A pool whose newest snapshot has generation 2 and a position.
fn with_snapshot(newest: &crate::domain::SyncPosition, built: VolumeBuild) -> PoolBuild {
    refreshed([built]).snapshots([snapshot(1), snapshot_at(2, newest)]).intent(Some((2, 0)))
}

#[test]
fn what_was_followed_past_the_newest_snapshot_is_not_out_of_date() {
    for refreshes in [true, false] {
        let judge = |generation| {
            let built = with_snapshot(&position(600), at_generation("web-0", generation));
            words(&built.but(|seen| seen.pool.refresh.take_if(|_| !refreshes).map_or((), drop)).plan())
        };
        assert_eq!(judge(995), [""; 0], "its snapshot is old, its content is not");
        assert_eq!(judge(599), [if refreshes { "refresh web-0 on node-d up to 1000" } else { "add 1 in a" }]);
    }
}

#[test]
fn what_can_be_caught_up_is_refreshed_and_what_must_be_compared_is_replaced() {
    let of = |content: Option<crate::domain::SyncPosition>, newest| {
        let built = stale("web-0").but(|volume| volume.content = Some(ContentSeen { position: content, time: None }));
        words(&with_snapshot(&newest, built).plan())
    };
    assert_eq!(of(Some(position(1)), position(999)), ["refresh web-0 on node-d up to 1000"], "the changes are less than a whole volume");
    assert_eq!(of(None, position(999)), ["add 1 in a"], "EC2 loads blocks better than a node reads them");
    assert_eq!(of(Some(elsewhere()), position(999)), ["add 1 in a"]);
    assert_eq!(of(Some(elsewhere()), elsewhere()), ["refresh web-0 on node-d up to 1000"], "a new one would be no better");
    let failed = stale("web-0").but(|volume| volume.refresh = Some(last_refresh(70, Some(60), 1)));
    assert_eq!(words(&with_snapshot(&position(999), failed).plan()), ["add 1 in a"], "it could not be caught up");
}

#[test]
fn while_nobody_publishes_the_source_snapshots_decide_as_ever() {
    let silent = |seen: &mut crate::plan::PoolSeen| {
        let side = seen.source_object.as_mut().unwrap().volume.node.as_mut().unwrap();
        side.sync.as_mut().unwrap().state = crate::domain::SyncState::Scanning;
    };
    assert_eq!(words(&refreshed([stale("web-0")]).but(silent).plan()), [""; 0]);
    assert_eq!(words(&with_snapshot(&position(999), stale("web-0")).but(silent).plan()), ["add 1 in a"]);
}
