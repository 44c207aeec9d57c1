//! What the data plane owes the state: commands that may be carried out any number of times.

use serde::Serialize;

/// A command to the data plane. Each is idempotent; the world repeats it until it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "effect")]
pub enum Effect {
    /// Make the file of a volume: empty, or from a snapshot.
    FillVolume {
        /// The volume.
        volume_id: String,
        /// Its size in GiB.
        size_gib: u32,
        /// The snapshot whose content it starts with.
        snapshot_id: Option<String>,
    },
    /// Make the file of a volume from what another volume holds now.
    CopyVolume {
        /// The new volume.
        volume_id: String,
        /// Its size in GiB.
        size_gib: u32,
        /// The volume whose content it starts with.
        source_volume_id: String,
    },
    /// Give the file of a volume, and its device if there is one, a new size.
    ResizeVolume {
        /// The volume.
        volume_id: String,
        /// The size in GiB.
        size_gib: u32,
    },
    /// Make the file of a snapshot from that of another.
    CopySnapshot {
        /// The new snapshot.
        snapshot_id: String,
        /// The snapshot whose content it gets.
        source_snapshot_id: String,
    },
    /// Clone what a volume holds now into the file of a snapshot.
    CloneVolume {
        /// The snapshot.
        snapshot_id: String,
        /// The volume.
        volume_id: String,
    },
    /// Show a volume to an instance as an NVMe device.
    AttachDevice {
        /// The volume.
        volume_id: String,
        /// The instance.
        instance_id: String,
        /// The NVMe controller number.
        nvme_index: u32,
    },
    /// Take the device away again.
    DetachDevice {
        /// The volume.
        volume_id: String,
        /// The instance.
        instance_id: String,
        /// The NVMe controller number.
        nvme_index: u32,
        /// Whether to cut off those who still use it.
        force: bool,
    },
    /// Remove the file of a volume.
    DeleteVolume {
        /// The volume.
        volume_id: String,
    },
    /// Remove the file of a snapshot.
    DeleteSnapshot {
        /// The snapshot.
        snapshot_id: String,
    },
    /// Make the folder of an instance.
    PlaceInstance {
        /// The instance.
        instance_id: String,
    },
    /// Remove the folder of an instance.
    RemoveInstance {
        /// The instance.
        instance_id: String,
    },
}

impl Effect {
    /// The resource that the effect changes; effects on one subject run one at a time.
    pub fn subject(&self) -> &str {
        match self {
            Self::FillVolume { volume_id, .. }
            | Self::CopyVolume { volume_id, .. }
            | Self::ResizeVolume { volume_id, .. }
            | Self::AttachDevice { volume_id, .. }
            | Self::DetachDevice { volume_id, .. }
            | Self::DeleteVolume { volume_id } => volume_id,
            Self::CloneVolume { snapshot_id, .. } | Self::CopySnapshot { snapshot_id, .. } | Self::DeleteSnapshot { snapshot_id } => {
                snapshot_id
            }
            Self::PlaceInstance { instance_id } | Self::RemoveInstance { instance_id } => instance_id,
        }
    }
}
