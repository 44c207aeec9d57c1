//! Until when this process leads: one deadline that every write asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since the machine was started, time asleep included. Unlike the clock of the wall it is never set, and unlike
/// the monotonic clock it does not stop with a machine that is suspended. Source: clock_gettime(2), `CLOCK_BOOTTIME`.
pub fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The term of a leader. Clones are the same term. It never begins again once it has ended for good.
#[derive(Clone, Debug, Default)]
pub struct Term {
    /// Milliseconds of [`boot_time`] until which it lasts; 0: not begun.
    until_ms: Arc<AtomicU64>,
    ended: Arc<std::sync::atomic::AtomicBool>,
}

impl Term {
    /// Lets the term last until `until` at least.
    pub fn extend(&self, until: Duration) {
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.fetch_max(until_ms, Ordering::AcqRel);
    }

    /// Ends the term for good.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether it lasts at `now`, a [`boot_time`].
    pub fn lasts_at(&self, now: Duration) -> bool {
        let until = Duration::from_millis(self.until_ms.load(Ordering::Acquire));
        now < until && !self.ended.load(Ordering::Acquire)
    }

    /// Whether this process leads now.
    pub fn lasts(&self) -> bool {
        self.lasts_at(boot_time())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_lasts_until_its_deadline_and_never_after_its_end() {
        let (term, second) = (Term::default(), Duration::from_secs(1));
        assert!(!term.lasts_at(Duration::ZERO), "it has not begun");
        term.extend(10 * second);
        term.extend(5 * second);
        assert!(term.lasts_at(9 * second) && !term.lasts_at(10 * second));
        term.end();
        term.extend(20 * second);
        assert!(!term.lasts_at(second));
    }
}
