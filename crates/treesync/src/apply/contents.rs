//! Where bytes come from that a copy does not hold.

use crate::model::Wanted;
use std::io::{self, Read};

/// Why bytes do not come.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The source has other bytes there by now. No fault of the copy: it stays where it is and asks for what is newer.
    #[error("the source has other bytes there by now")]
    Gone,
    /// They could not be fetched.
    #[error("the bytes could not be fetched: {0}")]
    Failed(#[from] io::Error),
}

impl ContentError {
    /// Of a reader: `InvalidData` says that the file changed before the last byte was read.
    pub(super) fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData { Self::Gone } else { Self::Failed(error) }
    }
}

/// A source of bytes. Called while nothing is visible yet; it may block.
pub trait Contents {
    /// The wanted range, and not a byte more. What comes is checked against its digest, so it may be wrong.
    ///
    /// # Errors
    /// [`ContentError::Gone`] when the source has moved on.
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, ContentError>;
}
