//! What the simulated account holds and says: resources, calls, replies, errors.

mod attachment;
pub(in crate::world) mod call;
pub(in crate::world) mod error;
mod fast_restore;
pub(in crate::world) mod ids;
mod instance;
mod lock;
mod modification;
pub(in crate::world) mod reply;
pub(in crate::world) mod requests;
mod snapshot;
mod volume;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use attachment::{Attachment, AttachmentPhase, Hold};
pub use fast_restore::{FastRestore, FastRestoreState};
pub use instance::{Instance, InstancePhase};
pub use lock::{LockMode, SnapshotLock};
pub use modification::{Modification, ModificationPhase, Specification};
pub use snapshot::{Snapshot, SnapshotPhase};
pub use volume::{Volume, VolumePhase};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The share of the way from `start` to `end` gone at `now`, in percent from 0 to 100.
fn percent(start: Timestamp, end: Timestamp, now: Timestamp) -> i64 {
    let whole = end.as_millisecond() - start.as_millisecond();
    let gone = now.as_millisecond() - start.as_millisecond();
    if whole <= 0 || gone >= whole {
        return 100;
    }
    (gone.max(0) * 100) / whole
}
