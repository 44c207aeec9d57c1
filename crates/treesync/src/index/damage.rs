//! Damage that is met while an index is in use: the error names the index, and a file beside it has the next start build it
//! again. It cannot be set aside at once, since its lock is what keeps a second publisher away.

use super::IndexError;
use super::folder::Folder;
use super::store::INDEX_FILE;

/// The index is not to be used again.
pub(super) const REBUILD_FILE: &str = "index.rebuild";

impl IndexError {
    /// Whether the index is the matter, and not the disk or the memory.
    fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Path(_) => true,
            Self::Store(error) => match &**error {
                redb::Error::Corrupted(_) | redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => true,
                redb::Error::Io(error) => !is_of_the_system(error),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the disk failed, and nothing is known of the index.
    pub(super) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Store(error) if matches!(&**error, redb::Error::Io(error) if is_of_the_system(error)))
    }
}

/// Errors that say nothing about what is in the file.
pub(super) fn is_of_the_system(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    !matches!(error.kind(), InvalidData | UnexpectedEof)
}

/// What reads a file that may be damaged: the store can panic then.
pub(super) fn caught<T>(read: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    read.unwrap_or(Err(IndexError::Damaged("the store cannot make sense of its file")))
}

impl Folder {
    /// Names the index in errors of its use. Damage is noted, durably if the disk lets us.
    pub fn noted<T>(&self, result: Result<T, IndexError>) -> Result<T, IndexError> {
        result.map_err(|error| {
            let path = self.path_of(INDEX_FILE);
            if error.is_damage() {
                self.condemn();
                return IndexError::Condemned { path, error: Box::new(error) };
            }
            match error {
                IndexError::Store(error) => match *error {
                    // With its number: a full disk is waited for.
                    redb::Error::Io(error) => IndexError::io(&path, "use", error),
                    error => IndexError::io(&path, "use", std::io::Error::other(error)),
                },
                error => error,
            }
        })
    }

    fn condemn(&self) {
        let noted = match self.is_condemned() {
            Ok(true) => return,
            Ok(false) => self.create(REBUILD_FILE).and_then(|_| self.sync()),
            Err(error) => Err(error),
        };
        let path = self.path_of(INDEX_FILE);
        match noted {
            Ok(()) => tracing::warn!(path = %path.display(), "the index is damaged: the next start builds it again"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "the index is damaged, and that cannot be noted: remove it"),
        }
    }

    /// Whether the index was found damaged while it was in use.
    pub fn is_condemned(&self) -> Result<bool, IndexError> {
        self.has(REBUILD_FILE)
    }
}
