//! Damage that is met while an index is in use: the error names the index, and a file beside it has the next start build it
//! again. It cannot be set aside at once, since its lock is what keeps a second publisher away.

use super::IndexError;
use super::folder::Folder;
use super::store::INDEX_FILE;
use std::sync::atomic::Ordering;

/// The index is not to be used again.
pub(super) const REBUILD_FILE: &str = "index.rebuild";

impl IndexError {
    /// Whether the index is the matter, and not the disk or the memory.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Path(_) => true,
            Self::Store(error) => match &**error {
                redb::Error::Corrupted(_)
                | redb::Error::TableDoesNotExist(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::UpgradeRequired(_) => true,
                redb::Error::Io(error) => !is_of_the_system(error),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Errors that say nothing about what is in the file.
pub(super) fn is_of_the_system(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    !matches!(error.kind(), InvalidData | UnexpectedEof)
}

/// Whether the disk is full, or the quota of who writes.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
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
                    // With its number: a full disk is waited for, also by who comes after whom it hit.
                    redb::Error::Io(error) => {
                        self.was_full.fetch_or(is_full(&error), Ordering::Relaxed);
                        IndexError::io(&path, "use", error)
                    }
                    redb::Error::PreviousIo if self.was_full.load(Ordering::Relaxed) => {
                        IndexError::io(&path, "use", std::io::Error::from_raw_os_error(libc::ENOSPC))
                    }
                    error => IndexError::io(&path, "use", std::io::Error::other(error)),
                },
                error => error,
            }
        })
    }

    fn condemn(&self) {
        let noted = match self.is_condemned() {
            Ok(true) => return,
            Ok(false) => match self.create(REBUILD_FILE).and_then(|_| self.sync()) {
                // Somebody else met it too.
                Err(_) if matches!(self.is_condemned(), Ok(true)) => return,
                noted => noted,
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Root;

    #[test]
    fn a_full_disk_keeps_its_number_and_what_it_broke_is_known_by_it() {
        let source = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(&Root::open(source.path()).expect("its root")).expect("its hidden folder");
        let noted = |error: redb::Error| folder.noted::<()>(Err(IndexError::Store(Box::new(error)))).expect_err("an error");
        assert!(!noted(redb::Error::PreviousIo).is_no_room(), "nothing is known of the disk");
        let full = || redb::Error::Io(std::io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(noted(full()).is_no_room());
        assert!(noted(redb::Error::PreviousIo).is_no_room());
        let refused = noted(redb::Error::Io(std::io::Error::from_raw_os_error(libc::EIO)));
        assert!(!refused.is_no_room() && !refused.is_damage(), "{refused}");
        assert!(matches!(noted(redb::Error::Corrupted("a page".to_owned())), IndexError::Condemned { .. }));
        assert!(matches!(folder.is_condemned(), Ok(true)));
    }
}
