//! Mounts and unmounts on the node. Each call looks at the mount table first, so that calling it twice is harmless.

pub mod changes;
pub mod filesystem;
pub mod foreign;
pub mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use super::device::Device;
use filesystem::Filesystem;
use table::Mount;

/// A mount operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{operation} {path}: {source}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else is mounted where a volume belongs.
    #[error("{path} already carries device {found}, not {wanted}; unmount it by hand after finding out what it is")]
    Occupied {
        /// Where.
        path: PathBuf,
        /// The device that is there.
        found: String,
        /// The device that belongs there.
        wanted: String,
    },
    /// The device holds nothing that we mount.
    #[error("{device} holds no filesystem that can be mounted; the source must be XFS or ext4")]
    UnknownFilesystem {
        /// The device.
        device: PathBuf,
    },
}

/// What a mount allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

fn refused(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Refused { operation, path, source }
}

/// The mount table of this process, which shares the propagation of the node's.
pub fn table() -> Result<Vec<Mount>, Error> {
    let path = Path::new("/proc/self/mountinfo");
    fs::read_to_string(path).map(|text| table::parse(&text)).map_err(refused("read", path))
}

/// Whether a filesystem that is smaller than its device is grown before it is mounted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Growth {
    /// It is: a volume of a pool may be larger than what it was filled from.
    ToDevice,
    /// It is left as it is: it belongs to somebody else.
    Never,
}

/// What is to be done for a mount that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Nothing,
    MakeWritable,
    MountAnew,
}

/// A mount that pods use is never taken away from under them, nor made read-only: the filesystem is theirs too.
fn next(is_read_only: bool, mode: Mode, has_users: bool) -> Next {
    match (mode, is_read_only) {
        (Mode::ReadWrite, true) => Next::MakeWritable,
        // An agent that died while it grew the filesystem left it writable.
        (Mode::ReadOnly, false) if !has_users => Next::MountAnew,
        (Mode::ReadWrite, false) | (Mode::ReadOnly, _) => Next::Nothing,
    }
}

/// Mounts a volume's filesystem at `point`, once, and grows it to the size of the volume.
///
/// No device file, no setuid program and, for XFS, no UUID of a volume is trusted: `nodev`, `nosuid`, `nouuid`,
/// since copies of one source share a UUID and may meet on one node.
pub fn ensure_mounted(device: &Device, point: &Path, mode: Mode, growth: Growth) -> Result<(), Error> {
    fs::create_dir_all(point).map_err(refused("create directory", point))?;
    let all = table()?;
    if let Some(top) = table::at(&all, point).last() {
        occupied(top, &device.numbers, point)?;
        let has_users = !table::others(&all, &device.numbers, point).is_empty();
        match next(top.is_read_only, mode, has_users) {
            Next::Nothing => return Ok(()),
            Next::MakeWritable => {
                let flags = MountFlags::NODEV | MountFlags::NOSUID;
                return mount_remount(point, flags, "").map_err(|error| refused("make writable", point)(error.into()));
            }
            Next::MountAnew => unmount(point, UnmountFlags::NOFOLLOW).map_err(|error| refused("unmount", point)(error.into()))?,
        }
    }
    let found = filesystem::detect(&device.path).map_err(refused("read", &device.path))?;
    let found = found.ok_or_else(|| Error::UnknownFilesystem { device: device.path.clone() })?;
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    let restricted = if mode == Mode::ReadOnly { flags | MountFlags::RDONLY } else { flags };
    let must_grow = growth == Growth::ToDevice && found.is_smaller_than(device.size_bytes);
    match found.kind {
        Filesystem::Ext4 => {
            if must_grow {
                grow_ext4(&device.path)?;
            }
            attach_filesystem(device, point, found.kind, restricted)
        }
        Filesystem::Xfs if must_grow => {
            attach_filesystem(device, point, found.kind, flags)?;
            if let Err(error) = tool("xfs_growfs", &[point], &[0]) {
                // What is mounted is always grown: a pod must not find less than was promised.
                unmount(point, UnmountFlags::NOFOLLOW).map_err(|error| refused("unmount", point)(error.into()))?;
                return Err(error);
            }
            mount_remount(point, restricted, "").map_err(|error| refused("restrict", point)(error.into()))
        }
        Filesystem::Xfs => attach_filesystem(device, point, found.kind, restricted),
    }
}

fn attach_filesystem(device: &Device, point: &Path, kind: Filesystem, flags: MountFlags) -> Result<(), Error> {
    let options = match kind {
        Filesystem::Xfs => c"nouuid",
        Filesystem::Ext4 => c"",
    };
    mount(&device.path, point, kind.as_str(), flags, options).map_err(|error| refused("mount", point)(error.into()))
}

/// Grows ext4 while it is not mounted: the kernel would ask for `CAP_SYS_RESOURCE`, which the agent has given up
/// (Linux `fs/ext4/resize.c`, `ext4_resize_begin`). The check replays the journal, and resize2fs insists on it.
fn grow_ext4(device: &Path) -> Result<(), Error> {
    // 1: errors were corrected. Source: e2fsck(8), "EXIT CODE".
    tool("e2fsck", &[Path::new("-fp"), device], &[0, 1])?;
    tool("resize2fs", &[device], &[0])
}

/// Runs a filesystem's own program; its last words are the error.
fn tool(program: &'static str, arguments: &[&Path], good: &[i32]) -> Result<(), Error> {
    let path = arguments.last().map_or(Path::new(""), |path| path);
    let output = Command::new(program).args(arguments).output().map_err(refused(program, path))?;
    if output.status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    Err(refused(program, path)(io::Error::other(words.join(" "))))
}

fn occupied(top: &Mount, wanted: &str, point: &Path) -> Result<(), Error> {
    if top.device == wanted {
        return Ok(());
    }
    Err(Error::Occupied { path: point.to_owned(), found: top.device.clone(), wanted: wanted.to_owned() })
}

/// Shows the mount `base` at `target` too, once, with the given restrictions.
pub fn ensure_bound(base: &Path, device_numbers: &str, target: &Path, mode: Mode, options: MountFlags) -> Result<(), Error> {
    fs::create_dir_all(target).map_err(refused("create directory", target))?;
    match table::at(&table()?, target).last() {
        Some(top) => occupied(top, device_numbers, target)?,
        None => mount_bind(base, target).map_err(|error| refused("bind", target)(error.into()))?,
    }
    let mut flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | options;
    if mode == Mode::ReadOnly {
        flags |= MountFlags::RDONLY;
    }
    mount_remount(target, flags, "").map_err(|error| refused("restrict", target)(error.into()))
}

/// Unmounts whatever is at `point`, however often, and removes the empty directory. What is busy stays as it is.
///
/// Never removes anything below the directory: a mount that hides there keeps its content.
pub fn ensure_unmounted(point: &Path) -> Result<(), Error> {
    for _ in table::at(&table()?, point) {
        unmount(point, UnmountFlags::NOFOLLOW).map_err(|error| refused("unmount", point)(error.into()))?;
    }
    match fs::remove_dir(point) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("remove directory", point)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_in_use_is_made_writable_but_never_taken_away() {
        assert_eq!(next(true, Mode::ReadWrite, true), Next::MakeWritable);
        assert_eq!(next(false, Mode::ReadOnly, true), Next::Nothing);
        assert_eq!(next(false, Mode::ReadOnly, false), Next::MountAnew);
        assert_eq!((next(true, Mode::ReadOnly, false), next(false, Mode::ReadWrite, false)), (Next::Nothing, Next::Nothing));
    }
}
