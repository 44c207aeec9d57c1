//! From an EBS volume to the block device that carries it: by the serial number that the device itself reports.
//!
//! Names and udev links are never trusted: they go stale and once mounted the wrong volume
//! (kubernetes-sigs/aws-ebs-csi-driver issue 1224).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{GiB, VolumeId};

/// Where the kernel's view of devices is; other folders than `/dev` and `/sys` in tests and on the simulator.
#[derive(Clone, Debug)]
pub struct DeviceTree {
    /// Holds the device nodes.
    pub dev: PathBuf,
    /// Holds `block/<name>/device/serial`.
    pub sys: PathBuf,
}

/// The device of a volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its kernel name, such as `nvme1n1`.
    pub name: String,
    /// Its node.
    pub path: PathBuf,
    /// `major:minor`, as the mount table spells it.
    pub numbers: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Bytes of a sector in `/sys/block/*/size`, whatever the device's own are. Source: Linux `include/linux/blk_types.h`.
const SECTOR_BYTES: u64 = 512;

impl DeviceTree {
    /// The device whose serial is the volume's; `None` while there is none.
    pub fn find(&self, volume: &VolumeId) -> io::Result<Option<Device>> {
        let serial = volume.nvme_serial();
        let blocks = match fs::read_dir(self.sys.join("block")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            blocks => blocks?,
        };
        for entry in blocks {
            let folder = entry?.path();
            if read_trimmed(&folder.join("device/serial")).as_deref() == Some(&serial) {
                return Ok(self.device(&folder));
            }
        }
        Ok(None)
    }

    /// `None` while the kernel has not filled in everything.
    fn device(&self, folder: &Path) -> Option<Device> {
        let name = folder.file_name()?.to_str()?.to_owned();
        let sectors: u64 = read_trimmed(&folder.join("size"))?.parse().ok()?;
        let path = self.dev.join(&name);
        path.exists().then_some(())?;
        Some(Device { path, numbers: read_trimmed(&folder.join("dev"))?, size_bytes: sectors * SECTOR_BYTES, name })
    }
}

impl Device {
    /// The same numbers as one, as `st_dev` of files on it.
    pub fn number(&self) -> Option<u64> {
        let (major, minor) = self.numbers.split_once(':')?;
        Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
    }

    /// Whether it can be the volume that was asked for: a smaller one is a mistake.
    pub fn holds(&self, size: GiB) -> bool {
        self.size_bytes >= size.bytes()
    }
}

fn read_trimmed(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(serials: &[(&str, &str)]) -> (tempfile::TempDir, DeviceTree) {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        let tree = DeviceTree { dev: root.path().join("dev"), sys: root.path().join("sys") };
        fs::create_dir_all(&tree.dev).expect("the folder is ours");
        for (index, (name, serial)) in serials.iter().enumerate() {
            let block = tree.sys.join("block").join(name);
            fs::create_dir_all(block.join("device")).expect("the folder is ours");
            fs::write(block.join("device/serial"), format!("{serial} \n")).expect("the folder is ours");
            fs::write(block.join("size"), "2097152\n").expect("the folder is ours");
            fs::write(block.join("dev"), format!("259:{index}\n")).expect("the folder is ours");
            fs::write(tree.dev.join(name), "").expect("the folder is ours");
        }
        (root, tree)
    }

    #[test]
    fn a_volume_is_found_by_its_serial_whatever_its_name() {
        let (_root, tree) = tree(&[("nvme0n1", "vol0aaa"), ("nvme1n1", "vol0bbb")]);
        let device = tree.find(&"vol-0bbb".into()).expect("the tree is readable").expect("it is there");
        assert_eq!((device.name.as_str(), device.numbers.as_str()), ("nvme1n1", "259:1"));
        assert_eq!(device.number(), Some(rustix::fs::makedev(259, 1)));
        assert!(device.holds(GiB(1)) && !device.holds(GiB(2)));
    }

    #[test]
    fn a_serial_that_only_begins_alike_is_another_volume() {
        let (_root, tree) = tree(&[("nvme0n1", "vol0aaa1")]);
        assert_eq!(tree.find(&"vol-0aaa".into()).expect("the tree is readable"), None);
    }

    #[test]
    fn a_device_without_its_node_is_not_there_yet() {
        let (_root, tree) = tree(&[("nvme0n1", "vol0aaa")]);
        fs::remove_file(tree.dev.join("nvme0n1")).expect("it was made above");
        assert_eq!(tree.find(&"vol-0aaa".into()).expect("the tree is readable"), None);
    }
}
