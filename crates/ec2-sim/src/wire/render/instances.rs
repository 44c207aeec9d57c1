//! The XML of instances, their reservations and their types.

use super::tags;
use crate::wire::xml::Xml;
use crate::world::{ACCOUNT_ID, InstanceType, Placed, StateChange, time, zone_id};

/// The image of an instance whose launch named none.
const NO_IMAGE: &str = "ami-00000000000000000";

/// Instances in the groups they were launched in.
pub(super) fn reservations(x: &mut Xml, placed: &[Placed]) {
    let mut groups: Vec<Vec<&Placed>> = Vec::new();
    for one in placed {
        let same = |group: &&mut Vec<&Placed>| group[0].instance.reservation_id == one.instance.reservation_id;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    x.list("reservationSet", groups, |x, group| reservation(x, &group));
}

/// The instances of one launch.
pub(super) fn reservation(x: &mut Xml, placed: &[&Placed]) {
    if let Some(first) = placed.first() {
        x.text("reservationId", &first.instance.reservation_id);
    }
    x.text("ownerId", ACCOUNT_ID);
    x.element("groupSet", |_| {});
    x.list("instancesSet", placed, |x, one| instance(x, one));
}

fn instance(x: &mut Xml, placed: &Placed) {
    let instance = &placed.instance;
    let kind = InstanceType::find(&instance.instance_type);
    x.text("instanceId", &instance.id);
    x.text("imageId", instance.image_id.as_deref().unwrap_or(NO_IMAGE));
    x.element("instanceState", |x| state(x, instance.phase.state()));
    x.text("amiLaunchIndex", instance.launch_index);
    x.text("instanceType", &instance.instance_type);
    x.text("launchTime", time(instance.launched));
    x.element("placement", |x| {
        x.text("availabilityZone", &instance.zone);
        x.text("availabilityZoneId", zone_id(&instance.zone));
        x.text("tenancy", "default");
    });
    x.element("monitoring", |x| x.text("state", "disabled"));
    x.text("architecture", kind.map_or("x86_64", InstanceType::architecture));
    x.text("rootDeviceType", "ebs");
    x.text("rootDeviceName", "/dev/xvda");
    x.list("blockDeviceMapping", &placed.volumes, |x, volume| {
        if let Some(attachment) = &volume.attachment {
            x.text("deviceName", &attachment.device);
            x.element("ebs", |x| {
                x.text("volumeId", &volume.id);
                x.text("status", attachment.mapping_status());
                x.text("attachTime", time(attachment.attached));
                x.text("deleteOnTermination", false);
            });
        }
    });
    x.text("virtualizationType", "hvm");
    x.optional("clientToken", instance.client_token.as_ref());
    x.text("hypervisor", kind.map_or("nitro", InstanceType::hypervisor));
    // Each takes a slot of the types that share them. The number replaces the first digit of the id.
    x.list("networkInterfaceSet", 0..instance.interfaces, |x, number| {
        let digits = instance.id.trim_start_matches("i-").chars().skip(1).collect::<String>();
        x.text("networkInterfaceId", format!("eni-{number:x}{digits}"));
        x.text("status", "in-use");
        x.element("attachment", |x| {
            x.text("deviceIndex", number);
            x.text("status", "attached");
        });
    });
    tags(x, &instance.tags);
}

/// A change of an instance's state.
pub(super) fn state_change(x: &mut Xml, change: &StateChange) {
    x.text("instanceId", &change.instance_id);
    x.element("currentState", |x| state(x, change.current));
    x.element("previousState", |x| state(x, change.previous));
}

fn state(x: &mut Xml, (code, name): (u8, &str)) {
    x.text("code", code);
    x.text("name", name);
}

/// An instance type.
pub(super) fn instance_type(x: &mut Xml, kind: &InstanceType) {
    x.text("instanceType", kind.name);
    x.text("currentGeneration", kind.nitro);
    x.text("bareMetal", false);
    x.text("hypervisor", kind.hypervisor());
    x.element("processorInfo", |x| {
        x.list("supportedArchitectures", [kind.architecture()], |x, name| {
            x.raw(name);
        });
    });
    x.element("vCpuInfo", |x| x.text("defaultVCpus", kind.vcpus));
    x.element("memoryInfo", |x| x.text("sizeInMiB", kind.memory_mib));
    x.text("instanceStorageSupported", false);
    x.element("ebsInfo", |x| {
        x.text("ebsOptimizedSupport", "default");
        x.text("encryptionSupport", if kind.nitro { "supported" } else { "unsupported" });
        x.text("nvmeSupport", if kind.nitro { "required" } else { "unsupported" });
        x.text("maximumEbsAttachments", kind.slots);
        x.text("attachmentLimitType", kind.limit.name());
    });
}
