//! Where the images lie when the data folder's filesystem cannot clone, through the program as it is run.
//!
//! Needs root. Without it each test says so and passes, unless `CI=true`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::devices::{assert_nothing_mounted, is_root, program, serve, until};
use crate::folders::Scene;
use crate::http::call;

/// The bytes that a file takes on disk.
fn stored(file: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&fs::metadata(file).unwrap()) * 512
}

/// Starts a volume on an instance, and returns its id and the device.
fn attached(scene: &Scene, ec2: SocketAddr) -> (String, PathBuf) {
    let instance = call(ec2, "RunInstances", "MinCount=1&MaxCount=1").text("instanceId");
    let volume = call(ec2, "CreateVolume", "Size=8&AvailabilityZone=us-east-1a").text("volumeId");
    until("the volume is available", || call(ec2, "DescribeVolumes", "").text("status") == "available");
    call(ec2, "AttachVolume", &format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/sdf"));
    let node = scene.data.join("instances").join(&instance).join("dev/nvme1n1");
    until("the device is there", || node.exists());
    (volume, node)
}

#[test]
fn a_folder_without_reflinks_gets_a_filesystem_that_has_them() {
    if !is_root("a_folder_without_reflinks_gets_a_filesystem_that_has_them") {
        return;
    }
    // A filesystem of the test's own, since that of the machine may have reflinks.
    let host = Host::new();
    let point = host.0.path().join("mount/data");
    let mut scene = Scene::new();
    scene.data.clone_from(&point);
    let (child, ec2) = serve(&point);
    scene.child = Some(child);
    let (volume, node) = attached(&scene, ec2);
    fs::OpenOptions::new().write(true).open(&node).unwrap().write_all_at(&vec![7; 64 << 20], 0).unwrap();
    let store = point.join("xfs.img");
    let snapshot = call(ec2, "CreateSnapshot", &format!("VolumeId={volume}")).text("snapshotId");
    let clone = point.join("snapshots").join(format!("{snapshot}.img"));
    assert!(stored(&store) < 250 << 20, "{} bytes: the snapshot shares the 64 MiB of the volume", stored(&store));
    assert_eq!((stored(&clone) >= 64 << 20, fs::metadata(&clone).unwrap().len()), (true, 8 << 30));
    // A killed simulator leaves the mount, the next one goes on with it, and down takes it away.
    scene.kill();
    let (child, ec2) = serve(&point);
    scene.child = Some(child);
    assert_eq!(call(ec2, "DescribeSnapshots", "").text("snapshotId"), snapshot);
    assert!(clone.exists());
    scene.kill();
    assert!(scene.on_data(&["down"]).status.success());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(point.join("xfs").to_str().unwrap()), "{mounts}");
    // A stopped simulator's volumes are found again.
    let (child, _) = serve(&point);
    scene.child = Some(child);
    assert!(clone.exists());
}

#[test]
fn a_stop_that_leaves_nothing_attached_leaves_nothing_mounted() {
    if !is_root("a_stop_that_leaves_nothing_attached_leaves_nothing_mounted") {
        return;
    }
    let host = Host::new();
    let mut scene = Scene::new();
    scene.data = host.0.path().join("mount/data");
    let (mut child, ec2) = serve(&scene.data);
    let (volume, node) = attached(&scene, ec2);
    fs::OpenOptions::new().write(true).open(&node).unwrap().write_all_at(b"kept", 4096).unwrap();
    call(ec2, "DetachVolume", &format!("VolumeId={volume}"));
    until("the volume is free", || call(ec2, "DescribeVolumes", "").texts("status") == ["available"]);
    terminate(&mut child);
    assert_nothing_mounted(&scene.data);
    let (child, ec2) = serve(&scene.data);
    scene.child = Some(child);
    assert_eq!(call(ec2, "DescribeVolumes", "").texts("volumeId"), [volume.as_str()]);
    let mut bytes = [0; 4];
    let image = fs::File::open(scene.data.join("volumes").join(format!("{volume}.img"))).unwrap();
    image.read_exact_at(&mut bytes, 4096).unwrap();
    assert_eq!(&bytes, b"kept");
}

/// Stops a simulator as a person does, and waits for it.
fn terminate(child: &mut Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_the_tools_snapshots_are_copies_and_the_log_says_so() {
    if !is_root("without_the_tools_snapshots_are_copies_and_the_log_says_so") {
        return;
    }
    let host = Host::new();
    let mut scene = Scene::new();
    scene.data = host.0.path().join("mount/data");
    // A machine that has what loop devices need, and no mkfs.xfs.
    let tools = host.0.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for name in ["losetup", "blockdev", "mount", "umount"] {
        let found =
            ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name)).into_iter().find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), tools.join(name)).unwrap();
    }
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--profile", "instant", "--log", "warn", "--data-dir"]).arg(&scene.data);
    let mut child = command.env("PATH", &tools).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ec2 = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    let mut warning = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut warning).unwrap();
    scene.child = Some(child);
    assert!(warning.contains("snapshots are copies") && warning.contains("xfsprogs"), "{warning}");
    let (volume, node) = attached(&scene, ec2);
    let device = fs::OpenOptions::new().write(true).open(&node).unwrap();
    device.write_all_at(b"before", 3 << 30).unwrap();
    let snapshot = call(ec2, "CreateSnapshot", &format!("VolumeId={volume}")).text("snapshotId");
    device.write_all_at(b"behind", 3 << 30).unwrap();
    let mut bytes = [0; 6];
    let copy = fs::File::open(scene.data.join("snapshots").join(format!("{snapshot}.img"))).unwrap();
    copy.read_exact_at(&mut bytes, 3 << 30).unwrap();
    assert_eq!(&bytes, b"before");
    assert!(!scene.data.join("xfs.img").exists() && !scene.data.join("xfs").exists());
}

/// A folder with an ext4 of its own below `mount`.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, point) = (folder.path().join("disk.img"), folder.path().join("mount"));
        assert!(Command::new("truncate").args(["--size", "4G"]).arg(&image).status().unwrap().success());
        assert!(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().unwrap().success());
        fs::create_dir(&point).unwrap();
        assert!(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point).status().unwrap().success());
        Self(folder)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let unmount = || Command::new("umount").arg(self.0.path().join("mount")).stderr(Stdio::null()).status();
        if std::thread::panicking() {
            drop(unmount());
            return;
        }
        // The loop device on it goes a moment after its mount.
        until("the filesystem of the test is unmounted", || unmount().unwrap().success());
    }
}
