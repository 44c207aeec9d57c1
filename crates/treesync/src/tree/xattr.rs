//! Extended attributes, POSIX ACLs among them.

use super::lookup::own_path;
use crate::model::{Rules, Xattr};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// Those of an open inode that the rules let travel, sorted by name. Works on `O_PATH` descriptors, so also of symbolic links.
/// A filesystem without extended attributes has none.
///
/// # Errors
/// The kernel refuses.
pub fn read_xattrs(descriptor: impl AsFd, rules: &Rules) -> io::Result<Vec<Xattr>> {
    let path = own_path(descriptor);
    let names = match grow(|buffer| rustix::fs::listxattr(&path, buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| rules.xattr_travels(name)) {
        match grow(|buffer| rustix::fs::getxattr(&path, name, buffer)) {
            Ok(value) => xattrs.push(Xattr { name: name.to_vec(), value }),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Sets and removes until exactly `wanted` are there, of those that the rules let travel; others stay.
/// `present` is what [`read_xattrs`] said.
///
/// # Errors
/// The kernel refuses; some may be changed already, so the caller does it again.
pub fn change_xattrs(descriptor: impl AsFd, present: &[Xattr], wanted: &[Xattr], rules: &Rules) -> io::Result<()> {
    let path = own_path(descriptor);
    for xattr in wanted.iter().filter(|xattr| rules.xattr_travels(&xattr.name) && !present.contains(xattr)) {
        rustix::fs::setxattr(&path, &xattr.name[..], &xattr.value, XattrFlags::empty())?;
    }
    for gone in present.iter().filter(|xattr| !wanted.iter().any(|keep| keep.name == xattr.name)) {
        match rustix::fs::removexattr(&path, &gone.name[..]) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Most inodes have no attribute, and most values are short; `XATTR_SIZE_MAX` (64 KiB, limits.h) bounds both.
fn grow(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = [0; 512];
    match read(&mut buffer) {
        Ok(length) => Ok(buffer[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; 64 * 1024];
            let length = read(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
