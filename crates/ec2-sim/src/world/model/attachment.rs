//! The attachment of a volume to an instance and where it is in its life.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The link between a volume and an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// `i-…`
    pub instance_id: String,
    /// The device name of the call, such as `/dev/xvdba`; unique on the instance.
    pub device: String,
    /// The instance's NVMe controller number, from 1 up; unique on the instance.
    pub nvme_index: u32,
    /// When `AttachVolume` was called.
    pub attached: Timestamp,
    /// Where the attachment is in its life.
    pub phase: AttachmentPhase,
}

/// What keeps an attachment in `attaching`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Nothing will come of it until it is detached.
    Stuck,
    /// The instance has no free slot; the oldest one that waits gets the next.
    NoSlot,
}

/// Where an attachment is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachmentPhase {
    /// The device appears at `ready_at`.
    Attaching {
        /// When EC2 would be done.
        ready_at: Timestamp,
        /// What keeps it from being done, whatever the time.
        #[serde(default)]
        hold: Option<Hold>,
    },
    /// Usable by the instance.
    Attached {
        /// Whether the data plane shows the device; lost by a restart, then made again.
        shown: bool,
    },
    /// The device goes as soon as nothing uses it.
    Detaching {
        /// When EC2 would be done.
        gone_at: Timestamp,
        /// Whether the device is to be taken away from under its users.
        force: bool,
        /// Whether the data plane found the device in use.
        busy: bool,
        /// Whether the data plane has removed the device.
        hidden: bool,
    },
}

impl Attachment {
    /// The status as `DescribeVolumes` spells it.
    pub fn status(&self) -> &'static str {
        match self.phase {
            AttachmentPhase::Attaching { .. } => "attaching",
            AttachmentPhase::Attached { .. } => "attached",
            AttachmentPhase::Detaching { busy: true, .. } => "busy",
            AttachmentPhase::Detaching { .. } => "detaching",
        }
    }

    /// The status in an instance's block device mapping, which knows no `busy`.
    pub fn mapping_status(&self) -> &'static str {
        match self.phase {
            AttachmentPhase::Detaching { .. } => "detaching",
            _ => self.status(),
        }
    }
}
