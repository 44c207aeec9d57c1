//! How many volumes are made and dropped, where, and in which order.

use crate::domain::{GiB, Phase, Reason, VolumeState};
use crate::plan::{Action, Condition, SourceSeen};

use super::build::{NOW, at, fixed_snapshot, pool, volume};
use super::words::{assert_finding, words};

#[test]
fn an_empty_pool_is_filled_in_the_zone_of_its_source() {
    let plan = pool("web").replicas(3).plan();
    assert_eq!(words(&plan), ["add 0 in a", "add 1 in a", "add 2 in a"]);
    assert_finding(&plan, Condition::PoolFilled, false, Reason::Filling, &["0 of 3"]);
    assert_finding(&plan, Condition::Ready, false, Reason::Filling, &["0 of 3"]);
}

#[test]
fn replicas_are_spread_evenly_and_the_first_zones_get_the_rest() {
    let plan = pool("web").replicas(5).zones(&["b", "a", "c"]).plan();
    assert_eq!(words(&plan), ["add 0 in a", "add 1 in a", "add 2 in b", "add 3 in b", "add 4 in c"]);
}

#[test]
fn a_full_pool_is_left_alone() {
    let plan = pool("web").replicas(2).with([volume("web-0").ready(), volume("web-1").ready()]).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::Ready, true, Reason::PoolReady, &["2 volumes are ready"]);
    assert_finding(&plan, Condition::PoolFilled, true, Reason::AsWanted, &["2 of 2"]);
    assert!(!plan.report.is_moving);
}

#[test]
fn a_claimed_volume_is_replaced_in_the_lowest_free_slot() {
    let plan = pool("web").replicas(2).with([volume("web-0").ready(), volume("web-2").used_by("cart")]).plan();
    assert_eq!(words(&plan), ["add 1 in a"]);
}

#[test]
fn volumes_on_their_way_count() {
    let volumes = [volume("web-0").initializing(), volume("web-1").cloud(VolumeState::Creating), volume("web-2")];
    let plan = pool("web").replicas(3).with(volumes).plan();
    assert_eq!(words(&plan), ["create web-2"]);
    let counts = &plan.report.zones[&"a".into()];
    assert_eq!((counts.desired, counts.ready, counts.filling), (3, 0, 3));
}

#[test]
fn copies_have_the_wanted_size_or_that_of_the_source() {
    for (wanted, made) in [(None, 10), (Some(GiB(10)), 10), (Some(GiB(25)), 25)] {
        let plan = pool("web").but(|seen| seen.pool.size = wanted).plan();
        let Some(Action::CreatePoolVolume(new)) = plan.actions.first() else { panic!("{plan:?}") };
        assert_eq!((new.size, new.origin.generation), (GiB(made), 1));
    }
}

/// The order is: not ready, then old content, then the highest slot; a claimed one never.
#[test]
fn shrinking_drops_what_is_worth_least_first() {
    let volumes = || {
        [
            volume("web-0").ready(),
            volume("web-1").generation(2).ready(),
            volume("web-2").generation(2).ready(),
            volume("web-3").generation(2).initializing(),
            volume("web-4").generation(2).used_by("cart"),
        ]
    };
    let drops = ["drop web-3", "drop web-0", "drop web-2", "drop web-1"];
    for (replicas, dropped) in [(4, 0), (3, 1), (2, 2), (1, 3), (0, 4)] {
        let plan = pool("web").replicas(replicas).with(volumes()).plan();
        assert_eq!(words(&plan), drops[..dropped], "{replicas} replicas");
    }
}

#[test]
fn a_surplus_volume_that_ec2_was_not_asked_for_is_never_asked_for() {
    let plan = pool("web").replicas(1).with([volume("web-0").ready(), volume("web-1")]).plan();
    assert_eq!(words(&plan), ["drop web-1"]);
}

#[test]
fn shrinking_says_so_while_the_pool_is_filled() {
    let plan = pool("web").replicas(1).with([volume("web-0").ready(), volume("web-1").ready()]).plan();
    assert_finding(&plan, Condition::PoolFilled, true, Reason::Shrinking, &["2 volumes are ready, 1 are wanted"]);
}

#[test]
fn each_zone_is_balanced_by_itself() {
    let volumes = [volume("web-0").ready(), volume("web-1").ready(), volume("web-2").zone("b").used_by("cart")];
    let plan = pool("web").replicas(2).zones(&["a", "b"]).with(volumes).plan();
    assert_eq!(words(&plan), ["drop web-1", "add 3 in b"]);
}

#[test]
fn a_zone_that_is_no_longer_wanted_is_emptied() {
    let plan = pool("web").replicas(1).zones(&["b"]).with([volume("web-0").ready(), volume("web-1").zone("b").ready()]).plan();
    assert_eq!(words(&plan), ["drop web-0"]);
}

