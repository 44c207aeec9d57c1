//! From parameters to the calls on instances.

use super::describe;
use crate::wire::params::Params;
use crate::world::{Action, ApiError, RunInstances};

pub(super) fn action(name: &str, params: &Params) -> Result<Option<Action>, ApiError> {
    Ok(Some(match name {
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
        _ => return Ok(None),
    }))
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
    let interfaces = u32::try_from(params.members("NetworkInterface").len()).unwrap_or(u32::MAX);
    params.ignore(&MACHINE);
    let required = |name| params.number(name)?.ok_or_else(|| ApiError::missing(name));
    Ok(RunInstances {
        min_count: required("MinCount")?,
        max_count: required("MaxCount")?,
        instance_type: params.text("InstanceType"),
        zone: params.text("Placement.AvailabilityZone"),
        interfaces,
        image_id: params.text("ImageId"),
        tag_specifications: params.tag_specifications()?,
        client_token: params.text("ClientToken"),
    })
}
