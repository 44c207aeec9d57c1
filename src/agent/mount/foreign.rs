//! Whether pods of this node have a volume that another driver mounts, judged by the mount table. Pure.
//!
//! A driver mounts a volume once below the kubelet's `plugins` folder, at a `globalmount` that no pod sees, or, ours, below the
//! agent's folder. The kubelet then binds it, or a directory of it, into the folder of each pod that has it, and undoes that
//! before the driver unmounts.

use std::path::{Path, PathBuf};

use super::table::Mount;

/// How a volume is used here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Usage {
    /// By no pod. It may still be attached and mounted.
    Unused,
    /// By so many mounts in pods.
    Used {
        /// How many.
        pods: u32,
        /// Where all of it is mounted; or why it can be published from nowhere.
        base: Result<Base, &'static str>,
    },
}

/// A mount of all of a filesystem, by its driver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Base {
    /// Where.
    pub path: PathBuf,
    /// Which filesystem, such as `xfs`.
    pub filesystem: String,
}

/// Folders of the node that tell who has mounted something.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// The kubelet's.
    pub kubelet: &'a Path,
    /// Where our driver mounts volumes.
    pub own: &'a Path,
}

/// Judges the mounts of a device, given as `major:minor`.
pub fn usage(table: &[Mount], device_numbers: &str, folders: Folders<'_>) -> Usage {
    let all = || table.iter().filter(|mount| mount.device == device_numbers);
    let pods = all().filter(|mount| mount.point.starts_with(folders.kubelet.join("pods"))).count();
    if pods == 0 {
        return Usage::Unused;
    }
    let bases: Vec<&Mount> = all().filter(|mount| is_base(mount, folders)).collect();
    let base = match (bases.iter().find(|mount| !mount.is_read_only), bases.first()) {
        (Some(mount), _) => Ok(Base { path: mount.point.clone(), filesystem: mount.filesystem.clone() }),
        (None, Some(_)) => {
            Err("its driver has mounted it read-only, so that no index can be kept on it; mount it so that it can be written")
        }
        (None, None) => Err("pods have it, but its driver has mounted all of it nowhere where it could be published from"),
    };
    Usage::Used { pods: u32::try_from(pods).unwrap_or(u32::MAX), base }
}

/// Source: Kubernetes `pkg/volume/csi/csi_attacher.go`, `makeDeviceMountPath`: `plugins/kubernetes.io/csi/<driver>/<hash>/globalmount`.
fn is_base(mount: &Mount, folders: Folders<'_>) -> bool {
    let is_staged = mount.point.starts_with(folders.kubelet.join("plugins/kubernetes.io/csi")) && mount.point.ends_with("globalmount");
    mount.root == Path::new("/") && (is_staged || mount.point.starts_with(folders.own))
}

#[cfg(test)]
mod tests {
    use super::super::table::parse;
    use super::*;

    const STAGED: &str = "/var/lib/kubelet/plugins/kubernetes.io/csi/ebs.csi.aws.com/6f2b5c0c9b3de1c4a2f4b1b5/globalmount";
    const POD: &str = "/var/lib/kubelet/pods/6f1b6d0e-6a52-4c41-9a0c-0d7f7a0a3f11/volumes/kubernetes.io~csi/pvc-7d9c/mount";
    const SUB_PATH: &str = "/var/lib/kubelet/pods/6f1b6d0e-6a52-4c41-9a0c-0d7f7a0a3f11/volume-subpaths/pvc-7d9c/web/0";

    /// A line as the kernel writes it.
    fn line(root: &str, point: &str, options: &str) -> String {
        format!("812 29 259:3 {root} {point} {options},relatime shared:412 - ext4 /dev/nvme2n1 rw\n")
    }

    fn judge(lines: &[String]) -> Usage {
        let others = "\
29 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw
601 29 259:2 / /var/lib/kubelet/plugins/kubernetes.io/csi/ebs.csi.aws.com/0aa1/globalmount rw,relatime shared:300 - xfs /dev/nvme1n1 rw
602 29 0:55 / /var/lib/kubelet/pods/6f1b6d0e-6a52-4c41-9a0c-0d7f7a0a3f11/volumes/kubernetes.io~projected/token rw,relatime shared:301 - tmpfs tmpfs rw
";
        let folders = Folders { kubelet: Path::new("/var/lib/kubelet"), own: Path::new("/var/lib/volume-dispatcher/volumes") };
        usage(&parse(&(others.to_owned() + &lines.concat())), "259:3", folders)
    }

    fn used(pods: u32, path: &str) -> Usage {
        Usage::Used { pods, base: Ok(Base { path: PathBuf::from(path), filesystem: "ext4".to_owned() }) }
    }

    #[test]
    fn a_volume_is_used_while_a_pod_has_it() {
        let staged = line("/", STAGED, "rw");
        assert_eq!(judge(&[]), Usage::Unused);
        assert_eq!(judge(std::slice::from_ref(&staged)), Usage::Unused, "it is staged, and no pod has it");
        assert_eq!(judge(&[staged.clone(), line("/", POD, "rw")]), used(1, STAGED));
        assert_eq!(judge(&[line("/", POD, "ro"), staged]), used(1, STAGED), "the pod may only read it");
    }

    #[test]
    fn a_directory_in_a_pod_counts_and_is_no_base() {
        assert_eq!(judge(&[line("/", STAGED, "rw"), line("/site", SUB_PATH, "rw")]), used(1, STAGED));
        let Usage::Used { pods: 1, base: Err(words) } = judge(&[line("/site", SUB_PATH, "rw"), line("/site", STAGED, "rw")]) else {
            panic!("a directory is not all of it");
        };
        assert!(words.contains("nowhere"), "{words}");
    }

    #[test]
    fn a_mount_of_somebody_else_is_neither_pod_nor_base() {
        let elsewhere = line("/", "/mnt/look", "rw");
        assert_eq!(judge(&[line("/", STAGED, "rw"), elsewhere.clone()]), Usage::Unused);
        let Usage::Used { base: Err(_), .. } = judge(&[line("/", POD, "rw"), elsewhere]) else { panic!("it is not the driver's") };
    }

    #[test]
    fn a_volume_of_our_own_driver_is_published_from_its_base_mount() {
        let own = "/var/lib/volume-dispatcher/volumes/shop_other-0";
        assert_eq!(judge(&[line("/", own, "rw"), line("/", POD, "ro")]), used(1, own));
        assert_eq!(judge(&[line("/", own, "rw")]), Usage::Unused);
    }

    #[test]
    fn a_read_only_staging_mount_is_refused_in_words() {
        let Usage::Used { base: Err(words), .. } = judge(&[line("/", STAGED, "ro"), line("/", POD, "ro")]) else {
            panic!("no index can be kept there");
        };
        assert!(words.contains("read-only"), "{words}");
    }
}
