//! The EC2 side of a node: attaches a volume to this instance, and detaches it when nothing is mounted.

use std::collections::BTreeSet;

use tracing::info;

use super::device::Device;
use super::reconcile::Error;
use super::state::Agent;
use crate::api::PoolVolume;
use crate::domain::{AttachmentState, CloudVolume, GiB, VolumeId, VolumeState};
use crate::ec2::{Class, Ec2};

/// How far an attachment is.
pub(super) enum Attached {
    /// The device is there, and large enough.
    Device(Device),
    /// What is being waited for.
    NotYet(String),
}

/// One step toward an attached device. Safe to call again at any time, by any process on this node.
pub(super) async fn ensure_attached<E: Ec2>(agent: &Agent<E>, volume: &PoolVolume, id: &VolumeId) -> Result<Attached, Error> {
    if let Some(device) = find(agent, id)? {
        agent.names_in_flight.lock().await.remove(id);
        return check(volume, id, device);
    }
    let found = agent.ec2.volumes_by_id(std::slice::from_ref(id)).await?;
    let Some(cloud) = found.first() else { return Ok(Attached::NotYet(format!("EC2 does not list {id}"))) };
    match cloud.live_attachments().next() {
        Some(attachment) if attachment.instance == agent.place.instance => Ok(Attached::NotYet("the device has not appeared".to_owned())),
        Some(attachment) => {
            Err(Error::Local(format!("{id} is still attached to {}; it is taken when EC2 has detached it", attachment.instance)))
        }
        None if cloud.state == VolumeState::Available => attach(agent, id).await,
        None => Ok(Attached::NotYet(format!("{id} is {:?}", cloud.state))),
    }
}

fn find<E>(agent: &Agent<E>, id: &VolumeId) -> Result<Option<Device>, Error> {
    agent.settings.devices.find(id).map_err(|error| Error::Local(format!("cannot read the device tree: {error}")))
}

fn check(volume: &PoolVolume, id: &VolumeId, device: Device) -> Result<Attached, Error> {
    let size = GiB(volume.spec.size_gib);
    if device.holds(size) {
        return Ok(Attached::Device(device));
    }
    Err(Error::Local(format!("{} says it is {id}, but has {} bytes instead of {size}; it is not mounted", device.name, device.size_bytes)))
}

async fn attach<E: Ec2>(agent: &Agent<E>, id: &VolumeId) -> Result<Attached, Error> {
    let name = reserve_name(agent, id).await?;
    match agent.ec2.attach_volume(id, &agent.place.instance, &name).await {
        Ok(()) => {
            info!(device = name, "asked EC2 to attach");
            Ok(Attached::NotYet("EC2 is attaching it".to_owned()))
        }
        // The name stays reserved as used, so that the next try takes another.
        Err(error) if error.class() == Class::Conflict => Ok(Attached::NotYet(error.to_string())),
        Err(error) => {
            agent.names_in_flight.lock().await.remove(id);
            Err(error.into())
        }
    }
}

/// The first name that no attachment of the instance has and nobody is asking for. A name that was asked for
/// before and failed goes to the end.
async fn reserve_name<E: Ec2>(agent: &Agent<E>, id: &VolumeId) -> Result<String, Error> {
    let mut in_flight = agent.names_in_flight.lock().await;
    let listed = agent.ec2.volumes_of_instance(&agent.place.instance).await?;
    let mut used: BTreeSet<String> =
        listed.iter().flat_map(CloudVolume::live_attachments).map(|attachment| attachment.device.clone()).collect();
    used.extend(in_flight.values().flatten().cloned());
    let Some(name) = device_names().find(|name| !used.contains(name)) else {
        // Names that failed before get another chance.
        in_flight.remove(id);
        return Err(Error::Local("all device names of the instance are in use".to_owned()));
    };
    in_flight.entry(id.clone()).or_default().insert(name.clone());
    Ok(name)
}

/// Names that EC2 takes for EBS volumes on Nitro instances; the kernel names the device otherwise.
///
/// Source: EC2 user guide, "Device names for volumes": `/dev/xvd[b-d][a-z]`.
fn device_names() -> impl Iterator<Item = String> {
    ('b'..='d').flat_map(|first| ('a'..='z').map(move |second| format!("/dev/xvd{first}{second}")))
}

/// One step toward a detached volume; true when EC2 shows no attachment to this instance.
///
/// Must only be called when nothing of it is mounted: a detach cannot be taken back.
pub(super) async fn ensure_detached<E: Ec2>(agent: &Agent<E>, id: &VolumeId) -> Result<bool, Error> {
    agent.names_in_flight.lock().await.remove(id);
    let found = agent.ec2.volumes_by_id(std::slice::from_ref(id)).await?;
    let here = found.iter().flat_map(CloudVolume::live_attachments).find(|attachment| attachment.instance == agent.place.instance);
    match here.map(|attachment| attachment.state) {
        Some(AttachmentState::Detaching | AttachmentState::Busy | AttachmentState::Detached) => Ok(false),
        // A read that shows no attachment may lag behind one that was just asked for; the answer to a detach does not.
        Some(AttachmentState::Attached | AttachmentState::Attaching) | None => {
            Ok(agent.ec2.detach_volume(id, &agent.place.instance).await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_names_for_more_volumes_than_most_instances_hold() {
        let names: BTreeSet<String> = device_names().collect();
        assert_eq!(names.len(), 78);
        assert!(names.contains("/dev/xvdba") && names.contains("/dev/xvddz"));
    }
}
