//! When the next snapshot is due: the first at once, then by schedule, and when pods have let a source go that another driver
//! attaches; after a failure ever later.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{CloudVolume, SnapshotState};

use super::super::VISIBILITY;
use super::super::observation::{PoolSeen, SourceSeen};
use super::{Stock, best_in, checkpoint};

/// The shortest time between two snapshots of a volume. Source: EC2 API reference, "Error codes",
/// `SnapshotCreationPerVolumeRateExceeded`.
const SPACING: SignedDuration = SignedDuration::from_secs(15);
/// Snapshots of one volume that may be stored at a time. Source: EC2 API reference, "Error codes",
/// `ConcurrentSnapshotLimitExceeded`, and Amazon EBS user guide, quotas: five for SSD, one for HDD volumes.
const CONCURRENT_SSD: u32 = 5;
const CONCURRENT_HDD: u32 = 1;
/// The first wait after a failed snapshot; it doubles.
const FIRST_RETRY: SignedDuration = VISIBILITY;
/// The longest wait after a failed snapshot: a cause that a person removes is noticed within five minutes.
const LONGEST_RETRY: SignedDuration = SignedDuration::from_mins(5);

/// When the next snapshot shall be taken; a time that has passed means now. `None`: never, as things are.
pub(super) fn next(seen: &PoolSeen, stock: &Stock) -> Option<Timestamp> {
    let asked = seen.pool.snapshot_intent.map(|(_, asked)| asked);
    let spaced = seen.source_load.last_started.max(asked).map(|last| after(last, SPACING));
    let newest = best_in(seen, SnapshotState::Completed).and_then(|snapshot| snapshot.started);
    let pending = best_in(seen, SnapshotState::Pending).and_then(|snapshot| snapshot.started);
    let due = match stock.failures {
        0 if stock.newest.is_none() && stock.pending_percent.is_none() => Timestamp::UNIX_EPOCH,
        0 => [scheduled(seen, newest.max(pending)), checkpoint::let_go(seen)].into_iter().flatten().min()?,
        failures => {
            let failed = best_in(seen, SnapshotState::Error).and_then(|snapshot| snapshot.started);
            after(asked.max(failed).unwrap_or(Timestamp::UNIX_EPOCH), wait_after(failures))
        }
    };
    Some(spaced.map_or(due, |spaced| due.max(spaced)))
}

fn scheduled(seen: &PoolSeen, taken: Option<Timestamp>) -> Option<Timestamp> {
    let schedule = seen.pool.snapshots.schedule.as_ref().ok()?.as_ref()?;
    schedule.next_after(unchanged_until(seen, taken?))
}

fn after(then: Timestamp, wait: SignedDuration) -> Timestamp {
    then.checked_add(wait).unwrap_or(Timestamp::MAX)
}

fn wait_after(failures: u64) -> SignedDuration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    FIRST_RETRY.checked_mul(1 << doublings).unwrap_or(LONGEST_RETRY).min(LONGEST_RETRY)
}

/// Until when the source is known to hold what the snapshot that was started at `taken` holds.
///
/// A volume that no instance has cannot change. It counts as unchanged when each look since before the snapshot found
/// it free; a margin of [`VISIBILITY`] stands for clocks that differ and for reads that lag. A live source that our agents attach
/// is always attached; its agent is asked at each due time.
fn unchanged_until(seen: &PoolSeen, taken: Timestamp) -> Timestamp {
    if let Some(asked) = checkpoint::unchanged_until(seen) {
        return taken.max(asked);
    }
    match &seen.source_free {
        Some(free) if seen.pool.snapshots.skip_unchanged => {
            let is_same = after(free.since, VISIBILITY) <= taken;
            taken.max(if is_same { free.until } else { free.since })
        }
        _ => taken,
    }
}

/// Whether EC2 would take one more snapshot of the source now.
pub(super) fn has_room(seen: &PoolSeen) -> bool {
    let limit = match &seen.source {
        SourceSeen::Volume(CloudVolume { settings, .. }) if matches!(settings.volume_type.as_str(), "st1" | "sc1") => CONCURRENT_HDD,
        _ => CONCURRENT_SSD,
    };
    seen.source_load.unfinished < limit
}
