//! Filesystems of their own in image files, that can be shut down as a crash would.

use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use treesync::tree::Root;

/// Filesystems whose crashes are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageKind {
    Ext4,
    Xfs,
}

/// What the kernel does with changes of metadata that are not in the journal yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shutdown {
    /// Writes the journal first (`FS_IOC_SHUTDOWN` with LOGFLUSH, 1).
    FlushJournal,
    /// Drops them, as a power cut does (NOLOGFLUSH, 2).
    DropJournal,
}

/// A mounted image. The mount is seen by the thread that made it and its children alone, and goes with them, so that
/// nothing is left behind by a test that dies.
pub struct Image {
    folder: TempDir,
}

impl Image {
    /// None, loudly, where images cannot be mounted.
    pub fn new(kind: ImageKind, size_mib: u64, more_options: &[&str]) -> Option<Self> {
        if !super::is_root_or_skipped(&format!("a filesystem image of {kind:?}")) {
            return None;
        }
        let (program, quiet) = match kind {
            ImageKind::Ext4 => ("mkfs.ext4", &["-q", "-F"][..]),
            ImageKind::Xfs => ("mkfs.xfs", &["-q", "-f"][..]),
        };
        if Command::new(program).arg("-V").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "{program} is needed, and CI must run everything");
            eprintln!("SKIPPED a filesystem image of {kind:?}: {program} is not installed");
            return None;
        }
        own_mounts();
        // In memory: what a crash leaves is what the filesystem wrote to its device, however fast that is.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let image = folder.path().join("image");
        File::create(&image).unwrap().set_len(size_mib << 20).unwrap();
        run(Command::new(program).args(quiet).args(more_options).arg(&image));
        std::fs::create_dir(folder.path().join("mnt")).unwrap();
        let made = Self { folder };
        made.mount();
        Some(made)
    }

    /// Another filesystem from what is on the device now, as from a snapshot of a volume.
    pub fn snapshot(&self) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        rustix::fs::syncfs(File::open(self.path()).unwrap()).unwrap();
        run(Command::new("cp").arg("--reflink=auto").arg("--sparse=always").arg(self.folder.path().join("image")).arg(folder.path()));
        std::fs::create_dir(folder.path().join("mnt")).unwrap();
        let made = Self { folder };
        made.mount();
        made
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.folder.path().join("image")).arg(self.path()));
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    pub fn root(&self) -> Root {
        Root::open(&self.path()).unwrap()
    }

    /// Mounts it again as the next boot would: on another loop device, since the cache of the old one may still have what
    /// never came to the disk. Nothing in it may be open.
    pub fn remount(&self) {
        // A process that another test starts holds our descriptors from its fork to its exec.
        let start = std::time::Instant::now();
        while let Err(error) = rustix::mount::unmount(self.path(), UnmountFlags::empty()) {
            let is_short = error == rustix::io::Errno::BUSY && start.elapsed().as_secs() < 10;
            assert!(is_short, "{} cannot be unmounted: {error}", self.path().display());
            std::thread::yield_now();
        }
        self.mount();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// Stops a filesystem dead: what is not on the disk by now never comes there.
pub fn shut_down(mount: &Path, how: Shutdown) {
    /// `FS_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`: the same number for ext4 and XFS (linux/fs.h).
    const FS_IOC_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
    let root = File::open(mount).unwrap();
    let flags: u32 = match how {
        Shutdown::FlushJournal => 1,
        Shutdown::DropJournal => 2,
    };
    #[expect(unsafe_code, reason = "the ioctl reads the u32 that is given, and no wrapper of it exists")]
    unsafe {
        rustix::ioctl::ioctl(&root, rustix::ioctl::Setter::<FS_IOC_SHUTDOWN, u32>::new(flags)).unwrap();
    }
}

/// Gives this thread mounts of its own.
fn own_mounts() {
    #[expect(unsafe_code, reason = "only the mounts and the working directory of this thread become its own; no descriptor is")]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS).unwrap();
    }
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
