//! A path below the root of a tree: bytes, relative, free of every trick.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// The directory at the root of a tree, and of a copy, that belongs to treesync. It never travels.
pub const RESERVED_NAME: &[u8] = b".treesync";
/// `NAME_MAX` of Linux (limits.h).
pub const NAME_MAX_BYTES: usize = 255;
/// Longest path that we carry. Above `PATH_MAX` (4,096), since lookups go from directory to directory;
/// bounded, since every frame and key holds a path.
pub const PATH_MAX_BYTES: usize = 32 * 1024;
/// Most names of a path that we carry: as many of one byte as `PATH_MAX` (4,096 with its NUL, limits.h) has room for. No
/// program can name a deeper path in one call, and what is done for each directory on the way stays bounded.
pub const PATH_MAX_NAMES: usize = 2048;

/// Why bytes are not a path of a tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// Starts with `/`.
    #[error("path {0:?} is absolute; name it relative to the root of the tree")]
    Absolute(String),
    /// A component is empty, `.` or `..`.
    #[error("path {0:?} has an empty component, \".\" or \"..\"; name the path itself")]
    Component(String),
    /// A component or the path is too long.
    #[error("path {0:?} is longer than {NAME_MAX_BYTES} bytes in a name, {PATH_MAX_BYTES} in all, or {PATH_MAX_NAMES} names")]
    TooLong(String),
    /// Contains a NUL byte.
    #[error("path {0:?} contains a NUL byte")]
    Nul(String),
    /// Is in the directory that belongs to treesync.
    #[error("path {0:?} is in the directory of treesync itself, which never travels")]
    Reserved(String),
}

/// A path below the root of a tree. Never absolute, never with `.`, `..`, an empty component or a NUL,
/// never in the reserved directory. The empty path is the root itself. Ordered as a walk meets them:
/// a directory before what is in it, and that before its next sibling.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root of the tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks the bytes.
    ///
    /// # Errors
    /// Names the path and what is wrong with it.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute(shown()));
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul(shown()));
        }
        if bytes.len() > PATH_MAX_BYTES || is_too_deep(&bytes) || bytes.split(|byte| *byte == b'/').any(|name| name.len() > NAME_MAX_BYTES)
        {
            return Err(PathError::TooLong(shown()));
        }
        if !bytes.is_empty() && bytes.split(|byte| *byte == b'/').any(|name| matches!(name, b"" | b"." | b"..")) {
            return Err(PathError::Component(shown()));
        }
        if bytes.split(|byte| *byte == b'/').next() == Some(RESERVED_NAME) {
            return Err(PathError::Reserved(shown()));
        }
        Ok(Self(bytes))
    }

    /// Its bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For calls that take a path; relative.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether it is the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is `lost+found` in the root, or below: there e2fsck(8) puts what it finds, and it belongs to each filesystem.
    pub fn is_in_lost_and_found(&self) -> bool {
        self.names().next() == Some(b"lost+found")
    }

    /// Its components from the root; none for the root.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last component; none for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.names().next_back()
    }

    /// The directory that it is in; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The path of a name in this directory.
    ///
    /// # Errors
    /// As [`TreePath::parse`]; the name is one component.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        if name.is_empty() || name.contains(&b'/') {
            return Err(PathError::Component(String::from_utf8_lossy(name).into_owned()));
        }
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::parse(bytes)
    }

    /// Whether it is below this directory; false for the directory itself.
    pub fn is_below(&self, directory: &Self) -> bool {
        directory.is_root() && !self.is_root()
            || self.0.len() > directory.0.len() && self.0.starts_with(&directory.0) && self.0[directory.0.len()] == b'/'
    }

    /// Where this path is after the directory `from` became `to`; itself when it is neither `from` nor below.
    #[must_use]
    pub fn moved(&self, from: &Self, to: &Self) -> Self {
        if self == from {
            return to.clone();
        }
        if from.is_root() || !self.is_below(from) {
            return self.clone();
        }
        let mut bytes = to.0.clone();
        let below = &self.0[from.0.len()..];
        bytes.extend_from_slice(if to.is_root() { &below[1..] } else { below });
        Self(bytes)
    }
}

/// Looked at only where there is room for so many names.
fn is_too_deep(bytes: &[u8]) -> bool {
    bytes.len() >= 2 * PATH_MAX_NAMES && bytes.split(|byte| *byte == b'/').nth(PATH_MAX_NAMES).is_some()
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(other.names())
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    /// Bytes that are not UTF-8 are shown as the replacement character; the root as `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { f.write_str(&String::from_utf8_lossy(&self.0)) }
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).expect("a good path")
    }

    #[test]
    fn tricks_are_refused() {
        for bad in ["/a", "a//b", "a/", "./a", "a/../b", "..", "a\0b", ".treesync", ".treesync/index"] {
            assert!(TreePath::parse(bad).is_err(), "{bad:?}");
        }
        assert!(TreePath::parse(vec![b'a'; 256]).is_err());
        let deep = |names: usize| vec!["a"; names].join("/");
        assert!(TreePath::parse(deep(PATH_MAX_NAMES)).is_ok() && TreePath::parse(deep(PATH_MAX_NAMES + 1)).is_err());
        assert!(TreePath::parse("a/.treesync").is_ok(), "reserved at the root only");
    }

    #[test]
    fn a_directory_comes_before_what_is_in_it_and_that_before_its_sibling() {
        let mut paths = ["a-b", "a/b/c", "a", "a/b", "b", "a.txt"].map(path);
        paths.sort();
        assert_eq!(paths, ["a", "a/b", "a/b/c", "a-b", "a.txt", "b"].map(path));
    }

    #[test]
    fn a_path_moves_with_its_directory_and_no_other() {
        let moved = |text: &str| path(text).moved(&path("a/b"), &path("x")).to_string();
        assert_eq!([moved("a/b"), moved("a/b/c"), moved("a/bc"), moved("a")], ["x", "x/c", "a/bc", "a"]);
    }
}
