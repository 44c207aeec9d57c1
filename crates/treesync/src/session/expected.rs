//! How long a copy keeps what it made ahead.

use std::time::{Duration, Instant};

/// Since the last hint: a burst is told as one batch after 1 s at the latest ([`crate::feed::Windows::longest`]), and may
/// have told all that it may ahead at its start. Then time for the batch to come.
const KEPT: Duration = Duration::from_secs(2);

/// The batch that is likely to want what was made ahead.
#[derive(Default)]
pub(super) struct Expected(Option<(u64, Instant)>);

impl Expected {
    /// Something was made for a copy at a generation.
    pub(super) fn note(&mut self, generation: u64, now: Instant) {
        self.0 = Some((generation, now));
    }

    /// Whether it may still come to a copy that is at a generation, or none.
    pub(super) fn may_come(&self, generation: Option<u64>, now: Instant) -> bool {
        self.0.is_some_and(|(noted, since)| generation == Some(noted) && now.saturating_duration_since(since) < KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_expected_until_it_is_there_or_overdue() {
        let begun = Instant::now();
        let mut expected = Expected::default();
        assert!(!expected.may_come(Some(5), begun));
        expected.note(5, begun);
        expected.note(5, begun + Duration::from_secs(1));
        let at = |generation, milliseconds| expected.may_come(generation, begun + Duration::from_millis(milliseconds));
        assert!(at(Some(5), 1_000) && at(Some(5), 2_999));
        assert!(!at(Some(5), 3_000), "overdue");
        assert!(!at(Some(6), 1_000) && !at(None, 1_000), "it came, or the copy has to be compared");
    }
}
