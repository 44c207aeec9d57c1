//! What an instance sees: device nodes and a tree shaped like `/sys/block`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, stat};

use super::layout::{Layout, device_name};
use super::loops::LoopDevice;
use crate::error::{Error, io};

/// What an EBS volume says when asked for its NVMe model.
const MODEL: &str = "Amazon Elastic Block Store";

/// Makes the empty folders of an instance.
pub(super) fn place(layout: &Layout, instance_id: &str) -> Result<(), Error> {
    for folder in [layout.dev(instance_id), layout.sys_block(instance_id)] {
        fs::create_dir_all(&folder).map_err(io("create", &folder))?;
    }
    Ok(())
}

/// Removes everything an instance saw.
pub(super) fn remove_instance(layout: &Layout, instance_id: &str) -> Result<(), Error> {
    remove_tree(&layout.instance(instance_id))
}

/// Shows a loop device to an instance as an NVMe device.
///
/// The node is there before the entry in the sysfs tree, which appears as a
/// whole: who finds a serial number finds the device too.
pub(super) fn show(layout: &Layout, instance_id: &str, nvme_index: u32, volume_id: &str, device: &LoopDevice) -> Result<(), Error> {
    place(layout, instance_id)?;
    let name = device_name(nvme_index);
    make_node(&layout.dev(instance_id).join(&name), &device.numbers)?;
    let block = layout.sys_block(instance_id);
    let entry = block.join(&name);
    let serial = volume_id.replace('-', "");
    if reads(&entry.join("device/serial"), &serial) && reads(&entry.join("dev"), &device.numbers) {
        // Shown already: an entry that vanishes for a moment would look like a detach.
        return Ok(());
    }
    let partial = block.join(format!(".{name}.partial"));
    remove_tree(&partial)?;
    let inner = partial.join("device");
    fs::create_dir_all(&inner).map_err(io("create", &inner))?;
    write_line(&inner.join("serial"), &serial)?;
    write_line(&inner.join("model"), MODEL)?;
    write_line(&partial.join("dev"), &device.numbers)?;
    write_line(&partial.join("size"), &device.sectors()?.to_string())?;
    remove_tree(&entry)?;
    fs::rename(&partial, &entry).map_err(io("create", &entry))
}

/// Takes a device away from an instance's sight, in the order opposite to [`show`].
pub(super) fn hide(layout: &Layout, instance_id: &str, nvme_index: u32) -> Result<(), Error> {
    let name = device_name(nvme_index);
    remove_tree(&layout.sys_block(instance_id).join(&name))?;
    super::remove(&layout.dev(instance_id).join(&name))
}

/// Shows every instance that sees a volume its new size, as a kernel does when a device grows.
pub(super) fn resize(layout: &Layout, volume_id: &str, sectors: u64) -> Result<(), Error> {
    let serial = volume_id.replace('-', "");
    for instance in super::names(&layout.instances())? {
        let block = layout.sys_block(&instance);
        for entry in super::names(&block)?.into_iter().map(|name| block.join(name)) {
            if reads(&entry.join("device/serial"), &serial) {
                let partial = entry.join(".size.partial");
                write_line(&partial, &sectors.to_string())?;
                fs::rename(&partial, entry.join("size")).map_err(io("update", &entry))?;
            }
        }
    }
    Ok(())
}

fn make_node(node: &Path, numbers: &str) -> Result<(), Error> {
    let number = |text: Option<&str>| text.and_then(|t| t.parse::<u32>().ok()).unwrap_or(0);
    let mut parts = numbers.split(':');
    let device = makedev(number(parts.next()), number(parts.next()));
    if let Ok(there) = stat(node)
        && FileType::from_raw_mode(there.st_mode) == FileType::BlockDevice
        && there.st_rdev == device
    {
        return Ok(());
    }
    super::remove(node)?;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    mknodat(CWD, node, FileType::BlockDevice, mode, device).map_err(|e| io("create the device node", node)(e.into()))
}

fn reads(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|there| there.trim_end() == text)
}

fn write_line(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, format!("{text}\n")).map_err(io("write", file))
}

pub(super) fn remove_tree(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io("remove", folder)(e)),
        _ => Ok(()),
    }
}
