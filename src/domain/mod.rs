//! Values that every other module shares: ids, sizes, cloud objects, phases, reasons. No I/O, no async, no clock.

pub mod claim;
pub mod cloud;
pub mod ids;
pub mod operation;
pub mod phase;
pub mod reason;
pub mod schedule;
pub mod size;
pub mod sync;
pub mod tags;

pub use claim::{Access, ClaimRef, ReclaimPolicy};
pub use cloud::{
    Attachment, AttachmentState, CloudSnapshot, CloudVolume, Encryption, ModificationState, SnapshotState, VolumeSettings, VolumeState,
};
pub use ids::{InstanceId, NodeName, ObjectKey, SnapshotId, Uid, VolumeId, Zone};
pub use operation::{Operation, OperationPhase, RECYCLE_ORDER};
pub use phase::Phase;
pub use reason::Reason;
pub use schedule::{Schedule, ScheduleError};
pub use size::{GiB, quantity_bytes};
pub use sync::{Role, SyncPosition, SyncState, VerifyLevel};
