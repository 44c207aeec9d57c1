//! The only file access of the crate: lookups below a root descriptor that no symbolic link, mount or name can lead out of.
//!
//! All lookups are `openat2` with BENEATH, NO_SYMLINKS, NO_MAGICLINKS and NO_XDEV, in steps shorter than `PATH_MAX`,
//! so that paths of any length work. Devices, fifos and sockets are never opened: what stands at a path is learned
//! from an `O_PATH` descriptor first. Everything here blocks.

mod error;
mod extent;
mod hash;
mod lookup;
mod read;
mod root;
mod stat;
mod stop;
mod walk;
mod xattr;

pub use error::TreeError;
pub use extent::{BLOCK_BYTES, DataExtents};
pub(crate) use hash::hash_sparse_until;
pub use hash::{hash_sparse, in_parallel};
pub use lookup::{DIRECTORIES_HELD_OPEN, Lookup};
pub(crate) use lookup::{open_below, own_path, reopen};
pub use read::Reading;
pub use root::{Filesystem, Root};
pub use stat::{Identity, NodeKind, Stat};
pub use stop::Stop;
pub use walk::{Visit, Walk};
pub use xattr::{change_xattrs, read_xattrs};
