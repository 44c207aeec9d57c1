//! The start of the data plane: what an earlier run left behind and nobody wants is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::layout::device_name;
use super::{Disk, devices, loops};
use crate::error::{Error, io};
use crate::world::World;

impl Disk {
    /// Removes loop devices, nodes, folders and half-made files that the world does not want.
    ///
    /// What it wants and lacks is made afterwards, as the effects it owes. Whole
    /// images are never removed here, even those that no volume names.
    pub(crate) fn remove_strays(&self, world: &World) -> Result<(), Error> {
        for folder in [self.layout.volumes(), self.layout.snapshots()] {
            remove_partial(&folder)?;
        }
        for device in loops::below(self.layout.root())? {
            let wanted =
                world.volumes().values().any(|volume| volume.attachment.is_some() && self.layout.volume(&volume.id) == device.file);
            if !wanted && !device.leaving {
                tracing::info!(device = device.name, file = %device.file.display(), "removing a loop device that no attachment wants");
                loops::detach(&device)?;
            }
        }
        self.remove_stray_devices(world)
    }

    fn remove_stray_devices(&self, world: &World) -> Result<(), Error> {
        let mut wanted: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for attachment in world.volumes().values().filter_map(|v| v.attachment.as_ref()) {
            let names = wanted.entry(&attachment.instance_id).or_default();
            names.insert(device_name(attachment.nvme_index));
        }
        for instance in names(&self.layout.instances())? {
            if !world.instances().contains_key(&instance) {
                devices::remove_instance(&self.layout, &instance)?;
                continue;
            }
            let none = BTreeSet::new();
            let keep = wanted.get(instance.as_str()).unwrap_or(&none);
            let (block, dev) = (self.layout.sys_block(&instance), self.layout.dev(&instance));
            for name in names(&block)?.into_iter().filter(|n| !keep.contains(n)) {
                devices::remove_tree(&block.join(name))?;
            }
            for name in names(&dev)?.into_iter().filter(|n| !keep.contains(n)) {
                super::remove(&dev.join(name))?;
            }
        }
        Ok(())
    }
}

fn remove_partial(folder: &Path) -> Result<(), Error> {
    for name in names(folder)? {
        let path = folder.join(name);
        if path.extension() == Some(OsStr::new("partial")) {
            remove_half_made(&path)?;
        }
    }
    Ok(())
}

/// Removes a half-made file, or the mount point of one.
pub(super) fn remove_half_made(path: &Path) -> Result<(), Error> {
    if !path.is_dir() {
        return super::remove(path);
    }
    // Whether it was mounted does not matter: the removal refuses what still is.
    drop(loops::run(Command::new("umount").arg("--lazy").arg(path)));
    fs::remove_dir(path).map_err(io("remove", path))
}

/// The names in a folder; none when it does not exist.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let entry = entry.map_err(io("list", folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
