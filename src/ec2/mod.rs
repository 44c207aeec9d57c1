//! The port to EC2: the few verbs that we need, with the contract on each. `aws` is its only real implementation.

pub mod aws;
mod error;
pub mod pacing;

use std::collections::BTreeMap;

use crate::domain::cloud::Tags;
use crate::domain::{CloudSnapshot, CloudVolume, GiB, InstanceId, ModificationState, SnapshotId, VolumeId, Zone};
use jiff::Timestamp;

pub use error::{Class, Error};

/// What a volume is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateVolume {
    /// Makes the call repeatable: the same token and parameters give the same volume. At most 64 characters.
    pub client_token: String,
    /// Where it is made.
    pub zone: String,
    /// The snapshot it is filled from.
    pub snapshot: String,
    /// Its size.
    pub size_gib: u32,
    /// Its type, such as `gp3`.
    pub volume_type: String,
    /// Provisioned IOPS.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s.
    pub throughput: Option<u32>,
    /// Whether it is encrypted; none: as the snapshot and the account say.
    pub encrypted: Option<bool>,
    /// The KMS key.
    pub kms_key_id: Option<String>,
    /// Rate in MiB/s at which the snapshot is loaded.
    pub initialization_rate: Option<u32>,
    /// Tags, set in the same call.
    pub tags: Tags,
}

/// What a volume becomes in place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModifyVolume {
    /// Its size; the same as before, or larger.
    pub size_gib: u32,
    /// Its type.
    pub volume_type: String,
    /// Provisioned IOPS; none where the type has none.
    pub iops: Option<u32>,
    /// Provisioned throughput in MiB/s; none where the type has none.
    pub throughput: Option<u32>,
}

/// A change of a volume as EC2 shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModificationShown {
    /// How far it is.
    pub state: ModificationState,
    /// When EC2 began with it.
    pub started: Option<Timestamp>,
}

/// EC2 as we use it. Every call, each page of a listing included, passes a [`pacing::Gate`]. Every verb may be called twice; `NotFound` of a fresh resource may be a lagging read.
pub trait Ec2: Clone + Send + Sync + 'static {
    /// All volumes that carry the tag, over all pages.
    fn volumes_by_tag(&self, key: &str, value: &str) -> impl Future<Output = Result<Vec<CloudVolume>, Error>> + Send;
    /// Those of the volumes that exist; unknown ids are left out, not an error.
    fn volumes_by_id(&self, ids: &[VolumeId]) -> impl Future<Output = Result<Vec<CloudVolume>, Error>> + Send;
    /// The volumes that are attached to an instance, attaching and detaching ones included.
    fn volumes_of_instance(&self, instance: &InstanceId) -> impl Future<Output = Result<Vec<CloudVolume>, Error>> + Send;
    /// Percent of blocks loaded, of volumes that were just listed. Up to five minutes behind.
    fn initialized_percent(&self, ids: &[VolumeId]) -> impl Future<Output = Result<BTreeMap<VolumeId, u8>, Error>> + Send;
    /// All snapshots that carry the tag, over all pages.
    fn snapshots_by_tag(&self, key: &str, value: &str) -> impl Future<Output = Result<Vec<CloudSnapshot>, Error>> + Send;
    /// Those of the snapshots that exist.
    fn snapshots_by_id(&self, ids: &[SnapshotId]) -> impl Future<Output = Result<Vec<CloudSnapshot>, Error>> + Send;
    /// Asks for a volume; returns at once, mostly in state `creating`.
    fn create_volume(&self, request: &CreateVolume) -> impl Future<Output = Result<CloudVolume, Error>> + Send;
    /// Asks for a change of a volume in place, attached or not. Refused with [`Class::WrongState`] while the last one has
    /// not ended. EC2 takes no token, so the caller looks at [`Ec2::modifications`] first.
    fn modify_volume(&self, id: &VolumeId, change: &ModifyVolume) -> impl Future<Output = Result<(), Error>> + Send;
    /// The last change of each of the volumes that had one; unknown ids are left out.
    fn modifications(&self, ids: &[VolumeId]) -> impl Future<Output = Result<BTreeMap<VolumeId, ModificationShown>, Error>> + Send;
    /// Deletes a volume. One that is gone counts as deleted.
    fn delete_volume(&self, id: &VolumeId) -> impl Future<Output = Result<(), Error>> + Send;
    /// Asks for a snapshot; EC2 takes no token, so the caller looks for an earlier one first.
    fn create_snapshot(&self, volume: &VolumeId, tags: &Tags) -> impl Future<Output = Result<CloudSnapshot, Error>> + Send;
    /// Deletes a snapshot. One that is gone counts as deleted.
    fn delete_snapshot(&self, id: &SnapshotId) -> impl Future<Output = Result<(), Error>> + Send;
    /// Sets tags of a resource; others stay. The same tags again change nothing.
    fn tag(&self, resource: &str, tags: &Tags) -> impl Future<Output = Result<(), Error>> + Send;
    /// Asks for an attachment; the device appears seconds later. Refused with [`Class::Conflict`] when the volume
    /// or the device name is taken.
    fn attach_volume(&self, id: &VolumeId, instance: &InstanceId, device: &str) -> impl Future<Output = Result<(), Error>> + Send;
    /// Asks for the end of an attachment, never by force; says true when EC2 answers that there is none.
    fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> impl Future<Output = Result<bool, Error>> + Send;
    /// How many volumes the type of the instance can hold, its root and network interfaces not yet taken off.
    fn attach_limit(&self, instance: &InstanceId) -> impl Future<Output = Result<u32, Error>> + Send;
}

/// The client token of a PoolVolume's EBS volume: the object's UID, hashed to what EC2 accepts.
///
/// One object is one attempt, so the token never changes for it, whoever asks and however often.
/// Source: EC2 developer guide, "Ensuring idempotency": up to 64 ASCII characters.
pub fn client_token(pool_volume_uid: &str) -> String {
    blake3::hash(format!("volumedispatcher.io/{pool_volume_uid}").as_bytes()).to_hex().to_string()
}

/// A request as it is planned, with the parts that only the spec knows filled in by the caller.
pub fn create_volume_request(uid: &str, zone: &Zone, snapshot: &SnapshotId, size: GiB) -> CreateVolume {
    CreateVolume {
        client_token: client_token(uid),
        zone: zone.to_string(),
        snapshot: snapshot.to_string(),
        size_gib: size.0,
        ..CreateVolume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_token_is_stable_and_fits_ec2() {
        let token = client_token("8f14e45f-ceea-467f-a1d0-3f1b5c1b7b11");
        assert_eq!(token, client_token("8f14e45f-ceea-467f-a1d0-3f1b5c1b7b11"));
        assert_ne!(token, client_token("8f14e45f-ceea-467f-a1d0-3f1b5c1b7b12"));
        assert_eq!(token.len(), 64);
    }
}
