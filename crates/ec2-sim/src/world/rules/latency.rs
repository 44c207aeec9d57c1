//! How long EC2 takes: named sets of latencies, each a median and a tail.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::world::World;

/// A named set of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Every change is done as soon as anybody looks.
    Instant,
    /// A tenth of a second or so per change: states are seen in passing, tests stay quick.
    Fast,
    /// The medians and tails measured on AWS, and its request rate limits; snapshots take minutes.
    Aws,
}

/// A distribution of times, in milliseconds: log-normal, through its median and its 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Half of the times are shorter.
    pub median_ms: u32,
    /// One in a hundred is longer.
    pub p99_ms: u32,
}

impl Span {
    /// Always the same.
    pub const fn fixed(millis: u32) -> Self {
        Self { median_ms: millis, p99_ms: millis }
    }

    const fn new(median_ms: u32, p99_ms: u32) -> Self {
        Self { median_ms, p99_ms }
    }

    /// The time at a quantile between 0 and 1.
    pub fn at(self, quantile: f64) -> i64 {
        if self.median_ms == self.p99_ms {
            return i64::from(self.median_ms);
        }
        let (median, p99) = (f64::from(self.median_ms), f64::from(self.p99_ms));
        let sigma = (p99 / median).ln() / P99_DEVIATIONS;
        let millis = median * (sigma * deviations(quantile)).exp();
        #[expect(clippy::cast_possible_truncation, reason = "a float that is too large for an i64 becomes the largest one")]
        let whole = millis as i64;
        whole
    }
}

/// Standard deviations from the median to the 99th percentile of a normal distribution.
const P99_DEVIATIONS: f64 = 2.326_35;

/// How many standard deviations from the median a quantile of a normal distribution lies.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, formula 26.2.23; off by less than 0.00045.
fn deviations(quantile: f64) -> f64 {
    let quantile = quantile.clamp(1e-6, 1.0 - 1e-6);
    let tail = quantile.min(1.0 - quantile);
    let t = (-2.0 * tail.ln()).sqrt();
    let above = 0.010_328_f64.mul_add(t, 0.802_853).mul_add(t, 2.515_517);
    let below = 0.001_308_f64.mul_add(t, 0.189_269).mul_add(t, 1.432_788).mul_add(t, 1.0);
    let size = t - above / below;
    if quantile < 0.5 { -size } else { size }
}

/// The times from a call to the end of what it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latencies {
    /// `CreateVolume` or `CopyVolumes` to `available`.
    pub create: Span,
    /// `AttachVolume` to `attached`.
    pub attach: Span,
    /// `DetachVolume` to `available`, when nothing uses the device.
    pub detach: Span,
    /// `CreateSnapshot` to `completed`.
    pub snapshot: Span,
    /// `DeleteVolume` to `InvalidVolume.NotFound`.
    pub delete: Span,
    /// `RunInstances` or `StartInstances` to `running`.
    pub start: Span,
    /// `StopInstances` to `stopped`, `TerminateInstances` to `terminated`.
    pub stop: Span,
    /// Initialization of one GiB of a volume restored from a snapshot.
    pub initialize_gib: Span,
    /// Initialization of one GiB of a copied volume.
    pub copy_gib: Span,
    /// `ModifyVolume` to `optimizing`.
    pub modify: Span,
    /// `optimizing` to `completed`.
    pub optimize: Span,
    /// `EnableFastSnapshotRestores` to `optimizing`, and `DisableFastSnapshotRestores` to `disabled`.
    pub switch_fast_restore: Span,
    /// The optimization of one GiB of a snapshot for fast restore.
    pub fast_restore_gib: Span,
    /// Whether a provisioned initialization rate takes its real time.
    pub honours_initialization_rate: bool,
}

impl Profile {
    /// The latencies of this profile.
    pub const fn latencies(self) -> Latencies {
        match self {
            Self::Instant => INSTANT,
            Self::Fast => Latencies {
                create: Span::fixed(150),
                attach: Span::fixed(150),
                detach: Span::fixed(150),
                snapshot: Span::fixed(300),
                delete: Span::fixed(50),
                start: Span::fixed(100),
                stop: Span::fixed(100),
                modify: Span::fixed(100),
                optimize: Span::fixed(100),
                switch_fast_restore: Span::fixed(100),
                ..INSTANT
            },
            Self::Aws => AWS,
        }
    }
}

const INSTANT: Latencies = Latencies {
    create: Span::fixed(0),
    attach: Span::fixed(0),
    detach: Span::fixed(0),
    snapshot: Span::fixed(0),
    delete: Span::fixed(0),
    start: Span::fixed(0),
    stop: Span::fixed(0),
    initialize_gib: Span::fixed(0),
    copy_gib: Span::fixed(0),
    modify: Span::fixed(0),
    optimize: Span::fixed(0),
    switch_fast_restore: Span::fixed(0),
    fast_restore_gib: Span::fixed(0),
    honours_initialization_rate: false,
};

/// Create: measured by the authors of the EBS CSI driver (median about 1.5 s, 99th percentile about 4 s).
/// Attach and detach: 1 to 4 s as a rule, a mean of 4 and 8 s in the continuous integration of OpenShift
/// with its polling, and tails far beyond. Snapshot: rarely under a minute, about three for a small volume.
/// A lazy restore fills about one GiB a minute (public reports). A copy: at most 6 hours for the first TiB
/// (EBS User Guide, "Copy an Amazon EBS volume"), taken as proportional. Fast snapshot restore: 60 minutes
/// per TiB (EBS User Guide, "Amazon EBS fast snapshot restore"). The rest is assumed.
const AWS: Latencies = Latencies {
    create: Span::new(1_500, 4_000),
    attach: Span::new(2_500, 10_000),
    detach: Span::new(2_500, 15_000),
    snapshot: Span::new(180_000, 600_000),
    delete: Span::new(5_000, 60_000),
    start: Span::new(20_000, 60_000),
    stop: Span::new(30_000, 90_000),
    initialize_gib: Span::new(60_000, 180_000),
    copy_gib: Span::new(14_000, 21_000),
    modify: Span::new(3_000, 20_000),
    optimize: Span::new(120_000, 3_600_000),
    switch_fast_restore: Span::new(10_000, 60_000),
    fast_restore_gib: Span::new(3_500, 3_600),
    honours_initialization_rate: true,
};

/// The time `millis` after `now`, or `now` itself at the end of all time.
pub(in crate::world) fn after(now: Timestamp, millis: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_millis(millis)).unwrap_or(now)
}

impl World {
    /// When something that starts at `now` ends: the latency is drawn from the world's own randomness.
    pub(in crate::world) fn ready_at(&mut self, now: Timestamp, of: impl FnOnce(Latencies) -> Span) -> Timestamp {
        let span = of(self.settings.profile.latencies());
        after(now, self.draw_span(span))
    }

    /// A time drawn from a distribution; one that is fixed draws nothing.
    pub(in crate::world) fn draw_span(&mut self, span: Span) -> i64 {
        if span.median_ms == span.p99_ms {
            return i64::from(span.median_ms);
        }
        span.at(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_goes_through_its_median_and_its_tail() {
        let span = Span::new(1_500, 4_000);
        let near = |at: i64, expected: i64| (at - expected).abs() <= expected / 100;
        assert!(near(span.at(0.5), 1_500), "{}", span.at(0.5));
        assert!(near(span.at(0.99), 4_000), "{}", span.at(0.99));
        assert!(span.at(0.01) > 500 && span.at(0.999) < 7_000);
        assert_eq!(Span::fixed(150).at(0.999), 150);
    }
}
