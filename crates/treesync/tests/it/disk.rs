//! Real filesystems in image files, mounted for one test and gone with it.

use crate::stage::is_root_or_skipped;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a filesystem may be busy after who used it has ended. Much, since a machine may be loaded; a descriptor that is leaked
/// stays for good.
const BUSY_AT_MOST: Duration = Duration::from_secs(30);

/// A kind of filesystem that a test wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
}

/// A mounted filesystem of its own.
pub struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Disk {
    /// None, loudly, where it cannot be: no root, or no program to make it.
    pub fn new(format: Format, test: &str) -> Option<Self> {
        if !is_root_or_skipped(test) {
            return None;
        }
        let maker: &[&str] = match format {
            Format::Ext4 => &["mkfs.ext4", "-q", "-F"],
            Format::Xfs => &["mkfs.xfs", "-q", "-f"],
            Format::Btrfs => &["mkfs.btrfs", "-q", "-f"],
            Format::Tmpfs => &[],
        };
        if let Some(program) = maker.first()
            && !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).exists())
        {
            assert!(std::env::var_os("CI").is_none(), "{test} needs {program}, and CI must run everything");
            eprintln!("SKIPPED {test} on {format:?}: {program} is not installed");
            return None;
        }
        let mut disk = Self { folder: tempfile::tempdir().unwrap(), is_mounted: false };
        std::fs::create_dir(disk.path()).unwrap();
        if maker.is_empty() {
            run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(disk.path()));
        } else {
            let image = disk.folder.path().join("image");
            // Sparse; 320 MiB is the least that XFS takes.
            std::fs::File::create(&image).unwrap().set_len(320 * 1024 * 1024).unwrap();
            run(Command::new(maker[0]).args(&maker[1..]).arg(&image));
            disk.mount();
        }
        disk.is_mounted = true;
        Some(disk)
    }

    /// Mounts the image again.
    pub fn mount(&mut self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.folder.path().join("image")).arg(self.path()));
        self.is_mounted = true;
    }

    /// Unmounts it as its owner would: what the kernel refuses is tried again for a while, and then fails the test.
    pub fn unmount(&mut self) {
        let start = Instant::now();
        while !Command::new("umount").arg(self.path()).output().unwrap().status.success() {
            assert!(start.elapsed() < BUSY_AT_MOST, "{} is still held", self.path().display());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.is_mounted = false;
    }

    /// Clears the inode of a name, as a fault of the disk can. Only ext4, and not while it is mounted.
    pub fn damage(&self, name: &str) {
        run(Command::new("debugfs").args(["-w", "-R", &format!("clri /{name}")]).arg(self.folder.path().join("image")));
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("-l").arg(self.path()).output();
        }
    }
}
