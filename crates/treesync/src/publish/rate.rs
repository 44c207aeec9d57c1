//! Token buckets: how long bytes must wait so that a rate is kept. Pure: time comes in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time by which rates are kept.
pub trait Clock: Send + Sync {
    /// Since some moment before.
    fn now(&self) -> Duration;
    /// Returns when so much more has passed.
    fn sleep(&self, time: Duration);
}

/// The time of the machine.
pub(super) struct SystemClock(Instant);

impl SystemClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Bytes a second that all who have this limit may take together; the default is none. Clones are the same limit.
#[derive(Clone, Default, Debug)]
pub struct Limit(Option<Arc<Mutex<TokenBucket>>>);

impl Limit {
    /// No rate: no limit.
    pub(super) fn new(bytes_per_second: Option<u64>, now: Duration) -> Self {
        Self(bytes_per_second.map(|rate| Arc::new(Mutex::new(TokenBucket::new(rate, now)))))
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// As [`TokenBucket::take`].
    pub(super) fn take(&self, bytes: u64, now: Duration) -> Duration {
        let Some(bucket) = &self.0 else { return Duration::ZERO };
        bucket.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, now)
    }
}

/// Bytes that may go. It fills with time, up to what one second gives, and may go into debt: who takes waits it off.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    bytes_per_second: u64,
    /// Negative: debt.
    level_bytes: i128,
    filled_at: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(bytes_per_second: u64, now: Duration) -> Self {
        Self { bytes_per_second, level_bytes: bytes_per_second.into(), filled_at: now }
    }

    /// Takes bytes and says how long their taker has to wait before it goes on.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let rate = u128::from(self.bytes_per_second.max(1));
        let passed = now.saturating_sub(self.filled_at);
        let filled = i128::try_from(passed.as_nanos().saturating_mul(rate) / 1_000_000_000).unwrap_or(i128::MAX);
        if filled > 0 {
            // Time that gave no whole byte is kept for the next call.
            self.filled_at = now;
            self.level_bytes = self.level_bytes.saturating_add(filled).min(self.bytes_per_second.into());
        }
        self.level_bytes -= i128::from(bytes);
        let debt = u128::try_from(-self.level_bytes).unwrap_or(0);
        Duration::from_nanos(u64::try_from(debt.saturating_mul(1_000_000_000) / rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_of_a_second_is_free_and_the_rest_waits() {
        let mut bucket = TokenBucket::new(1000, Duration::ZERO);
        assert_eq!(bucket.take(1000, Duration::ZERO), Duration::ZERO);
        assert_eq!(bucket.take(500, Duration::ZERO), SECOND / 2);
        assert_eq!(bucket.take(500, SECOND / 2), SECOND / 2);
        assert_eq!(bucket.take(1000, SECOND * 100), Duration::ZERO, "no more than a second is saved up");
        assert_eq!(bucket.take(1000, SECOND * 100), SECOND);
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_keeps_the_rate(rate in 1..1_000_000_u64, takes in prop::collection::vec((0..500_000_u64, 0..2_000_u64), 1..50)) {
            let mut bucket = TokenBucket::new(rate, Duration::ZERO);
            let (mut now, mut sent) = (Duration::ZERO, 0_u64);
            for (bytes, pause_ms) in takes {
                now += bucket.take(bytes, now);
                sent += bytes;
                let allowed = (now.as_nanos() + 1_000_000_000) * u128::from(rate) / 1_000_000_000;
                // A byte is waited for in whole nanoseconds.
                prop_assert!(u128::from(sent) <= allowed + allowed / 1000 + 2, "{sent} bytes after {now:?} at {rate} bytes/s");
                now += Duration::from_millis(pause_ms);
            }
        }
    }
}
