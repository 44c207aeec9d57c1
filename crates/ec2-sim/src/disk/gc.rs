//! `ec2-sim gc`: what a dead simulator left behind and no account wants.
//!
//! Finding and removing are apart, so that a person can look first. Nothing is a leak
//! unless the account says so: without a readable account, no image is one.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::mounts::{self, Mount};
use super::reconcile::remove_half_made;
use super::{LoopDevice, devices, down, images, loops, names};
use crate::error::Error;
use crate::store::Store;
use crate::world::World;

/// Something that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leak {
    /// A leaked device is mounted.
    Mount(LoopDevice, Mount),
    /// A device that no attachment wants.
    Loop(LoopDevice),
    /// A file that was being made when its maker died.
    Partial(PathBuf),
    /// The image of no volume and no snapshot.
    Image(PathBuf),
    /// The device tree of no instance.
    Instance(PathBuf),
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(device, mount) => write!(f, "mount {} of {} (seen by process {})", mount.point, device.name, mount.process),
            Self::Loop(device) => write!(f, "loop device {} on {}: no attachment wants it", device.name, device.file.display()),
            Self::Partial(file) => write!(f, "half-made file {}", file.display()),
            Self::Image(file) => write!(f, "image {}: no volume or snapshot has it", file.display()),
            Self::Instance(folder) => write!(f, "device tree {}: no such instance", folder.display()),
        }
    }
}

/// What `gc` found, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct GcReport {
    /// In the order in which it can be removed.
    pub(crate) leaks: Vec<Leak>,
    /// Whether the folder holds no account, so that no image can be called leaked.
    pub(crate) no_account: bool,
    /// What could not be removed, and why.
    pub(crate) failed: Vec<(Leak, Error)>,
}

/// Finds what is leaked in a data folder, and removes it when told to.
///
/// Refuses while a simulator runs on the folder, and when its state file is damaged.
pub(crate) fn gc(folder: &Path, delete: bool) -> Result<GcReport, Error> {
    let exclusive = Store::open(folder)?;
    let world = exclusive.load()?.map(|stored| stored.world);
    let layout = images::reach(folder)?;
    let mut report = GcReport { leaks: find(&layout, world.as_ref())?, no_account: world.is_none(), failed: Vec::new() };
    if delete {
        for leak in &report.leaks {
            if let Err(error) = remove(leak) {
                report.failed.push((leak.clone(), error));
            }
        }
    }
    // Not every device is gone at once: a mount that is still needed stays.
    if let Err(error) = images::rest(&layout) {
        tracing::debug!(%error, "the images stay mounted");
    }
    Ok(report)
}

fn find(layout: &Layout, world: Option<&World>) -> Result<Vec<Leak>, Error> {
    let mut leaks = Vec::new();
    let mut files = BTreeSet::new();
    for device in loops::below(layout.root())? {
        let wanted = !device.cut_off && !device.leaving && world.is_some_and(|world| is_attached(layout, world, &device.file));
        if wanted && files.insert(device.file.clone()) {
            continue;
        }
        leaks.extend(mounts::of_device(&device.numbers).into_iter().map(|mount| Leak::Mount(device.clone(), mount)));
        leaks.push(Leak::Loop(device));
    }
    for folder in [layout.volumes(), layout.snapshots()] {
        leaks.extend(names(&folder)?.iter().filter_map(|name| leaked_file(&folder, name, world)));
    }
    for name in names(&layout.instances())? {
        if !world.is_some_and(|world| world.instances().contains_key(&name)) {
            leaks.push(Leak::Instance(layout.instance(&name)));
        }
    }
    Ok(leaks)
}

fn is_attached(layout: &Layout, world: &World, file: &Path) -> bool {
    world.volumes().values().any(|volume| volume.attachment.is_some() && layout.volume(&volume.id) == file)
}

fn leaked_file(folder: &Path, name: &str, world: Option<&World>) -> Option<Leak> {
    let file = folder.join(name);
    if name.ends_with(".partial") {
        return Some(Leak::Partial(file));
    }
    let id = name.strip_suffix(".img")?;
    let world = world?;
    let known = world.volumes().contains_key(id) || world.snapshots().contains_key(id);
    (!known).then_some(Leak::Image(file))
}

fn remove(leak: &Leak) -> Result<(), Error> {
    match leak {
        Leak::Mount(_, mount) => down::unmount(mount),
        Leak::Loop(device) => loops::detach(device),
        Leak::Partial(path) => remove_half_made(path),
        Leak::Image(path) => super::remove(path),
        Leak::Instance(folder) => devices::remove_tree(folder),
    }
}
