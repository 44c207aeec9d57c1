//! An instance and where it is in its life.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tags;

/// An instance: a place with devices, not a machine that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`
    pub id: String,
    /// The `RunInstances` call that made it.
    pub reservation_id: String,
    /// Its place among the instances of that call.
    pub launch_index: u32,
    /// Instance type by name.
    pub instance_type: String,
    /// Availability Zone, by name.
    pub zone: String,
    /// The image named at launch, never looked at.
    pub image_id: Option<String>,
    /// The token of the call.
    pub client_token: Option<String>,
    /// When `RunInstances` was called.
    pub launched: Timestamp,
    /// Tags by key.
    pub tags: Tags,
    /// Where the instance is in its life.
    pub phase: InstancePhase,
    /// Network interfaces, which take slots of the types that share them.
    #[serde(default = "one")]
    pub interfaces: u32,
    /// Device names that the guest still holds after a forced detach: an attachment under
    /// one of them hangs (kubernetes #31891). Forgotten when the instance stops.
    #[serde(default)]
    pub held_names: BTreeSet<String>,
    /// Whether the data plane has made the instance's folder.
    pub placed: bool,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstancePhase {
    /// Becomes `Running`.
    Pending {
        /// When it does.
        ready_at: Timestamp,
    },
    /// Usable.
    Running,
    /// Becomes `Stopped`.
    Stopping {
        /// When it does.
        done_at: Timestamp,
    },
    /// Keeps its volumes.
    Stopped,
    /// Becomes `Terminated`.
    ShuttingDown {
        /// When it does.
        done_at: Timestamp,
    },
    /// Shown for an hour more, then forgotten.
    Terminated {
        /// When it became so.
        at: Timestamp,
    },
}

impl InstancePhase {
    /// Code and name of the state.
    pub fn state(&self) -> (u8, &'static str) {
        match self {
            Self::Pending { .. } => (0, "pending"),
            Self::Running => (16, "running"),
            Self::ShuttingDown { .. } => (32, "shutting-down"),
            Self::Terminated { .. } => (48, "terminated"),
            Self::Stopping { .. } => (64, "stopping"),
            Self::Stopped => (80, "stopped"),
        }
    }
}

/// Every instance has a network interface.
const fn one() -> u32 {
    1
}
