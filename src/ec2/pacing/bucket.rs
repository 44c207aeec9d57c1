//! One token bucket as a pure state machine: time comes in, permission goes out. It slows down when EC2 says so.

use std::time::Duration;

use super::limits::Limit;

/// How much of the rate is left after EC2 has refused a call: others use the account too.
const CUT: f64 = 0.5;
/// The least share of the rate that is kept, so that a starved caller still learns when it gets better.
const LEAST_SHARE: f64 = 0.02;
/// How long a rate takes to grow from nothing to all of it: slow, since each refusal costs a call.
const RECOVERY: Duration = Duration::from_mins(5);
/// Refusals this shortly after one another are one: the calls were under way together.
const ONE_REFUSAL: Duration = Duration::from_secs(2);

/// Tokens of one action. One token is one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    limit: Limit,
    tokens: f64,
    /// The share of the rate that is used at present, above 0 and at most 1.
    share: f64,
    /// Up to when tokens were counted.
    counted: Duration,
    /// When the rate was cut last.
    cut: Option<Duration>,
}

impl Bucket {
    /// A full bucket at `now`. Times are those of one monotonic clock; its origin does not matter.
    pub fn full(limit: Limit, now: Duration) -> Self {
        Self { limit, tokens: limit.burst, share: 1.0, counted: now, cut: None }
    }

    /// How many calls may be made at once at `now`.
    pub fn available(&mut self, now: Duration) -> u32 {
        self.count(now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a burst is a small positive number")]
        let whole = self.tokens.floor() as u32;
        whole
    }

    /// Takes one token, or says how long to wait until there may be one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.count(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / (self.limit.per_second * self.share)))
    }

    /// EC2 has refused a call: the account's bucket is empty whatever we believed, and others drink from it.
    pub fn refused(&mut self, now: Duration) {
        self.count(now);
        self.tokens = 0.0;
        if self.cut.is_none_or(|cut| now.saturating_sub(cut) >= ONE_REFUSAL) {
            self.share = (self.share * CUT).max(LEAST_SHARE);
            self.cut = Some(now);
        }
    }

    /// Adds what has dripped in. The share grows in a straight line, so what it adds is an area below it.
    fn count(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.counted).as_secs_f64();
        self.counted = self.counted.max(now);
        let growing = elapsed.min((1.0 - self.share) * RECOVERY.as_secs_f64());
        let grown = growing / RECOVERY.as_secs_f64();
        let seconds_at_full_rate = growing * (self.share + grown / 2.0) + (elapsed - growing);
        self.share = (self.share + grown).min(1.0);
        self.tokens = (self.tokens + self.limit.per_second * seconds_at_full_rate).min(self.limit.burst);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Limit = Limit { burst: 10.0, per_second: 2.0 };

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::full(LIMIT, at(0.0));
        assert_eq!((0..10).filter(|_| bucket.take(at(0.0)).is_ok()).count(), 10);
        assert_eq!(bucket.take(at(0.0)), Err(at(0.5)), "two a second are one each half second");
        assert_eq!(bucket.take(at(0.5)), Ok(()));
        assert_eq!(bucket.available(at(60.0)), 10, "it holds no more than its burst");
    }

    #[test]
    fn a_refusal_empties_the_bucket_and_halves_the_rate_for_a_while() {
        let mut bucket = Bucket::full(LIMIT, at(0.0));
        bucket.refused(at(0.0));
        let wait = bucket.take(at(0.0)).unwrap_err();
        assert_eq!(wait, at(1.0), "half of two a second");
        assert_eq!(bucket.available(at(300.0)), 10);
        (0..10).for_each(|_| bucket.take(at(300.0)).unwrap());
        assert_eq!(bucket.take(at(300.0)), Err(at(0.5)), "the rate is whole again after five minutes");
    }

    #[test]
    fn refusals_of_calls_that_were_under_way_together_count_once() {
        let (mut once, mut often) = (Bucket::full(LIMIT, at(0.0)), Bucket::full(LIMIT, at(0.0)));
        once.refused(at(0.0));
        (0..20).for_each(|_| often.refused(at(0.0)));
        assert_eq!(once, often);
        often.refused(at(5.0));
        assert!(often.take(at(5.0)).unwrap_err() > once.take(at(5.0)).err().unwrap_or_default());
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(steps in prop::collection::vec((0.0..3.0f64, any::<bool>()), 1..200)) {
            let mut bucket = Bucket::full(LIMIT, at(0.0));
            let (mut now, mut taken) = (0.0, 0.0);
            for (pause, is_refused) in steps {
                now += pause;
                if is_refused {
                    bucket.refused(at(now));
                }
                while bucket.take(at(now)).is_ok() {
                    taken += 1.0;
                }
                prop_assert!(taken <= LIMIT.burst + LIMIT.per_second * now + 1e-6, "{taken} at {now}");
                let wait = bucket.take(at(now)).unwrap_err();
                prop_assert!(wait > Duration::ZERO && wait <= at(0.5 / LEAST_SHARE));
            }
        }

        #[test]
        fn a_clock_that_stands_still_or_goes_back_gives_nothing(times in prop::collection::vec(0.0..5.0f64, 1..50)) {
            let mut bucket = Bucket::full(LIMIT, at(5.0));
            let taken = times.into_iter().filter(|time| bucket.take(at(*time)).is_ok()).count();
            prop_assert!(taken <= 10);
        }
    }
}
