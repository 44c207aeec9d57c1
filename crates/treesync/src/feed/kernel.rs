//! The four system calls that no crate of ours wraps: fanotify and file handles. Unsafe code elsewhere is one call each.
#![expect(unsafe_code, reason = "fanotify_init, fanotify_mark, name_to_handle_at and open_by_handle_at have no safe wrapper in rustix")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `MAX_HANDLE_SZ` (linux/fcntl.h of the uapi headers).
pub(super) const HANDLE_MAX_BYTES: usize = 128;

/// `struct file_handle` (open_by_handle_at(2)) with room for the longest handle.
#[repr(C)]
struct FileHandle {
    handle_bytes: u32,
    handle_type: i32,
    f_handle: [u8; HANDLE_MAX_BYTES],
}

/// A handle: its type and its bytes, which mean something to the filesystem alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Handle {
    pub kind: i32,
    pub bytes: Vec<u8>,
}

fn descriptor(result: i64) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(result).map_err(|_| io::Error::other("a descriptor that is no number"))?;
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this call, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A group for events; flags as in fanotify_init(2).
pub(super) fn fanotify_init(flags: u32) -> io::Result<OwnedFd> {
    let event_flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).cast_unsigned();
    // SAFETY: two numbers go in, one comes out.
    descriptor(unsafe { libc::fanotify_init(flags, event_flags) }.into())
}

/// Marks the filesystem that a directory is on.
pub(super) fn fanotify_mark_filesystem(group: impl AsFd, mask: u64, directory: impl AsFd) -> io::Result<()> {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    let (group, directory) = (group.as_fd().as_raw_fd(), directory.as_fd().as_raw_fd());
    // SAFETY: both descriptors are open for the whole call; a null path means the directory itself (fanotify_mark(2)).
    let result = unsafe { libc::fanotify_mark(group, flags, mask, directory, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The handle of what a descriptor names.
pub(super) fn name_to_handle(of: impl AsFd) -> io::Result<Handle> {
    let size = u32::try_from(HANDLE_MAX_BYTES).unwrap_or(u32::MAX);
    let mut handle = FileHandle { handle_bytes: size, handle_type: 0, f_handle: [0; HANDLE_MAX_BYTES] };
    let mut mount = 0_i32;
    let empty: &CStr = c"";
    // SAFETY: the descriptor is open, the name ends with NUL, and both places that the kernel writes to outlive the call;
    // `handle_bytes` says how many bytes of `f_handle` it may write.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            of.as_fd().as_raw_fd(),
            empty.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = (handle.handle_bytes as usize).min(HANDLE_MAX_BYTES);
    Ok(Handle { kind: handle.handle_type, bytes: handle.f_handle[..length].to_vec() })
}

/// Opens what a handle names, on the mount that a descriptor is on, as `O_PATH`. ESTALE: it is gone.
pub(super) fn open_by_handle(mount: impl AsFd, handle: &Handle) -> io::Result<OwnedFd> {
    let length = handle.bytes.len();
    if length > HANDLE_MAX_BYTES {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let handle_bytes = u32::try_from(length).unwrap_or(0);
    let mut raw = FileHandle { handle_bytes, handle_type: handle.kind, f_handle: [0; HANDLE_MAX_BYTES] };
    raw.f_handle[..length].copy_from_slice(&handle.bytes);
    // SAFETY: the descriptor is open and `raw` outlives the call, which only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount.as_fd().as_raw_fd(), &raw mut raw, libc::O_PATH | libc::O_CLOEXEC) };
    descriptor(result)
}
