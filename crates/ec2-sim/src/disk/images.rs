//! The filesystem of the images: the data folder's own when it clones files, otherwise an
//! XFS that is made in a file there and mounted beside it.
//!
//! A clone takes milliseconds and is of one moment; a copy of a device in use is neither.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use super::layout::Layout;
use super::{copy, loops, names};
use crate::error::{Error, io};

/// The least that an XFS of ours has: mkfs.xfs refuses less than 300 MB, and one volume is 1 GiB.
const SMALLEST: u64 = 2 << 30;
/// The size of its log. The default for a large filesystem is 2 GiB, all of it written by mkfs.
const LOG: &str = "size=64m";

/// How long the kernel gets to let go of the files of devices that are gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look.
const POLL: Duration = Duration::from_millis(20);

/// Makes the folders of images and snapshots reachable, on a filesystem with reflinks if there can be one.
pub(super) fn open(folder: &Path) -> Result<Layout, Error> {
    let layout = reach(folder)?;
    if !layout.store().exists() && !copy::has_reflinks(layout.root())? {
        if has_images(&layout)? {
            warn("its images are already there");
        } else if let Err(error) = make(&layout) {
            warn(&error.to_string());
        }
    }
    let layout = Layout::new(folder)?;
    for sub in [layout.volumes(), layout.snapshots()] {
        fs::create_dir_all(&sub).map_err(io("create", &sub))?;
        link(&layout, &sub)?;
    }
    Ok(layout)
}

/// Makes the images reachable that are there, and makes nothing.
pub(super) fn reach(folder: &Path) -> Result<Layout, Error> {
    let layout = Layout::new(folder)?;
    if layout.store().exists() {
        mount(&layout)?;
    }
    Ok(layout)
}

/// Unmounts the images' own filesystem when no device is on it; whether it was mounted.
///
/// The images are then in one file, which the next start mounts again.
pub(crate) fn rest(layout: &Layout) -> Result<bool, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if !is_mounted(layout)? || !loops::below(layout.root())?.is_empty() {
            return Ok(false);
        }
        match loops::run(Command::new("umount").arg(layout.mount_point())) {
            Ok(_) => return Ok(true),
            Err(error) if Instant::now() > deadline => return Err(error),
            // The kernel lets go of the file of a device a moment after the device.
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Unmounts it although something on it is still in use: it goes when that ends.
pub(super) fn rest_lazily(layout: &Layout) -> Result<(), Error> {
    if is_mounted(layout)? {
        loops::run(Command::new("umount").arg("--lazy").arg(layout.mount_point()))?;
    }
    Ok(())
}

fn warn(why: &str) {
    tracing::warn!(
        why,
        "the data folder has no reflinks, and no XFS was made in it: snapshots are copies, which take time, and those of a volume in use are not of one moment"
    );
}

fn has_images(layout: &Layout) -> Result<bool, Error> {
    Ok(!names(&layout.volumes())?.is_empty() || !names(&layout.snapshots())?.is_empty())
}

/// Makes the filesystem and mounts it. On an error nothing of it stays.
fn make(layout: &Layout) -> Result<(), Error> {
    let (root, store) = (layout.root(), layout.store());
    let partial = store.with_extension("img.partial");
    let made = format(root, &partial).and_then(|()| copy::publish(&partial, &store)).and_then(|()| mount(layout));
    if made.is_err() {
        for leftover in [&partial, &store] {
            super::remove(leftover)?;
        }
        drop(fs::remove_dir(layout.mount_point()));
    } else {
        tracing::info!(file = %store.display(), "the data folder has no reflinks: the images lie on an XFS in a file of it");
    }
    made
}

/// A sparse file as large as the filesystem it is on: its blocks are taken as they are written.
fn format(root: &Path, file: &Path) -> Result<(), Error> {
    let space = statvfs(root).map_err(|error| io("look at", root)(error.into()))?;
    let size = (space.f_blocks * space.f_frsize).max(SMALLEST);
    let open = File::create(file).map_err(io("create", file))?;
    open.set_len(size).map_err(io("grow", file))?;
    loops::run_of_package(Command::new("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1", "-l", LOG]).arg(file), "xfsprogs").map(drop)
}

/// Mounts the filesystem, unless it is mounted. Its loop device goes with the mount.
fn mount(layout: &Layout) -> Result<(), Error> {
    let point = layout.mount_point();
    fs::create_dir_all(&point).map_err(io("create", &point))?;
    if is_mounted(layout)? {
        return Ok(());
    }
    // Discard: what a deleted volume held is given back to the data folder.
    loops::run(Command::new("mount").args(["-t", "xfs", "-o", "loop,discard,nouuid"]).arg(layout.store()).arg(&point)).map(drop)
}

/// Whether another filesystem begins at the mount point.
fn is_mounted(layout: &Layout) -> Result<bool, Error> {
    let point = layout.mount_point();
    if !point.exists() {
        return Ok(false);
    }
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(io("look at", path));
    Ok(device(&point)? != device(layout.root())?)
}

/// Shows a folder of images at the same place as without a filesystem of their own.
fn link(layout: &Layout, folder: &Path) -> Result<(), Error> {
    let Some(name) = folder.file_name().filter(|_| layout.store().exists()) else { return Ok(()) };
    let link = layout.root().join(name);
    if link.is_symlink() {
        return Ok(());
    }
    let target = folder.strip_prefix(layout.root()).unwrap_or(folder);
    // An empty folder of an earlier run is in the way; one that is not empty stays, and says so.
    if link.is_dir() {
        fs::remove_dir(&link).map_err(io("remove", &link))?;
    }
    std::os::unix::fs::symlink(target, &link).map_err(io("link", &link))
}
