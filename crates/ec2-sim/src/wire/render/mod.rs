//! From typed replies to EC2's XML. The element names are those the AWS SDKs parse.

mod instances;
mod snapshots;
mod volumes;

use jiff::Timestamp;

use super::xml::Xml;
use crate::shell::Answer;
use crate::world::{ApiError, Page, Reply, TagDescription, Tags, Zone};

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
            next(x, page);
        }
        Reply::StateChanges(changes) => x.list("instancesSet", changes, instances::state_change),
        Reply::InstanceTypes(page) => listed(x, "instanceTypeSet", page, instances::instance_type),
        Reply::Volume(volume) => volumes::created(x, volume),
        Reply::CopiedVolumes(volumes) => x.list("volumeSet", volumes, volumes::volume),
        Reply::Volumes(page) => listed(x, "volumeSet", page, volumes::volume),
        Reply::VolumeStatuses(page, seen_at) => listed(x, "volumeStatusSet", page, |x, v| volumes::status(x, v, now, *seen_at)),
        Reply::VolumeAttribute(volume_id, attribute) => volumes::attribute(x, volume_id, attribute),
        Reply::Modification(volume_id, modification) => {
            x.element("volumeModification", |x| volumes::modification(x, volume_id, modification, now));
        }
        Reply::Modifications(page) => listed(x, "volumeModificationSet", page, |x, (id, m)| volumes::modification(x, id, m, now)),
        Reply::Attachment(volume_id, attachment) => volumes::attachment(x, volume_id, attachment),
        Reply::Snapshot(snapshot) => snapshots::snapshot(x, snapshot, now),
        Reply::SnapshotSet(snapshots) => x.list("snapshotSet", snapshots, |x, s| snapshots::of_set(x, s, now)),
        Reply::CopiedSnapshot(snapshot) => {
            x.text("snapshotId", &snapshot.id);
            tags(x, &snapshot.tags);
        }
        Reply::Snapshots(page) => listed(x, "snapshotSet", page, |x, s| snapshots::snapshot(x, s, now)),
        Reply::Lock(snapshot_id, lock) => snapshots::lock(x, snapshot_id, lock, now),
        Reply::Unlocked(snapshot_id) => x.text("snapshotId", snapshot_id),
        Reply::LockedSnapshots(page) => listed(x, "snapshotSet", page, |x, (id, lock)| snapshots::locked(x, id, lock, now)),
        Reply::FastRestores(page) => listed(x, "fastSnapshotRestoreSet", page, snapshots::fast_restore),
        Reply::FastRestoreChanges(done, refused) => snapshots::fast_restore_changes(x, done, refused),
        Reply::Tags(page) => listed(x, "tagSet", page, tag),
        Reply::Zones(zones) => x.list("availabilityZoneInfo", zones, zone),
        Reply::Regions(regions) => x.list("regionInfo", regions, |x, name| {
            x.text("regionName", name);
            x.text("regionEndpoint", format!("ec2.{name}.amazonaws.com"));
            x.text("optInStatus", "opt-in-not-required");
        }),
    }
}

/// A page: its items and the token of the next one.
fn listed<'a, T>(x: &mut Xml, name: &str, page: &'a Page<T>, write: impl FnMut(&mut Xml, &'a T)) {
    x.list(name, &page.items, write);
    next(x, page);
}

fn next<T>(x: &mut Xml, page: &Page<T>) {
    x.optional("nextToken", page.next_token.as_ref());
}

fn tag(x: &mut Xml, tag: &TagDescription) {
    x.text("resourceId", &tag.resource_id);
    x.text("resourceType", tag.resource_type);
    x.text("key", &tag.key);
    x.text("value", &tag.value);
}

/// The tags of a resource.
fn tags(x: &mut Xml, tags: &Tags) {
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
