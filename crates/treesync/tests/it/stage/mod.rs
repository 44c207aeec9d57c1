//! Builders and scenery of the tests.

pub mod images;
pub mod source;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use treesync::model::TreePath;
use treesync::tree::Root;

/// A path of a tree, which must be good.
pub fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(text.as_ref()).unwrap()
}

/// A temporary folder that is the root of a tree.
pub struct Tree {
    folder: TempDir,
}

impl Tree {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// In memory: for tests that would wait for a disk again and again.
    pub fn within_memory() -> Self {
        Self { folder: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    pub fn root(&self) -> Root {
        Root::open(self.folder.path()).unwrap()
    }

    pub fn at(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.folder.path().join(OsStr::from_bytes(path.as_ref()))
    }

    /// Writes a file and the directories above it.
    pub fn write(&self, path: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let at = self.at(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, bytes).unwrap();
        at
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Whether a test that needs root may run. A skip is loud, and a failure where everything must run.
pub fn is_root_or_skipped(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs root, and CI must run everything");
    eprintln!("SKIPPED {test}: needs root");
    false
}
