//! What is read of a path: all that travels, nothing that does not, nothing outside.

use crate::stage::{Tree, is_root_or_skipped, path};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use treesync::model::{ContentHash, Entry, Kind, RuleOptions, Rules, TreePath};
use treesync::tree::{NodeKind, Reading, TreeError};

fn entry(tree: &Tree, at: &TreePath) -> Entry {
    match tree.root().lookup().read_entry(at, &Rules::default()).unwrap() {
        Reading::Entry(entry, _) => *entry,
        other => panic!("{at}: {other:?}"),
    }
}

#[test]
fn a_file_is_read_with_mode_time_attributes_and_digest() {
    let tree = Tree::new();
    let at = tree.write("a/f", "bytes");
    std::fs::set_permissions(&at, PermissionsExt::from_mode(0o640)).unwrap();
    rustix::fs::setxattr(&at, "user.b", b"2", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(&at, "user.a", b"1", XattrFlags::empty()).unwrap();
    let entry = entry(&tree, &path("a/f"));
    assert_eq!(entry.kind, Kind::File { size_bytes: 5, content: ContentHash::of(b"bytes") });
    assert_eq!(entry.mode, 0o640);
    let names: Vec<&[u8]> = entry.xattrs.iter().map(|xattr| &xattr.name[..]).collect();
    assert_eq!(names, [b"user.a", b"user.b"]);
    assert_eq!(entry.link_group, 0);
    assert!(entry.mtime.seconds > 1_000_000_000);
}

#[test]
fn holes_are_read_as_zeros() {
    let tree = Tree::new();
    let file = File::create(tree.at("sparse")).unwrap();
    file.write_all_at(b"middle", 40 << 20).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut bytes = vec![0; 64 << 20];
    bytes[40 << 20..][..6].copy_from_slice(b"middle");
    let content = ContentHash::of(&bytes);
    assert_eq!(entry(&tree, &path("sparse")).kind, Kind::File { size_bytes: 64 << 20, content });
}

#[test]
fn names_of_one_file_have_one_group() {
    let tree = Tree::new();
    std::fs::hard_link(tree.write("a", "x"), tree.at("b")).unwrap();
    let group = entry(&tree, &path("a")).link_group;
    assert!(group != 0 && group == entry(&tree, &path("b")).link_group);
}

#[test]
fn a_symbolic_link_is_read_and_never_followed() {
    let tree = Tree::new();
    let outside = Tree::new();
    outside.write("secret", "s");
    symlink(outside.folder(), tree.at("out")).unwrap();
    let link = entry(&tree, &path("out"));
    assert_eq!((link.kind, link.mode), (Kind::Symlink, 0o777));
    assert_eq!(link.link_target, outside.folder().as_os_str().as_encoded_bytes());
    let error = tree.root().lookup().read_entry(&path("out/secret"), &Rules::default()).unwrap_err();
    assert!(matches!(error, TreeError::NotBelow { .. }), "{error}");
    assert!(error.to_string().contains(": out is reached"), "{error}");
}

#[test]
fn a_name_of_255_odd_bytes_and_a_path_longer_than_the_kernel_takes_are_read() {
    let tree = Tree::new();
    let name = [b"\xff\n #".as_slice(), &[b'n'; 251]].concat();
    let mut at = TreePath::root();
    let mut directory = rustix::fs::open(tree.folder(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..30 {
        at = at.join(&name).unwrap();
        rustix::fs::mkdirat(&directory, &name[..], 0o755.into()).unwrap();
        directory = rustix::fs::openat(&directory, &name[..], rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    assert!(at.as_bytes().len() > 7000);
    assert!(entry(&tree, &at).is_directory());
}

#[test]
fn what_is_absent_is_absent_also_below_absent_directories() {
    let tree = Tree::new();
    let root = tree.root();
    for gone in ["a", "a/b/c"] {
        assert_eq!(root.lookup().read_entry(&path(gone), &Rules::default()).unwrap(), Reading::Absent);
        assert_eq!(root.lookup().stat(&path(gone)).unwrap(), None);
    }
}

#[test]
fn pipes_sockets_and_devices_are_named_and_never_opened() {
    let tree = Tree::new();
    rustix::fs::mknodat(CWD, tree.at("pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(tree.at("socket")).unwrap();
    let root = tree.root();
    let read = |at: &str| root.lookup().read_entry(&path(at), &Rules::default()).unwrap();
    assert_eq!(read("pipe"), Reading::Skipped(NodeKind::Fifo));
    assert_eq!(read("socket"), Reading::Skipped(NodeKind::Socket));
    assert!(root.lookup().open_file(&path("pipe")).is_err(), "this would wait for a writer");
    if is_root_or_skipped("a device is never opened") {
        rustix::fs::mknodat(CWD, tree.at("device"), FileType::CharacterDevice, 0o600.into(), rustix::fs::makedev(1, 3)).unwrap();
        assert_eq!(read("device"), Reading::Skipped(NodeKind::Device));
    }
}

#[test]
fn setuid_of_a_file_is_cleared_and_setgid_of_a_directory_stays() {
    let tree = Tree::new();
    let file = tree.write("d/f", "");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o6755)).unwrap();
    std::fs::set_permissions(tree.at("d"), PermissionsExt::from_mode(0o2755)).unwrap();
    assert_eq!(entry(&tree, &path("d/f")).mode, 0o755);
    assert_eq!(entry(&tree, &path("d")).mode, 0o2755);
    let open = Rules::new(RuleOptions { allow_setuid: true, ..RuleOptions::default() }).unwrap();
    let Reading::Entry(entry, _) = tree.root().lookup().read_entry(&path("d/f"), &open).unwrap() else { panic!("a file") };
    assert_eq!(entry.mode, 0o6755);
}

#[test]
fn a_bind_mount_in_the_tree_is_not_entered() {
    if !is_root_or_skipped("a_bind_mount_in_the_tree_is_not_entered") {
        return;
    }
    let tree = Tree::new();
    let outside = Tree::new();
    outside.write("secret", "s");
    std::fs::create_dir(tree.at("mnt")).unwrap();
    rustix::mount::mount_bind(outside.folder(), tree.at("mnt")).unwrap();
    let root = tree.root();
    let read = root.lookup().read_entry(&path("mnt"), &Rules::default());
    let below = root.lookup().read_entry(&path("mnt/secret"), &Rules::default());
    let walked: Vec<_> = treesync::tree::Walk::new(&root, TreePath::root()).map(|visit| visit.unwrap().path).collect();
    rustix::mount::unmount(tree.at("mnt"), rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(read.unwrap(), Reading::Skipped(NodeKind::MountPoint));
    assert!(matches!(below, Err(TreeError::NotBelow { .. })), "{below:?}");
    assert_eq!(walked, [TreePath::root(), path("mnt")]);
}

#[test]
fn a_file_that_is_written_all_the_time_is_never_read_torn() {
    let tree = Tree::new();
    let at = tree.write("hot", vec![b'a'; 300_000]);
    let root = tree.root();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut torn, mut whole) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let file = File::options().write(true).open(&at).unwrap();
            for letter in (b'a'..=b'z').cycle() {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                file.write_all_at(&vec![letter; 300_000], 0).unwrap();
            }
        });
        let good: Vec<ContentHash> = (b'a'..=b'z').map(|letter| ContentHash::of(&vec![letter; 300_000])).collect();
        for _ in 0..300 {
            match root.lookup().read_entry(&path("hot"), &Rules::default()).unwrap() {
                Reading::Torn => torn += 1,
                Reading::Entry(entry, _) if good.contains(&entry.file().unwrap().1) => whole += 1,
                other => {
                    stop.store(true, std::sync::atomic::Ordering::Relaxed);
                    panic!("mixed bytes were taken for a state: {other:?}");
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(torn > 0, "the writer was never in the way: {whole} whole readings");
}
