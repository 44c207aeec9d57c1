//! Real trees through the real program: rsync must find nothing to do on a copy that followed, and on one that caught up.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rustix::fs::XattrFlags;
use serde_json::Value;

use crate::oracle::ground::{Ground, Kind};
use crate::processes::{Running, run};
use crate::rsync;
use crate::stage::is_root_or_skipped;

const MIB: u64 = 1 << 20;
/// `CAP_NET_RAW` permitted and effective, as ping has it: `vfs_cap_data` of revision 2 (linux/capability.h).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A source and two copies on one filesystem, kept in step by processes of their own.
struct World {
    ground: Ground,
    /// Arguments of both ends: what travels.
    travel: &'static [&'static str],
    /// Whether the copies have all before they follow, so that they prove nothing by it.
    is_seeded: bool,
}

impl World {
    /// None, loudly, where it cannot be.
    fn new(test: &str, kind: Kind, size_mib: u64, travel: &'static [&'static str]) -> Option<Self> {
        if !is_root_or_skipped(test) || !rsync::is_there_or_skipped(test) {
            return None;
        }
        let ground = Ground::new(kind, size_mib);
        for name in ["source", "one", "two"] {
            fs::create_dir(ground.path().join(name)).unwrap();
        }
        Some(Self { ground, travel, is_seeded: false })
    }

    /// Gives both copies clones of all that is in the source, as clones of its volume would be.
    fn seed(&mut self) {
        for copy in ["one", "two"] {
            let mut clone = Command::new("cp");
            clone.args(["--archive", "--reflink=auto", "--no-target-directory"]).arg(self.at("source")).arg(self.at(copy));
            assert!(clone.status().unwrap().success());
        }
        self.is_seeded = true;
    }

    fn at(&self, path: &str) -> PathBuf {
        self.ground.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.at(path).to_str().unwrap().to_owned()
    }

    fn address(&self) -> String {
        format!("unix:{}", self.text("socket"))
    }

    fn publish(&self) -> Running {
        let (source, address) = (self.text("source"), self.address());
        let mut publisher = Running::start(&[&["publish", &source, "--listen", &address], self.travel].concat());
        publisher.wait_for(|line| line.starts_with("in sync at generation"));
        publisher
    }

    fn subscribe(&self, copies: &[&str]) -> Running {
        let (address, spool) = (self.address(), self.text(""));
        let copies: Vec<String> = copies.iter().map(|copy| self.text(copy)).collect();
        let start = ["--json", "subscribe", "--adopt", "--from", &address, "--spool", &spool];
        let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
        Running::start(&[&start, self.travel, &copies].concat())
    }

    /// Waits until the copies have all that the source has by now.
    fn wait(&self, subscriber: &mut Running) {
        let checkpoint = run(&["--json", "checkpoint", "--to", &self.address()]);
        let told: Value = serde_json::from_slice(&checkpoint.stdout).unwrap();
        let generation = told["position"]["generation"].as_u64();
        assert!(generation.is_some(), "{checkpoint:?}");
        subscriber.wait_for_event(|event| event["event"] == "in_sync" && event["position"]["generation"].as_u64() >= generation);
    }

    /// Fills both copies; changes the source while one follows and the other is away; brings that one up.
    fn follow(&self, change: impl FnOnce(&Path), judge: impl Fn(&Path, &Path)) {
        let begun = Instant::now();
        let publisher = self.publish();
        let read = begun.elapsed();
        let mut subscriber = self.subscribe(&["one", "two"]);
        self.wait(&mut subscriber);
        subscriber.stop();
        let filled = begun.elapsed();
        let judge_all = || ["one", "two"].iter().for_each(|copy| judge(&self.at("source"), &self.at(copy)));
        if !self.is_seeded {
            judge_all();
        }
        let begun = Instant::now();
        let mut following = self.subscribe(&["one"]);
        following.wait_for_event(|event| event["event"] == "in_sync");
        change(&self.at("source"));
        self.wait(&mut following);
        // One that has just begun says that it is in sync when it has all.
        let mut catching_up = self.subscribe(&["two"]);
        catching_up.wait_for_event(|event| event["event"] == "in_sync");
        eprintln!("read in {read:.1?}, filled after {filled:.1?}, changed and followed in {:.1?}", begun.elapsed());
        judge_all();
        catching_up.stop();
        following.stop();
        publisher.stop();
    }
}

