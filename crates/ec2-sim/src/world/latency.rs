//! How long EC2 takes: named sets of latencies.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A named set of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Every change is done as soon as anybody looks.
    Instant,
    /// A tenth of a second or so per change: states are seen in passing, tests stay quick.
    Fast,
    /// The medians measured on AWS; snapshots take minutes.
    Aws,
}

/// The time from a call to the end of what it started, all in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latencies {
    /// `CreateVolume` to `available`.
    pub create_ms: i64,
    /// `AttachVolume` to `attached`.
    pub attach_ms: i64,
    /// `DetachVolume` to `available`, when nothing uses the device.
    pub detach_ms: i64,
    /// `CreateSnapshot` to `completed`.
    pub snapshot_ms: i64,
    /// `DeleteVolume` to `InvalidVolume.NotFound`.
    pub delete_ms: i64,
    /// `RunInstances` or `StartInstances` to `running`.
    pub start_ms: i64,
    /// `StopInstances` to `stopped`, `TerminateInstances` to `terminated`.
    pub stop_ms: i64,
    /// Initialization of one GiB of a volume restored from a snapshot.
    pub initialize_gib_ms: i64,
    /// Whether a provisioned initialization rate takes its real time.
    pub honours_initialization_rate: bool,
}

impl Profile {
    /// The latencies of this profile.
    pub const fn latencies(self) -> Latencies {
        match self {
            Self::Instant => Latencies {
                create_ms: 0,
                attach_ms: 0,
                detach_ms: 0,
                snapshot_ms: 0,
                delete_ms: 0,
                start_ms: 0,
                stop_ms: 0,
                initialize_gib_ms: 0,
                honours_initialization_rate: false,
            },
            Self::Fast => Latencies {
                create_ms: 150,
                attach_ms: 150,
                detach_ms: 150,
                snapshot_ms: 300,
                delete_ms: 50,
                start_ms: 100,
                stop_ms: 100,
                initialize_gib_ms: 0,
                honours_initialization_rate: false,
            },
            Self::Aws => AWS,
        }
    }
}

/// Medians, collected from the EBS CSI driver's notes, the Kubernetes and OpenShift
/// continuous integration, and public issue reports. A snapshot of a small volume
/// takes about three minutes, and a lazy restore fills about one GiB a minute.
const AWS: Latencies = Latencies {
    create_ms: 1_500,
    attach_ms: 2_500,
    detach_ms: 2_500,
    snapshot_ms: 180_000,
    delete_ms: 5_000,
    start_ms: 20_000,
    stop_ms: 30_000,
    initialize_gib_ms: 60_000,
    honours_initialization_rate: true,
};

/// The time `millis` after `now`, or `now` itself at the end of all time.
pub(super) fn after(now: Timestamp, millis: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_millis(millis)).unwrap_or(now)
}
