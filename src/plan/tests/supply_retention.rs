//! Which snapshots of a living pool are deleted, and which never.

use jiff::SignedDuration;

use crate::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL_UID};
use crate::domain::{CloudSnapshot, SnapshotState, VolumeState};

use super::build::{NOW, PoolBuild, VolumeBuild, at, pool, snapshot, snapshot_in, volume};
use super::words::words;

/// A full pool of generation 5 with these snapshots, of which it keeps two.
fn keeping_two(snapshots: impl IntoIterator<Item = CloudSnapshot>) -> PoolBuild {
    let full = pool("web").snapshots(snapshots).intent(Some((5, 0))).with([volume("web-0").generation(5).ready()]);
    full.but(|seen| seen.pool.snapshots.keep_count = 2)
}

fn twin(generation: u64, id: &str, started: i64) -> CloudSnapshot {
    CloudSnapshot { id: id.into(), started: Some(at(started)), ..snapshot(generation) }
}

#[test]
fn the_oldest_beyond_the_count_go() {
    assert_eq!(words(&keeping_two((2..=5).map(snapshot)).plan()), ["delete snap-2", "delete snap-3"]);
    assert_eq!(words(&keeping_two((4..=5).map(snapshot)).plan()), [""; 0]);
}

#[test]
fn what_is_too_old_goes_but_never_the_newest() {
    let aged = |generation, age| CloudSnapshot { started: Some(at(NOW - age)), ..snapshot(generation) };
    let of = |ages: [i64; 2]| {
        let pool = keeping_two([aged(4, ages[0]), aged(5, ages[1])]);
        words(&pool.but(|seen| seen.pool.snapshots.keep_age = Some(SignedDuration::from_secs(60))).plan())
    };
    assert_eq!(of([60, 10]), [""; 0]);
    assert_eq!(of([61, 10]), ["delete snap-4"]);
    assert_eq!(of([90, 61]), ["delete snap-4"], "the newest completed one is kept at any age");
}

#[test]
fn what_a_volume_is_being_filled_from_stays() {
    let unfilled: [VolumeBuild; 4] = [
        volume("web-1").generation(1),
        volume("web-1").generation(1).cloud(VolumeState::Creating).but(|volume| volume.recorded.requested = Some(at(NOW))),
        volume("web-1").generation(1).initializing(),
        volume("web-1").generation(1).reserved_for("cart"),
    ];
    for volume in unfilled {
        let plan = keeping_two([snapshot(1), snapshot(4), snapshot(5)]).replicas(2).with([volume.clone()]).plan();
        assert!(!words(&plan).contains(&"delete snap-1".to_owned()), "{:?}", volume.seen());
    }
    let filled = keeping_two([snapshot(1), snapshot(4), snapshot(5)]).with([volume("web-1").generation(1).used_by("cart")]);
    assert_eq!(words(&filled.plan()), ["delete snap-1"], "a filled volume needs its snapshot no more");
}

#[test]
fn of_two_snapshots_of_one_generation_the_later_goes() {
    let doubled = [twin(5, "snap-b", 10), twin(5, "snap-a", 20), snapshot(4)];
    let plan = keeping_two(doubled).plan();
    assert_eq!(plan.report.newest.as_ref().map(|origin| origin.snapshot.as_str()), Some("snap-b"));
    assert_eq!(words(&plan), ["delete snap-a"], "and a double does not count");
}

#[test]
fn a_failed_snapshot_stays_only_while_it_is_the_last_word() {
    let failed = |generation| snapshot_in(SnapshotState::Error, generation);
    let last_word = |snapshots: Vec<CloudSnapshot>| words(&keeping_two(snapshots).intent(Some((7, NOW - 1))).plan());
    assert_eq!(last_word(vec![snapshot(5), failed(6), failed(7)]), ["delete snap-6"]);
    assert_eq!(last_word(vec![snapshot(5), failed(4)]), ["delete snap-4"]);
    let unfinished = snapshot_in(SnapshotState::Pending, 3);
    assert_eq!(last_word(vec![snapshot(5), snapshot_in(SnapshotState::Unknown, 2), unfinished]), [""; 0], "not settled");
}

#[test]
fn a_snapshot_that_is_not_ours_is_never_deleted() {
    for tag in [TAG_CLUSTER, TAG_POOL_UID] {
        let mut foreign = snapshot(1);
        foreign.tags.insert(tag.to_owned(), "other".to_owned());
        assert_eq!(words(&keeping_two([foreign, snapshot(4), snapshot(5)]).plan()), [""; 0], "{tag}");
    }
    let mut changed = snapshot(1);
    changed.tags.insert(TAG_GENERATION.to_owned(), "by hand".to_owned());
    assert_eq!(words(&keeping_two([changed, snapshot(4), snapshot(5)]).plan()), ["delete snap-1"], "it counts as the oldest");
}

#[test]
fn a_paused_pool_deletes_no_snapshot() {
    assert_eq!(words(&keeping_two((2..=5).map(snapshot)).but(|seen| seen.pool.paused = true).plan()), [""; 0]);
}
