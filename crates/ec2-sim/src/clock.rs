//! The time of a simulator: that of the machine, and what it was advanced by.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A clock that can be put forward and never back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Milliseconds.
    ahead_ms: AtomicI64,
}

/// The furthest that a clock is put forward: a hundred years, so that every time stays one that can be written down.
const FURTHEST_MS: i64 = 100 * 365 * 86_400_000;

impl Clock {
    /// A clock that was advanced by this much before.
    pub(crate) fn ahead_by(ahead_ms: i64) -> Self {
        Self { ahead_ms: AtomicI64::new(ahead_ms.clamp(0, FURTHEST_MS)) }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(SignedDuration::from_millis(self.ahead_ms())).unwrap_or(now)
    }

    /// How far the clock is ahead of the machine's.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Puts the clock forward; false, and no change, when it would leave the range of times.
    pub(crate) fn advance(&self, millis: u64) -> bool {
        let advanced = |ahead: i64| ahead.checked_add(i64::try_from(millis).ok()?).filter(|ahead| *ahead <= FURTHEST_MS);
        self.ahead_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advanced).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_forward_only_and_not_out_of_range() {
        let clock = Clock::ahead_by(-5);
        assert_eq!(clock.ahead_ms(), 0);
        assert!(clock.advance(3_600_000));
        assert!(clock.now() > Timestamp::now() + SignedDuration::from_secs(3_599));
        for far in [u64::MAX, u64::try_from(FURTHEST_MS).unwrap()] {
            assert!(!clock.advance(far), "{far}");
        }
        assert_eq!(clock.ahead_ms(), 3_600_000);
    }
}
