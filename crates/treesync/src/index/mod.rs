//! The state of the source, in one crash-safe file: entries by place and by generation, the log of structural changes,
//! the floor, the epoch. It is the memory of what copies were told, so it is also the log: all changes since a
//! generation are a range.
//!
//! A name is keyed by the number of its directory, so that a directory that moves is one row. Directories are known by
//! an [`Identity`] that survives a rename. Nothing here reads the source: what was seen comes in as [`Observation`]s.

mod arrange;
mod blocks;
mod catch_up;
mod commit;
mod damage;
mod doubt;
mod folder;
mod observation;
mod origin;
mod remains;
mod resolve;
mod row;
mod store;
mod structure;
mod tables;
mod view;

pub use blocks::{BLOCK_BYTES, LARGE_FILE_BYTES};
pub use catch_up::{CatchUp, PART_MAX_BYTES};
pub use commit::Committed;
pub use observation::{At, Below, Found, Identity, Observation};
pub use origin::Origin;
pub(crate) use remains::NAMES;
pub use remains::{remains, remove_remains};
pub use row::{Row, Stamp};
pub use store::{Index, IndexOptions, Opened};
pub use structure::Retention;
pub use tables::Place;
pub use view::{Manifest, View};

use crate::model::PathError;
use std::path::{Path, PathBuf};

/// Why the index cannot be used. It is never trusted after that: the caller rebuilds it by a scan, in a new epoch.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The store failed: the disk, or its checksums.
    #[error("the index cannot be read or written: {0}")]
    Store(Box<redb::Error>),
    /// It contradicts itself.
    #[error("the index is damaged: {0}")]
    Damaged(&'static str),
    /// It holds a path that no tree has.
    #[error("the index is damaged: {0}")]
    Path(#[from] PathError),
    /// One of these was met while the index was in use, and noted.
    #[error("{path}: {error}; the next start builds it again")]
    Condemned {
        /// The index.
        path: PathBuf,
        /// What was met.
        #[source]
        error: Box<IndexError>,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process; one publisher follows a source")]
    InUse(PathBuf),
    /// Its directory, or a file in it, is of somebody else, or not what it should be. It was not used, and not changed.
    #[error(
        "{path} {found}, and treesync uses only what is its own: move it away, or give it back to the user that treesync runs as \
        (chown) if it is an index of before"
    )]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        found: &'static str,
    },
    /// Its directory cannot be used.
    #[error("cannot {action} {path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        error: std::io::Error,
    },
}

impl IndexError {
    fn io(path: &Path, action: &'static str, error: impl Into<std::io::Error>) -> Self {
        Self::Io { path: path.to_owned(), action, error: error.into() }
    }

    fn foreign(path: PathBuf, found: &'static str) -> Self {
        Self::Foreign { path, found }
    }

    /// Whether the disk, or the quota of who writes, is full. The index is as of the last commit then, and must be opened again.
    pub fn is_no_room(&self) -> bool {
        let error = match self {
            Self::Store(error) => match &**error {
                redb::Error::Io(error) => error,
                _ => return false,
            },
            Self::Io { error, .. } => error,
            Self::Condemned { .. } | Self::Damaged(_) | Self::Foreign { .. } | Self::Path(_) | Self::InUse(_) => return false,
        };
        damage::is_full(error)
    }
}

impl<E: Into<redb::Error>> From<E> for IndexError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}
