//! What the calls add up to, and what they cost of the account's rate limits.

use serde::Serialize;

use crate::world::{ActionSpec, World};

/// The calls summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// All calls.
    pub calls: u64,
    /// Those that changed something.
    pub changes: u64,
    /// Those that were refused, for whatever reason.
    pub refused: u64,
    /// Those that were refused because of their rate.
    pub throttled: u64,
    /// The share of all calls that was refused because of its rate, in tenths of a percent.
    pub throttled_permille: u64,
    /// Milliseconds that the buckets of the actions need to give back the tokens that the calls took:
    /// the cost of the calls in what EC2 limits, since it takes no money for them.
    pub bucket_ms: u64,
}

impl Traffic {
    pub(super) fn of(world: &World) -> Self {
        let mut traffic = Self::default();
        for (name, count) in world.calls() {
            let calls = count.ok + count.refused;
            traffic.calls += calls;
            traffic.refused += count.refused;
            traffic.throttled += count.throttled;
            let Some(spec) = ActionSpec::find(name) else { continue };
            if spec.mutates {
                traffic.changes += count.ok;
            }
            // A call that is throttled takes no token.
            traffic.bucket_ms += (calls - count.throttled) * 1_000 / u64::from(spec.bucket.refill_per_second.max(1));
        }
        traffic.throttled_permille = (traffic.throttled * 1_000).checked_div(traffic.calls).unwrap_or(0);
        traffic
    }
}
