//! `AttachVolume` and `DetachVolume`: the checks EC2 makes, and the slots of an instance.

use jiff::Timestamp;

use crate::world::instances::types::InstanceType;
use crate::world::model::{Attachment, AttachmentPhase, Hold, Instance, InstancePhase, Volume, VolumePhase};
use crate::world::rules::OverLimit;
use crate::world::{ApiError, AttachVolume, DetachVolume, World};

/// The device names of the root volume that every real instance has.
const ROOT_DEVICES: [&str; 3] = ["/dev/sda", "/dev/sda1", "/dev/xvda"];

impl World {
    pub(in crate::world) fn attach_volume(&mut self, now: Timestamp, request: &AttachVolume) -> Result<Attachment, ApiError> {
        let volume = self.volume(&request.volume_id)?;
        let instance = self.instance(&request.instance_id)?;
        check_device_name(&request.device)?;
        check_attachable(volume, instance)?;
        self.check_key(volume.kms_key_id.as_deref())?;
        let hold = if instance.held_names.iter().any(|held| same_device(held, &request.device)) { Some(Hold::Stuck) } else { None };
        let (nvme_index, full) = self.free_slot(request)?;
        let hold = hold.or(full.then_some(Hold::NoSlot));
        let ready_at = self.ready_at(now, |latencies| latencies.attach);
        let attachment = Attachment {
            instance_id: request.instance_id.clone(),
            device: request.device.clone(),
            nvme_index,
            attached: now,
            phase: AttachmentPhase::Attaching { ready_at, hold },
        };
        self.volume_mut(&request.volume_id)?.attachment = Some(attachment.clone());
        Ok(attachment)
    }

