//! What programs do to a tree, drawn at random, and done to a real one.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, XattrFlags};

/// Components of paths: few, so that operations meet; some odd, as names may be.
const NAMES: [&[u8]; 10] = [b"a", b"b", b"c", b"dir", b"sub", b"-rf *", b"new\nline", b"\xff\xfe bytes", b".hidden", &[b'l'; 255]];

/// A path as numbers of names, from the root down.
#[derive(Clone)]
pub(super) struct At(Vec<u8>);

impl std::fmt::Debug for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", path(Path::new(""), self))
    }
}

/// One thing that a program does. Most can fail, since what they need is not there; then they do nothing.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// Makes the directories of a path.
    MakeDirectories(At),
    Create {
        at: At,
        bytes: usize,
        seed: u8,
    },
    Append {
        at: At,
        bytes: usize,
        seed: u8,
    },
    /// Through a temporary file, as editors do.
    Replace {
        at: At,
        bytes: usize,
        seed: u8,
    },
    /// Other bytes of the same length, and the time of change as before.
    Forge {
        at: At,
        seed: u8,
    },
    Truncate {
        at: At,
        bytes: u64,
    },
    /// A hole, then some bytes.
    Sparse {
        at: At,
        hole_bytes: u64,
        seed: u8,
    },
    MapAndWrite {
        at: At,
        seed: u8,
    },
    Rename {
        from: At,
        to: At,
    },
    Exchange {
        one: At,
        other: At,
    },
    Link {
        from: At,
        to: At,
    },
    Symlink {
        at: At,
        target: u8,
    },
    Unlink(At),
    RemoveTree(At),
    /// A file becomes a directory with something in it, or the other way.
    Flip {
        at: At,
        seed: u8,
    },
    ChangeMode {
        at: At,
        mode: u32,
    },
    ChangeOwner {
        at: At,
        uid: u32,
        gid: u32,
    },
    SetAttribute {
        at: At,
        name: u8,
        value: Vec<u8>,
    },
    RemoveAttribute {
        at: At,
        name: u8,
    },
    SetAcl {
        at: At,
        is_default: bool,
        permissions: u8,
    },
    SetTime {
        at: At,
        seconds: i64,
        nanoseconds: u32,
    },
}

fn at() -> impl Strategy<Value = At> {
    let name = 0..u8::try_from(NAMES.len()).expect("few");
    // Mostly shallow, so that operations meet.
    prop_oneof![6 => proptest::collection::vec(name.clone(), 1..=2), 3 => proptest::collection::vec(name.clone(), 3), 1 => proptest::collection::vec(name, 4..=8)].prop_map(At)
}

