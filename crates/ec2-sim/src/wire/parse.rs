//! From parameters to a typed call.

use super::params::Params;
use crate::world::{
    Action, ApiError, AttachVolume, Call, CreateSnapshot, CreateTags, CreateVolume, DeleteTags, Describe, DescribeSnapshots, DescribeZones,
    DetachVolume, RunInstances,
};

/// Reads the call that the parameters make.
pub(super) fn call(action: &str, params: &Params) -> Result<Call, ApiError> {
    let dry_run = params.boolean("DryRun")?.unwrap_or(false);
    let action = self::action(action, params)?;
    params.all_read()?;
    Ok(Call { action, dry_run })
}

fn action(name: &str, params: &Params) -> Result<Action, ApiError> {
    Ok(match name {
        "" => {
            return Err(ApiError::new("MissingAction", "The request must contain the parameter Action"));
        }
        "RunInstances" => Action::RunInstances(run_instances(params)?),
        "DescribeInstances" => Action::DescribeInstances(describe(params, "InstanceId")?),
        "TerminateInstances" => {
            params.ignore(&["Force", "SkipOsShutdown"]);
            Action::TerminateInstances(params.texts("InstanceId"))
        }
        "StopInstances" => {
            params.ignore(&["Force", "Hibernate", "SkipOsShutdown"]);
            Action::StopInstances(params.texts("InstanceId"))
        }
        "StartInstances" => Action::StartInstances(params.texts("InstanceId")),
        "DescribeInstanceTypes" => {
            params.ignore(&["IncludeUnsupportedInRegion"]);
            Action::DescribeInstanceTypes(describe(params, "InstanceType")?)
        }
        "CreateVolume" => Action::CreateVolume(create_volume(params)?),
        "DescribeVolumes" => Action::DescribeVolumes(describe(params, "VolumeId")?),
        "DescribeVolumeStatus" => Action::DescribeVolumeStatus(describe(params, "VolumeId")?),
        "AttachVolume" => Action::AttachVolume(AttachVolume {
            volume_id: params.required("VolumeId")?,
            instance_id: params.required("InstanceId")?,
            device: params.required("Device")?,
        }),
        "DetachVolume" => Action::DetachVolume(DetachVolume {
            volume_id: params.required("VolumeId")?,
            instance_id: params.text("InstanceId"),
            device: params.text("Device"),
            force: params.boolean("Force")?.unwrap_or(false),
        }),
        "DeleteVolume" => Action::DeleteVolume(params.required("VolumeId")?),
        "CreateSnapshot" => Action::CreateSnapshot(CreateSnapshot {
            volume_id: params.required("VolumeId")?,
            description: params.text("Description").unwrap_or_default(),
            tag_specifications: params.tag_specifications()?,
        }),
        "DescribeSnapshots" => {
            Action::DescribeSnapshots(DescribeSnapshots { describe: describe(params, "SnapshotId")?, owners: params.texts("Owner") })
        }
        "DeleteSnapshot" => Action::DeleteSnapshot(params.required("SnapshotId")?),
        "CreateTags" => Action::CreateTags(CreateTags { resources: params.texts("ResourceId"), tags: params.tags("Tag")? }),
        "DeleteTags" => Action::DeleteTags(DeleteTags { resources: params.texts("ResourceId"), tags: params.keys("Tag")? }),
        "DescribeTags" => Action::DescribeTags(describe(params, "ResourceId")?),
        other => return about_the_region(other, params),
    })
}

fn about_the_region(name: &str, params: &Params) -> Result<Action, ApiError> {
    match name {
        "DescribeAvailabilityZones" => {
            params.ignore(&["AllAvailabilityZones"]);
            Ok(Action::DescribeAvailabilityZones(DescribeZones {
                names: params.texts("ZoneName"),
                ids: params.texts("ZoneId"),
                filters: params.filters()?,
            }))
        }
        "DescribeRegions" => {
            params.ignore(&["AllRegions"]);
            Ok(Action::DescribeRegions(describe(params, "RegionName")?))
        }
        other => Err(ApiError::new("InvalidAction", format!("The action {other} is not valid for this web service."))),
    }
}

fn describe(params: &Params, ids: &str) -> Result<Describe, ApiError> {
    params.ignore(&["IncludeManagedResources"]);
    Ok(Describe {
        ids: params.texts(ids),
        filters: params.filters()?,
        max_results: params.number("MaxResults")?,
        next_token: params.text("NextToken").filter(|token| !token.is_empty()),
    })
}

fn create_volume(params: &Params) -> Result<CreateVolume, ApiError> {
    if params.boolean("MultiAttachEnabled")? == Some(true) {
        return Err(ApiError::new("UnsupportedOperation", "Multi-attach is not simulated."));
    }
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

/// What a launch may say about a machine, of which there is none here.
const MACHINE: [&str; 22] = [
    "AdditionalInfo",
    "CpuOptions",
    "CreditSpecification",
    "DisableApiStop",
    "DisableApiTermination",
    "EbsOptimized",
    "EnclaveOptions",
    "HibernationOptions",
    "IamInstanceProfile",
    "InstanceInitiatedShutdownBehavior",
    "KeyName",
    "MaintenanceOptions",
    "MetadataOptions",
    "Monitoring",
    "NetworkInterface",
    "NetworkPerformanceOptions",
    "Placement.Tenancy",
    "PrivateDnsNameOptions",
    "SecurityGroup",
    "SecurityGroupId",
    "SubnetId",
    "UserData",
];

fn run_instances(params: &Params) -> Result<RunInstances, ApiError> {
    params.ignore(&MACHINE);
    let required = |name| params.number(name)?.ok_or_else(|| ApiError::missing(name));
    Ok(RunInstances {
        min_count: required("MinCount")?,
        max_count: required("MaxCount")?,
        instance_type: params.text("InstanceType"),
        zone: params.text("Placement.AvailabilityZone"),
        image_id: params.text("ImageId"),
        tag_specifications: params.tag_specifications()?,
        client_token: params.text("ClientToken"),
    })
}