/// Copies files with their hard links, owners, times and attributes, as an installer does.
fn install(from: &Path, to: &Path, names: &[PathBuf]) {
    let mut list = Vec::new();
    for name in names {
        list.extend_from_slice(name.as_os_str().as_encoded_bytes());
        list.push(0);
    }
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--directory").arg(from).args(["--no-recursion", "--xattrs", "--null", "--files-from=-"]);
    let mut packing = tar.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = packing.stdin.take().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut input, &list));
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--preserve-permissions", "--same-owner", "--xattrs", "--directory"]).arg(to);
    let unpacked = unpack.stdin(packing.stdout.take().unwrap()).status().unwrap();
    writing.join().unwrap().unwrap();
    assert!(packing.wait().unwrap().success() && unpacked.success());
}

fn printed_by(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The source of Go, or of what Rust is built with where there is no Go.
fn language_tree() -> PathBuf {
    if let Some(root) = printed_by(Command::new("go").args(["env", "GOROOT"])) {
        return PathBuf::from(root).join("src");
    }
    assert!(std::env::var_os("CI").is_none(), "the source tree of Go is needed, and CI must run everything: there is no `go`");
    // Past the capture of the test runner, which hides what a passing test prints.
    let text = b"NO GO here: the libraries of the Rust toolchain stand in for the source tree of Go\n";
    std::io::Write::write_all(&mut std::io::stderr(), text).unwrap();
    PathBuf::from(printed_by(Command::new("rustc").args(["--print", "sysroot"])).expect("rustc built this test")).join("lib")
}

/// All files and directories below a directory, in order.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut names: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let is_directory = fs::symlink_metadata(&path).unwrap().is_dir();
        found.push(path.clone());
        if is_directory {
            found.extend(below(&path));
        }
    }
    found
}

#[test]
fn the_source_tree_of_go_and_its_copies_are_equal() {
    let Some(world) = World::new("the_source_tree_of_go_and_its_copies_are_equal", Kind::Ext4, 8 * 1024, &[]) else { return };
    let tree = language_tree();
    let names: Vec<PathBuf> = below(&tree).iter().map(|path| path.strip_prefix(&tree).unwrap().to_owned()).collect();
    assert!(names.len() > 1_000, "{} has {} files", tree.display(), names.len());
    eprintln!("{}: {} files and directories", tree.display(), names.len());
    install(&tree, &world.at("source"), &names);
    let upgrade = |source: &Path| {
        let mut directories: Vec<PathBuf> = fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).collect();
        directories.retain(|path| path.is_dir() && !path.ends_with(".treesync"));
        directories.sort();
        let [first, .., last] = &directories[..] else { panic!("{directories:?}") };
        fs::rename(last, first.join("moved")).unwrap();
        fs::remove_dir_all(&directories[1]).unwrap();
        for (number, file) in below(first).iter().filter(|path| path.is_file()).enumerate().step_by(3) {
            let fresh = file.with_extension("fresh");
            fs::write(&fresh, format!("file {number}")).unwrap();
            fs::rename(fresh, file).unwrap();
        }
    };
    world.follow(upgrade, rsync::assert_equal);
}

/// Packages that have hard links or setuid files on Debian.
const PACKAGES: [&str; 8] = ["perl-base", "bzip2", "gzip", "unzip", "login", "passwd", "mount", "git"];

