//! From parameters to the calls on snapshots.

use super::describe;
use crate::wire::params::Params;
use crate::world::{
    Action, ApiError, CopySnapshot, CreateSnapshot, CreateSnapshots, Describe, DescribeSnapshots, FastSnapshotRestores, LockSnapshot,
};

pub(super) fn action(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    Ok(Some(match name {
        "CreateSnapshot" => {
            in_region(params)?;
            Action::CreateSnapshot(CreateSnapshot {
                volume_id: params.required("VolumeId")?,
                description: params.text("Description").unwrap_or_default(),
                tag_specifications: params.tag_specifications()?,
            })
        }
        "CreateSnapshots" => {
            in_region(params)?;
            Action::CreateSnapshots(create_snapshots(params)?)
        }
        "CopySnapshot" => Action::CopySnapshot(copy_snapshot(params)?),
        "DescribeSnapshots" => {
            params.ignore(&["RestorableBy"]);
            Action::DescribeSnapshots(DescribeSnapshots { describe: describe(params, "SnapshotId")?, owners: params.texts("Owner") })
        }
        "DeleteSnapshot" => Action::DeleteSnapshot(params.required("SnapshotId")?),
        "LockSnapshot" => Action::LockSnapshot(LockSnapshot {
            snapshot_id: params.required("SnapshotId")?,
            mode: params.required("LockMode")?,
            cool_off_hours: params.number("CoolOffPeriod")?,
            duration_days: params.number("LockDuration")?,
            expires: params.text("ExpirationDate"),
        }),
        "UnlockSnapshot" => Action::UnlockSnapshot(params.required("SnapshotId")?),
        "DescribeLockedSnapshots" => Action::DescribeLockedSnapshots(describe(params, "SnapshotId")?),
        "EnableFastSnapshotRestores" => Action::EnableFastSnapshotRestores(fast_restores(params)),
        "DisableFastSnapshotRestores" => Action::DisableFastSnapshotRestores(fast_restores(params)),
        "DescribeFastSnapshotRestores" => Action::DescribeFastSnapshotRestores(Describe {
            filters: params.filters()?,
            max_results: params.number("MaxResults")?.filter(|size| *size != 0),
            next_token: params.text("NextToken").filter(|token| !token.is_empty()),
            ..Describe::default()
        }),
        _ => return Ok(None),
    }))
}

/// There are neither Outposts nor Local Zones here.
fn in_region(params: &Params) -> Result<(), ApiError> {
    let local = params.text("Location").is_some_and(|location| location != "regional");
    if local || params.text("OutpostArn").is_some() {
        return Err(ApiError::new("UnsupportedOperation", "Local snapshots are not simulated."));
    }
    Ok(())
}

fn create_snapshots(params: &Params) -> Result<CreateSnapshots, ApiError> {
    let copy_tags = match params.text("CopyTagsFromSource").as_deref() {
        None => false,
        Some("volume") => true,
        Some(other) => {
            return Err(ApiError::invalid_value(format!("Value ({other}) for parameter CopyTagsFromSource is invalid. Expected: volume")));
        }
    };
    Ok(CreateSnapshots {
        instance_id: params.required("InstanceSpecification.InstanceId")?,
        exclude_volumes: params.texts("InstanceSpecification.ExcludeDataVolumeId"),
        exclude_boot_volume: params.boolean("InstanceSpecification.ExcludeBootVolume")?.unwrap_or(false),
        description: params.text("Description").unwrap_or_default(),
        copy_tags,
        tag_specifications: params.tag_specifications()?,
    })
}

fn copy_snapshot(params: &Params) -> Result<CopySnapshot, ApiError> {
    let elsewhere = ["DestinationOutpostArn", "DestinationAvailabilityZone"].iter().any(|name| params.text(name).is_some());
    if elsewhere {
        return Err(ApiError::new("UnsupportedOperation", "Local snapshots are not simulated."));
    }
    // SDKs add both to a copy across regions, where the source region checks who asks.
    params.ignore(&["DestinationRegion", "PresignedUrl"]);
    Ok(CopySnapshot {
        source_region: params.required("SourceRegion")?,
        source_snapshot_id: params.required("SourceSnapshotId")?,
        description: params.text("Description").unwrap_or_default(),
        encrypted: params.boolean("Encrypted")?,
        kms_key_id: params.text("KmsKeyId"),
        completion_minutes: params.number("CompletionDurationMinutes")?,
        tag_specifications: params.tag_specifications()?,
    })
}

fn fast_restores(params: &Params) -> FastSnapshotRestores {
    FastSnapshotRestores {
        zones: params.texts("AvailabilityZone"),
        zone_ids: params.texts("AvailabilityZoneId"),
        snapshot_ids: params.texts("SourceSnapshotId"),
    }
}
