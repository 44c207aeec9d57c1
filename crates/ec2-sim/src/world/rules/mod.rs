//! The rules of the account that can be set: limits, quotas, rates, consistency, faults.

pub mod actions;
mod consistency;
pub mod fault;
pub(in crate::world) mod latency;
mod quotas;
mod standing;
mod throttle;

use serde::{Deserialize, Serialize};

pub(in crate::world) use consistency::View;
pub use latency::{Latencies, Profile, Span};
pub use quotas::Quotas;
pub(in crate::world) use standing::Faults;
pub use standing::StandingFault;
pub(in crate::world) use throttle::Throttle;

/// What `AttachVolume` does on an instance that has no free slot. Both have been observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverLimit {
    /// `AttachmentLimitExceeded`.
    #[default]
    Refuse,
    /// The attachment stays in `attaching` until a slot is free (aws-ebs-csi-driver, docs/faq.md).
    Wait,
}

/// For how long reads may show what was true before. EC2 Developer Guide, "Eventual consistency
/// in the Amazon EC2 API", names no figure: a few seconds, up to minutes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consistency {
    /// Milliseconds by which a call that names ids may be late; also for calls that change something,
    /// which may not find a new id yet.
    pub ids_ms: u64,
    /// Milliseconds by which each item of a list may be late.
    pub lists_ms: u64,
}

/// A volume type that a zone does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingType {
    /// The zone by name.
    pub zone: String,
    /// The type by name.
    pub volume_type: String,
}

/// The rules that can be set. Each has a default by profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Whether the rate limits of the table of actions hold.
    pub throttling: bool,
    /// How late reads may be.
    pub consistency: Consistency,
    /// What an attachment beyond the limit gets.
    pub over_limit: OverLimit,
    /// What the account may have.
    pub quotas: Quotas,
    /// Milliseconds by which initialization progress is late: up to 5 minutes
    /// (EBS User Guide, "Monitor the status of Amazon EBS volume initialization").
    pub initialization_lag_ms: u64,
    /// Modifications of one volume in 24 hours (API reference, `ModifyVolume`).
    pub modifications_a_day: u32,
    /// Volume types that a zone does not have: `VolumeTypeNotAvailableInZone`.
    pub missing_types: Vec<MissingType>,
    /// Keys that cannot be used any more, as requests name them: `CustomerKeyHasBeenRevoked`
    /// for whatever needs what they encrypt (API reference, error codes).
    pub revoked_keys: Vec<String>,
    /// Whether a fast snapshot restore that has just been enabled has all its credits already.
    pub credits_at_once: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self::of(Profile::Instant)
    }
}

impl Rules {
    /// The rules of a profile: only `aws` has rate limits and late progress, and none has
    /// eventual consistency unless it is asked for.
    pub fn of(profile: Profile) -> Self {
        let real = profile == Profile::Aws;
        Self {
            throttling: real,
            consistency: Consistency::default(),
            over_limit: OverLimit::default(),
            quotas: Quotas::default(),
            initialization_lag_ms: if real { 300_000 } else { 0 },
            modifications_a_day: 4,
            missing_types: Vec::new(),
            revoked_keys: Vec::new(),
            credits_at_once: !real,
        }
    }
}
