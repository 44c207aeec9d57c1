//! A fresh filesystem for a source and its copies.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::thread::UnshareFlags;
use tempfile::TempDir;

/// On what trees are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
}

/// A mounted filesystem. The mount is seen by the thread that made it and its children alone, and goes with them, so
/// that nothing is left behind by a test that dies.
pub(crate) struct Ground(TempDir);

impl Ground {
    pub(crate) fn new(kind: Kind, size_mib: u64) -> Self {
        own_mounts();
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("mnt"));
        std::fs::create_dir(&at).unwrap();
        let program = match kind {
            Kind::Ext4 => "mkfs.ext4",
            Kind::Xfs => "mkfs.xfs",
            Kind::Btrfs => "mkfs.btrfs",
            Kind::Tmpfs => {
                mount("treesync-test", &at, "tmpfs", MountFlags::empty(), None).unwrap();
                return Self(folder);
            }
        };
        File::create(&image).unwrap().set_len(size_mib << 20).unwrap();
        run(Command::new(program).arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        Self(folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("mnt")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What is open in it goes first; the loop device is given back with the mount.
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// Gives this thread mounts of its own.
fn own_mounts() {
    #[expect(unsafe_code, reason = "only the mounts and the working directory of this thread become its own; no descriptor is")]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS).unwrap();
    }
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
