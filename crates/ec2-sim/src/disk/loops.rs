//! Loop devices: which there are, and losetup to make and remove them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::STORE;
use crate::error::{Error, io};

/// Where the kernel lists block devices.
const SYS_BLOCK: &str = "/sys/block";

/// What the kernel appends to the name of a backing file that has been replaced or removed.
const DELETED: &str = " (deleted)";

/// A loop device that has a backing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoopDevice {
    /// Such as `loop3`.
    pub(crate) name: String,
    /// The backing file.
    pub(crate) file: PathBuf,
    /// Whether the name of the backing file stands for another file by now, or for none.
    pub(crate) cut_off: bool,
    /// Whether the device goes as soon as nobody has it open.
    pub(crate) leaving: bool,
    /// Major and minor number, as `7:3`.
    pub(crate) numbers: String,
}

impl LoopDevice {
    /// The device's node.
    pub(crate) fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Size in sectors of 512 bytes.
    pub(crate) fn sectors(&self) -> Result<u64, Error> {
        let path = Path::new(SYS_BLOCK).join(&self.name).join("size");
        let text = fs::read_to_string(&path).map_err(io("read", &path))?;
        Ok(text.trim().parse().unwrap_or(0))
    }

    fn read(name: &str) -> Option<Self> {
        let sys = Path::new(SYS_BLOCK).join(name);
        // Devices come and go while this reads; one that has gone is simply not listed.
        let backing = fs::read_to_string(sys.join("loop/backing_file")).ok()?;
        let autoclear = fs::read_to_string(sys.join("loop/autoclear")).ok()?;
        let numbers = fs::read_to_string(sys.join("dev")).ok()?;
        let backing = backing.trim_end_matches('\n');
        Some(Self {
            name: name.to_owned(),
            file: PathBuf::from(backing.strip_suffix(DELETED).unwrap_or(backing)),
            cut_off: backing.ends_with(DELETED),
            leaving: autoclear.trim() == "1",
            numbers: numbers.trim().to_owned(),
        })
    }
}

/// Every loop device with a backing file.
pub(crate) fn all() -> Result<Vec<LoopDevice>, Error> {
    let folder = Path::new(SYS_BLOCK);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))? {
        let name = entry.map_err(io("list", folder))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("loop") {
            found.extend(LoopDevice::read(&name));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The loop devices whose backing file is `file`, cut-off ones excepted.
pub(crate) fn of_file(file: &Path) -> Result<Vec<LoopDevice>, Error> {
    let mut found = all()?;
    found.retain(|device| device.file == file && !device.cut_off);
    Ok(found)
}

/// The loop devices whose backing file is an image below `folder`, cut-off ones included.
///
/// The one under the images' own filesystem is not among them: it goes with its mount.
pub(crate) fn below(folder: &Path) -> Result<Vec<LoopDevice>, Error> {
    let store = folder.join(STORE);
    let mut found = all()?;
    found.retain(|device| device.file.starts_with(folder) && device.file != store);
    Ok(found)
}

/// A writable loop device on the file: the one there is, or a new one.
pub(crate) fn attach(file: &Path) -> Result<LoopDevice, Error> {
    if let Some(device) = of_file(file)?.into_iter().next() {
        if device.leaving {
            // A second device on the same file would be two caches of one disk.
            return Err(Error::Io {
                doing: "attach",
                path: file.to_owned(),
                source: std::io::Error::new(ErrorKind::ResourceBusy, format!("its old device {} is still in use", device.name)),
            });
        }
        return Ok(device);
    }
    let arguments = ["--find", "--show", "--direct-io=off"];
    let node = run(Command::new("losetup").args(arguments).arg(file))?;
    let name = node.trim().trim_start_matches("/dev/").to_owned();
    let gone = || Error::Command { command: "losetup --find --show".to_owned(), message: format!("{name} is not in {SYS_BLOCK}") };
    let device = LoopDevice::read(&name).ok_or_else(gone)?;
    make_writable(&device)?;
    Ok(device)
}

/// A loop device can keep the read-only flag of whoever used it before.
fn make_writable(device: &LoopDevice) -> Result<(), Error> {
    let flag = Path::new(SYS_BLOCK).join(&device.name).join("ro");
    let text = fs::read_to_string(&flag).map_err(io("read", &flag))?;
    if text.trim() != "0" {
        run(Command::new("blockdev").arg("--setrw").arg(device.node()))?;
    }
    Ok(())
}

/// Asks the kernel to remove a loop device, which it does once nobody has it open.
pub(crate) fn detach(device: &LoopDevice) -> Result<(), Error> {
    // By now it may be gone, and its name may be that of somebody else's device.
    let is_ours = LoopDevice::read(&device.name).is_some_and(|now| now.file == device.file);
    if device.leaving || !is_ours {
        return Ok(());
    }
    match run(Command::new("losetup").arg("--detach").arg(device.node())) {
        Ok(_) => Ok(()),
        // It may have gone between the listing and the call.
        Err(e) => match LoopDevice::read(&device.name) {
            Some(still) if still.file == device.file => Err(e),
            _ => Ok(()),
        },
    }
}

/// Gives a loop device the size that its file has by now.
pub(crate) fn follow_size(device: &LoopDevice) -> Result<(), Error> {
    run(Command::new("losetup").arg("--set-capacity").arg(device.node())).map(drop)
}

/// As [`run`], and says which package to install when there is no such program.
pub(crate) fn run_of_package(command: &mut Command, package: &str) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let is_there = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&program).exists()));
    if !is_there {
        return Err(Error::Command { command: program, message: format!("there is no such program: install the package {package}") });
    }
    run(command)
}

/// Runs a program and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String, Error> {
    let failed = |command: &Command, message: String| Error::Command { command: format!("{command:?}").replace('"', ""), message };
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => return Err(failed(command, e.to_string())),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(failed(command, format!("{} ({})", text.trim(), output.status)))
}
