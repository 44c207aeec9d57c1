//! The audit: does the account make sense, whose is what, and what did the calls cost?

mod folder;
mod owners;
mod text;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use folder::audit_folder;
pub(crate) use folder::audit_folder_by_owner;
pub use owners::Owned;
pub(crate) use owners::Owners;
pub use traffic::Traffic;

use crate::world::{CallCount, SnapshotPhase, Volume, VolumePhase, World};

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// How many volumes have each status.
    pub volumes: BTreeMap<String, usize>,
    /// How many snapshots have each status.
    pub snapshots: BTreeMap<String, usize>,
    /// Every attachment: volume, instance, device name, status.
    pub attachments: Vec<[String; 4]>,
    /// Violations: two uses of one device name or NVMe number, two devices of one volume.
    pub double_attachments: Vec<String>,
    /// Violations: volumes attached to an instance of another zone.
    pub across_zones: Vec<String>,
    /// Violations: what is gone or going although something still needs it: an attachment a
    /// volume, a volume that is being made its source, a snapshot that is being taken its volume.
    pub deleted_while_referenced: Vec<String>,
    /// Things that nothing refers to: attachments without an instance, loop devices
    /// without an attachment, images without a volume or snapshot, and the reverse.
    pub orphans: Vec<String>,
    /// What belongs to whom, when [`Audit::by_owner`] was asked for a tag; `` for what has no such tag.
    pub owners: BTreeMap<String, Owned>,
    /// What belongs to an owner that does not exist any more, when [`Audit::by_owner`] was told which do.
    pub ownerless: Vec<String>,
    /// Calls per action.
    pub calls: BTreeMap<String, CallCount>,
    /// The calls summed up.
    pub traffic: Traffic,
}

impl Audit {
    /// Whether nothing is wrong. What has lost its owner is not wrong in itself: it may be about to be collected.
    pub fn is_clean(&self) -> bool {
        self.violations().next().is_none()
    }

    /// Everything that is wrong.
    pub fn violations(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.double_attachments, &self.across_zones, &self.deleted_while_referenced, &self.orphans];
        lists.into_iter().flatten().map(String::as_str)
    }
}

/// Audits an account alone.
pub fn audit(world: &World) -> Audit {
    let mut audit = Audit { calls: world.calls().clone(), traffic: Traffic::of(world), ..Audit::default() };
    for volume in world.volumes().values() {
        *audit.volumes.entry(volume.status().to_owned()).or_default() += 1;
    }
    for snapshot in world.snapshots().values() {
        let status = snapshot.status().to_owned();
        *audit.snapshots.entry(status).or_default() += 1;
    }
    audit_attachments(world, &mut audit);
    audit_sources(world, &mut audit);
    audit
}

fn audit_attachments(world: &World, audit: &mut Audit) {
    let mut taken = BTreeSet::new();
    for volume in world.volumes().values() {
        let Some(attachment) = &volume.attachment else {
            continue;
        };
        let instance_id = &attachment.instance_id;
        audit.attachments.push([volume.id.clone(), instance_id.clone(), attachment.device.clone(), attachment.status().to_owned()]);
        let index = attachment.nvme_index.to_string();
        for slot in [&attachment.device, &index] {
            if !taken.insert((instance_id.clone(), slot.clone())) {
                let text = format!("{} shares slot {slot} of {instance_id}", volume.id);
                audit.double_attachments.push(text);
            }
        }
        if matches!(volume.phase, VolumePhase::Deleting { .. }) {
            audit.deleted_while_referenced.push(format!("{} is being deleted and attached to {instance_id}", volume.id));
        }
        match world.instances().get(instance_id) {
            None => audit.orphans.push(format!("{} is attached to {instance_id}, which does not exist", volume.id)),
            Some(instance) if instance.zone != volume.zone => {
                audit.across_zones.push(format!("{} of {} is attached to {instance_id} of {}", volume.id, volume.zone, instance.zone));
            }
            Some(_) => {}
        }
    }
}

/// What is still to be made needs its source until then.
fn audit_sources(world: &World, audit: &mut Audit) {
    let has = |id: &str| world.volumes().contains_key(id) || world.snapshots().contains_key(id);
    let unmade = |volume: &&Volume| matches!(volume.phase, VolumePhase::Creating { filled: false, .. });
    for volume in world.volumes().values().filter(unmade) {
        let sources = volume.snapshot_id.iter().chain(&volume.source_volume_id);
        for source in sources.filter(|id| !has(id)) {
            audit.deleted_while_referenced.push(format!("{} is to be made from {source}, which is gone", volume.id));
        }
    }
    for snapshot in world.snapshots().values() {
        if !matches!(snapshot.phase, SnapshotPhase::Pending { cloned: false, .. }) {
            continue;
        }
        let source = snapshot.source_snapshot_id.as_ref().unwrap_or(&snapshot.volume_id);
        if !has(source) {
            audit.deleted_while_referenced.push(format!("{} is to be made from {source}, which is gone", snapshot.id));
        }
    }
}
