//! The image of a volume that is filled from a folder: a filesystem made, mounted, copied into, unmounted.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::{Disk, GIB, LoopDevice, copy, loops};
use crate::error::{Error, io};

/// The filesystem of an imported volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filesystem {
    /// XFS, with reflinks.
    Xfs,
    /// ext4.
    Ext4,
}

/// An image that no volume has yet. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Prepared {
    file: PathBuf,
    pub(crate) size_gib: u32,
}

impl Prepared {
    /// Makes it the image of a volume that has none yet.
    pub(crate) fn become_volume(&self, disk: &Disk, volume_id: &str) -> Result<(), Error> {
        copy::publish(&self.file, &disk.layout.volume(volume_id))
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        drop(super::remove(&self.file));
    }
}

impl Disk {
    /// Makes the image of a volume with this filesystem and the content of a folder.
    ///
    /// The size is that asked for, or one that leaves a fifth of it free. Blocks; on an
    /// error nothing stays mounted or made.
    pub(crate) fn prepare(&self, from: &Path, filesystem: Filesystem, size_gib: Option<u32>) -> Result<Prepared, Error> {
        let content = bytes_below(from)?;
        let least = gib_for(content);
        let size_gib = size_gib.unwrap_or(least);
        if u64::from(size_gib) * GIB <= content {
            return Err(Error::Import(format!("{} holds {content} bytes: {size_gib} GiB are too few, {least} would do", from.display())));
        }
        let file = self.layout.volumes().join(format!("import-{}.partial", std::process::id()));
        super::remove(&file)?;
        copy::create(&file, u64::from(size_gib) * GIB)?;
        let prepared = Prepared { file, size_gib };
        make_filesystem(&prepared.file, filesystem)?;
        self.fill_from(&prepared.file, from)?;
        Ok(prepared)
    }

    fn fill_from(&self, file: &Path, from: &Path) -> Result<(), Error> {
        let device = {
            let _one = self.one_at_a_time();
            loops::attach(file)?
        };
        let mount = Mounted::new(device, file.with_extension("mount.partial"))?;
        // With a dot at its end, the folder's content is meant and not the folder.
        let content = from.join(".");
        let copied = loops::run(Command::new("cp").args(["--archive", "--sparse=always"]).arg(content).arg(&mount.point));
        let unmounted = mount.unmount();
        copied.and(unmounted).map(drop)
    }
}

fn make_filesystem(file: &Path, filesystem: Filesystem) -> Result<(), Error> {
    let (program, arguments, package): (_, &[&str], _) = match filesystem {
        Filesystem::Xfs => ("mkfs.xfs", &["-q", "-f", "-m", "reflink=1"], "xfsprogs"),
        Filesystem::Ext4 => ("mkfs.ext4", &["-q", "-F", "-m", "0"], "e2fsprogs"),
    };
    loops::run_of_package(Command::new(program).args(arguments).arg(file), package).map(drop)
}

/// A mount for the time of a copy. Dropping it unmounts and removes device and folder.
struct Mounted {
    /// None when it is gone already.
    device: Option<LoopDevice>,
    point: PathBuf,
}

impl Mounted {
    fn new(device: LoopDevice, point: PathBuf) -> Result<Self, Error> {
        let node = device.node();
        let mount = Self { device: Some(device), point };
        fs::create_dir_all(&mount.point).map_err(io("create", &mount.point))?;
        loops::run(Command::new("mount").arg(node).arg(&mount.point))?;
        Ok(mount)
    }

    /// Unmounts, so that everything is in the file; says what it was that could not be done.
    fn unmount(mut self) -> Result<String, Error> {
        let said = loops::run(Command::new("umount").arg(&self.point))?;
        if let Some(device) = self.device.take() {
            loops::detach(&device)?;
        }
        Ok(said)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(device) = self.device.take() {
            // Where it was never mounted, this says so and does nothing.
            drop(loops::run(Command::new("umount").arg("--lazy").arg(&self.point)));
            drop(loops::detach(&device));
        }
        drop(fs::remove_dir(&self.point));
    }
}

/// The bytes that the files below a folder take, with a block for each.
fn bytes_below(folder: &Path) -> Result<u64, Error> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        let found = fs::symlink_metadata(&path).map_err(io("look at", &path))?;
        sum += found.blocks() * super::SECTOR + BLOCK;
        if found.is_dir() {
            sum += bytes_below(&path)?;
        }
    }
    Ok(sum)
}

/// What a filesystem spends on a file besides its data: an inode and a directory entry.
const BLOCK: u64 = 4096;
/// What a filesystem takes for itself: the log of XFS above all, which is 64 MiB and more.
const OVERHEAD: u64 = 128 << 20;

/// The size of a volume that holds so many bytes and a fifth more.
fn gib_for(bytes: u64) -> u32 {
    let wanted = bytes.saturating_add(bytes / 5).saturating_add(OVERHEAD);
    u32::try_from(wanted.div_ceil(GIB)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_a_fifth_larger_than_its_content() {
        assert_eq!(gib_for(0), 1);
        assert_eq!(gib_for(700 << 20), 1);
        assert_eq!(gib_for(1 << 30), 2);
        assert_eq!(gib_for(10 << 30), 13);
    }
}