/// What is installed of some packages, in the source of a world. None, loudly, on a host without dpkg.
fn install_packages(source: &Path, test: &str) -> Option<()> {
    let lists = PACKAGES.iter().filter_map(|package| printed_by(Command::new("dpkg").args(["--listfiles", package])));
    let mut names: Vec<PathBuf> = lists.flat_map(|list| list.lines().map(PathBuf::from).collect::<Vec<_>>()).collect();
    names.retain(|name| name.parent().is_some() && fs::symlink_metadata(name).is_ok());
    // A list may name /bin where that is a link to /usr/bin.
    names = names.iter().map(|name| fs::canonicalize(name.parent().unwrap()).unwrap().join(name.file_name().unwrap())).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "{test} needs dpkg, and CI must run everything");
        eprintln!("SKIPPED {test}: needs the packages of a Debian host (dpkg)");
        return None;
    }
    let names: Vec<PathBuf> = names.iter().map(|name| name.strip_prefix("/").unwrap().to_owned()).collect();
    install(Path::new("/"), source, &names);
    let files: Vec<PathBuf> = below(source).into_iter().filter(|path| path.is_file() && !path.is_symlink()).collect();
    let linked = files.iter().filter(|path| path.metadata().unwrap().nlink() > 1).count();
    assert!(linked > 1, "{} files, and no hard links among them", files.len());
    // What a package of Debian would set after it was unpacked: on one file alone, and on one with two names.
    let largest_linked = files.iter().filter(|path| path.metadata().unwrap().nlink() > 1).max_by_key(|path| path.metadata().unwrap().len());
    for path in [largest_linked.unwrap(), &source.join("usr/bin/passwd")] {
        rustix::fs::setxattr(path, "security.capability", &NET_RAW, XattrFlags::empty()).unwrap();
    }
    eprintln!("{} files of packages, {linked} of them hard links", files.len());
    Some(())
}

/// An upgrade of packages: files replaced by new ones, links with them, one that was linked stands alone afterwards.
fn upgrade_packages(source: &Path) {
    for (number, path) in below(&source.join("usr")).iter().filter(|path| path.is_file() && !path.is_symlink()).enumerate() {
        let metadata = path.metadata().unwrap();
        let fresh = path.with_extension("dpkg-new");
        if metadata.nlink() > 1 || number % 5 == 0 {
            fs::copy(path, &fresh).unwrap();
            fs::set_permissions(&fresh, metadata.permissions()).unwrap();
            fs::rename(&fresh, path).unwrap();
        }
    }
    fs::hard_link(source.join("usr/bin/git"), source.join("usr/bin/git-linked")).unwrap();
    rustix::fs::setxattr(source.join("usr/bin/git-linked"), "security.capability", &NET_RAW, XattrFlags::empty()).unwrap();
}

#[test]
fn a_tree_of_packages_keeps_hard_links_setuid_and_capabilities_where_they_are_allowed() {
    let test = "a_tree_of_packages_keeps_hard_links_setuid_and_capabilities_where_they_are_allowed";
    let allowed = &["--allow-setuid", "--allow-capabilities"];
    let Some(world) = World::new(test, Kind::Xfs, 2 * 1024, allowed) else { return };
    let Some(()) = install_packages(&world.at("source"), test) else { return };
    let judge = |source: &Path, copy: &Path| {
        rsync::assert_equal(source, copy);
        assert_eq!(rsync::differences_in_privileges(source, copy), "", "{}", copy.display());
    };
    world.follow(upgrade_packages, judge);
}

#[test]
fn a_tree_of_packages_loses_setuid_and_capabilities_and_nothing_else_by_default() {
    let test = "a_tree_of_packages_loses_setuid_and_capabilities_and_nothing_else_by_default";
    let Some(world) = World::new(test, Kind::Ext4, 2 * 1024, &[]) else { return };
    let Some(()) = install_packages(&world.at("source"), test) else { return };
    let judge = |source: &Path, copy: &Path| {
        let names = |is_wanted: &dyn Fn(&Path) -> bool| -> Vec<String> {
            let files = below(source).into_iter().filter(|path| path.is_file() && !path.is_symlink() && is_wanted(path));
            files.map(|path| path.strip_prefix(source).unwrap().to_str().unwrap().to_owned()).collect()
        };
        let is_privileged = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o6000 != 0 || has_capability(path);
        let differing: Vec<String> = rsync::differences_in_privileges(source, copy)
            .lines()
            .map(|line| {
                let (what, path) = line.split_once(' ').unwrap();
                assert!(what.bytes().all(|flag| b".hfpx".contains(&flag)), "only modes and attributes differ: {line}");
                path.split(" => ").next().unwrap().trim().to_owned()
            })
            .collect();
        let mut sorted = differing.clone();
        sorted.sort();
        let mut expected = names(&is_privileged);
        expected.sort();
        assert!(expected.len() > 3, "{expected:?}");
        assert_eq!(sorted, expected);
        for path in &differing {
            let (there, here) = (source.join(path), copy.join(path));
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
            assert!(!has_capability(&here) && mode(&here) == mode(&there) & !0o6000, "{path}");
        }
    };
    world.follow(upgrade_packages, judge);
}

