//! The data plane for real: files, loop devices and device nodes, through the program as it is run.
//!
//! Needs root. Without it each test says so and passes, unless `CI=true`.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::http::Answer;

/// How long a change that takes a fraction of a second may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the test can run; says why not.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || std::env::var("CI").as_deref() != Ok("true"), "{test} needs root, and CI must not skip it");
    if !root {
        // Written past the capture of the test runner, which hides what a passing test prints.
        std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {test}: loop devices and device nodes need root\n").as_bytes())
            .unwrap();
    }
    root
}

/// The program on a folder of its own; dropping it takes everything down.
struct Simulator {
    folder: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
}

impl Simulator {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, address) = serve(folder.path());
        Self { folder, child, address }
    }

    /// The program ends as in a crash.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        (self.child, self.address) = serve(self.folder.path());
    }

    fn call(&self, action: &str, rest: &str) -> Answer {
        let answer = crate::http::call(self.address, action, rest);
        assert_eq!(answer.status, 200, "{action} {rest}: {}", answer.body);
        answer
    }

    fn instance(&self) -> String {
        let id = self.call("RunInstances", "MinCount=1&MaxCount=1").text("instanceId");
        until("the instance runs", || self.call("DescribeInstances", "").text("name") == "running");
        id
    }

    fn create(&self, rest: &str) -> String {
        let id = self.call("CreateVolume", &format!("AvailabilityZone=us-east-1a&{rest}")).text("volumeId");
        self.until_status(&id, "available");
        id
    }

    /// Attaches and returns the device node.
    fn attach(&self, volume: &str, instance: &str, device: &str) -> PathBuf {
        self.call("AttachVolume", &format!("VolumeId={volume}&InstanceId={instance}&Device={device}"));
        self.until_status(volume, "attached");
        self.node_of(volume, instance)
    }

    /// Finds the device of a volume as a node agent does: by its serial number.
    fn node_of(&self, volume: &str, instance: &str) -> PathBuf {
        let root = self.folder.path().join("instances").join(instance);
        let serial = volume.replace('-', "") + "\n";
        for entry in fs::read_dir(root.join("sys/block")).unwrap() {
            let entry = entry.unwrap();
            if fs::read_to_string(entry.path().join("device/serial")).is_ok_and(|s| s == serial) {
                return root.join("dev").join(entry.file_name());
            }
        }
        panic!("no device of {volume} on {instance}");
    }

    /// Waits for a status of the volume or of its attachment.
    fn until_status(&self, volume: &str, status: &str) {
        until(&format!("{volume} is {status}"), || {
            let described = self.call("DescribeVolumes", &format!("VolumeId.1={volume}"));
            described.texts("status").last().unwrap() == status
        });
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let data = self.folder.path().to_str().unwrap();
        program().args(arguments).args(["--data", data]).output().unwrap()
    }

    /// The loop devices on files of this simulator, with their backing files.
    fn loops(&self) -> Vec<(PathBuf, String)> {
        loops(self.folder.path())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let down = self.run(&["down", "--force"]);
        if !std::thread::panicking() {
            assert!(down.status.success(), "{down:?}");
            assert_eq!(self.loops(), []);
            assert_nothing_mounted(self.folder.path());
        }
    }
}

pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ec2-sim"))
}

