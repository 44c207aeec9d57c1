//! Rate limits: one token bucket per action, and one per action for the resources it moves.
//!
//! Source: EC2 Developer Guide, "Request throttling for the Amazon EC2 API".

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::actions::{ActionSpec, Bucket};
use crate::world::{Action, ApiError, World};

/// Tokens are counted in thousandths, since they come back one by one and not once a second.
const TOKEN_MILLI: u64 = 1_000;

/// How full a bucket is.
#[derive(Debug, Clone, Copy)]
struct Level {
    milli: u64,
    counted: Timestamp,
}

/// The buckets of an account.
#[derive(Debug, Clone, Default)]
pub(in crate::world) struct Throttle {
    /// Buckets set by hand, by action or `*`.
    set: BTreeMap<String, Bucket>,
    levels: BTreeMap<String, Level>,
}

impl Throttle {
    /// Sets the bucket of an action, or of all with `*`; it is full at first.
    pub(in crate::world) fn set(&mut self, action: &str, bucket: Bucket) {
        self.set.insert(action.to_owned(), bucket);
        self.levels.retain(|name, _| action != "*" && name.split(' ').next() != Some(action));
    }

    pub(in crate::world) fn reset(&mut self) {
        *self = Self::default();
    }

    fn set_by_hand(&self, action: &str) -> Option<Bucket> {
        self.set.get(action).or_else(|| self.set.get("*")).copied()
    }

    /// Takes tokens, if there are as many.
    fn take(&mut self, name: &str, bucket: Bucket, tokens: u64, now: Timestamp) -> bool {
        let most = u64::from(bucket.size) * TOKEN_MILLI;
        let level = self.levels.entry(name.to_owned()).or_insert(Level { milli: most, counted: now });
        let passed = u64::try_from(now.as_millisecond() - level.counted.as_millisecond()).unwrap_or(0);
        level.milli = level.milli.saturating_add(passed.saturating_mul(u64::from(bucket.refill_per_second))).min(most);
        level.counted = now;
        let Some(left) = level.milli.checked_sub(tokens.saturating_mul(TOKEN_MILLI)) else { return false };
        level.milli = left;
        true
    }
}

impl World {
    /// Refuses a call for which there is no token. Dry runs take tokens too (assumed).
    pub(in crate::world) fn throttled(&mut self, now: Timestamp, action: &Action) -> Result<(), ApiError> {
        let spec = action.spec();
        let by_hand = self.throttle.set_by_hand(spec.name);
        if !self.rules.throttling && by_hand.is_none() {
            return Ok(());
        }
        let (name, bucket) = request_bucket(spec, action);
        if !self.throttle.take(name, by_hand.unwrap_or(bucket), 1, now) {
            return Err(limit_exceeded());
        }
        if let Some(bucket) = spec.per_resource.filter(|_| by_hand.is_none()) {
            let name = format!("{} resources", spec.name);
            if !self.throttle.take(&name, bucket, moved(action), now) {
                return Err(limit_exceeded());
            }
        }
        Ok(())
    }
}

fn limit_exceeded() -> ApiError {
    ApiError::new("RequestLimitExceeded", "Request limit exceeded.")
}

/// The bucket of a request, with a name of its own for describes of everything. An id
/// list counts as neither filter nor page (assumed: the guide is silent).
fn request_bucket(spec: &'static ActionSpec, action: &Action) -> (&'static str, Bucket) {
    let narrowed = action.describe().is_none_or(|d| !d.filters.is_empty() || d.max_results.is_some() || d.next_token.is_some());
    match spec.unfiltered {
        Some(bucket) if !narrowed => (unfiltered_name(spec.name), bucket),
        _ => (spec.name, spec.bucket),
    }
}

fn unfiltered_name(name: &str) -> &'static str {
    match name {
        "DescribeInstances" => "DescribeInstances unfiltered",
        "DescribeSnapshots" => "DescribeSnapshots unfiltered",
        _ => "DescribeVolumes unfiltered",
    }
}

/// How many instances a call names or makes.
fn moved(action: &Action) -> u64 {
    match action {
        Action::RunInstances(request) => u64::try_from(request.max_count).unwrap_or(0),
        other => u64::try_from(other.resource_ids().len()).unwrap_or(u64::MAX),
    }
}
