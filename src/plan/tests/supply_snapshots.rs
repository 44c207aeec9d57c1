//! When the first snapshot is taken, and which one volumes are filled from.

use crate::domain::{Reason, SnapshotState};
use crate::plan::{Condition, SourceSeen, VISIBILITY};

use super::build::{NOW, fixed_snapshot, pool, snapshot, snapshot_in};
use super::words::{assert_finding, words};

#[test]
fn the_first_snapshot_is_taken_when_there_is_none() {
    let plan = pool("web").snapshots([]).intent(None).plan();
    assert_eq!(words(&plan), ["snapshot vol-source as 1"]);
    assert_finding(&plan, Condition::SnapshotFresh, false, Reason::SnapshotPending, &[]);
}

#[test]
fn a_snapshot_that_is_there_or_on_its_way_blocks_a_second() {
    let visibility = VISIBILITY.as_secs();
    let cases = vec![
        ("completed", pool("web").replicas(0)),
        ("pending", pool("web").snapshots([snapshot_in(SnapshotState::Pending, 1)])),
        ("just asked for", pool("web").snapshots([]).intent(Some((1, NOW - 1)))),
        ("asked for almost too long ago", pool("web").snapshots([]).intent(Some((1, NOW - visibility + 1)))),
        ("asked for by a clock ahead of ours", pool("web").snapshots([]).intent(Some((1, NOW + 5)))),
        ("failed, and the next was just asked for", pool("web").snapshots([snapshot_in(SnapshotState::Error, 1)]).intent(Some((2, NOW)))),
        (
            "failed, and listed a moment after it was asked for",
            pool("web").snapshots([snapshot_in(SnapshotState::Error, 1)]).intent(Some((1, NOW))),
        ),
    ];
    for (case, pool) in cases {
        assert_eq!(words(&pool.plan()), [""; 0], "{case}");
    }
}

#[test]
fn a_snapshot_that_never_showed_up_is_asked_for_again_under_its_generation() {
    let plan = pool("web").snapshots([]).intent(Some((1, NOW - VISIBILITY.as_secs()))).plan();
    assert_eq!(words(&plan), ["snapshot vol-source as 1"]);
}

#[test]
fn an_old_answer_of_ec2_does_not_prove_that_a_snapshot_is_missing() {
    let asked = NOW - 2 * VISIBILITY.as_secs();
    let plan = pool("web").snapshots([]).intent(Some((1, asked))).but(|seen| seen.observed = super::build::at(asked - 1)).plan();
    assert_eq!(words(&plan), [""; 0], "EC2 was last asked before the snapshot was");
}

#[test]
fn a_failed_snapshot_is_followed_by_the_next_generation() {
    let plan = pool("web").snapshots([snapshot_in(SnapshotState::Error, 4)]).intent(Some((4, 0))).plan();
    assert_eq!(words(&plan), ["snapshot vol-source as 5"]);
    assert_finding(&plan, Condition::SnapshotFresh, false, Reason::SnapshotFailed, &["another is taken"]);
    assert_finding(&plan, Condition::Degraded, true, Reason::SnapshotFailed, &["another is taken"]);
}

#[test]
fn a_pending_snapshot_says_how_far_it_is() {
    let plan = pool("web").snapshots([snapshot_in(SnapshotState::Pending, 1)]).plan();
    assert_finding(&plan, Condition::SnapshotFresh, false, Reason::SnapshotPending, &["40 %"]);
    assert!(plan.report.is_moving);
}

#[test]
fn volumes_are_filled_from_the_newest_completed_snapshot() {
    let snapshots = [snapshot(2), snapshot(3), snapshot_in(SnapshotState::Pending, 4), snapshot(1)];
    let plan = pool("web").snapshots(snapshots).plan();
    assert_eq!(plan.report.newest.as_ref().map(|origin| origin.generation), Some(3));
    let listed: Vec<&str> = plan.report.snapshots.iter().map(|snapshot| snapshot.id.as_str()).collect();
    assert_eq!(listed, ["snap-4", "snap-3", "snap-2", "snap-1"]);
}

#[test]
fn a_pool_with_fixed_content_takes_no_snapshot() {
    let plan = pool("web").fixed_content(SourceSeen::Snapshot(fixed_snapshot())).nodes_in(&["b"]).plan();
    assert_eq!(words(&plan), ["add 0 in b"]);
    assert_finding(&plan, Condition::SnapshotFresh, true, Reason::AsWanted, &["snap-fixed"]);
}

#[test]
fn a_generation_tag_changed_by_hand_to_the_largest_number_breaks_nothing() {
    let plan = pool("web").snapshots([snapshot_in(SnapshotState::Error, u64::MAX)]).plan();
    assert_eq!(words(&plan), [format!("snapshot vol-source as {}", u64::MAX)]);
}

#[test]
fn no_snapshot_is_taken_while_no_wanted_zone_has_a_node() {
    let lonely = || pool("web").zones(&["z"]).but(|seen| (seen.snapshots, seen.pool.snapshot_intent) = (Vec::new(), None));
    let plan = lonely().plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_finding(&plan, Condition::SnapshotFresh, false, Reason::ZoneHasNoNode, &["spec.zones"]);
    assert_eq!(words(&lonely().zones(&["z", "a"]).plan()), ["snapshot vol-source as 1"], "one zone is enough");
}
