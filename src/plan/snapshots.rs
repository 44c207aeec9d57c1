//! Which snapshot are volumes filled from, and must one be taken?

use crate::domain::tags::TAG_GENERATION;
use crate::domain::{CloudSnapshot, SnapshotState};

use super::action::Action;
use super::observation::{Origin, PoolSeen, Source, SourceSeen};
use super::source::Judged;
use super::{VISIBILITY, age};

/// What there is to fill from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stock {
    /// The newest completed snapshot.
    pub newest: Option<Origin>,
    /// Percent of the snapshot that is being stored, when there is one.
    pub pending_percent: Option<u8>,
    /// Whether the last snapshot failed and nothing newer exists.
    pub failed: bool,
}

/// Takes the first snapshot of a source volume when there is none completed, pending or just asked for.
pub(super) fn plan(seen: &PoolSeen, source: &Judged, actions: &mut Vec<Action>) -> Stock {
    let stock = stock(seen);
    let (Source::Volume(volume), Ok(_)) = (&seen.pool.source, source) else { return stock };
    let is_useless = seen.has_no_usable_zone();
    if is_useless || stock.newest.is_some() || stock.pending_percent.is_some() || is_just_asked_for(seen) {
        return stock;
    }
    let generation = next_generation(seen);
    actions.push(Action::CreateSnapshot { volume: volume.clone(), generation });
    stock
}

/// Whether a snapshot was asked for so shortly before EC2 was looked at that the answer may not list it yet.
pub(super) fn is_just_asked_for(seen: &PoolSeen) -> bool {
    seen.pool.snapshot_intent.is_some_and(|(_, asked)| age(seen.observed, asked) < VISIBILITY)
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
    let newest_in = |state| {
        let candidates = seen.snapshots.iter().filter(|snapshot| snapshot.state == state);
        candidates.max_by_key(|snapshot| (generation_of(snapshot), snapshot.started, &snapshot.id))
    };
    let completed = newest_in(SnapshotState::Completed);
    Stock {
        newest: completed.map(|snapshot| Origin { snapshot: snapshot.id.clone(), generation: generation_of(snapshot) }),
        pending_percent: newest_in(SnapshotState::Pending).map(|snapshot| snapshot.progress_percent),
        failed: completed.is_none() && newest_in(SnapshotState::Error).is_some(),
    }
}

/// One more than any generation that was ever seen or intended.
fn next_generation(seen: &PoolSeen) -> u64 {
    let seen_highest = seen.snapshots.iter().map(generation_of).max().unwrap_or(0);
    let intended = seen.pool.snapshot_intent.map_or(0, |(generation, _)| generation);
    let unseen_intent = if seen_highest >= intended { seen_highest } else { intended - 1 };
    unseen_intent.saturating_add(1)
}