pub(crate) fn serve(folder: &Path) -> (Child, SocketAddr) {
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--profile", "instant", "--log", "error", "--data"]);
    let mut child = command.arg(folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    (child, address.parse().unwrap())
}

pub(crate) fn loops(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap() {
        let entry = entry.unwrap();
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        // The device under the images' own filesystem, on a data folder without reflinks, goes with its mount.
        if backing.starts_with(folder.to_str().unwrap()) && !backing.trim().ends_with("/xfs.img") {
            found.push((Path::new("/dev").join(entry.file_name()), backing.trim().to_owned()));
        }
    }
    found
}

/// Nothing below a folder is mounted any more: it can be removed.
pub(crate) fn assert_nothing_mounted(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below: Vec<&str> = table.lines().filter(|line| line.contains(folder.to_str().unwrap())).collect();
    assert_eq!(below, Vec::<&str>::new());
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn write(node: &Path, at: u64, text: &[u8]) {
    OpenOptions::new().write(true).open(node).unwrap().write_all_at(text, at).unwrap();
}

fn read(node: &Path, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(node).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

#[test]
fn an_attached_volume_looks_like_an_nvme_device() {
    if !is_root("an_attached_volume_looks_like_an_nvme_device") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=3"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    assert_eq!(node.file_name().unwrap(), "nvme1n1");
    assert!(fs::metadata(&node).unwrap().file_type().is_block_device());
    let block = simulator.folder.path().join("instances").join(&instance).join("sys/block/nvme1n1");
    let text = |name: &str| fs::read_to_string(block.join(name)).unwrap();
    assert_eq!(text("device/model"), "Amazon Elastic Block Store\n");
    assert_eq!(text("size"), format!("{}\n", 3_u64 << 21));
    assert!(text("dev").starts_with("7:"));
    simulator.call("DetachVolume", &format!("VolumeId={volume}"));
    simulator.until_status(&volume, "available");
    assert!(!node.exists() && !block.exists());
    assert_eq!(simulator.loops(), []);
}

#[test]
fn a_snapshot_holds_what_the_volume_held_at_the_call() {
    if !is_root("a_snapshot_holds_what_the_volume_held_at_the_call") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    // Not synced by the writer: the snapshot must see what the device holds, in memory or not.
    write(&node, 700 << 20, b"before");
    let snapshot = simulator.call("CreateSnapshot", &format!("VolumeId={volume}")).text("snapshotId");
    write(&node, 700 << 20, b"behind");
    until("the snapshot is completed", || {
        simulator.call("DescribeSnapshots", &format!("SnapshotId.1={snapshot}")).text("status") == "completed"
    });
    let restored = simulator.create(&format!("SnapshotId={snapshot}&Size=2"));
    let copy = simulator.attach(&restored, &instance, "/dev/sdg");
    assert_eq!(copy.file_name().unwrap(), "nvme2n1");
    assert_eq!(read(&copy, 700 << 20, 6), b"before");
    assert_eq!(read(&node, 700 << 20, 6), b"behind");
    assert_eq!(read(&copy, (2 << 30) - 512, 512), vec![0; 512]);
    write(&copy, 0, b"copies are writable");
}

/// aws-ebs-csi-driver #1224, kubernetes #29324: a link or a name that was left behind leads to another volume.
#[test]
fn the_node_of_a_device_that_has_gone_is_the_next_volumes_and_only_the_serial_tells() {
    if !is_root("the_node_of_a_device_that_has_gone_is_the_next_volumes_and_only_the_serial_tells") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, first, second) = (simulator.instance(), simulator.create("Size=1"), simulator.create("Size=1"));
    let before = simulator.attach(&first, &instance, "/dev/sdf");
    write(&before, 0, b"first");
    simulator.call("DetachVolume", &format!("VolumeId={first}"));
    simulator.until_status(&first, "available");
    let after = simulator.attach(&second, &instance, "/dev/xvdba");
    assert_eq!(after, before, "the same node");
    assert_eq!(read(&before, 0, 5), [0; 5], "and another volume");
}

/// container-storage-interface/spec #482: XFS refuses a second filesystem with the identity of one that is mounted.
#[test]
fn a_restored_volume_has_the_identity_of_its_source_so_that_xfs_mounts_both_only_without_it() {
    if !is_root("a_restored_volume_has_the_identity_of_its_source_so_that_xfs_mounts_both_only_without_it") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    let made = Command::new("mkfs.xfs").arg("-q").arg(&node).output().expect("xfsprogs are installed where tests run as root");
    assert!(made.status.success(), "{made:?}");
    let snapshot = simulator.call("CreateSnapshot", &format!("VolumeId={volume}")).text("snapshotId");
    until("the snapshot is completed", || {
        simulator.call("DescribeSnapshots", &format!("SnapshotId.1={snapshot}")).text("status") == "completed"
    });
    let copy = simulator.attach(&simulator.create(&format!("SnapshotId={snapshot}")), &instance, "/dev/sdg");
    assert_eq!(read(&copy, XFS_UUID_AT, 16), read(&node, XFS_UUID_AT, 16));

    let (source_mount, copy_mount) = (Mounted::point(), Mounted::point());
    assert!(source_mount.mount(&node, "defaults"));
    assert!(!copy_mount.mount(&copy, "defaults"), "two filesystems of one identity");
    assert!(copy_mount.mount(&copy, "nouuid"));
}

/// Where an XFS filesystem keeps its identity (XFS Algorithms and Data Structures, "Superblocks").
const XFS_UUID_AT: u64 = 32;

/// A folder to mount on, unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn point() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Whether the device could be mounted with these options.
    fn mount(&self, node: &Path, options: &str) -> bool {
        let mount = Command::new("mount").args(["-t", "xfs", "-o", options]).arg(node).arg(self.0.path()).output().unwrap();
        mount.status.success()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // It is mounted only when the test came so far.
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_device_in_use_keeps_its_volume_from_being_available() {
    if !is_root("a_device_in_use_keeps_its_volume_from_being_available") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    let user = OpenOptions::new().read(true).write(true).open(&node).unwrap();
    simulator.call("DetachVolume", &format!("VolumeId={volume}&InstanceId={instance}"));
    simulator.until_status(&volume, "busy");
    assert!(!node.exists(), "the node is gone, though its user goes on");
    user.write_all_at(b"last words", 0).unwrap();
    let refused = crate::http::call(simulator.address, "DeleteVolume", &format!("VolumeId={volume}"));
    assert_eq!(refused.text("Code"), "VolumeInUse");
    drop(user);
    simulator.until_status(&volume, "available");
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    assert_eq!(read(&node, 0, 10), b"last words");
}

#[test]
fn a_forced_detach_cuts_off_whoever_still_writes() {
    if !is_root("a_forced_detach_cuts_off_whoever_still_writes") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    let zombie = OpenOptions::new().read(true).write(true).open(&node).unwrap();
    zombie.write_all_at(b"written before", 0).unwrap();
    simulator.call("DetachVolume", &format!("VolumeId={volume}&Force=true"));
    simulator.until_status(&volume, "available");
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    zombie.write_all_at(b"written behind", 0).unwrap();
    zombie.sync_all().unwrap();
    assert_eq!(read(&node, 0, 14), b"written before");
    drop(zombie);
    until("the old device is gone", || simulator.loops().len() == 1);
}

#[test]
fn after_a_crash_and_a_reboot_the_devices_are_there_again() {
    if !is_root("after_a_crash_and_a_reboot_the_devices_are_there_again") {
        return;
    }
    let mut simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let stray = simulator.create("Size=1");
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    write(&node, 4096, b"kept");
    simulator.kill();
    // A crash alone: the device stays, and is used again.
    let before = simulator.loops();
    simulator.restart();
    simulator.until_status(&volume, "attached");
    assert_eq!(simulator.loops(), before);
    simulator.kill();
    // What a reboot takes away, and a device that no attachment wants.
    losetup(&["--detach", simulator.loops()[0].0.to_str().unwrap()]);
    fs::remove_dir_all(simulator.folder.path().join("instances")).unwrap();
    let image = simulator.folder.path().join("volumes").join(format!("{stray}.img"));
    losetup(&["--find", image.to_str().unwrap()]);
    simulator.restart();
    until("the device is shown again", || node.exists());
    assert_eq!(read(&node, 4096, 4), b"kept");
    assert_eq!(simulator.loops().len(), 1, "the stray device is gone");
}

pub(crate) fn losetup(arguments: &[&str]) {
    assert!(Command::new("losetup").args(arguments).status().unwrap().success());
}

#[test]
fn down_leaves_only_files_and_refuses_while_something_is_in_the_way() {
    if !is_root("down_leaves_only_files_and_refuses_while_something_is_in_the_way") {
        return;
    }
    let mut simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    let running = simulator.run(&["down"]);
    assert!(!running.status.success() && String::from_utf8_lossy(&running.stderr).contains("running simulator"), "{running:?}");
    let mount = simulator.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    assert!(Command::new("mkfs.ext4").arg("-q").arg(&node).status().unwrap().success());
    assert!(Command::new("mount").arg(&node).arg(&mount).status().unwrap().success());
    simulator.kill();
    let mounted = simulator.run(&["down"]);
    let text = String::from_utf8_lossy(&mounted.stdout);
    assert!(!mounted.status.success() && text.contains(mount.to_str().unwrap()), "{mounted:?}");
    assert_eq!(simulator.loops().len(), 1, "nothing was changed");
    let forced = simulator.run(&["down", "--force"]);
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(simulator.loops(), []);
    assert!(!simulator.folder.path().join("instances").exists());
    let folder = simulator.folder.path();
    assert!(folder.join("xfs.img").exists() || folder.join("volumes").join(format!("{volume}.img")).exists());
    let audit = simulator.run(&["audit"]);
    assert!(audit.status.success(), "{audit:?}");
}

#[test]
fn a_terminated_instance_leaves_no_device_behind() {
    if !is_root("a_terminated_instance_leaves_no_device_behind") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    let user = File::open(&node).unwrap();
    simulator.call("TerminateInstances", &format!("InstanceId.1={instance}"));
    simulator.until_status(&volume, "available");
    until("the folder is gone", || !simulator.folder.path().join("instances").join(&instance).exists());
    drop(user);
}

#[test]
fn a_device_grows_with_its_volume_while_it_is_in_use() {
    if !is_root("a_device_grows_with_its_volume_while_it_is_in_use") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    write(&node, 4096, b"kept");
    let held = File::open(&node).unwrap();
    simulator.call("ModifyVolume", &format!("VolumeId={volume}&Size=3"));
    let state = || simulator.call("DescribeVolumesModifications", &format!("VolumeId.1={volume}")).text("modificationState");
    until("the modification is completed", || state() == "completed");
    let size = simulator.folder.path().join(format!("instances/{instance}/sys/block/nvme1n1/size"));
    assert_eq!(fs::read_to_string(size).unwrap().trim(), (3_u64 << 30 >> 9).to_string());
    write(&node, (3 << 30) - 4096, b"end");
    assert_eq!((read(&node, 4096, 4), read(&node, (3 << 30) - 4096, 3)), (b"kept".to_vec(), b"end".to_vec()));
    drop(held);
    assert_eq!(simulator.call("DescribeVolumes", &format!("VolumeId.1={volume}")).text("size"), "3");
}

#[test]
fn a_copy_of_a_volume_holds_what_it_held_at_the_call() {
    if !is_root("a_copy_of_a_volume_holds_what_it_held_at_the_call") {
        return;
    }
    let simulator = Simulator::start();
    let (instance, volume) = (simulator.instance(), simulator.create("Size=1"));
    let node = simulator.attach(&volume, &instance, "/dev/sdf");
    write(&node, 4096, b"then");
    let copy = simulator.call("CopyVolumes", &format!("SourceVolumeId={volume}&Size=2")).text("volumeId");
    write(&node, 4096, b"late");
    simulator.until_status(&copy, "available");
    let copied = simulator.attach(&copy, &instance, "/dev/sdg");
    assert_eq!(read(&copied, 4096, 4), b"then");
    write(&copied, (2 << 30) - 4096, b"end");
}
