//! Reads the kernel's mount table. Pure: text goes in, entries come out.

use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mount {
    /// `major:minor` of the device.
    pub device: String,
    /// The directory of the filesystem that is shown: `/` for all of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Whether this mount is read-only.
    pub is_read_only: bool,
    /// The filesystem, such as `xfs`.
    pub filesystem: String,
}

/// Parses the table; lines that the kernel could not have written are left out.
///
/// Source: Linux `Documentation/filesystems/proc.rst`, section 3.5.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let fields: Vec<&str> = before.split(' ').collect();
    let [_id, _parent, device, root, point, options, ..] = fields.as_slice() else { return None };
    Some(Mount {
        device: (*device).to_owned(),
        root: PathBuf::from(unescape(root)),
        point: PathBuf::from(unescape(point)),
        is_read_only: options.split(',').any(|option| option == "ro"),
        filesystem: after.split(' ').next()?.to_owned(),
    })
}

/// Space, tab, newline and backslash are written as octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// The mounts at exactly this point, the topmost last.
pub fn at<'a>(table: &'a [Mount], point: &Path) -> Vec<&'a Mount> {
    table.iter().filter(|mount| mount.point == point).collect()
}

/// The points, other than `base`, at which a device is mounted.
pub fn others<'a>(table: &'a [Mount], device: &str, base: &Path) -> Vec<&'a Path> {
    table.iter().filter(|mount| mount.device == device && mount.point != base).map(|mount| mount.point.as_path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
40 36 7:3 / /var/lib/volume-dispatcher/volumes/shop_web-0 ro,relatime shared:7 - xfs /dev/nvme1n1 ro
41 36 7:3 / /var/lib/kubelet/pods/a\\040b/mount ro,relatime shared:7 - xfs /dev/nvme1n1 ro
garbage";

    #[test]
    fn lines_become_mounts_and_garbage_is_left_out() {
        let table = parse(TABLE);
        assert_eq!(table.len(), 3);
        assert_eq!(table[0].filesystem, "ext3");
        assert_eq!((table[0].root.as_path(), table[1].root.as_path()), (Path::new("/mnt1"), Path::new("/")));
        assert!(!table[0].is_read_only && table[1].is_read_only);
        assert_eq!(table[2].point, Path::new("/var/lib/kubelet/pods/a b/mount"));
    }

    #[test]
    fn the_users_of_a_device_are_its_other_mount_points() {
        let table = parse(TABLE);
        let base = Path::new("/var/lib/volume-dispatcher/volumes/shop_web-0");
        assert_eq!(at(&table, base).len(), 1);
        assert_eq!(others(&table, "7:3", base), [Path::new("/var/lib/kubelet/pods/a b/mount")]);
        assert!(others(&table, "98:0", Path::new("/mnt2")).is_empty());
    }
}
