//! Who has a device mounted, in any mount namespace of the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A mount of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// A process of the mount namespace.
    pub(crate) process: u32,
    /// Where the device is mounted, as that process sees it.
    pub(crate) point: String,
}

/// The mounts of the device with these numbers (`7:3`), each namespace once.
pub(crate) fn of_device(numbers: &str) -> Vec<Mount> {
    let mut namespaces: BTreeMap<PathBuf, u32> = BTreeMap::new();
    for process in processes() {
        // A process that ended meanwhile, or that may not be looked at, is passed over.
        if let Ok(namespace) = fs::read_link(format!("/proc/{process}/ns/mnt")) {
            namespaces.entry(namespace).or_insert(process);
        }
    }
    let mut found = Vec::new();
    for process in namespaces.into_values() {
        let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
        found.extend(points(&table, numbers).into_iter().map(|point| Mount { process, point }));
    }
    found
}

fn processes() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<u32> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    found.sort_unstable();
    found
}

/// The mount points of a device in the text of a `mountinfo` file, innermost first.
fn points(table: &str, numbers: &str) -> Vec<String> {
    let mut found: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let device = fields.nth(2)?;
            let point = fields.nth(1)?;
            (device == numbers).then(|| unescape(point))
        })
        .collect();
    found.reverse();
    found
}

/// Undoes the octal escapes of spaces and the like.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let code = digits.and_then(|d| u8::from_str_radix(d, 8).ok());
        if let (b'\\', Some(code)) = (first, code) {
            plain.push(code);
            rest = &after[3..];
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_by_device_number() {
        let table = "\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
90 24 7:3 / /mnt/with\\040space rw - xfs /dev/loop3 rw
91 24 7:31 / /mnt/other rw - xfs /dev/loop31 rw
92 90 7:3 /sub /mnt/bind rw shared:5 - xfs /dev/loop3 rw
";
        assert_eq!(points(table, "7:3"), ["/mnt/bind", "/mnt/with space"]);
    }
}
