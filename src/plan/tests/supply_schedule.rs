//! When snapshots after the first are taken: by schedule, not while nothing changed, later after failures, within the limits.

use crate::domain::{CloudSnapshot, Reason, SnapshotState, VolumeSettings};
use crate::plan::{Condition, FreeSpan, SourceSeen};

use super::build::{NOW, PoolBuild, at, pool, snapshot, snapshot_in, source_volume, volume};
use super::words::{assert_finding, words};

/// A full pool whose newest snapshot, of generation 1, was started at a second.
fn full(started: i64) -> PoolBuild {
    let newest = CloudSnapshot { started: Some(at(started)), ..snapshot(1) };
    pool("web").snapshots([newest]).intent(Some((1, started))).with([volume("web-0").ready()])
}

/// Second 0 of the tests is a full hour, and `NOW` is 46 minutes and 40 seconds after one.
#[test]
fn a_snapshot_is_due_at_the_first_time_after_the_last() {
    let cases = [
        ("0 * * * *", NOW - 2800, 800, "taken on time"),
        ("0 * * * *", NOW - 2801, 0, "overdue for 2800 seconds"),
        ("0 * * * *", NOW - 90_000, 0, "overdue for a day: made up for once"),
        ("*/20 * * * *", NOW - 399, 800, "due every twenty minutes"),
    ];
    for (expression, started, due_in, case) in cases {
        let plan = full(started).schedule(expression).plan();
        let due = due_in == 0;
        assert_eq!(words(&plan), if due { vec!["snapshot vol-source as 2"] } else { vec![] }, "{case}");
        assert_eq!(plan.report.next_snapshot, (!due).then(|| at(NOW + due_in)), "{case}");
    }
    assert_eq!(full(0).plan().report.next_snapshot, None, "without a schedule the first is the last");
}

#[test]
fn one_that_is_being_stored_is_the_last_one() {
    let pending = CloudSnapshot { started: Some(at(NOW - 30)), ..snapshot_in(SnapshotState::Pending, 2) };
    let plan = full(0).schedule("0 * * * *").but(|seen| seen.snapshots.push(pending)).intent(Some((2, NOW - 30))).plan();
    assert_eq!(words(&plan), [""; 0]);
}

#[test]
fn nothing_is_taken_while_the_source_cannot_have_changed() {
    let free = |since, until| Some(FreeSpan { since: at(since), until: at(until) });
    let taken = NOW - 7200;
    let cases = [
        ("free since before the snapshot", free(taken - 60, NOW), true),
        ("freed within a minute of the snapshot, by clocks that may differ", free(taken - 59, NOW), false),
        ("freed after the snapshot, two full hours ago", free(taken + 1, NOW), false),
        ("freed after the last due time: its turn comes with the next", free(NOW - 60, NOW), true),
        ("attached again before the last due time", free(taken - 60, NOW - 3600), false),
        ("attached a moment ago", free(taken - 60, NOW - 30), true),
        ("attached all the time", None, false),
    ];
    for (case, span, is_left_out) in cases {
        let of = |skip| full(taken).schedule("0 * * * *").but(|seen| (seen.source_free, seen.pool.snapshots.skip_unchanged) = (span, skip));
        assert_eq!(words(&of(true).plan()).is_empty(), is_left_out, "{case}");
        assert_eq!(words(&of(false).plan()), ["snapshot vol-source as 2"], "{case}, skipUnchanged: false");
    }
}

#[test]
fn the_first_snapshot_is_taken_even_of_a_source_that_nobody_uses() {
    let unused = pool("web").snapshots([]).intent(None).but(|seen| seen.source_free = Some(FreeSpan { since: at(0), until: at(NOW) }));
    assert_eq!(words(&unused.plan()), ["snapshot vol-source as 1"]);
}

#[test]
fn two_snapshots_of_a_source_are_at_least_fifteen_seconds_apart_whoever_took_the_last() {
    let busy = |ago| {
        let pool = pool("web").snapshots([]).intent(None).but(|seen| seen.source_load.last_started = Some(at(NOW - ago)));
        words(&pool.plan())
    };
    assert_eq!(busy(14), [""; 0]);
    assert_eq!(busy(15), ["snapshot vol-source as 1"]);
}

#[test]
fn no_more_are_stored_at_a_time_than_ec2_takes() {
    let hdd = || {
        let settings = VolumeSettings { volume_type: "st1".to_owned(), ..VolumeSettings::default() };
        SourceSeen::Volume(crate::domain::CloudVolume { settings, ..source_volume() })
    };
    let taken = |source: SourceSeen, unfinished| {
        let pool = full(0).schedule("* * * * *").source(source).but(|seen| seen.source_load.unfinished = unfinished);
        !words(&pool.plan()).is_empty()
    };
    assert!(taken(SourceSeen::Volume(source_volume()), 4) && !taken(SourceSeen::Volume(source_volume()), 5));
    assert!(taken(hdd(), 0) && !taken(hdd(), 1));
}

#[test]
fn failed_snapshots_are_retried_ever_later() {
    for (failures, wait) in [(1, 60), (2, 120), (3, 240), (4, 300), (5, 300), (90, 300)] {
        let failed = |asked| {
            let last = CloudSnapshot { started: Some(at(asked)), ..snapshot_in(SnapshotState::Error, 1 + failures) };
            full(0).schedule("* * * * *").but(|seen| seen.snapshots.push(last)).intent(Some((1 + failures, asked))).plan()
        };
        assert_eq!(words(&failed(NOW - wait + 1)), [""; 0], "{failures} failures");
        assert_eq!(words(&failed(NOW - wait)), [format!("snapshot vol-source as {}", failures + 2)], "{failures} failures");
    }
}

#[test]
fn a_failure_says_how_often_and_what_is_used_meanwhile() {
    let failed = snapshot_in(SnapshotState::Error, 3);
    let plan = full(0).but(|seen| seen.snapshots.push(failed)).intent(Some((3, NOW - 1))).plan();
    for (condition, holds) in [(Condition::SnapshotFresh, false), (Condition::Degraded, true), (Condition::Ready, false)] {
        assert_finding(&plan, condition, holds, Reason::SnapshotFailed, &["last 2 snapshots", "generation 1", "another is taken"]);
    }
    assert_finding(&plan, Condition::PoolFilled, true, Reason::AsWanted, &["1 of 1"]);
}

#[test]
fn a_schedule_that_cannot_be_understood_stops_only_what_depends_on_it() {
    let odd = |pool: PoolBuild| pool.but(|seen| seen.pool.snapshots.schedule = Err("spec.snapshots.schedule: no".to_owned())).plan();
    assert_eq!(words(&odd(pool("web").snapshots([]).intent(None))), ["snapshot vol-source as 1"]);
    let plan = odd(full(0));
    assert_eq!(words(&plan), [""; 0]);
    for (condition, holds) in [(Condition::SnapshotFresh, false), (Condition::Degraded, true), (Condition::Ready, false)] {
        assert_finding(&plan, condition, holds, Reason::InvalidSchedule, &["spec.snapshots.schedule: no"]);
    }
}
