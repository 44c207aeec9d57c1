//! Commands on data folders, through the program as it is run: import-volume and gc.
//!
//! Needs root. Without it each test says so and passes, unless `CI=true`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::devices::{assert_nothing_mounted, is_root, loops, losetup, program, serve, until};
use crate::http::call;

/// A folder with a data folder and a tree to import, and the simulator on it when there is one.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) data: PathBuf,
    pub(crate) child: Option<Child>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("deep/er")).unwrap();
        fs::write(tree.join("deep/er/file"), b"content").unwrap();
        fs::write(tree.join("script"), b"#!/bin/sh\n").unwrap();
        fs::set_permissions(tree.join("script"), fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("script", tree.join("link")).unwrap();
        Self { data: folder.path().join("data"), folder, child: None }
    }

    fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Runs a command on the data folder.
    pub(crate) fn on_data(&self, arguments: &[&str]) -> Output {
        let data = self.data();
        run(&[arguments, &["--data-dir", data.to_str().unwrap()]].concat())
    }

    fn import(&self, more: &[&str]) -> Output {
        let tree = self.folder.path().join("tree");
        run(&[&["import-volume", "--from", tree.to_str().unwrap()], more].concat())
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill();
        if self.data().exists() {
            let down = self.on_data(&["down", "--force"]);
            if !std::thread::panicking() {
                assert!(down.status.success(), "{down:?}");
                assert_eq!(loops(self.folder.path()), []);
                assert_nothing_mounted(self.folder.path());
            }
        }
    }
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// The line that a command printed, when it succeeded.
#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a command complained of.
#[track_caller]
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Attaches a volume to a new instance and checks that the tree is on it.
fn assert_holds_the_tree(scene: &Scene, ec2: SocketAddr, volume: &str) {
    let instance = call(ec2, "RunInstances", "MinCount=1&MaxCount=1").text("instanceId");
    until("the volume is available", || call(ec2, "DescribeVolumes", &format!("VolumeId.1={volume}")).text("status") == "available");
    until("the instance runs", || call(ec2, "DescribeInstances", &format!("InstanceId.1={instance}")).text("name") == "running");
    call(ec2, "AttachVolume", &format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/sdf"));
    let node = scene.data().join("instances").join(&instance).join("dev/nvme1n1");
    until("the device is there", || node.exists());
    let point = scene.folder.path().join("mount");
    fs::create_dir_all(&point).unwrap();
    assert!(Command::new("mount").arg(&node).arg(&point).status().unwrap().success());
    let compared =
        Command::new("diff").args(["--recursive", "--no-dereference"]).arg(scene.folder.path().join("tree")).arg(&point).output();
    let mode = fs::metadata(point.join("script")).map(|found| found.permissions().mode() & 0o777);
    assert!(Command::new("umount").arg(&point).status().unwrap().success());
    let compared = String::from_utf8_lossy(&compared.unwrap().stdout).into_owned();
    let differences: Vec<&str> = compared.lines().filter(|line| !line.ends_with("lost+found")).collect();
    assert_eq!(differences, Vec::<&str>::new());
    assert_eq!(mode.unwrap(), 0o750);
}

#[test]
fn a_volume_is_imported_into_a_folder_that_rests() {
    if !is_root("a_volume_is_imported_into_a_folder_that_rests") {
        return;
    }
    for filesystem in ["ext4", "xfs"] {
        let mut scene = Scene::new();
        let data = scene.data();
        let id =
            printed(&scene.import(&["--fs", filesystem, "--data-dir", data.to_str().unwrap(), "--tag", "Name=source", "--tag", "a=b=c"]));
        assert!(id.starts_with("vol-"), "{id}");
        assert_eq!(loops(scene.folder.path()), []);
        assert_nothing_mounted(scene.folder.path());
        let (child, ec2) = serve(&data);
        scene.child = Some(child);
        let found = call(ec2, "DescribeVolumes", "Filter.1.Name=tag:Name&Filter.1.Value.1=source");
        assert_eq!(
            (found.text("volumeId"), found.text("size"), found.text("availabilityZone")),
            (id.clone(), "1".to_owned(), "us-east-1a".to_owned())
        );
        assert_holds_the_tree(&scene, ec2, &id);
    }
}

/// Starts a simulator with an admin port; returns it with both addresses.
fn serve_with_admin(folder: &Path) -> (Child, SocketAddr, SocketAddr) {
    let mut command = program();
    command.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--profile",
        "instant",
        "--log",
        "error",
        "--data-dir",
    ]);
    let mut child = command.arg(folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut address = |label: &str| lines.next().unwrap().unwrap().strip_prefix(label).unwrap().parse().unwrap();
    let ec2 = address("listening on http://");
    (child, ec2, address("admin on http://"))
}

#[test]
fn a_volume_is_imported_by_a_simulator_that_runs() {
    if !is_root("a_volume_is_imported_by_a_simulator_that_runs") {
        return;
    }
    let mut scene = Scene::new();
    let data = scene.data();
    let (child, ec2, admin) = serve_with_admin(&data);
    scene.child = Some(child);
    let admin = admin.to_string();
    let id = printed(&scene.import(&["--fs", "ext4", "--admin", &admin, "--size-gib", "2", "--zone", "us-east-1a"]));
    assert_eq!(call(ec2, "DescribeVolumes", &format!("VolumeId.1={id}")).text("size"), "2");
    assert_holds_the_tree(&scene, ec2, &id);
    let refused = complaint(&scene.import(&["--fs", "ext4", "--admin", &admin, "--zone", "mars-1a"]));
    assert!(refused.contains("EC2 refused the volume"), "{refused}");
    let busy = complaint(&scene.import(&["--fs", "ext4", "--data-dir", data.to_str().unwrap()]));
    assert!(busy.contains("running simulator") && busy.contains("--admin"), "{busy}");
    let images = fs::read_dir(data.join("volumes")).unwrap().count();
    assert_eq!(images, 1, "what was refused leaves no image");
}

