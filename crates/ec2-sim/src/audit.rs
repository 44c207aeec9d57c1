//! The audit: does the account make sense, and does the disk agree with it?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::clock::Clock;
use crate::disk::{self, Layout};
use crate::error::Error;
use crate::store::{self, Stored};
use crate::world::{CallCount, VolumePhase, World};

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
    /// Things that nothing refers to: attachments without an instance, loop devices
    /// without an attachment, images without a volume or snapshot, and the reverse.
    pub orphans: Vec<String>,
    /// Calls per action.
    pub calls: BTreeMap<String, CallCount>,
}

impl Audit {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.double_attachments.is_empty() && self.orphans.is_empty()
    }
}

/// Audits an account alone.
pub fn audit(world: &World) -> Audit {
    let mut audit = Audit { calls: world.calls().clone(), ..Audit::default() };
    for volume in world.volumes().values() {
        *audit.volumes.entry(volume.status().to_owned()).or_default() += 1;
    }
    for snapshot in world.snapshots().values() {
        let status = snapshot.status().to_owned();
        *audit.snapshots.entry(status).or_default() += 1;
    }
    audit_attachments(world, &mut audit);
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
        match world.instances().get(instance_id) {
            None => audit.orphans.push(format!("{} is attached to {instance_id}, which does not exist", volume.id)),
            Some(instance) if instance.zone != volume.zone => {
                audit.orphans.push(format!("{} of {} is attached to {instance_id} of {}", volume.id, volume.zone, instance.zone));
            }
            Some(_) => {}
        }
    }
}

/// Audits a data folder: the stored account, and the images and loop devices beside it.
///
/// Reads only, so it may run beside a simulator; what is under way at that
/// moment can then show up as an orphan. None when the folder holds no account.
pub fn audit_folder(folder: &Path) -> Result<Option<Audit>, Error> {
    let Some(Stored { mut world, ahead_ms }) = store::peek(folder)? else {
        return Ok(None);
    };
    // The stored state is that of the last change; time went on.
    world.advance(Clock::ahead_by(ahead_ms).now());
    let mut found = audit(&world);
    let layout = Layout::new(folder)?;
    // Without a data plane there are no images, and nothing to compare.
    if layout.volumes().exists() {
        audit_images(&world, &layout, &mut found)?;
        audit_loops(&world, &layout, &mut found)?;
    }
    Ok(Some(found))
}

fn audit_images(world: &World, layout: &Layout, audit: &mut Audit) -> Result<(), Error> {
    let known: BTreeSet<String> = world.volumes().keys().chain(world.snapshots().keys()).map(|id| format!("{id}.img")).collect();
    for folder in [layout.volumes(), layout.snapshots()] {
        for name in disk::names(&folder)? {
            if !known.contains(&name) {
                audit.orphans.push(format!("image {name} belongs to nothing"));
            }
        }
    }
    for volume in world.volumes().values() {
        let usable = volume.phase == VolumePhase::Available;
        if usable && !layout.volume(&volume.id).exists() {
            audit.orphans.push(format!("{} has no image", volume.id));
        }
    }
    Ok(())
}

fn audit_loops(world: &World, layout: &Layout, audit: &mut Audit) -> Result<(), Error> {
    let mut files = BTreeSet::new();
    for device in disk::loops_below(layout.root())? {
        let (name, file) = (&device.name, device.file.display());
        if device.cut_off {
            audit.orphans.push(format!("{name} still holds what was {file}"));
            continue;
        }
        if !files.insert(device.file.clone()) {
            let text = format!("{name} is a second device of {file}");
            audit.double_attachments.push(text);
        }
        let attached = world.volumes().values().any(|v| v.attachment.is_some() && layout.volume(&v.id) == device.file);
        if !attached {
            audit.orphans.push(format!("{name} shows {file} to nobody"));
        }
    }
    Ok(())
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<String, usize>| {
            let list: Vec<String> = counts.iter().map(|(k, n)| format!("{n} {k}")).collect();
            if list.is_empty() { "none".to_owned() } else { list.join(", ") }
        };
        writeln!(f, "volumes:            {}", counts(&self.volumes))?;
        writeln!(f, "snapshots:          {}", counts(&self.snapshots))?;
        writeln!(f, "attachments:        {}", self.attachments.len())?;
        for [volume, instance, device, status] in &self.attachments {
            writeln!(f, "  {volume} {instance} {device} {status}")?;
        }
        writeln!(f, "double attachments: {}", self.double_attachments.len())?;
        for text in &self.double_attachments {
            writeln!(f, "  {text}")?;
        }
        writeln!(f, "orphans:            {}", self.orphans.len())?;
        for text in &self.orphans {
            writeln!(f, "  {text}")?;
        }
        writeln!(f, "calls (ok, refused):")?;
        for (action, count) in &self.calls {
            writeln!(f, "  {action:<26} {:>7} {:>7}", count.ok, count.refused)?;
        }
        Ok(())
    }
}
