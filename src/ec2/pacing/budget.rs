//! The buckets of all actions, and what became of the calls. Pure: the clock comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bucket::Bucket;
use super::limits::Limits;

/// What one process may ask of EC2 at present.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    limits: Limits,
    buckets: BTreeMap<&'static str, Bucket>,
}

impl Budget {
    /// Full buckets. An account whose buckets others have emptied is learnt at the first refusal.
    pub fn new(limits: Limits) -> Self {
        Self { limits, buckets: BTreeMap::new() }
    }

    /// How many calls of an action may be made at once at `now`.
    pub fn available(&mut self, action: &'static str, now: Duration) -> u32 {
        self.bucket(action, now).available(now)
    }

    /// Takes a token for one call, or says how long to wait.
    pub fn take(&mut self, action: &'static str, now: Duration) -> Result<(), Duration> {
        self.bucket(action, now).take(now)
    }

    /// Learns that EC2 refused a call because the account calls too often.
    pub fn refused(&mut self, action: &'static str, now: Duration) {
        self.bucket(action, now).refused(now);
    }

    fn bucket(&mut self, action: &'static str, now: Duration) -> &mut Bucket {
        let limit = self.limits.ours(action);
        self.buckets.entry(action).or_insert_with(|| Bucket::full(limit, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    #[test]
    fn actions_do_not_take_from_each_other() {
        let mut budget = Budget::new(Limits::default());
        while budget.take("CreateVolume", START).is_ok() {}
        assert_eq!(budget.available("CreateVolume", START), 0);
        assert_eq!(budget.available("DeleteVolume", START), 99);
        budget.refused("DeleteVolume", START);
        assert_eq!(budget.available("DeleteVolume", START), 0);
        assert_eq!(budget.available("DescribeVolumes", START), 99);
    }

    /// An account whose other tenants take a part of its bucket, at one step each 10 ms.
    fn refused_share(others_per_second: f64) -> f64 {
        let account = Limits::default().of_account("CreateVolume");
        let (mut tokens, mut budget) = (account.burst, Budget::new(Limits::default()));
        let (mut made, mut refused) = (0.0, 0.0);
        for step in 0..60_000u64 {
            let now = Duration::from_millis(step * 10);
            tokens = (tokens + account.per_second / 100.0).min(account.burst);
            tokens = (tokens - others_per_second / 100.0).max(0.0);
            if budget.take("CreateVolume", now).is_ok() {
                made += 1.0;
                if tokens >= 1.0 {
                    tokens -= 1.0;
                } else {
                    refused += 1.0;
                    budget.refused("CreateVolume", now);
                }
            }
        }
        refused / made
    }

    #[test]
    fn alone_we_are_never_refused_and_with_others_seldom() {
        assert!(refused_share(0.0) <= 0.0);
        for others in [1.0, 2.5, 4.0] {
            let share = refused_share(others);
            assert!(share <= 0.03, "{share} of our calls were refused while others made {others} a second");
        }
    }
}
