//! The lock of a snapshot, which keeps it from being deleted for a time.
//!
//! Source: EBS User Guide, "Amazon EBS snapshot lock concepts".

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How a snapshot is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// Can be unlocked and changed at any time.
    Governance,
    /// Can be neither unlocked nor shortened once the cooling-off period is over.
    Compliance,
}

impl LockMode {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }
}

/// The lock of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotLock {
    /// How it is locked.
    pub mode: LockMode,
    /// When it was locked first.
    pub created: Timestamp,
    /// When its time began: for a snapshot that was pending, when it completed.
    pub started: Option<Timestamp>,
    /// Days from the start on.
    pub duration_days: u32,
    /// The end, when the request named one instead of a duration.
    pub named_end: Option<Timestamp>,
    /// Hours.
    pub cool_off_hours: Option<u32>,
    /// When the cooling-off period ends.
    pub cool_off_until: Option<Timestamp>,
}

impl SnapshotLock {
    /// When the lock ends; none before its time has begun, unless its end was named.
    pub fn expires(&self) -> Option<Timestamp> {
        let length = SignedDuration::from_hours(24 * i64::from(self.duration_days));
        self.named_end.or_else(|| self.started?.checked_add(length).ok())
    }

    /// The state as `DescribeLockedSnapshots` spells it.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.expires().is_some_and(|end| end <= now) {
            return "expired";
        }
        match self.mode {
            LockMode::Governance => "governance",
            LockMode::Compliance if self.cool_off_until.is_some_and(|until| now < until) => "compliance-cooloff",
            LockMode::Compliance => "compliance",
        }
    }

    /// Whether the snapshot cannot be deleted at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.state(now) != "expired"
    }

    /// Whether nobody can unlock, shorten or weaken it any more.
    pub fn is_final(&self, now: Timestamp) -> bool {
        self.state(now) == "compliance"
    }
}
