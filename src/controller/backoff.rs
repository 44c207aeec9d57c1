//! Per-object exponential back-off: a failing object waits, all others go on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait: a cause that a person removes is noticed within five minutes.
const LONGEST: Duration = Duration::from_mins(5);

/// How long a failure is remembered after its wait has ended; an object that is gone fails no more.
const MEMORY: Duration = Duration::from_mins(10);
/// Failing objects that are remembered before the old ones are looked for.
const MANY: usize = 1_000;

/// When each failing object may be tried again.
#[derive(Debug, Default)]
pub struct Backoff {
    waiting: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Backoff {
    /// Whether the object may be tried now.
    pub fn is_due(&self, object: &str, now: Instant) -> bool {
        self.lock().get(object).is_none_or(|(_, due)| *due <= now)
    }

    /// Doubles the wait of the object and returns it.
    pub fn failed(&self, object: &str, now: Instant) -> Duration {
        let mut waiting = self.lock();
        if waiting.len() >= MANY {
            waiting.retain(|_, (_, due)| *due + MEMORY > now);
        }
        let (failures, due) = waiting.entry(object.to_owned()).or_insert((0, now));
        let wait = FIRST.saturating_mul(1 << (*failures).min(16)).min(LONGEST);
        *failures += 1;
        *due = now + wait;
        wait
    }

    /// Lets the object rest after a success whose effect is seen only later, so that it is not asked for again meanwhile.
    pub fn rest(&self, object: &str, now: Instant, wait: Duration) {
        let mut waiting = self.lock();
        if waiting.len() >= MANY {
            waiting.retain(|_, (_, due)| *due + MEMORY > now);
        }
        waiting.insert(object.to_owned(), (0, now + wait));
    }

    /// Forgets the failures of the object.
    pub fn succeeded(&self, object: &str) {
        self.lock().remove(object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u32, Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_five_minutes_and_ends_with_success() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let waits: Vec<u64> = (0..10).map(|_| backoff.failed("web-0", now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(!backoff.is_due("web-0", now) && backoff.is_due("web-1", now));
        assert!(backoff.is_due("web-0", now + LONGEST));
        backoff.succeeded("web-0");
        assert_eq!(backoff.failed("web-0", now), FIRST);
    }

    #[test]
    fn a_rest_ends_by_itself_and_is_no_failure() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed("web-0", now);
        backoff.rest("web-0", now, FIRST * 2);
        assert!(!backoff.is_due("web-0", now + FIRST) && backoff.is_due("web-0", now + FIRST * 2));
        assert_eq!(backoff.failed("web-0", now), FIRST);
    }

    #[test]
    fn objects_that_are_gone_are_forgotten() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        for number in 0..MANY {
            backoff.failed(&number.to_string(), now);
        }
        backoff.failed("web-0", now + MEMORY + LONGEST);
        assert_eq!(backoff.lock().len(), 1);
    }
}
