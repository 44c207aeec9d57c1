//! Snapshots of a live source: a checkpoint before each, waited for but not for long, and none while nothing changed.

use crate::domain::tags::TAG_POSITION;
use crate::domain::{CloudSnapshot, SnapshotState, SyncPosition, SyncState};
use crate::plan::{CheckpointSeen, NodeSide, PoolSeen, SyncSeen, supply};

use super::build::{NOW, PoolBuild, at, snapshot, snapshot_in};
use super::live::{live_pool, source_object, sync};
use super::words::words;

fn position(generation: u64) -> SyncPosition {
    SyncPosition { source: "src".to_owned(), epoch: 1, generation }
}

/// A live pool whose source is published at sync generation 7, and whose next snapshot is due: the last is of second 0.
fn due() -> PoolBuild {
    live_pool().schedule("* * * * *").but(|seen| {
        let mut object = source_object();
        let published = SyncSeen { position: Some(position(7)), ..sync(SyncState::Publishing) };
        object.volume.node_name = Some("node-a".into());
        object.volume.node =
            Some(NodeSide { node: "node-a".to_owned(), attached: true, mounted: true, sync: Some(published), ..NodeSide::default() });
        object.checkpoint = Some(4);
        seen.source_object = Some(object);
        seen.pool.checkpoint_order = Some((4, at(-5)));
    })
}

fn answered(seen: &mut PoolSeen, number: u64, position: Option<SyncPosition>) {
    let side = seen.source_object.as_mut().and_then(|object| object.volume.node.as_mut());
    side.and_then(|side| side.sync.as_mut()).expect("it is published").checkpoint = Some(CheckpointSeen { number, position });
}

/// Ordered so many seconds ago, and written into the object.
fn ordered(seconds: i64) -> PoolBuild {
    due().but(|seen| {
        seen.pool.checkpoint_order = Some((5, at(NOW - seconds)));
        seen.source_object.as_mut().expect("there is one").checkpoint = Some(5);
    })
}

fn holding(position: &SyncPosition) -> CloudSnapshot {
    let mut taken = snapshot(1);
    taken.tags.insert(TAG_POSITION.to_owned(), position.to_string());
    taken
}

