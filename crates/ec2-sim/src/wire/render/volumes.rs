//! The XML of volumes, their attachments, health, attributes and modifications.

use jiff::Timestamp;

use super::tags;
use crate::wire::xml::Xml;
use crate::world::{Attachment, Modification, Volume, VolumeAttribute, time, zone_id};

/// A volume as the describe calls show it.
pub(super) fn volume(x: &mut Xml, volume: &Volume) {
    created(x, volume);
    x.list("attachmentSet", &volume.attachment, |x, a| {
        attachment(x, &volume.id, a);
    });
    if volume.fast_restored {
        x.text("fastRestored", true);
    }
}

/// A volume as `CreateVolume` answers with it: attachments and fast restore are left out (API reference, `Volume`).
pub(super) fn created(x: &mut Xml, volume: &Volume) {
    x.text("volumeId", &volume.id);
    x.optional("sourceVolumeId", volume.source_volume_id.as_ref());
    x.text("size", volume.size_gib);
    x.text("snapshotId", volume.snapshot_id.as_deref().unwrap_or_default());
    x.text("availabilityZone", &volume.zone);
    x.text("availabilityZoneId", zone_id(&volume.zone));
    x.text("status", volume.status());
    x.text("createTime", time(volume.created));
    tags(x, &volume.tags);
    x.text("volumeType", volume.volume_type.name());
    x.optional("iops", volume.iops);
    x.optional("throughput", volume.throughput);
    x.optional("volumeInitializationRate", volume.initialization_rate);
    x.text("encrypted", volume.encrypted);
    x.optional("kmsKeyId", volume.kms_key_id.as_ref());
    x.text("multiAttachEnabled", false);
}

/// An attachment.
pub(super) fn attachment(x: &mut Xml, volume_id: &str, attachment: &Attachment) {
    x.text("volumeId", volume_id);
    x.text("instanceId", &attachment.instance_id);
    x.text("device", &attachment.device);
    x.text("status", attachment.status());
    x.text("attachTime", time(attachment.attached));
    x.text("deleteOnTermination", false);
}

/// The health of a volume at `now`, with the initialization progress of `seen_at`.
pub(super) fn status(x: &mut Xml, volume: &Volume, now: Timestamp, seen_at: Timestamp) {
    x.text("volumeId", &volume.id);
    x.text("availabilityZone", &volume.zone);
    x.text("availabilityZoneId", zone_id(&volume.zone));
    let percent = volume.initialization_percent(seen_at);
    let (sum, checks) = volume.health(seen_at);
    x.element("volumeStatus", |x| {
        x.text("status", sum);
        x.list("details", checks, |x, (name, status)| {
            x.text("name", name);
            x.text("status", status);
        });
    });
    x.element("eventsSet", |_| {});
    x.element("actionsSet", |_| {});
    if let Some(percent) = percent {
        x.element("initializationStatusDetails", |x| {
            let provisioned = volume.initialization_rate.is_some();
            x.text("initializationType", volume.initialization_type());
            x.text("progress", percent);
            if let Some(end) = volume.initialized_at.filter(|_| provisioned) {
                let left = end.duration_since(now).as_secs().max(0);
                x.text("estimatedTimeToCompleteInSeconds", left);
            }
        });
    }
}

/// An attribute of a volume.
pub(super) fn attribute(x: &mut Xml, volume_id: &str, attribute: &VolumeAttribute) {
    x.text("volumeId", volume_id);
    match attribute {
        VolumeAttribute::AutoEnableIo(value) => x.element("autoEnableIO", |x| x.text("value", value)),
        VolumeAttribute::ProductCodes => x.element("productCodes", |_| {}),
    }
}

/// A modification of a volume.
pub(super) fn modification(x: &mut Xml, volume_id: &str, modification: &Modification, now: Timestamp) {
    x.text("volumeId", volume_id);
    x.text("modificationState", modification.state());
    x.text("targetSize", modification.target.size_gib);
    x.optional("targetIops", modification.target.iops);
    x.text("targetVolumeType", modification.target.volume_type.name());
    x.optional("targetThroughput", modification.target.throughput);
    x.text("targetMultiAttachEnabled", false);
    x.text("originalSize", modification.original.size_gib);
    x.optional("originalIops", modification.original.iops);
    x.text("originalVolumeType", modification.original.volume_type.name());
    x.optional("originalThroughput", modification.original.throughput);
    x.text("originalMultiAttachEnabled", false);
    x.text("progress", modification.percent(now));
    x.text("startTime", time(modification.started));
    x.optional("endTime", modification.ended().map(time));
}
