//! What can be ordered for the content of all volumes of a pool, and how far it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Begins the id of a comparison that a recycled volume waits for. What pods may have written is no drift.
pub const RECYCLE_ORDER: &str = "recycle-";

/// What is to be done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum Operation {
    /// Deliver a path now.
    Push,
    /// Remove a path everywhere.
    Delete,
    /// Bring every volume to what the source has now.
    Sync,
}

impl Operation {
    /// The spelling in objects and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "Push",
            Self::Delete => "Delete",
            Self::Sync => "Sync",
        }
    }
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OperationPhase {
    /// It waits for the source to be published.
    #[default]
    Pending,
    /// The source does it, or volumes are followed.
    Running,
    /// Every volume has it.
    Complete,
    /// It was refused, or not every volume has it.
    Failed,
}
