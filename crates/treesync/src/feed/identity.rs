//! How a directory is known again: by its file handle, or by inode number and time of birth where there are no handles.

use super::kernel::{self, HANDLE_MAX_BYTES, Handle};
use crate::index::Identity;
use crate::tree::Stat;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Handle types are small positive numbers (exportfs.h of the kernel), so this one is free for our own kind.
const NO_HANDLE: i32 = -1;

/// The identity that a handle gives.
pub(super) fn identity_of_handle(kind: i32, bytes: &[u8]) -> Identity {
    Identity([kind.to_be_bytes().as_slice(), bytes].concat().into())
}

/// The identity of an open directory; `stat` is of the same.
///
/// # Errors
/// The kernel refuses for another reason than that there are no handles.
pub fn identity_of(directory: impl AsFd, stat: &Stat) -> io::Result<Identity> {
    match kernel::name_to_handle(directory) {
        Ok(Handle { kind, bytes }) => Ok(identity_of_handle(kind, &bytes)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EOVERFLOW | libc::EPERM | libc::ENOSYS)) => {
            let born = stat.identity.born;
            let inode = stat.identity.inode.to_be_bytes();
            let bytes = [inode.as_slice(), &born.seconds.to_be_bytes(), &born.nanoseconds.to_be_bytes()].concat();
            Ok(identity_of_handle(NO_HANDLE, &bytes))
        }
        Err(error) => Err(error),
    }
}

/// Opens, as `O_PATH`, the directory with an identity, on the mount that `mount` is on. None: it is gone, or only a walk can find it.
///
/// # Errors
/// The process may not open by handle (CAP_DAC_READ_SEARCH), or the kernel refuses otherwise.
pub(super) fn open_identity(mount: impl AsFd, identity: &Identity) -> io::Result<Option<OwnedFd>> {
    let Some((kind, bytes)) = identity.0.split_first_chunk::<4>() else { return Ok(None) };
    let kind = i32::from_be_bytes(*kind);
    if kind == NO_HANDLE || bytes.len() > HANDLE_MAX_BYTES {
        return Ok(None);
    }
    match kernel::open_by_handle(mount, &Handle { kind, bytes: bytes.to_vec() }) {
        Ok(descriptor) => Ok(Some(descriptor)),
        Err(error) if error.raw_os_error() == Some(libc::ESTALE) => Ok(None),
        Err(error) => Err(error),
    }
}