fn has_capability(path: &Path) -> bool {
    rustix::fs::getxattr(path, "security.capability", &mut [0; 64][..]).is_ok()
}

/// Files in one directory.
const MANY: usize = 100_000;

#[test]
fn a_directory_with_100_000_files_and_its_copies_are_equal() {
    let Some(mut world) = World::new("a_directory_with_100_000_files_and_its_copies_are_equal", Kind::Ext4, 8 * 1024, &[]) else { return };
    let name = |source: &Path, number: usize| source.join(format!("one/directory/session-{number:06}"));
    fs::create_dir_all(world.at("source/one/directory")).unwrap();
    for number in 0..MANY {
        fs::write(name(&world.at("source"), number), format!("{number}\n")).unwrap();
    }
    world.seed();
    let churn = |source: &Path| {
        for number in (0..MANY).step_by(100) {
            fs::write(name(source, number), format!("{number} again\n")).unwrap();
            fs::remove_file(name(source, number + 1)).unwrap();
            fs::rename(name(source, number + 2), name(source, MANY + number)).unwrap();
            fs::write(name(source, MANY + number + 1), "new").unwrap();
            fs::set_permissions(name(source, number + 3), fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::rename(source.join("one"), source.join("other")).unwrap();
    };
    world.follow(churn, rsync::assert_equal);
}

const LARGE_BYTES: u64 = 2 << 30;
/// Data of the large file, in pieces of 1 MiB at equal distances; between them are holes.
const DATA_PIECES: u64 = 256;
/// Edits in place, each of up to 8 KiB anywhere.
const EDITS: usize = 12;

#[test]
fn a_file_of_2_gib_that_is_edited_in_place_shares_all_other_bytes_with_what_the_copy_had() {
    let test = "a_file_of_2_gib_that_is_edited_in_place_shares_all_other_bytes_with_what_the_copy_had";
    let Some(mut world) = World::new(test, Kind::Xfs, 8 * 1024, &[]) else { return };
    let seed: u64 = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
    eprintln!("{test}: seed {seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let file = File::create(world.at("source/disk.img")).unwrap();
    file.set_len(LARGE_BYTES).unwrap();
    let mut piece = vec![0; usize::try_from(MIB).unwrap()];
    random.fill_bytes(&mut piece);
    for number in 0..DATA_PIECES {
        piece[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all_at(&piece, number * (LARGE_BYTES / DATA_PIECES)).unwrap();
    }
    drop(file);
    world.seed();
    let used_bytes = || {
        rustix::fs::syncfs(File::open(world.at("source")).unwrap()).unwrap();
        let state = rustix::fs::statvfs(world.at("source")).unwrap();
        (state.f_blocks - state.f_bfree) * state.f_frsize
    };
    let before = std::cell::Cell::new(0);
    let edit = |source: &Path| {
        before.set(used_bytes());
        let file = fs::OpenOptions::new().write(true).open(source.join("disk.img")).unwrap();
        for _ in 0..EDITS {
            let length = usize::try_from(1 + random.next_u64() % 8192).unwrap();
            let at = random.next_u64() % (LARGE_BYTES - 8192);
            random.fill_bytes(&mut piece[..length]);
            file.write_all_at(&piece[..length], at).unwrap();
        }
    };
    let judge = |source: &Path, copy: &Path| {
        // Reads bytes faster than rsync does.
        assert!(Command::new("cmp").arg(source.join("disk.img")).arg(copy.join("disk.img")).status().unwrap().success());
        assert_eq!(rsync::differences(source, copy, false), "", "{}", copy.display());
    };
    world.follow(edit, judge);
    // Of each copy, the blocks of 1 MiB that an edit touched are new: two of them at most.
    let grown = used_bytes().saturating_sub(before.get());
    let most = 2 * (2 * EDITS as u64 + 8) * MIB;
    assert!(grown < most && most < DATA_PIECES * MIB, "{grown} bytes more are in use, for {EDITS} edits on two copies");
}