#[test]
fn an_import_that_cannot_be_says_why_and_leaves_nothing() {
    if !is_root("an_import_that_cannot_be_says_why_and_leaves_nothing") {
        return;
    }
    let scene = Scene::new();
    let data = scene.data();
    let data = data.to_str().unwrap();
    let missing = complaint(&run(&["import-volume", "--from", "/no/such/folder", "--fs", "ext4", "--data-dir", data]));
    assert!(missing.contains("/no/such/folder is not a folder"), "{missing}");
    fs::write(scene.folder.path().join("tree/large"), vec![1; 3 << 20]).unwrap();
    let small = complaint(&scene.import(&["--fs", "ext4", "--data-dir", data, "--size-gib", "0"]));
    assert!(small.contains("0 GiB are too few, 1 would do"), "{small}");
    assert_eq!(complaint(&scene.import(&["--fs", "fat", "--data-dir", data])).matches("possible values: xfs, ext4").count(), 1);
    let gc = printed(&scene.on_data(&["gc"]));
    assert!(gc.ends_with("nothing is leaked"), "{gc}");
}

#[test]
fn gc_finds_what_nobody_wants_and_removes_it_only_when_told() {
    if !is_root("gc_finds_what_nobody_wants_and_removes_it_only_when_told") {
        return;
    }
    let mut scene = Scene::new();
    let data = scene.data();
    let (child, ec2) = serve(&data);
    scene.child = Some(child);
    let instance = call(ec2, "RunInstances", "MinCount=1&MaxCount=1").text("instanceId");
    let wanted = call(ec2, "CreateVolume", "Size=1&AvailabilityZone=us-east-1a").text("volumeId");
    let free = call(ec2, "CreateVolume", "Size=1&AvailabilityZone=us-east-1a").text("volumeId");
    let image = |id: &str| data.join("volumes").join(format!("{id}.img"));
    until("both volumes have their image", || image(&wanted).exists() && image(&free).exists());
    until("they are available", || call(ec2, "DescribeVolumes", "").texts("status") == ["available", "available"]);
    call(ec2, "AttachVolume", &format!("VolumeId={wanted}&InstanceId={instance}&Device=/dev/sdf"));
    until("it is attached", || loops(&data).len() == 1);
    assert!(complaint(&scene.on_data(&["gc"])).contains("running simulator"));
    scene.kill();
    assert_eq!(printed(&scene.on_data(&["gc"])), "nothing is leaked");
    // A device that no attachment wants, mounted; an image, a half-made file and a tree of nobody.
    assert!(Command::new("mkfs.ext4").arg("-q").arg(image(&free)).status().unwrap().success());
    losetup(&["--find", image(&free).to_str().unwrap()]);
    let (leaked, _) = loops(&data).into_iter().find(|(_, file)| file.contains(&free)).unwrap();
    let point = scene.folder.path().join("mount");
    fs::create_dir(&point).unwrap();
    assert!(Command::new("mount").arg(&leaked).arg(&point).status().unwrap().success());
    let orphan = image("vol-0123456789abcdef0");
    let half = data.join("snapshots/snap-1.img.partial");
    let tree = data.join("instances/i-0123456789abcdef0");
    fs::write(&orphan, b"x").unwrap();
    fs::write(&half, b"x").unwrap();
    fs::create_dir_all(tree.join("dev")).unwrap();
    let listed = printed(&scene.on_data(&["gc", "--dry-run"]));
    for expected in [
        point.to_str().unwrap(),
        leaked.file_name().unwrap().to_str().unwrap(),
        "vol-0123456789abcdef0",
        "snap-1.img.partial",
        "i-0123456789abcdef0",
    ] {
        assert!(listed.contains(expected), "{expected} is not in {listed}");
    }
    assert!(listed.ends_with("5 found, nothing was changed: --delete removes them"), "{listed}");
    assert!(orphan.exists() && half.exists() && tree.exists() && loops(&data).len() == 2);
    assert!(printed(&scene.on_data(&["gc", "--delete"])).ends_with("5 removed"));
    until("the leaked device is gone", || loops(&data).len() == 1);
    assert!(!orphan.exists() && !half.exists() && !tree.exists());
    assert!(image(&wanted).exists() && image(&free).exists(), "what the account holds stays");
    // Without an account nothing says that an image is leaked.
    fs::rename(data.join("state.json"), data.join("kept.json")).unwrap();
    let unknown = printed(&scene.on_data(&["gc", "--delete"]));
    assert!(unknown.contains("no image in it can be called leaked"), "{unknown}");
    assert!(!unknown.contains(&format!("{wanted}.img: no volume")) && !unknown.contains(&format!("{free}.img: no volume")), "{unknown}");
    // And a damaged one says nothing at all.
    fs::write(data.join("state.json"), b"{").unwrap();
    assert!(complaint(&scene.on_data(&["gc", "--delete"])).contains("damaged"));
    fs::rename(data.join("kept.json"), data.join("state.json")).unwrap();
    scene.child = Some(serve(&data).0);
    assert!(image(&wanted).exists() && image(&free).exists(), "no image went with all that");
}
