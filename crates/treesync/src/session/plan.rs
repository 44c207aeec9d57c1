//! Which copies share a stream, from where, and when a copy that failed is tried again. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Position;

/// Names a copy within its session.
pub(super) type CopyId = usize;

/// The first wait after a failure.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// The longest wait. A disk that was full is seen free within it.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Copies for one stream, and where the stream starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// The least advanced of them; none when they are to be compared with a manifest.
    pub(super) since: Option<Position>,
    pub(super) copies: Vec<CopyId>,
}

/// Copies whose generations mean the same history share a stream. A copy that is ahead of the others skips what it has.
pub(super) fn groups(copies: &[(CopyId, Option<Position>)]) -> Vec<Group> {
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for (id, position) in copies {
        let history = position.map(|position| (position.source, position.epoch));
        let group = groups.entry(history).or_insert_with(|| Group { since: *position, copies: Vec::new() });
        group.copies.push(*id);
        if let (Some(since), Some(position)) = (&mut group.since, position) {
            since.generation = since.generation.min(position.generation);
        }
    }
    groups.into_values().collect()
}

/// How long to wait after so many failures in a row. `jitter` is from 0 to 1, so that copies and hosts that failed
/// together do not come back together.
pub(super) fn back_off(failures: u32, jitter: f64) -> Duration {
    let doubled = BACK_OFF_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(BACK_OFF_MAX);
    doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceId;

    fn at(epoch: u64, generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch, generation }
    }

    #[test]
    fn copies_of_one_history_share_a_stream_from_the_least_advanced() {
        let groups = groups(&[(0, Some(at(1, 9))), (1, Some(at(1, 4))), (2, None), (3, Some(at(2, 1))), (4, None), (5, Some(at(1, 7)))]);
        let expected = [(None, vec![2, 4]), (Some(at(1, 4)), vec![0, 1, 5]), (Some(at(2, 1)), vec![3])];
        assert_eq!(groups, expected.map(|(since, copies)| Group { since, copies }));
    }

    #[test]
    fn waits_grow_to_a_bound_and_are_spread() {
        let waits: Vec<Duration> = (1..100).map(|failures| back_off(failures, 1.0)).collect();
        assert!(waits.is_sorted() && waits[0] == BACK_OFF_MIN && waits[98] == BACK_OFF_MAX);
        assert_eq!(back_off(1, 0.0), BACK_OFF_MIN / 2);
        assert!(back_off(u32::MAX, 0.5) < BACK_OFF_MAX && back_off(0, 1.0) == BACK_OFF_MIN);
    }
}
