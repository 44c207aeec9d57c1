//! Why a path of a tree could not be used.

use crate::model::TreePath;
use std::io;
use std::path::{Path, PathBuf};

/// A failed access; names the tree and the path in it.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The kernel refused.
    #[error("{tree}: cannot {action} {path}: {error}")]
    Io {
        /// The root of the tree.
        tree: PathBuf,
        /// The path in it.
        path: TreePath,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// A component of the path is a symbolic link, a mount point, or not a directory. It was not followed.
    #[error("{tree}: {path} is reached through a symbolic link, a mount point or a file, where a directory should be; it was not followed")]
    NotBelow {
        /// The root of the tree.
        tree: PathBuf,
        /// The path in it.
        path: TreePath,
    },
    /// The root itself cannot be used.
    #[error("{tree}: cannot {action}: {error}")]
    Root {
        /// The root of the tree.
        tree: PathBuf,
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
}

impl TreeError {
    /// Names what was tried. Links and mounts in the way become [`TreeError::NotBelow`].
    pub fn of(tree: &Path, path: &TreePath, action: &'static str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let (tree, path) = (tree.to_owned(), path.clone());
        match error.raw_os_error() {
            Some(libc::ELOOP | libc::EXDEV | libc::ENOTDIR) => Self::NotBelow { tree, path },
            _ => Self::Io { tree, path, action, error },
        }
    }

    /// The number of the kernel's error, if it is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { error, .. } | Self::Root { error, .. } => error.raw_os_error(),
            Self::NotBelow { .. } => None,
        }
    }

    /// Whether the path, or a directory on the way to it, does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(libc::ENOENT | libc::ESTALE))
    }
}
