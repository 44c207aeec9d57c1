//! From parameters to the calls on volumes.

use super::describe;
use crate::wire::params::Params;
use crate::world::{Action, ApiError, AttachVolume, CopyVolumes, CreateVolume, DescribeVolumeAttribute, DetachVolume, ModifyVolume};

pub(super) fn action(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    Ok(Some(match name {
        "CreateVolume" => Action::CreateVolume(create_volume(params)?),
        "CopyVolumes" => Action::CopyVolumes(copy_volumes(params)?),
        "ModifyVolume" => Action::ModifyVolume(modify_volume(params)?),
        "DescribeVolumes" => Action::DescribeVolumes(describe(params, "VolumeId")?),
        "DescribeVolumeStatus" => Action::DescribeVolumeStatus(describe(params, "VolumeId")?),
        "DescribeVolumesModifications" => Action::DescribeVolumesModifications(describe(params, "VolumeId")?),
        "DescribeVolumeAttribute" => Action::DescribeVolumeAttribute(DescribeVolumeAttribute {
            volume_id: params.required("VolumeId")?,
            attribute: params.required("Attribute")?,
        }),
        "AttachVolume" => {
            card(params)?;
            Action::AttachVolume(AttachVolume {
                volume_id: params.required("VolumeId")?,
                instance_id: params.required("InstanceId")?,
                device: params.required("Device")?,
            })
        }
        "DetachVolume" => Action::DetachVolume(DetachVolume {
            volume_id: params.required("VolumeId")?,
            instance_id: params.text("InstanceId"),
            device: params.text("Device"),
            force: params.boolean("Force")?.unwrap_or(false),
        }),
        "DeleteVolume" => Action::DeleteVolume(params.required("VolumeId")?),
        _ => return Ok(None),
    }))
}

/// Every instance type here has one EBS card, number 0.
fn card(params: &Params) -> Result<(), ApiError> {
    match params.number("EbsCardIndex")? {
        None | Some(0) => Ok(()),
        Some(other) => {
            Err(ApiError::invalid_value(format!("Value ({other}) for parameter EbsCardIndex is invalid. The instance has one card, 0.")))
        }
    }
}

fn no_multi_attach(params: &Params) -> Result<(), ApiError> {
    if params.boolean("MultiAttachEnabled")? == Some(true) {
        return Err(ApiError::new("UnsupportedOperation", "Multi-attach is not simulated."));
    }
    Ok(())
}

fn create_volume(params: &Params) -> Result<CreateVolume, ApiError> {
    no_multi_attach(params)?;
    Ok(CreateVolume {
        size_gib: params.number("Size")?,
        snapshot_id: params.text("SnapshotId").filter(|id| !id.is_empty()),
        zone: params.text("AvailabilityZone"),
        zone_id: params.text("AvailabilityZoneId"),
        volume_type: params.text("VolumeType"),
        iops: params.number("Iops")?,
        throughput: params.number("Throughput")?,
        encrypted: params.boolean("Encrypted")?,
        kms_key_id: params.text("KmsKeyId"),
        initialization_rate: params.number("VolumeInitializationRate")?,
        tag_specifications: params.tag_specifications()?,
        client_token: params.text("ClientToken"),
    })
}

fn copy_volumes(params: &Params) -> Result<CopyVolumes, ApiError> {
    no_multi_attach(params)?;
    Ok(CopyVolumes {
        source_volume_id: params.required("SourceVolumeId")?,
        size_gib: params.number("Size")?,
        volume_type: params.text("VolumeType"),
        iops: params.number("Iops")?,
        throughput: params.number("Throughput")?,
        encrypted: params.boolean("Encrypted")?,
        kms_key_id: params.text("KmsKeyId"),
        tag_specifications: params.tag_specifications()?,
        client_token: params.text("ClientToken"),
    })
}

fn modify_volume(params: &Params) -> Result<ModifyVolume, ApiError> {
    no_multi_attach(params)?;
    Ok(ModifyVolume {
        volume_id: params.required("VolumeId")?,
        size_gib: params.number("Size")?,
        volume_type: params.text("VolumeType"),
        iops: params.number("Iops")?,
        throughput: params.number("Throughput")?,
    })
}
