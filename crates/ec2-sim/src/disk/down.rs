//! `ec2-sim down`: every loop device of a data folder goes, and only files stay.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::layout::Layout;
use super::mounts::{self, Mount};
use super::{LoopDevice, devices, images, loops};
use crate::error::Error;
use crate::store::Store;

/// What `down` did.
#[derive(Debug, Default)]
pub(crate) struct DownReport {
    /// Loop devices removed.
    pub(crate) removed: Vec<String>,
    /// Mounts in the way: nothing was done, when not forced.
    pub(crate) mounted: Vec<(LoopDevice, Mount)>,
    /// Loop devices that are still there because something has them open.
    pub(crate) left: Vec<String>,
}

/// How long the kernel gets to remove devices after the last user has gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look.
const POLL: Duration = Duration::from_millis(20);

/// Removes the loop devices of a data folder, and the instances' view of them.
///
/// Refuses when a simulator runs on the folder. Mounted devices stop it before
/// it has changed anything, unless `force` unmounts them (lazily) first.
pub(crate) fn down(folder: &Path, force: bool) -> Result<DownReport, Error> {
    let _exclusive = Store::open(folder)?;
    let layout = Layout::new(folder)?;
    let devices = loops::below(layout.root())?;
    let mut report = DownReport::default();
    for device in &devices {
        let mounts = mounts::of_device(&device.numbers);
        report.mounted.extend(mounts.into_iter().map(|m| (device.clone(), m)));
    }
    if !force && !report.mounted.is_empty() {
        return Ok(report);
    }
    for (_, mount) in report.mounted.drain(..) {
        unmount(&mount)?;
    }
    let left = remove_all(&layout)?;
    report.left = left.into_iter().map(|d| d.name).collect();
    report.removed = devices.into_iter().map(|d| d.name).collect();
    report.removed.retain(|name| !report.left.contains(name));
    devices::remove_tree(&layout.instances())?;
    if force && !report.left.is_empty() {
        images::rest_lazily(&layout)?;
    }
    Ok(report)
}

/// Removes every device and lets the images rest; returns the devices that stay in use.
///
/// A program that a killed simulator was waiting for can still make a device while this looks.
fn remove_all(layout: &Layout) -> Result<Vec<LoopDevice>, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for device in loops::below(layout.root())? {
            loops::detach(&device)?;
        }
        let left = loops::below(layout.root())?;
        if left.is_empty() {
            images::rest(layout)?;
        }
        let late = loops::below(layout.root())?;
        if late.is_empty() || Instant::now() > deadline {
            return Ok(late);
        }
        std::thread::sleep(POLL);
    }
}

/// Unmounts in the mount namespace of the process that sees the mount.
pub(super) fn unmount(mount: &Mount) -> Result<(), Error> {
    let target = mount.process.to_string();
    loops::run(Command::new("nsenter").args(["--target", &target, "--mount", "umount", "--lazy"]).arg(&mount.point)).map(drop)
}
