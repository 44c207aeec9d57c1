//! Owner, attributes, mode and times, in the order that keeps all of them.
//!
//! `chown` clears setuid and capabilities, an ACL changes the mode and the mode the mask of an ACL, and all of them are
//! changes that the times must not show: so owner, then attributes, then mode, then times.

use crate::apply::error::Problem;
use crate::model::{Entry, Kind, Mtime, Rules, TreePath};
use crate::tree::{NodeKind, Stat, change_xattrs, own_path, read_xattrs};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use std::fs::File;
use std::os::fd::AsFd;

/// Times that leave the time of access alone.
pub(in crate::apply) fn times(mtime: Mtime) -> Timestamps {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: omitted, last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() } }
}

/// The number that means "leave it" to `chown(2)`, so nobody can have it.
const NOBODY_AT_ALL: u32 = u32::MAX;

/// An entry that no file can have.
pub(in crate::apply) fn check(path: &TreePath, entry: &Entry) -> Result<(), Problem> {
    let hostile = |found| Problem::Hostile { path: path.clone(), found };
    if entry.uid == NOBODY_AT_ALL || entry.gid == NOBODY_AT_ALL {
        return Err(hostile("has an owner or group that does not exist (4294967295)"));
    }
    if entry.mtime.nanoseconds > 999_999_999 {
        return Err(hostile("has more than a second of nanoseconds"));
    }
    if entry.kind == Kind::Symlink && (entry.link_target.is_empty() || entry.link_target.contains(&0)) {
        return Err(hostile("is a symbolic link without a good target"));
    }
    Ok(())
}

/// The mode that a copy may have.
pub(in crate::apply) fn mode(entry: &Entry, rules: &Rules) -> u32 {
    if entry.is_directory() { entry.mode & 0o7777 } else { rules.file_mode(entry.mode) }
}

/// Finishes a new file; `stat` is what it is since it was made.
pub(in crate::apply) fn finish(file: &File, stat: &Stat, entry: &Entry, rules: &Rules) -> std::io::Result<()> {
    let mode = mode(entry, rules);
    let is_owner_new = (stat.uid, stat.gid) != (entry.uid, entry.gid);
    if is_owner_new {
        rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    if !entry.xattrs.is_empty() {
        change_xattrs(file, &[], &entry.xattrs, rules)?;
    }
    if is_owner_new || !entry.xattrs.is_empty() || stat.mode != mode {
        rustix::fs::fchmod(file, Mode::from_bits_truncate(mode))?;
    }
    rustix::fs::futimens(file, &times(entry.mtime))?;
    Ok(())
}

/// Makes the metadata of an inode that may be in use equal to the entry, with as few changes as possible.
/// Takes an `O_PATH` descriptor. Again after a failure gives the same.
pub(in crate::apply) fn change(descriptor: impl AsFd, stat: &Stat, entry: &Entry, rules: &Rules) -> std::io::Result<()> {
    let path = own_path(&descriptor);
    let is_owner_new = (stat.uid, stat.gid) != (entry.uid, entry.gid);
    if is_owner_new {
        let (owner, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(CWD, &path, Some(owner), Some(group), AtFlags::empty())?;
    }
    let present = read_xattrs(&descriptor, rules)?;
    let is_acl_new = present != entry.xattrs;
    if is_acl_new {
        change_xattrs(&descriptor, &present, &entry.xattrs, rules)?;
    }
    let mode = mode(entry, rules);
    if stat.kind != NodeKind::Symlink && (is_owner_new || is_acl_new || stat.mode != mode) {
        rustix::fs::chmodat(CWD, &path, Mode::from_bits_truncate(mode), AtFlags::empty())?;
    }
    if is_owner_new || is_acl_new || stat.mtime != entry.mtime {
        rustix::fs::utimensat(CWD, &path, &times(entry.mtime), AtFlags::empty())?;
    }
    Ok(())
}
