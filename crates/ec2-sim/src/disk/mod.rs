//! The data plane: volumes as files, snapshots as clones, attachments as block devices.

mod copy;
mod devices;
mod down;
mod gc;
mod images;
mod import;
mod layout;
mod loops;
mod mounts;
mod reconcile;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use down::down;
pub(crate) use gc::gc;
pub(crate) use import::{Filesystem, Prepared};
pub(crate) use layout::Layout;
pub(crate) use loops::{LoopDevice, below as loops_below};
pub(crate) use reconcile::names;

use crate::error::{Error, io};
use crate::world::Effect;

/// Bytes.
const GIB: u64 = 1 << 30;
/// Bytes.
const SECTOR: u64 = 512;

/// How far the data plane came with an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It holds now.
    Done,
    /// Somebody still uses the device; ask again.
    Busy,
}

/// The data plane of one data folder.
#[derive(Debug)]
pub(crate) struct Disk {
    layout: Layout,
    /// Two concurrent searches for a free loop device could find the same one.
    attaching: Mutex<()>,
}

impl Disk {
    /// The data plane of a folder. Needs root.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let layout = images::open(folder)?;
        let instances = layout.instances();
        fs::create_dir_all(&instances).map_err(io("create", &instances))?;
        Ok(Self { layout, attaching: Mutex::new(()) })
    }

    /// Lets the images rest as files alone, when nothing is attached.
    pub(crate) fn rest(&self) -> Result<(), Error> {
        images::rest(&self.layout).map(drop)
    }

    /// Carries an effect out. Blocks; idempotent, also after a crash in its middle.
    pub(crate) fn perform(&self, effect: &Effect) -> Result<Progress, Error> {
        match effect {
            Effect::FillVolume { volume_id, size_gib, snapshot_id } => self.fill(volume_id, *size_gib, snapshot_id.as_deref())?,
            Effect::CopyVolume { volume_id, size_gib, source_volume_id } => self.copy_volume(volume_id, *size_gib, source_volume_id)?,
            Effect::ResizeVolume { volume_id, size_gib } => self.resize(volume_id, *size_gib)?,
            Effect::CopySnapshot { snapshot_id, source_snapshot_id } => self.copy_snapshot(snapshot_id, source_snapshot_id)?,
            Effect::CloneVolume { snapshot_id, volume_id } => self.snapshot(snapshot_id, volume_id)?,
            Effect::AttachDevice { volume_id, instance_id, nvme_index } => self.attach(volume_id, instance_id, *nvme_index)?,
            Effect::DetachDevice { volume_id, instance_id, nvme_index, force } => {
                devices::hide(&self.layout, instance_id, *nvme_index)?;
                return self.detach(volume_id, *force);
            }
            Effect::DeleteVolume { volume_id } => remove(&self.layout.volume(volume_id))?,
            Effect::DeleteSnapshot { snapshot_id } => remove(&self.layout.snapshot(snapshot_id))?,
            Effect::PlaceInstance { instance_id } => devices::place(&self.layout, instance_id)?,
            Effect::RemoveInstance { instance_id } => {
                devices::remove_instance(&self.layout, instance_id)?;
            }
        }
        Ok(Progress::Done)
    }

    fn fill(&self, volume_id: &str, size_gib: u32, origin: Option<&str>) -> Result<(), Error> {
        let file = self.layout.volume(volume_id);
        let size = u64::from(size_gib) * GIB;
        match origin {
            Some(id) => copy::clone(&self.layout.snapshot(id), &file, size),
            None => copy::create(&file, size),
        }
    }

    fn copy_volume(&self, volume_id: &str, size_gib: u32, source: &str) -> Result<(), Error> {
        let source = self.layout.volume(source);
        sync_device(&source)?;
        copy::clone(&source, &self.layout.volume(volume_id), u64::from(size_gib) * GIB)
    }

    fn copy_snapshot(&self, snapshot_id: &str, source: &str) -> Result<(), Error> {
        let source = self.layout.snapshot(source);
        let size = fs::metadata(&source).map_err(io("look at", &source))?.len();
        copy::clone(&source, &self.layout.snapshot(snapshot_id), size)
    }

    /// Volumes only grow, so a repeated call finds the size it wants.
    fn resize(&self, volume_id: &str, size_gib: u32) -> Result<(), Error> {
        let path = self.layout.volume(volume_id);
        let file = File::options().write(true).open(&path).map_err(io("open", &path))?;
        let size = u64::from(size_gib) * GIB;
        if file.metadata().map_err(io("look at", &path))?.len() < size {
            file.set_len(size).map_err(io("grow", &path))?;
        }
        for device in loops::of_file(&path)? {
            loops::follow_size(&device)?;
        }
        devices::resize(&self.layout, volume_id, size / SECTOR)
    }

    fn snapshot(&self, snapshot_id: &str, volume_id: &str) -> Result<(), Error> {
        let volume = self.layout.volume(volume_id);
        sync_device(&volume)?;
        let size = fs::metadata(&volume).map_err(io("look at", &volume))?.len();
        copy::clone(&volume, &self.layout.snapshot(snapshot_id), size)
    }

    /// Held while a free loop device is looked for.
    fn one_at_a_time(&self) -> MutexGuard<'_, ()> {
        self.attaching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self, volume_id: &str, instance_id: &str, nvme_index: u32) -> Result<(), Error> {
        let file = self.layout.volume(volume_id);
        let device = {
            let _one = self.one_at_a_time();
            loops::attach(&file)?
        };
        devices::show(&self.layout, instance_id, nvme_index, volume_id, &device)
    }

    fn detach(&self, volume_id: &str, force: bool) -> Result<Progress, Error> {
        let file = self.layout.volume(volume_id);
        for device in loops::of_file(&file)? {
            loops::detach(&device)?;
        }
        if loops::of_file(&file)?.is_empty() {
            return Ok(Progress::Done);
        }
        if !force {
            return Ok(Progress::Busy);
        }
        // Those who still hold the device keep a file that is no longer the
        // volume's: what they write from now on is lost, as after a real forced detach.
        sync_device(&file)?;
        copy::replace_with_clone(&file)?;
        Ok(Progress::Done)
    }
}

/// Writes what the loop device of a file still holds in memory into the file.
fn sync_device(file: &Path) -> Result<(), Error> {
    for device in loops::of_file(file)? {
        let node = device.node();
        match File::open(&node) {
            Ok(open) => open.sync_all().map_err(io("sync", &node))?,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound) => {}
            // The device went away meanwhile, and took its data to the file.
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {}
            Err(e) => return Err(io("open", &node)(e)),
        }
    }
    Ok(())
}

fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io("remove", file)(e)),
        _ => Ok(()),
    }
}
