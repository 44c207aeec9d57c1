//! Quotas: what one account may have in a region.

use serde::{Deserialize, Serialize};

use crate::world::{ApiError, VolumeType, World};

/// What an account may have in a region.
///
/// Source: EBS User Guide, "Quotas for Amazon EBS": the defaults of a new account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// TiB of each volume type, io2 apart.
    pub storage_tib: u64,
    /// TiB of io2.
    pub io2_storage_tib: u64,
    /// Provisioned operations of all io1 volumes.
    pub io1_iops: u64,
    /// Provisioned operations of all io2 volumes.
    pub io2_iops: u64,
    /// Snapshots.
    pub snapshots: usize,
    /// Snapshots that are pending at one time.
    pub pending_snapshots: usize,
    /// Copies of volumes that are being initialized at one time.
    pub volume_copies: usize,
    /// Snapshots with fast restore.
    pub fast_restored_snapshots: usize,
    /// MiB/s of all provisioned initialization rates at one time.
    pub initialization_mib_s: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            storage_tib: 50,
            io2_storage_tib: 20,
            io1_iops: 300_000,
            io2_iops: 100_000,
            snapshots: 100_000,
            pending_snapshots: 100,
            volume_copies: 5,
            fast_restored_snapshots: 5,
            initialization_mib_s: 5_000,
        }
    }
}

impl World {
    /// Refuses a volume that would break a quota.
    ///
    /// Checked before the client token, as in EC2: a repeated call at the limit is refused
    /// although its volume exists (aws-ebs-csi-driver #3010).
    pub(in crate::world) fn check_storage(&self, volume_type: VolumeType, more_gib: u64, more_iops: u64) -> Result<(), ApiError> {
        let quotas = &self.rules.quotas;
        let used = self.index.usage(volume_type);
        let (most_tib, most_iops) = match volume_type {
            VolumeType::Io2 => (quotas.io2_storage_tib, Some(quotas.io2_iops)),
            VolumeType::Io1 => (quotas.storage_tib, Some(quotas.io1_iops)),
            _ => (quotas.storage_tib, None),
        };
        if used.gib + more_gib > most_tib.saturating_mul(1_024) {
            return Err(ApiError::new(
                "VolumeLimitExceeded",
                format!(
                    "You have exceeded your maximum {} storage limit of {most_tib} TiB in this region. Please contact AWS Support to request an Elastic Block Store service limit increase.",
                    volume_type.name()
                ),
            ));
        }
        if most_iops.is_some_and(|most| used.iops + more_iops > most) {
            return Err(ApiError::new(
                "MaxIOPSLimitExceeded",
                format!("You have exceeded your maximum IOPS limit for {} volumes in this region.", volume_type.name()),
            ));
        }
        Ok(())
    }

    /// Refuses a volume type that the zone does not have.
    pub(in crate::world) fn check_zone_has(&self, zone: &str, volume_type: VolumeType) -> Result<(), ApiError> {
        let missing = self.rules.missing_types.iter().any(|missing| missing.zone == zone && missing.volume_type == volume_type.name());
        if !missing {
            return Ok(());
        }
        let message = format!("The specified volume type '{}' is not available in zone {zone}.", volume_type.name());
        Err(ApiError::new("VolumeTypeNotAvailableInZone", message))
    }

    /// Refuses what needs a key that cannot be used any more.
    pub(in crate::world) fn check_key(&self, kms_key_id: Option<&str>) -> Result<(), ApiError> {
        match kms_key_id.filter(|key| self.rules.revoked_keys.iter().any(|revoked| revoked == key)) {
            None => Ok(()),
            Some(key) => Err(ApiError::new("CustomerKeyHasBeenRevoked", format!("The customer master key '{key}' has been revoked."))),
        }
    }

    /// Refuses snapshots that would break a quota of the account.
    pub(in crate::world) fn check_snapshot_quotas(&self, more: usize) -> Result<(), ApiError> {
        let quotas = &self.rules.quotas;
        if self.snapshots.rows().len() + more > quotas.snapshots {
            return Err(ApiError::new(
                "SnapshotLimitExceeded",
                format!("You have exceeded your maximum of {} snapshots in this region.", quotas.snapshots),
            ));
        }
        if self.index.pending_snapshots() + more > quotas.pending_snapshots {
            return Err(ApiError::new(
                "PendingSnapshotLimitExceeded",
                format!("You have exceeded your maximum of {} pending snapshots.", quotas.pending_snapshots),
            ));
        }
        Ok(())
    }
}
