//! Fast snapshot restore of a snapshot in a zone: its states and its volume creation credits.
//!
//! Source: EBS User Guide, "Amazon EBS fast snapshot restore".

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Fast restore of one snapshot in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FastRestore {
    /// When it was asked for.
    pub enabling: Timestamp,
    /// When it goes on to `optimizing`.
    pub optimizing: Timestamp,
    /// When it goes on to `enabled`.
    pub enabled: Timestamp,
    /// When it was asked to stop.
    pub disabling: Option<Timestamp>,
    /// When it has stopped.
    pub disabled: Option<Timestamp>,
    /// Credits left at `counted`, in thousandths.
    pub credits_milli: u64,
    /// When the credits were counted.
    pub counted: Timestamp,
}

/// Where a fast restore is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are EC2's own names")]
pub enum FastRestoreState {
    Enabling,
    Optimizing,
    Enabled,
    Disabling,
    Disabled,
}

impl FastRestoreState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabling => "enabling",
            Self::Optimizing => "optimizing",
            Self::Enabled => "enabled",
            Self::Disabling => "disabling",
            Self::Disabled => "disabled",
        }
    }
}

/// A credit, in the unit that they are counted in.
pub(in crate::world) const CREDIT_MILLI: u64 = 1_000;
/// Milliseconds.
const HOUR_MS: u64 = 3_600_000;

impl FastRestore {
    /// The state at `now`.
    pub fn state(&self, now: Timestamp) -> FastRestoreState {
        match (self.disabling, self.disabled) {
            (Some(_), Some(end)) if end <= now => FastRestoreState::Disabled,
            (Some(at), _) if at <= now => FastRestoreState::Disabling,
            _ if self.enabled <= now => FastRestoreState::Enabled,
            _ if self.optimizing <= now => FastRestoreState::Optimizing,
            _ => FastRestoreState::Enabling,
        }
    }

    /// Credits at `now`, in thousandths: `min(10, 1024 / GiB)` come back in an hour, up to
    /// `max(1, min(10, 1024 / GiB))`; none come before it is enabled.
    pub(in crate::world) fn credits_milli(&self, size_gib: u32, now: Timestamp) -> u64 {
        let an_hour = (1_024 * CREDIT_MILLI / u64::from(size_gib.max(1))).min(10 * CREDIT_MILLI);
        let most = an_hour.max(CREDIT_MILLI);
        let from = self.counted.max(self.enabled);
        let passed = u64::try_from(now.as_millisecond() - from.as_millisecond()).unwrap_or(0);
        (self.credits_milli + passed.saturating_mul(an_hour) / HOUR_MS).min(most)
    }

    /// The most credits it can hold, in thousandths.
    pub(in crate::world) fn most_credits_milli(size_gib: u32) -> u64 {
        (1_024 * CREDIT_MILLI / u64::from(size_gib.max(1))).clamp(CREDIT_MILLI, 10 * CREDIT_MILLI)
    }

    /// Takes a credit for a volume created at `now`; whether there was one.
    pub(in crate::world) fn take_credit(&mut self, size_gib: u32, now: Timestamp) -> bool {
        let credits = self.credits_milli(size_gib, now);
        let taken = self.state(now) == FastRestoreState::Enabled && credits >= CREDIT_MILLI;
        self.credits_milli = if taken { credits - CREDIT_MILLI } else { credits };
        self.counted = now;
        taken
    }
}