#[track_caller]
fn assert_snapshot_words(pool: PoolBuild, expected: &[&str]) {
    let found: Vec<String> =
        words(&pool.plan()).into_iter().filter(|word| word.starts_with("snapshot") || word.starts_with("order checkpoint")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_checkpoint_with_a_new_number_is_ordered_before_a_snapshot() {
    assert_snapshot_words(due(), &["order checkpoint 5 of web-source"]);
    let answer_is_ahead = due().but(|seen| answered(seen, 9, Some(position(3))));
    assert_snapshot_words(answer_is_ahead, &["order checkpoint 10 of web-source"]);
}

#[test]
fn a_snapshot_waits_for_the_checkpoint_and_carries_its_position() {
    assert_snapshot_words(ordered(29), &[]);
    assert!(ordered(29).plan().report.is_moving, "it is looked at again soon");
    let other_answer = ordered(29).but(|seen| answered(seen, 4, Some(position(3))));
    assert_snapshot_words(other_answer, &[]);
    let done = ordered(29).but(|seen| answered(seen, 5, Some(position(8))));
    assert_snapshot_words(done, &["snapshot vol-source as 2 at src.1.8"]);
}

#[test]
fn an_order_that_did_not_reach_the_object_is_given_again_with_its_number() {
    let lost = ordered(1).but(|seen| seen.source_object.as_mut().expect("there is one").checkpoint = Some(4));
    assert_snapshot_words(lost, &["order checkpoint 5 of web-source"]);
}

#[test]
fn a_snapshot_without_a_checkpoint_has_the_position_of_the_last_one() {
    let last = |pool: PoolBuild| pool.snapshots([holding(&position(2))]);
    let without = "snapshot vol-source as 2 without a checkpoint, at least src.1.2";
    assert_snapshot_words(last(ordered(30)), &[without]);
    assert_snapshot_words(last(ordered(3).but(|seen| answered(seen, 5, None))), &[without]);
    let away = due().but(|seen| seen.source_object.as_mut().expect("there is one").volume.node = None);
    assert_snapshot_words(last(away), &[without]);
    assert_snapshot_words(ordered(30), &["snapshot vol-source as 2 without a checkpoint"]);
}

#[test]
fn an_old_order_and_one_of_an_earlier_snapshot_are_of_no_use() {
    let answered_long_ago = ordered(120).but(|seen| answered(seen, 5, Some(position(8))));
    assert_snapshot_words(answered_long_ago, &["order checkpoint 6 of web-source"]);
    let used = ordered(100).intent(Some((1, NOW - 90))).but(|seen| answered(seen, 5, Some(position(8))));
    assert_snapshot_words(used, &["order checkpoint 6 of web-source"]);
}

#[test]
fn a_paused_pool_orders_no_checkpoint() {
    assert_snapshot_words(due().but(|seen| seen.pool.paused = true), &[]);
}

#[test]
fn a_pool_that_is_not_live_takes_its_snapshots_as_before() {
    assert_snapshot_words(due().but(|seen| seen.pool.live = None), &["snapshot vol-source as 2"]);
}

#[test]
fn no_snapshot_is_taken_while_the_source_is_where_the_last_one_has_it() {
    let held = |position: SyncPosition| ordered(3).but(|seen| answered(seen, 5, Some(self::position(7)))).snapshots([holding(&position)]);
    assert_snapshot_words(held(position(7)), &[]);
    let next = held(position(7)).plan().report.next_snapshot.expect("another is due some day");
    assert!(next > at(NOW - 3) && next <= at(NOW + 60), "{next}");
    let taken = ["snapshot vol-source as 2 at src.1.7"];
    assert_snapshot_words(held(position(7)).but(|seen| seen.pool.snapshots.skip_unchanged = false), &taken);
    assert_snapshot_words(held(position(6)), &taken);
    assert_snapshot_words(held(SyncPosition { source: "other".to_owned(), ..position(7) }), &taken);
}

#[test]
fn a_failed_snapshot_is_made_up_for_though_nothing_has_changed() {
    let failed = CloudSnapshot { started: Some(at(NOW - 900)), ..snapshot_in(SnapshotState::Error, 2) };
    let pool = ordered(3).but(|seen| answered(seen, 5, Some(position(7)))).snapshots([holding(&position(7)), failed]);
    assert_snapshot_words(pool.intent(Some((2, NOW - 900))), &["snapshot vol-source as 3 at src.1.7"]);
}

#[test]
fn what_an_agent_told_unasked_leaves_no_snapshot_out() {
    assert_snapshot_words(due().snapshots([holding(&position(7))]), &["order checkpoint 5 of web-source"]);
    let silent = ordered(30).snapshots([holding(&position(7))]);
    assert_snapshot_words(silent, &["snapshot vol-source as 2 without a checkpoint, at least src.1.7"]);
    let asked_for_the_last_due_time = ordered(90).but(|seen| answered(seen, 5, Some(position(7)))).snapshots([holding(&position(7))]);
    assert_snapshot_words(asked_for_the_last_due_time, &["order checkpoint 6 of web-source"]);
}

#[test]
fn the_whole_way_ends_with_an_order_a_due_time_and_one_snapshot_a_change() {
    let mut seen = due().seen();
    let (mut orders, mut snapshots) = (0, 0);
    for second in 0..240 {
        let now = at(NOW + second);
        seen.observed = now;
        for action in supply(&seen, now).actions {
            match action {
                crate::plan::Action::OrderCheckpoint { number, .. } => {
                    orders += 1;
                    seen.pool.checkpoint_order = Some((number, now));
                    seen.source_object.as_mut().expect("there is one").checkpoint = Some(number);
                    answered(&mut seen, number, Some(position(7)));
                }
                crate::plan::Action::CreateSnapshot { generation, content, .. } => {
                    snapshots += 1;
                    seen.pool.snapshot_intent = Some((generation, now));
                    let mut taken = CloudSnapshot { started: Some(now), ..snapshot(generation) };
                    taken.tags.insert(TAG_POSITION.to_owned(), content.position().expect("there was a checkpoint").to_string());
                    seen.snapshots.push(taken);
                }
                _ => {}
            }
        }
    }
    assert_eq!((orders, snapshots), (5, 1), "of five due times, the first had a change");
}
