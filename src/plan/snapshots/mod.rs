//! Which snapshot are volumes filled from, which one must be taken, and which may go?

mod checkpoint;
mod due;
mod retention;

use jiff::Timestamp;

use crate::domain::tags::TAG_GENERATION;
use crate::domain::{CloudSnapshot, SnapshotState, SyncPosition};

use super::action::Action;
use super::observation::{Origin, PoolSeen, Source, SourceSeen};
use super::source::{Judged, Usable};
use super::volumes::Lives;
use super::{VISIBILITY, age};

use checkpoint::Before;
pub use checkpoint::position_of;

/// What there is to fill from, and what comes next.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stock {
    /// The newest completed snapshot.
    pub newest: Option<Origin>,
    /// The position that it holds at least, if that is known.
    pub newest_position: Option<SyncPosition>,
    /// When it was started.
    pub newest_started: Option<Timestamp>,
    /// Percent of the newest snapshot that is being stored, when there is one.
    pub pending_percent: Option<u8>,
    /// How many snapshots failed since the last that did not.
    pub failures: u64,
    /// When the next snapshot is due; none when none is.
    pub next: Option<Timestamp>,
    /// Whether the one that is due waits for a checkpoint.
    pub awaits_checkpoint: bool,
}

/// Takes the snapshot that is due, and deletes those that nobody needs.
pub(super) fn plan(seen: &PoolSeen, source: &Judged, lives: &Lives<'_>, now: Timestamp, actions: &mut Vec<Action>) -> Stock {
    let mut stock = stock(seen);
    if matches!(seen.pool.source, Source::Snapshot(_)) {
        return stock;
    }
    if let Ok(Usable { volume: Some(volume), .. }) = source
        && !seen.has_no_usable_zone()
    {
        stock.next = due::next(seen, &stock);
        if stock.next.is_some_and(|due| due <= now) && !is_just_asked_for(seen) && due::has_room(seen) {
            match checkpoint::before(seen, now) {
                Before::Take(content) => {
                    actions.push(Action::CreateSnapshot { volume: volume.clone(), generation: next_generation(seen), content });
                }
                Before::Order(order) => actions.push(order),
                Before::Wait => {}
            }
            stock.awaits_checkpoint = checkpoint::is_awaited(seen, now);
        }
    }
    actions.extend(retention::deletions(seen, lives, now).into_iter().map(Action::DeleteSnapshot));
    stock
}

/// Whether a snapshot was asked for so shortly before EC2 was looked at that the answer may not list it yet.
pub(super) fn is_just_asked_for(seen: &PoolSeen) -> bool {
    let is_listed = |intended| seen.snapshots.iter().any(|snapshot| generation_of(snapshot) == intended);
    seen.pool.snapshot_intent.is_some_and(|(intended, asked)| age(seen.observed, asked) < VISIBILITY && !is_listed(intended))
}

/// The generation tag of a snapshot of ours; 0 when it was changed by hand.
pub fn generation_of(snapshot: &CloudSnapshot) -> u64 {
    snapshot.tags.get(TAG_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn stock(seen: &PoolSeen) -> Stock {
    if let (Source::Snapshot(id), SourceSeen::Snapshot(snapshot)) = (&seen.pool.source, &seen.source) {
        let usable = snapshot.state == SnapshotState::Completed;
        return Stock { newest: usable.then(|| Origin { snapshot: id.clone(), generation: 1 }), ..Stock::default() };
    }
    let completed = best_in(seen, SnapshotState::Completed);
    Stock {
        newest: completed.map(|snapshot| Origin { snapshot: snapshot.id.clone(), generation: generation_of(snapshot) }),
        newest_position: completed.and_then(position_of),
        newest_started: completed.and_then(|snapshot| snapshot.started),
        pending_percent: best_in(seen, SnapshotState::Pending).map(|snapshot| snapshot.progress_percent),
        failures: failures(seen),
        next: None,
        awaits_checkpoint: false,
    }
}

/// The newest snapshot in a state; of two of one generation, after a lost reply, the one that was started first.
fn best_in(seen: &PoolSeen, state: SnapshotState) -> Option<&CloudSnapshot> {
    let candidates = seen.snapshots.iter().filter(|snapshot| snapshot.state == state);
    candidates.min_by_key(|snapshot| (std::cmp::Reverse(generation_of(snapshot)), snapshot.started, &snapshot.id))
}

/// The highest generation of snapshots for which something holds; 0 when there is none.
fn highest(seen: &PoolSeen, holds: impl Fn(SnapshotState) -> bool) -> u64 {
    seen.snapshots.iter().filter(|snapshot| holds(snapshot.state)).map(generation_of).max().unwrap_or(0)
}

/// Each attempt has a generation, so the attempts since the last good one are those that failed or were refused.
fn failures(seen: &PoolSeen) -> u64 {
    let tried = highest(seen, |_| true).max(seen.pool.snapshot_intent.map_or(0, |(generation, _)| generation));
    let good = highest(seen, |state| state != SnapshotState::Error);
    if is_just_asked_for(seen) { tried.saturating_sub(1).saturating_sub(good) } else { tried.saturating_sub(good) }
}

/// One more than any generation that was ever seen or intended; an intent that never showed up keeps its generation.
fn next_generation(seen: &PoolSeen) -> u64 {
    let seen_highest = highest(seen, |_| true);
    let intended = seen.pool.snapshot_intent.map_or(0, |(generation, _)| generation);
    let unseen_intent = if seen_highest >= intended { seen_highest } else { intended - 1 };
    unseen_intent.saturating_add(1)
}