#[test]
fn a_zone_without_a_node_gets_nothing_new_and_loses_nothing() {
    let volumes = [volume("web-0").zone("b").ready(), volume("web-1").zone("b").ready(), volume("web-2").zone("b").ready()];
    let plan = pool("web").replicas(4).zones(&["a", "b"]).nodes_in(&["a"]).with(volumes).plan();
    assert_eq!(words(&plan), ["add 3 in a", "add 4 in a"]);
    let fix = ["spec.zones", "b", "add nodes or take the zone out"];
    assert_finding(&plan, Condition::PoolFilled, false, Reason::ZoneHasNoNode, &fix);
    assert_finding(&plan, Condition::Degraded, true, Reason::ZoneHasNoNode, &fix);
    assert_finding(&plan, Condition::Ready, false, Reason::ZoneHasNoNode, &fix);
}

#[test]
fn a_pool_with_fixed_content_keeps_its_volumes_when_the_nodes_of_a_zone_go() {
    let volumes = [volume("web-0").ready(), volume("web-1").zone("b").ready()];
    let seen = SourceSeen::Snapshot(fixed_snapshot());
    let plan = pool("web").replicas(2).fixed_content(seen).nodes_in(&["a"]).with(volumes).plan();
    assert_eq!(words(&plan), ["add 2 in a"], "the nodes of b may come back");
}

#[test]
fn a_source_that_is_gone_costs_no_volume() {
    let volumes = [volume("web-0").ready(), volume("web-1").ready()];
    let plan = pool("web").replicas(2).source(SourceSeen::Missing("vol-source".to_owned())).with(volumes).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::PoolFilled, true, Reason::AsWanted, &["2 of 2"]);
}

#[test]
fn a_paused_pool_changes_nothing_in_ec2() {
    let cases = [
        pool("web").snapshots([]).intent(None),
        pool("web").with([volume("web-0")]),
        pool("web").replicas(0).with([volume("web-0").ready().deleting()]),
    ];
    for pool in cases {
        let plan = pool.but(|seen| seen.pool.paused = true).plan();
        assert_eq!(words(&plan), [""; 0]);
        assert_finding(&plan, Condition::Paused, true, Reason::Paused, &["spec.paused"]);
    }
}

#[test]
fn nothing_is_done_before_the_pool_is_guarded() {
    for pool in [pool("web").snapshots([]).intent(None), pool("web").with([volume("web-0")])] {
        let plan = pool.but(|seen| seen.pool.has_finalizer = false).plan();
        assert_eq!(words(&plan), ["guard the pool"]);
    }
}

#[test]
fn a_failed_volume_is_replaced_at_once_and_ever_later_after_that() {
    let failed = |attempt, asked| {
        let volume = volume("web-0").cloud(VolumeState::Error);
        pool("web").with([volume.but(|volume| (volume.attempt, volume.recorded.requested) = (attempt, Some(at(asked))))]).plan()
    };
    assert_eq!(words(&failed(0, NOW)), ["drop web-0"]);
    for (attempt, rest) in [(1, 30), (2, 60), (3, 120), (4, 240), (5, 300), (u32::MAX, 300)] {
        let resting = failed(attempt, NOW - rest + 1);
        assert_eq!(words(&resting), [""; 0], "attempt {attempt}: else a lasting failure were a hot loop");
        assert_eq!(resting.report.volumes[&super::build::key("web-0")].phase, Phase::Failed);
        assert_eq!(words(&failed(attempt, NOW - rest)), ["drop web-0"], "attempt {attempt}");
    }
    let replaced = volume("web-0").cloud(VolumeState::Error).deleting().but(|volume| volume.attempt = 2);
    assert_eq!(words(&pool("web").with([replaced]).plan()), ["delete vol-web-0 of web-0", "add 1 in a, attempt 3"]);
}

#[test]
fn a_volume_that_stays_in_creation_is_given_up_and_another_is_made_at_once() {
    let creating = |asked: i64| volume("web-0").cloud(VolumeState::Creating).but(|volume| volume.recorded.requested = Some(at(asked)));
    assert_eq!(words(&pool("web").with([creating(NOW - 599)]).plan()), [""; 0]);
    let plan = pool("web").with([creating(NOW - 600)]).plan();
    assert_eq!(words(&plan), ["drop web-0", "add 1 in a, attempt 1"]);
    assert_eq!(plan.report.volumes[&super::build::key("web-0")].phase, Phase::Failed);
    let given_up = pool("web").with([creating(NOW - 600).deleting(), volume("web-1")]).plan();
    assert_eq!(words(&given_up), ["create web-1"], "EC2 deletes no volume that it is still making");
    let claimed = pool("web").replicas(0).with([creating(NOW - 600).reserved_for("cart")]).plan();
    assert_eq!(words(&claimed), [""; 0], "the claim is given back first");
    assert_eq!(claimed.report.volumes[&super::build::key("web-0")].phase, Phase::Failed);
}

#[test]
fn a_failed_volume_is_dropped_before_a_ready_one() {
    let failed = volume("web-0").cloud(VolumeState::Error).but(|volume| volume.recorded.requested = Some(at(NOW)));
    let plan = pool("web").replicas(1).with([failed, volume("web-1").ready()]).plan();
    assert_eq!(words(&plan), ["drop web-0"]);
}
