//! Finds and releases what the kernel still holds below the state folder: mounts and loop devices.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{major, minor};
use rustix::mount::{UnmountFlags, unmount};
use serde::Deserialize;

use crate::command::run;
use crate::layout::Layout;

/// How long a loop device may take to vanish after its last user was killed.
const DETACH_TIMEOUT: Duration = Duration::from_secs(10);

/// The mount points at or below the state folder in this process's mount namespace, the latest first.
pub(crate) fn mounts_below(layout: &Layout) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    let mut found = mount_points(&table);
    found.retain(|point| layout.contains(point));
    found.reverse();
    Ok(found)
}

/// The mount points of a mountinfo table, see proc(5). Escaped characters stay escaped: no state folder has any.
fn mount_points(table: &str) -> Vec<PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Unmounts everything at or below the state folder in this process's mount namespace.
pub(crate) fn unmount_below(layout: &Layout) -> Result<()> {
    for point in mounts_below(layout)? {
        let path = point.to_string_lossy().replace("\\040", " ");
        let clean = unmount(path.as_str(), UnmountFlags::NOFOLLOW);
        let lazily = || unmount(path.as_str(), UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
        clean.or_else(|_| lazily()).with_context(|| format!("cannot unmount {path}"))?;
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct LoopList {
    loopdevices: Vec<LoopDevice>,
}

/// One attached loop device, as `losetup --json` shows it.
#[derive(Debug, Deserialize)]
struct LoopDevice {
    name: PathBuf,
    #[serde(rename = "back-file")]
    file: Option<PathBuf>,
    #[serde(rename = "back-ino")]
    inode: Option<serde_json::Value>,
    #[serde(rename = "back-maj:min")]
    device: Option<String>,
}

impl LoopDevice {
    /// The file system and the inode of the backing file, as losetup prints them.
    fn backing(&self) -> Option<(String, String)> {
        let inode = match self.inode.as_ref()? {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((self.device.as_ref()?.trim().to_owned(), inode))
    }
}

fn parse_loop_devices(json: &str) -> Result<Vec<LoopDevice>> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let list: LoopList = serde_json::from_str(json).context("cannot read the list of loop devices")?;
    Ok(list.loopdevices)
}

/// The loop devices whose backing files lie below the state folder, also those attached inside a node, where the
/// file has another path.
pub(crate) fn loop_devices_below(layout: &Layout) -> Result<Vec<PathBuf>> {
    let columns = "NAME,BACK-FILE,BACK-INO,BACK-MAJ:MIN";
    let devices = parse_loop_devices(&run(&["losetup", "--list", "--json", "--output", columns])?)?;
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let inodes = files_below(&layout.root);
    let by_path = |device: &LoopDevice| device.file.as_ref().is_some_and(|file| layout.contains(file));
    let by_inode = |device: &LoopDevice| device.backing().is_some_and(|backing| inodes.contains(&backing));
    let ours = devices.into_iter().filter(|device| by_path(device) || by_inode(device));
    Ok(ours.map(|device| device.name).collect())
}

/// File system and inode of every regular file below `folder`, except in containerd's image store.
fn files_below(folder: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() && entry.file_name() != "containerd" {
            found.append(&mut files_below(&entry.path()));
        } else if metadata.is_file() {
            let device = format!("{}:{}", major(metadata.dev()), minor(metadata.dev()));
            found.insert((device, metadata.ino().to_string()));
        }
    }
    found
}

/// Detaches the loop devices whose backing files lie below the state folder, blocking the thread while their last
/// users (mount namespaces that the kernel is still dismantling) go away.
pub(crate) fn detach_loop_devices(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + DETACH_TIMEOUT;
    loop {
        let devices = loop_devices_below(layout)?;
        if devices.is_empty() {
            return Ok(());
        }
        for device in &devices {
            // A device that vanished meanwhile, or is busy still, is seen in the next round.
            let _ = run(&["losetup", "--detach", &device.to_string_lossy()]);
        }
        if Instant::now() > deadline {
            bail!("loop devices stay in use: {devices:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_the_fifth_field() {
        let table = "22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:5 / /dev rw shared:2 - devtmpfs devtmpfs rw\n";
        assert_eq!(mount_points(table), [PathBuf::from("/"), PathBuf::from("/dev")]);
    }

    #[test]
    fn a_loop_list_is_read_with_numbers_or_texts_as_inodes() {
        let json = r#"{"loopdevices": [
            {"name":"/dev/loop0", "back-file":"/s/a", "back-ino":17, "back-maj:min":" 254:0"},
            {"name":"/dev/loop1", "back-file":null, "back-ino":"18", "back-maj:min":"254:0"}]}"#;
        let devices = parse_loop_devices(json).unwrap();
        assert_eq!(devices[0].backing(), Some(("254:0".into(), "17".into())));
        assert_eq!(devices[1].backing(), Some(("254:0".into(), "18".into())));
        assert!(parse_loop_devices("\n").unwrap().is_empty());
    }

    #[test]
    fn files_are_found_by_inode_except_in_the_image_store() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("n1/containerd")).unwrap();
        fs::write(folder.path().join("n1/containerd/layer"), "").unwrap();
        fs::write(folder.path().join("n1/volume"), "").unwrap();
        let inode = fs::metadata(folder.path().join("n1/volume")).unwrap().ino().to_string();
        let found: Vec<_> = files_below(folder.path()).into_iter().map(|(_, inode)| inode).collect();
        assert_eq!(found, [inode]);
    }
}
