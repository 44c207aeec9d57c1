//! The audit of a data folder: the account that is stored there, and the images and loop devices beside it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Audit, Owners, audit};
use crate::clock::Clock;
use crate::disk::{self, Layout};
use crate::error::Error;
use crate::store::{self, Stored};
use crate::world::{VolumePhase, World};

/// Audits a data folder: the stored account, and the images and loop devices beside it.
///
/// Reads only, so it may run beside a simulator; what is under way at that
/// moment can then show up as an orphan. None when the folder holds no account.
pub fn audit_folder(folder: &Path) -> Result<Option<Audit>, Error> {
    audit_folder_by_owner(folder, None)
}

/// As [`audit_folder`], with who owns what when that is asked for.
pub(crate) fn audit_folder_by_owner(folder: &Path, owners: Option<Owners<'_>>) -> Result<Option<Audit>, Error> {
    let Some(Stored { mut world, ahead_ms }) = store::peek(folder)? else {
        return Ok(None);
    };
    // The stored state is that of the last change; time went on.
    world.advance(Clock::ahead_by(ahead_ms).now());
    let mut found = audit(&world);
    if let Some(Owners { tag, existing }) = owners {
        found = found.by_owner(&world, tag, existing);
    }
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