fn bytes() -> impl Strategy<Value = usize> {
    // A few are too large to travel within a batch.
    prop_oneof![4 => 0..200_usize, 3 => 4_000..9_000_usize, 1 => 300_000..400_000_usize]
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let mode = prop_oneof![3 => 0..0o1000_u32, 1 => 0o1000..0o10000_u32];
    let files = prop_oneof![
        4 => (at(), bytes(), any::<u8>()).prop_map(|(at, bytes, seed)| Create { at, bytes, seed }),
        3 => (at(), bytes(), any::<u8>()).prop_map(|(at, bytes, seed)| Append { at, bytes, seed }),
        3 => (at(), bytes(), any::<u8>()).prop_map(|(at, bytes, seed)| Replace { at, bytes, seed }),
        1 => (at(), any::<u8>()).prop_map(|(at, seed)| Forge { at, seed }),
        1 => (at(), 0..10_000_u64).prop_map(|(at, bytes)| Truncate { at, bytes }),
        1 => (at(), 0..3_000_000_u64, any::<u8>()).prop_map(|(at, hole_bytes, seed)| Sparse { at, hole_bytes, seed }),
        1 => (at(), any::<u8>()).prop_map(|(at, seed)| MapAndWrite { at, seed }),
    ];
    let names = prop_oneof![
        4 => at().prop_map(MakeDirectories),
        5 => (at(), at()).prop_map(|(from, to)| Rename { from, to }),
        2 => (at(), at()).prop_map(|(one, other)| Exchange { one, other }),
        3 => (at(), at()).prop_map(|(from, to)| Link { from, to }),
        1 => (at(), any::<u8>()).prop_map(|(at, target)| Symlink { at, target }),
        2 => at().prop_map(Unlink),
        1 => at().prop_map(RemoveTree),
        1 => (at(), any::<u8>()).prop_map(|(at, seed)| Flip { at, seed }),
    ];
    let metadata = prop_oneof![
        (at(), mode).prop_map(|(at, mode)| ChangeMode { at, mode }),
        (at(), 0..70_000_u32, 0..70_000_u32).prop_map(|(at, uid, gid)| ChangeOwner { at, uid, gid }),
        (at(), 0..3_u8, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(at, name, value)| SetAttribute { at, name, value }),
        (at(), 0..3_u8).prop_map(|(at, name)| RemoveAttribute { at, name }),
        (at(), any::<bool>(), 0..8_u8).prop_map(|(at, is_default, permissions)| SetAcl { at, is_default, permissions }),
        (at(), -10..4_000_000_000_i64, 0..1_000_000_000_u32).prop_map(|(at, seconds, nanoseconds)| SetTime { at, seconds, nanoseconds }),
    ];
    prop_oneof![5 => files, 6 => names, 3 => metadata]
}

/// A path that no `PATH_MAX` stops: eight names of 255 bytes are below 4,096.
fn path(root: &Path, at: &At) -> PathBuf {
    at.0.iter().fold(root.to_owned(), |path, name| path.join(OsStr::from_bytes(NAMES[usize::from(*name) % NAMES.len()])))
}

fn fill(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| seed.wrapping_add(u8::try_from(index % 251).expect("below 251"))).collect()
}

impl Operation {
    /// Does it. Whether it did anything.
    pub(super) fn run(&self, root: &Path) -> bool {
        self.try_run(root).is_ok()
    }

    fn try_run(&self, root: &Path) -> io::Result<()> {
        let path = |at: &At| path(root, at);
        match self {
            Self::MakeDirectories(at) => std::fs::create_dir_all(path(at)),
            Self::Create { at, bytes, seed } => {
                let path = with_parents(path(at))?;
                OpenOptions::new().write(true).create_new(true).open(path)?.write_all(&fill(*bytes, *seed))
            }
            Self::Append { at, bytes, seed } => existing(path(at))?.append(true).open(path(at))?.write_all(&fill(*bytes, *seed)),
            Self::Replace { at, bytes, seed } => {
                let path = with_parents(path(at))?;
                let temporary = path.with_file_name(".swp~");
                std::fs::write(&temporary, fill(*bytes, *seed))?;
                std::fs::rename(&temporary, &path).or_else(|_| std::fs::remove_file(&temporary))
            }
            Self::Forge { at, seed } => forge(&path(at), *seed),
            Self::Truncate { at, bytes } => existing(path(at))?.write(true).open(path(at))?.set_len(*bytes),
            Self::Sparse { at, hole_bytes, seed } => {
                let mut file = existing(path(at))?.write(true).open(path(at))?;
                file.seek(SeekFrom::Start(*hole_bytes))?;
                file.write_all(&fill(3_000, *seed))
            }
            Self::MapAndWrite { at, seed } => map_and_write(&path(at), *seed),
            Self::Rename { from, to } => std::fs::rename(path(from), with_parents(path(to))?),
            Self::Exchange { one, other } => Ok(rustix::fs::renameat_with(CWD, path(one), CWD, path(other), RenameFlags::EXCHANGE)?),
            Self::Link { from, to } => std::fs::hard_link(path(from), with_parents(path(to))?),
            Self::Symlink { at, target } => symlink(OsStr::from_bytes(NAMES[usize::from(*target) % NAMES.len()]), with_parents(path(at))?),
            Self::Unlink(at) => std::fs::remove_file(path(at)),
            Self::RemoveTree(at) => std::fs::remove_dir_all(path(at)),
            Self::Flip { at, seed } => flip(&path(at), *seed),
            Self::ChangeMode { at, mode } => {
                // Of a link it would be that of its target, perhaps outside.
                existing(path(at)).or_else(|_| std::fs::read_dir(path(at)).map(|_| OpenOptions::new()))?;
                std::fs::set_permissions(path(at), std::fs::Permissions::from_mode(*mode))
            }
            Self::ChangeOwner { at, uid, gid } => std::os::unix::fs::lchown(path(at), Some(*uid), Some(*gid)),
            Self::SetAttribute { at, name, value } => {
                Ok(rustix::fs::lsetxattr(path(at), format!("user.attribute-{name}"), value, XattrFlags::empty())?)
            }
            Self::RemoveAttribute { at, name } => Ok(rustix::fs::lremovexattr(path(at), format!("user.attribute-{name}"))?),
            Self::SetAcl { at, is_default, permissions } => {
                let name = if *is_default { "system.posix_acl_default" } else { "system.posix_acl_access" };
                Ok(rustix::fs::lsetxattr(path(at), name, &acl(*permissions), XattrFlags::empty())?)
            }
            Self::SetTime { at, seconds, nanoseconds } => {
                let time = Timespec { tv_sec: *seconds, tv_nsec: i64::from(*nanoseconds) };
                let times = Timestamps { last_access: time, last_modification: time };
                Ok(rustix::fs::utimensat(CWD, path(at), &times, AtFlags::SYMLINK_NOFOLLOW)?)
            }
        }
    }
}

