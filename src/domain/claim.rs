//! Who holds a volume, and how it may be used and returned.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The PersistentVolumeClaim that holds a volume.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRef {
    /// Namespace of the PersistentVolumeClaim.
    pub namespace: String,
    /// Name of the PersistentVolumeClaim.
    pub name: String,
    /// UID of the PersistentVolumeClaim, so that a later claim of the same name is not mistaken for this one.
    pub uid: String,
    /// How the pods of this claim mount the volume, as the pool said when it was claimed.
    pub access: Access,
}

/// How pods may use a claimed volume.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Access {
    /// Pods read; the content stays what the pool made it.
    #[default]
    ReadOnly,
    /// Pods read and write their own copy.
    ReadWrite,
}

/// What happens to a volume when its claim is released.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ReclaimPolicy {
    /// The volume becomes ready again for the next claim. One that pods could write is made as its source before, where
    /// the pool follows one, and is deleted elsewhere.
    #[default]
    Recycle,
    /// The EBS volume is deleted, and the pool makes a new one.
    Delete,
    /// The EBS volume is kept for a person to look at, and is never handed out again.
    Retain,
}
