//! The one word that says where a volume of a pool is in its life.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a volume is in its life.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Phase {
    /// Wanted; the EBS volume is not asked for yet.
    #[default]
    Pending,
    /// EC2 is making the EBS volume.
    Creating,
    /// The EBS volume exists, but its blocks are still being loaded from the snapshot.
    Initializing,
    /// Filled and free: a claim can have it at once.
    Ready,
    /// Free, and on a node for a moment, where it receives what it lacks of its source; then ready again.
    Refreshing,
    /// Held by a claim.
    Claimed,
    /// Its claim is gone; it is being unmounted and detached.
    Releasing,
    /// Kept after release for a person to look at; never handed out again.
    Retained,
    /// EC2 could not make it, or lost it; a new attempt follows.
    Failed,
    /// On its way out.
    Deleting,
}
