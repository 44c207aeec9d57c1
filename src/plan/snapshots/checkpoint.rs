//! What a snapshot of a live source is known to hold: a checkpoint is ordered before it, and its position stays with it.
//!
//! The answer is waited for, but not for long: a snapshot without a checkpoint is as after a loss of power, which the
//! filesystem and the copies that are filled from it can live with. Only the position that it proves is then a lower one.
//! Where the answer is the position of the newest snapshot, no snapshot is needed. While no pod has a source that another driver
//! attaches, its last position stands for a checkpoint: nothing can have come after it.

use jiff::{SignedDuration, Timestamp};

use crate::domain::tags::TAG_POSITION;
use crate::domain::{CloudSnapshot, SnapshotState, SyncPosition};

use super::super::action::{Action, SnapshotContent};
use super::super::age;
use super::super::live::{self, SourceObject, SyncSeen};
use super::super::observation::PoolSeen;
use super::best_in;

/// How long a checkpoint is waited for: it writes what is not on the disk yet, at most as much as the node keeps in memory.
const WAIT: SignedDuration = SignedDuration::from_secs(30);
/// After so long an order is of no use: what is written meanwhile would be missing in the position.
const OLDEST: SignedDuration = SignedDuration::from_mins(2);

/// What comes before a snapshot that is due.
pub(super) enum Before {
    /// Nothing: it is known what it holds.
    Take(SnapshotContent),
    /// An order to the agent of the source.
    Order(Action),
    /// The answer.
    Wait,
}

/// Whether the snapshot can be taken now.
pub(super) fn before(seen: &PoolSeen, now: Timestamp) -> Before {
    let Some(object) = seen.source_object.as_ref().filter(|_| seen.pool.live.is_some()) else {
        return Before::Take(SnapshotContent::Unknown);
    };
    if let Some(position) = live::rests_at(seen) {
        return Before::Take(SnapshotContent::Checkpoint(position.clone()));
    }
    let Some(sync) = object.publishing() else { return crash(seen, "nobody publishes the source") };
    let Some((number, ordered)) = current_order(seen, now) else {
        return if seen.pool.paused { Before::Wait } else { order(object, next_number(seen, object, sync)) };
    };
    let answer = sync.checkpoint.as_ref().filter(|answer| answer.number == number);
    match answer.map(|answer| &answer.position) {
        Some(Some(position)) => Before::Take(SnapshotContent::Checkpoint(position.clone())),
        Some(None) => crash(seen, "the checkpoint failed"),
        None if age(now, ordered) >= WAIT => crash(seen, "the source did not make a checkpoint in time"),
        None if object.checkpoint != Some(number) => order(object, number),
        None => Before::Wait,
    }
}

/// Whether a snapshot waits for a checkpoint, so that it is worth looking again soon.
pub(super) fn is_awaited(seen: &PoolSeen, now: Timestamp) -> bool {
    current_order(seen, now).is_some_and(|(_, ordered)| age(now, ordered) < WAIT)
}

/// Until when the source is known to be where the newest snapshot has it: when the agent was asked that answered so. What it
/// has told unasked proves nothing, since it may be silent by now. None while a failed snapshot is to be made up for.
pub(super) fn unchanged_until(seen: &PoolSeen) -> Option<Timestamp> {
    if super::failures(seen) > 0 {
        return None;
    }
    if seen.pool.snapshots.skip_unchanged && live::rests_at(seen).is_some() && newest_holds_the_last(seen) {
        return Some(seen.observed);
    }
    let (number, ordered) = seen.pool.checkpoint_order.filter(|_| seen.pool.live.is_some() && seen.pool.snapshots.skip_unchanged)?;
    let answer = seen.source_object.as_ref()?.publishing()?.checkpoint.as_ref().filter(|answer| answer.number == number)?;
    let is_same = answer.position.is_some() && answer.position == newest(seen).and_then(position_of);
    is_same.then_some(ordered)
}

/// When pods let the source go, if another driver attaches it and the newest snapshot may lack what they wrote: then it is worth
/// a snapshot at once, since it is whole, and copies that are filled meanwhile have nobody to get the rest from.
pub(super) fn let_go(seen: &PoolSeen) -> Option<Timestamp> {
    let last = live::last_words(seen)?;
    let asked = seen.pool.snapshot_intent.map(|(_, asked)| asked).or_else(|| newest(seen)?.started);
    let is_in_it = match last.position {
        Some(_) => newest_holds_the_last(seen),
        // An agent that was cut short does not know what it let go of; its clock must do.
        None => last.last_in_sync <= asked,
    };
    last.last_in_sync.filter(|_| !is_in_it)
}

/// Whether the newest snapshot has all that the source had when the last pod let it go.
fn newest_holds_the_last(seen: &PoolSeen) -> bool {
    let held = newest(seen).and_then(position_of);
    held.zip(live::rests_at(seen)).is_some_and(|(held, last)| held.is_at_least(last))
}

/// The position that a snapshot holds at least; none when it was not known, or the tag was changed by hand.
pub fn position_of(snapshot: &CloudSnapshot) -> Option<SyncPosition> {
    snapshot.tags.get(TAG_POSITION).and_then(|text| SyncPosition::parse(text))
}

fn newest(seen: &PoolSeen) -> Option<&CloudSnapshot> {
    let both = [best_in(seen, SnapshotState::Completed), best_in(seen, SnapshotState::Pending)];
    both.into_iter().flatten().max_by_key(|snapshot| super::generation_of(snapshot))
}

/// The order that was given for the snapshot that is due: after the last one was asked for, and not too long ago. One whose
/// answer was that nothing has changed was for an earlier due time.
fn current_order(seen: &PoolSeen, now: Timestamp) -> Option<(u64, Timestamp)> {
    let is_for_this = |ordered: Timestamp| seen.pool.snapshot_intent.is_none_or(|(_, asked)| asked < ordered);
    seen.pool
        .checkpoint_order
        .filter(|(_, ordered)| is_for_this(*ordered) && age(now, *ordered) < OLDEST && unchanged_until(seen) != Some(*ordered))
}

/// One that nobody has ordered or answered.
fn next_number(seen: &PoolSeen, object: &SourceObject, sync: &SyncSeen) -> u64 {
    let known =
        [seen.pool.checkpoint_order.map(|(number, _)| number), object.checkpoint, sync.checkpoint.as_ref().map(|answer| answer.number)];
    known.into_iter().flatten().max().unwrap_or(0).saturating_add(1)
}

fn order(object: &SourceObject, number: u64) -> Before {
    let volume = &object.volume;
    Before::Order(Action::OrderCheckpoint { key: volume.key.clone(), resource_version: volume.resource_version.clone(), number })
}

/// The source has at least what the newest snapshot has, whatever happened since.
fn crash(seen: &PoolSeen, why: &str) -> Before {
    Before::Take(SnapshotContent::Crash { least: newest(seen).and_then(position_of), why: why.to_owned() })
}