/// Only a regular file may be opened: a link could lead out of the tree.
fn existing(path: PathBuf) -> io::Result<OpenOptions> {
    let is_file = std::fs::symlink_metadata(path)?.is_file();
    if is_file { Ok(OpenOptions::new()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn with_parents(path: PathBuf) -> io::Result<PathBuf> {
    std::fs::create_dir_all(path.parent().expect("in the root"))?;
    Ok(path)
}

fn forge(path: &Path, seed: u8) -> io::Result<()> {
    let file = existing(path.to_owned())?.write(true).open(path)?;
    let before = file.metadata()?;
    file.write_all_at(&fill(usize::try_from(before.len().min(500)).expect("small"), seed), 0)?;
    file.set_modified(before.modified()?)
}

fn flip(path: &Path, seed: u8) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::remove_dir_all(path)?;
        return std::fs::write(path, fill(100, seed));
    }
    std::fs::remove_file(path)?;
    std::fs::create_dir(path)?;
    std::fs::write(path.join("within"), fill(10, seed))
}

fn map_and_write(path: &Path, seed: u8) -> io::Result<()> {
    let file: File = existing(path.to_owned())?.read(true).write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len()).expect("small").min(4096);
    if length == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    #[expect(unsafe_code, reason = "a write through a mapping is what is to be tried; nothing else knows of the mapping")]
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        start.cast::<u8>().write_bytes(seed, length);
        libc::munmap(start, length);
    }
    Ok(())
}

/// An ACL with a named user, as the kernel keeps it (linux/posix_acl_xattr.h): version 2, then tag, permissions, id.
fn acl(permissions: u8) -> Vec<u8> {
    const NOBODY_IN_PARTICULAR: u32 = u32::MAX;
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    let named_user = (0x02_u16, 1_000);
    for (tag, id) in
        [(0x01, NOBODY_IN_PARTICULAR), named_user, (0x04, NOBODY_IN_PARTICULAR), (0x10, NOBODY_IN_PARTICULAR), (0x20, NOBODY_IN_PARTICULAR)]
    {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(u16::from(permissions & 7).to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}
