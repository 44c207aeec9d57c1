//! The XML of snapshots, their locks and their fast restores.

use jiff::Timestamp;

use super::tags;
use crate::wire::xml::Xml;
use crate::world::{ACCOUNT_ID, FastRestoreItem, FastRestoreRefusal, Snapshot, SnapshotLock, SnapshotPhase, time, zone_id};

/// A snapshot.
pub(super) fn snapshot(x: &mut Xml, snapshot: &Snapshot, now: Timestamp) {
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

/// A snapshot as `CreateSnapshots` shows it, whose status has another name.
pub(super) fn of_set(x: &mut Xml, snapshot: &Snapshot, now: Timestamp) {
    x.text("snapshotId", &snapshot.id);
    x.text("volumeId", &snapshot.volume_id);
    x.text("state", snapshot.status());
    x.text("startTime", time(snapshot.started));
    x.text("progress", format!("{}%", snapshot.percent(now)));
    x.text("ownerId", ACCOUNT_ID);
    x.text("volumeSize", snapshot.volume_size_gib);
    x.text("description", &snapshot.description);
    x.text("encrypted", snapshot.encrypted);
    tags(x, &snapshot.tags);
}

/// The lock that `LockSnapshot` has made.
pub(super) fn lock(x: &mut Xml, snapshot_id: &str, lock: &SnapshotLock, now: Timestamp) {
    x.text("snapshotId", snapshot_id);
    terms(x, lock, now);
}

/// A locked snapshot.
pub(super) fn locked(x: &mut Xml, snapshot_id: &str, lock: &SnapshotLock, now: Timestamp) {
    x.text("ownerId", ACCOUNT_ID);
    self::lock(x, snapshot_id, lock, now);
}

fn terms(x: &mut Xml, lock: &SnapshotLock, now: Timestamp) {
    x.text("lockState", lock.state(now));
    x.text("lockDuration", lock.duration_days);
    x.optional("coolOffPeriod", lock.cool_off_hours);
    x.optional("coolOffPeriodExpiresOn", lock.cool_off_until.map(time));
    x.text("lockCreatedOn", time(lock.created));
    x.optional("lockDurationStartTime", lock.started.map(time));
    x.optional("lockExpiresOn", lock.expires().map(time));
}

/// The fast restore of a snapshot in a zone.
pub(super) fn fast_restore(x: &mut Xml, item: &FastRestoreItem) {
    let restore = &item.restore;
    let state = item.state.name();
    let by_request = matches!(state, "enabling" | "disabling");
    x.text("snapshotId", &item.snapshot_id);
    x.text("availabilityZone", &item.zone);
    x.text("availabilityZoneId", zone_id(&item.zone));
    x.text("state", state);
    x.text("stateTransitionReason", if by_request { "Client.UserInitiated" } else { "Client.UserInitiated - Lifecycle state transition" });
    x.text("ownerId", ACCOUNT_ID);
    x.text("enablingTime", time(restore.enabling));
    // A restore that was switched off on its way never got to what lies beyond.
    let reached = |at: Timestamp| restore.disabling.is_none_or(|end| at <= end);
    if reached(restore.optimizing) && state != "enabling" {
        x.text("optimizingTime", time(restore.optimizing));
    }
    if reached(restore.enabled) && !matches!(state, "enabling" | "optimizing") {
        x.text("enabledTime", time(restore.enabled));
    }
    x.optional("disablingTime", restore.disabling.map(time));
    if state == "disabled" {
        x.optional("disabledTime", restore.disabled.map(time));
    }
}

/// Where fast restore was switched, and where it could not be.
pub(super) fn fast_restore_changes(x: &mut Xml, done: &[FastRestoreItem], refused: &[FastRestoreRefusal]) {
    x.list("successful", done, fast_restore);
    x.list("unsuccessful", refused, |x, refusal| {
        x.text("snapshotId", &refusal.snapshot_id);
        x.list("fastSnapshotRestoreStateErrorSet", [refusal], |x, refusal| {
            x.text("availabilityZone", &refusal.zone);
            x.text("availabilityZoneId", zone_id(&refusal.zone));
            x.element("error", |x| {
                x.text("code", refusal.error.code);
                x.text("message", &refusal.error.message);
            });
        });
    });
}
