//! From typed replies to EC2's XML. The element names are those the AWS SDKs parse.

use jiff::Timestamp;

use super::render_instances as instances;
use super::xml::Xml;
use crate::shell::Answer;
use crate::world::{ACCOUNT_ID, ApiError, Attachment, Reply, Snapshot, SnapshotPhase, Tags, Volume, Zone, time, zone_id};

/// The namespace of the API version that every client of today speaks.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The HTTP status and the body of an answer.
pub(super) fn answer(action: &str, answer: &Answer) -> (u16, String) {
    match &answer.result {
        Ok(reply) => (200, success(action, reply, answer)),
        Err(error) => (status(error), failure(error, &answer.request_id)),
    }
}

/// The HTTP status of an error: that of its code, and those of requests that never became a call.
fn status(error: &ApiError) -> u16 {
    match error.code {
        "MissingAuthenticationToken" => 403,
        "MethodNotAllowed" => 405,
        "RequestEntityTooLarge" => 413,
        _ => error.http_status(),
    }
}

fn failure(error: &ApiError, request_id: &str) -> String {
    let mut xml = Xml::document();
    xml.element("Response", |x| {
        x.element("Errors", |x| {
            x.element("Error", |x| {
                x.text("Code", error.code);
                x.text("Message", &error.message);
            });
        });
        x.text("RequestID", request_id);
    });
    xml.finish()
}

fn success(action: &str, reply: &Reply, answer: &Answer) -> String {
    let mut xml = Xml::document();
    xml.root(&format!("{action}Response"), NAMESPACE, |x| {
        x.text("requestId", &answer.request_id);
        body(x, reply, answer.now);
    });
    xml.finish()
}

fn body(x: &mut Xml, reply: &Reply, now: Timestamp) {
    match reply {
        Reply::Done => x.text("return", true),
        Reply::Reservation(placed) => {
            let all: Vec<_> = placed.iter().collect();
            instances::reservation(x, &all);
        }
        Reply::Instances(page) => {
            instances::reservations(x, &page.items);
            x.optional("nextToken", page.next_token.as_ref());
        }
        Reply::StateChanges(changes) => x.list("instancesSet", changes, instances::state_change),
        Reply::InstanceTypes(page) => {
            x.list("instanceTypeSet", &page.items, instances::instance_type);
            x.optional("nextToken", page.next_token.as_ref());
        }
        Reply::Volume(volume) => self::volume(x, volume),
        Reply::Volumes(page) => {
            x.list("volumeSet", &page.items, volume);
            x.optional("nextToken", page.next_token.as_ref());
        }
        Reply::VolumeStatuses(page) => {
            x.list("volumeStatusSet", &page.items, |x, v| volume_status(x, v, now));
            x.optional("nextToken", page.next_token.as_ref());
        }
        Reply::Attachment(volume_id, attachment) => self::attachment(x, volume_id, attachment),
        Reply::Snapshot(snapshot) => self::snapshot(x, snapshot, now),
        Reply::Snapshots(page) => {
            x.list("snapshotSet", &page.items, |x, s| snapshot(x, s, now));
            x.optional("nextToken", page.next_token.as_ref());
        }
        Reply::Tags(page) => {
            x.list("tagSet", &page.items, |x, tag| {
                x.text("resourceId", &tag.resource_id);
                x.text("resourceType", tag.resource_type);
                x.text("key", &tag.key);
                x.text("value", &tag.value);
            });
            x.optional("nextToken", page.next_token.as_ref());
        }
        Reply::Zones(zones) => x.list("availabilityZoneInfo", zones, zone),
        Reply::Regions(regions) => x.list("regionInfo", regions, |x, name| {
            x.text("regionName", name);
            x.text("regionEndpoint", format!("ec2.{name}.amazonaws.com"));
            x.text("optInStatus", "opt-in-not-required");
        }),
    }
}

fn volume(x: &mut Xml, volume: &Volume) {
    x.text("volumeId", &volume.id);
    x.text("size", volume.size_gib);
    x.text("snapshotId", volume.snapshot_id.as_deref().unwrap_or_default());
    x.text("availabilityZone", &volume.zone);
    x.text("availabilityZoneId", zone_id(&volume.zone));
    x.text("status", volume.status());
    x.text("createTime", time(volume.created));
    x.list("attachmentSet", &volume.attachment, |x, a| {
        attachment(x, &volume.id, a);
    });
    tags(x, &volume.tags);
    x.text("volumeType", volume.volume_type.name());
    x.optional("iops", volume.iops);
    x.optional("throughput", volume.throughput);
    x.optional("volumeInitializationRate", volume.initialization_rate);
    x.text("encrypted", volume.encrypted);
    x.optional("kmsKeyId", volume.kms_key_id.as_ref());
    x.text("multiAttachEnabled", false);
}

fn attachment(x: &mut Xml, volume_id: &str, attachment: &Attachment) {
    x.text("volumeId", volume_id);
    x.text("instanceId", &attachment.instance_id);
    x.text("device", &attachment.device);
    x.text("status", attachment.status());
    x.text("attachTime", time(attachment.attached));
    x.text("deleteOnTermination", false);
}

fn volume_status(x: &mut Xml, volume: &Volume, now: Timestamp) {
    x.text("volumeId", &volume.id);
    x.text("availabilityZone", &volume.zone);
    x.text("availabilityZoneId", zone_id(&volume.zone));
    let percent = volume.initialization_percent(now);
    let (sum, checks) = volume.health(now);
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
            let kind = if provisioned { "provisioned-rate" } else { "default" };
            x.text("initializationType", kind);
            x.text("progress", percent);
            if let Some(end) = volume.initialized_at.filter(|_| provisioned) {
                let left = end.duration_since(now).as_secs().max(0);
                x.text("estimatedTimeToCompleteInSeconds", left);
            }
        });
    }
}

fn snapshot(x: &mut Xml, snapshot: &Snapshot, now: Timestamp) {
    x.text("snapshotId", &snapshot.id);
    x.text("volumeId", &snapshot.volume_id);
    x.text("status", snapshot.status());
    x.text("startTime", time(snapshot.started));
    if let SnapshotPhase::Completed { at } = snapshot.phase {
        x.text("completionTime", time(at));
    }
    x.text("progress", format!("{}%", snapshot.percent(now)));
    x.text("ownerId", ACCOUNT_ID);
    x.text("volumeSize", snapshot.volume_size_gib);
    x.text("description", &snapshot.description);
    x.text("encrypted", snapshot.encrypted);
    x.optional("kmsKeyId", snapshot.kms_key_id.as_ref());
    x.text("storageTier", "standard");
    tags(x, &snapshot.tags);
}

/// The tags of a resource.
pub(super) fn tags(x: &mut Xml, tags: &Tags) {
    x.list("tagSet", tags, |x, (key, value)| {
        x.text("key", key);
        x.text("value", value);
    });
}

fn zone(x: &mut Xml, zone: &Zone) {
    x.text("zoneName", &zone.name);
    x.text("zoneId", &zone.id);
    x.text("zoneState", "available");
    x.text("regionName", &zone.region);
    x.text("groupName", &zone.region);
    x.text("networkBorderGroup", &zone.region);
    x.text("optInStatus", "opt-in-not-required");
    x.text("zoneType", "availability-zone");
    x.element("messageSet", |_| {});
}
