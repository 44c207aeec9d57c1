//! Why a copy was not changed, or not to the end.

use super::ContentError;
use crate::model::{SourceId, TreePath};
use crate::tree::TreeError;
use std::io;
use std::path::PathBuf;

/// A failure at one copy. The copy serves what it served before, unless [`Problem`] says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", copy.display())]
pub struct CopyError {
    /// The root of the copy.
    pub copy: PathBuf,
    /// What happened.
    #[source]
    pub problem: Problem,
}

/// What can go wrong at a copy. Each names the path and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It holds files, and no marker says whose copy it is.
    #[error("it has files that treesync did not put there, for example {0}; empty it, or adopt it to have it made equal to the source")]
    Foreign(TreePath),
    /// Another process is its owner.
    #[error("another process keeps this copy in step; stop it first")]
    Locked,
    /// The hidden directory is not ours.
    #[error("{0} in it is not a directory of ours alone (mode 0700); move it away, and compare the copy with the source")]
    Hidden(&'static str),
    /// A newer version of treesync wrote what is there, and this one would destroy what that knows.
    #[error(
        "its {what} is of version {found}, and this treesync reads up to {known}; update it, or remove .treesync and adopt the copy to have it compared afresh"
    )]
    Newer {
        /// What is newer.
        what: &'static str,
        /// Of which version.
        found: u8,
        /// The last one that this program reads.
        known: u8,
    },
    /// Its position means nothing in this history; a comparison with the manifest gives it a new one.
    #[error("{0}; it must be compared with the source first (verify with repair)")]
    NeedsManifest(String),
    /// It is a copy of something else.
    #[error("it is a copy of source {is}, not of {wanted}; compare it with the source to turn it into its copy")]
    OtherSource {
        /// Whose copy it is.
        is: SourceId,
        /// Whose changes were to be applied.
        wanted: SourceId,
    },
    /// Changes are missing between it and the batch.
    #[error("it is at generation {at}, and the changes start after {from}; ask for those since {at}")]
    Behind {
        /// Where it is.
        at: u64,
        /// Where the batch starts.
        from: u64,
    },
    /// Somebody else changed the copy, so that the change does not fit any more.
    #[error("{path} {found}; somebody else changed the copy: compare it with the source (verify with repair)")]
    Drift {
        /// Where.
        path: TreePath,
        /// What was found.
        found: &'static str,
    },
    /// `chattr +i` or `+a`.
    #[error("{0} is immutable or append-only on the copy; clear it with chattr -i -a, or preserve it on copies")]
    Frozen(TreePath),
    /// Something stands in the way that the rules keep on copies.
    #[error("{0} must become something else, but holds what the rules keep on copies; move that away or change the rule")]
    Kept(TreePath),
    /// Not enough room for the bytes.
    #[error("{needed} bytes are needed and {free} are free; nothing was changed, make room or grow the volume")]
    NoSpace {
        /// For the files to come, and to change directories.
        needed: u64,
        /// By `statvfs`.
        free: u64,
    },
    /// Not enough room for the number of files.
    #[error("{needed} inodes are needed and {free} are free; nothing was changed, remove files or make a larger filesystem")]
    NoInodes {
        /// For the files to come.
        needed: u64,
        /// By `statvfs`.
        free: u64,
    },
    /// The bytes of a file did not come.
    #[error("{path}: {error}")]
    Content {
        /// Whose bytes.
        path: TreePath,
        /// Why.
        #[source]
        error: ContentError,
    },
    /// Other bytes came than were promised. They were thrown away.
    #[error("{0}: the bytes that came are not those of its digest; they were thrown away")]
    WrongBytes(TreePath),
    /// A put that no correct source sends.
    #[error("{path}: {found}; nothing was changed")]
    Hostile {
        /// Where.
        path: TreePath,
        /// What is wrong with it.
        found: &'static str,
    },
    /// The tree could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The kernel refused something.
    #[error("cannot {action} {path}: {error}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// To which path.
        path: TreePath,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The kernel refused something in the hidden directory.
    #[error("cannot {action}: {error}")]
    Own {
        /// What was tried, a verb with its object.
        action: &'static str,
        /// What the kernel said.
        #[source]
        error: io::Error,
    },
    /// The observer stopped it.
    #[error("stopped: {0}")]
    Stopped(io::Error),
}

impl Problem {
    pub(super) fn io(action: &'static str, path: &TreePath, error: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.clone(), error: error.into() }
    }

    /// For `map_err` of calls on our own directory.
    pub(super) fn own<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Own { action, error: error.into() }
    }

    /// Whether comparing the copy with a manifest, and repairing it, is the way on.
    pub fn is_cured_by_repair(&self) -> bool {
        match self {
            Self::NeedsManifest(_) | Self::OtherSource { .. } | Self::Drift { .. } => true,
            Self::Tree(error) => matches!(error, TreeError::NotBelow { .. }),
            _ => false,
        }
    }

    /// Whether the source has moved on, so that newer changes are to be asked for.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Content { error: ContentError::Gone, .. })
    }
}