    /// The lowest free NVMe number of the instance, when the name allows one more, and
    /// whether there are as many attachments as it holds already.
    fn free_slot(&self, request: &AttachVolume) -> Result<(u32, bool), ApiError> {
        let instance = self.instance(&request.instance_id)?;
        let taken: Vec<&Attachment> = self.attached_to(&instance.id).filter_map(|v| v.attachment.as_ref()).collect();
        let device = request.device.as_str();
        let root = ROOT_DEVICES.contains(&device);
        if root || taken.iter().any(|a| same_device(&a.device, device)) {
            return Err(ApiError::invalid_value(format!(
                "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            )));
        }
        let most = InstanceType::find(&instance.instance_type).map_or(usize::MAX, |kind| kind.most_volumes(instance.interfaces));
        let full = taken.len() >= most;
        if full && self.rules.over_limit == OverLimit::Refuse {
            return Err(ApiError::new(
                "AttachmentLimitExceeded",
                format!(
                    "Volume attachment limit exceeded: instance '{}' of type {} holds at most {most} volumes",
                    instance.id, instance.instance_type
                ),
            ));
        }
        // One number more than there are devices: one of them is free.
        let numbers = 1..=u32::try_from(taken.len() + 1).unwrap_or(u32::MAX);
        let free = numbers.into_iter().find(|k| taken.iter().all(|a| a.nvme_index != *k));
        Ok((free.expect("n devices cannot hold n + 1 numbers"), full))
    }

    pub(in crate::world) fn detach_volume(&mut self, now: Timestamp, request: &DetachVolume) -> Result<Attachment, ApiError> {
        if let Some(id) = &request.instance_id {
            self.instance(id)?;
        }
        self.volume(&request.volume_id)?;
        let gone_at = self.ready_at(now, |latencies| latencies.detach);
        let volume = self.volume_mut(&request.volume_id)?;
        let status = volume.status();
        let Some(attachment) = volume.attachment.as_mut() else {
            return Err(ApiError::state(format!("Volume '{}' is in the '{status}' state.", volume.id)));
        };
        let other = |asked: &Option<String>, is: &str| asked.as_deref().is_some_and(|a| a != is);
        if other(&request.instance_id, &attachment.instance_id) || other(&request.device, &attachment.device) {
            return Err(ApiError::new(
                "InvalidAttachment.NotFound",
                format!(
                    "Volume '{}' is not attached to instance '{}' as the request says",
                    volume.id,
                    request.instance_id.as_deref().unwrap_or("any")
                ),
            ));
        }
        attachment.detach(gone_at, request.force);
        Ok(attachment.clone())
    }

    /// The volumes attached to an instance, in whatever phase.
    pub(in crate::world) fn attached_to<'a>(&'a self, instance_id: &'a str) -> impl Iterator<Item = &'a Volume> {
        self.index.attached(instance_id).filter_map(|id| self.volumes.get(id))
    }
}

impl Attachment {
    /// Starts to detach; a repeated call only adds force.
    pub(in crate::world) fn detach(&mut self, gone_at: Timestamp, with_force: bool) {
        match &mut self.phase {
            AttachmentPhase::Detaching { force, .. } => *force |= with_force,
            phase => *phase = AttachmentPhase::Detaching { gone_at, force: with_force, busy: false, hidden: false },
        }
    }
}

/// The checks that concern volume and instance, in the order in which EC2 makes them (assumed).
fn check_attachable(volume: &Volume, instance: &Instance) -> Result<(), ApiError> {
    if volume.attachment.is_some() {
        return Err(ApiError::new("VolumeInUse", format!("{} is already attached to an instance", volume.id)));
    }
    if volume.phase != VolumePhase::Available {
        return Err(ApiError::state(format!("{} is not 'available'.", volume.id)));
    }
    // Observed: ansible-collections/amazon.aws #1558.
    if volume.modification.as_ref().is_some_and(|m| m.state() == "modifying") {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!("Cannot attach volume {} when it is in modification state: MODIFYING", volume.id),
        ));
    }
    if !matches!(instance.phase, InstancePhase::Running | InstancePhase::Stopped) {
        return Err(ApiError::new(
            "IncorrectInstanceState",
            format!("Instance '{}' is not 'running' or 'stopped': it is '{}'.", instance.id, instance.phase.state().1),
        ));
    }
    // API reference, error codes: types of the first generation cannot have encrypted volumes.
    let encrypts = InstanceType::find(&instance.instance_type).is_none_or(|kind| kind.nitro);
    if volume.encrypted && !encrypts {
        return Err(ApiError::new(
            "EncryptedVolumesNotSupported",
            format!(
                "Encrypted volumes may only be attached to an instance of a type that supports them, which {} does not.",
                instance.instance_type
            ),
        ));
    }
    if volume.zone != instance.zone {
        return Err(ApiError::new(
            "InvalidVolume.ZoneMismatch",
            format!("The volume '{}' is not in the same availability zone as instance '{}'", volume.id, instance.id),
        ));
    }
    Ok(())
}

/// `/dev/sdf` and `sdf` are the same attachment point.
fn same_device(a: &str, b: &str) -> bool {
    let short = |name: &str| name.trim_start_matches("/dev/").to_owned();
    short(a) == short(b)
}

fn check_device_name(device: &str) -> Result<(), ApiError> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let rest = name.strip_prefix("sd").or_else(|| name.strip_prefix("xvd")).unwrap_or_default();
    let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &rest[letters.len()..];
    let valid = matches!(letters.len(), 1 | 2) && letters.bytes().all(|b| b.is_ascii_lowercase()) && digits.len() <= 2;
    if valid {
        return Ok(());
    }
    Err(ApiError::invalid_value(format!("Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_those_of_the_ec2_guide() {
        let table = [
            ("/dev/sdf", true),
            ("/dev/sdf1", true),
            ("/dev/xvdba", true),
            ("/dev/xvdaa", true),
            ("sdf", true),
            ("/dev/nvme1n1", false),
            ("/dev/sd", false),
            ("/dev/xvdABC", false),
            ("/dev/xvdabc", false),
            ("", false),
        ];
        for (name, valid) in table {
            assert_eq!(check_device_name(name).is_ok(), valid, "{name}");
        }
    }
}
