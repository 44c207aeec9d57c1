//! Opens paths below a root, step by step, and keeps the last directories open.

use super::{NodeKind, Root, Stat, TreeError};
use crate::model::TreePath;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

/// Directories that a lookup keeps open: enough for the neighbours of a batch, far below the usual limit of 1,024 descriptors.
pub const DIRECTORIES_HELD_OPEN: usize = 32;

/// Longest path given to one `openat2`: `PATH_MAX` (4,096, limits.h) counts the NUL.
const STEP_MAX_BYTES: usize = 4095;

/// Lookups of one walk or one batch. A directory that was opened stays the one that was there: after renaming or removing
/// directories call [`Lookup::forget`]. Not for long use, since a directory may be moved by others meanwhile.
#[derive(Debug)]
pub struct Lookup<'r> {
    root: &'r Root,
    /// Another descriptor of the root; it stays the same directory, whatever is renamed.
    own: Option<Rc<OwnedFd>>,
    /// Most recently used last.
    open: VecDeque<(TreePath, Rc<OwnedFd>)>,
}

impl<'r> Lookup<'r> {
    pub(super) fn new(root: &'r Root) -> Self {
        Self { root, own: None, open: VecDeque::with_capacity(DIRECTORIES_HELD_OPEN) }
    }

    /// Whose paths these are.
    pub fn root(&self) -> &'r Root {
        self.root
    }

    /// Closes the directories at and below a path.
    pub fn forget_below(&mut self, path: &TreePath) {
        self.open.retain(|(open, _)| open != path && !open.is_below(path));
    }

    /// Closes all directories.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// An error of this tree.
    pub fn failed(&self, path: &TreePath, action: &'static str, error: impl Into<io::Error>) -> TreeError {
        TreeError::of(self.root.path(), path, action, error)
    }

    /// Opens a directory, for `*at` calls: it only names it, which is cheaper than to open it for reading.
    ///
    /// # Errors
    /// It is absent; or it, or a part of the way, is not a directory of this tree. The root's [`super::Stop`] is set.
    pub fn directory(&mut self, path: &TreePath) -> Result<Rc<OwnedFd>, TreeError> {
        self.root.stop().check().map_err(|error| self.failed(path, "look at", error))?;
        if let Some(at) = self.open.iter().rposition(|(open, _)| open == path) {
            let entry = self.open.remove(at).expect("the position was found just now");
            let descriptor = Rc::clone(&entry.1);
            self.open.push_back(entry);
            return Ok(descriptor);
        }
        let nearest = self.open.iter().filter(|(open, _)| path.is_below(open)).max_by_key(|(open, _)| open.as_bytes().len());
        let (from, mut at) = match nearest {
            Some((open, descriptor)) => (open.as_bytes().len() + usize::from(!open.is_root()), Rc::clone(descriptor)),
            None => (0, self.root_directory(path)?),
        };
        for step in steps(&path.as_bytes()[from..]) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            at = Rc::new(open_below(&at, step, flags).map_err(|error| self.failed(path, "open the directory", error))?);
        }
        if self.open.len() == DIRECTORIES_HELD_OPEN {
            self.open.pop_front();
        }
        self.open.push_back((path.clone(), Rc::clone(&at)));
        Ok(at)
    }

    /// The root, on behalf of a path: copied once for all lookups.
    fn root_directory(&mut self, path: &TreePath) -> Result<Rc<OwnedFd>, TreeError> {
        if let Some(own) = &self.own {
            return Ok(Rc::clone(own));
        }
        let own = Rc::new(self.root.as_fd().try_clone_to_owned().map_err(|error| self.failed(path, "open", error))?);
        self.own = Some(Rc::clone(&own));
        Ok(own)
    }

    /// The directory that a path is in, open, and its name there. The root has the empty name in itself.
    ///
    /// # Errors
    /// As [`Lookup::directory`] for the directory.
    pub fn parent<'p>(&mut self, path: &'p TreePath) -> Result<(Rc<OwnedFd>, &'p [u8]), TreeError> {
        let directory = self.directory(&path.parent().unwrap_or_default())?;
        Ok((directory, path.name().unwrap_or_default()))
    }

    /// What stands at a path; `None` when nothing does, or a directory on the way is absent.
    ///
    /// # Errors
    /// As [`Lookup::directory`] for the way to it.
    pub fn stat(&mut self, path: &TreePath) -> Result<Option<Stat>, TreeError> {
        let (directory, name) = match self.parent(path) {
            Ok(place) => place,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(error),
        };
        match Stat::at(&directory, name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::STALE) => Ok(None),
            Err(error) => Err(self.failed(path, "read the state of", error)),
        }
    }

    /// A descriptor that only names what stands at a path, whatever it is, and its state.
    ///
    /// # Errors
    /// It is absent (`is_absent`), or as [`Lookup::directory`] for the way to it.
    pub fn open_path(&mut self, path: &TreePath) -> Result<(OwnedFd, Stat), TreeError> {
        let (directory, name) = self.parent(path)?;
        let name = if name.is_empty() { b"." } else { name };
        let opened = open_below(&directory, name, OFlags::PATH | OFlags::NOFOLLOW);
        let descriptor = opened.map_err(|error| self.failed(path, "open", error))?;
        let stat = Stat::at(&descriptor, b"").map_err(|error| self.failed(path, "read the state of", error))?;
        Ok((descriptor, stat))
    }

    /// Opens a regular file for reading. Anything else is refused without being opened: opening a device can have effects.
    ///
    /// # Errors
    /// It is absent (`is_absent`), or not a regular file.
    pub fn open_file(&mut self, path: &TreePath) -> Result<(File, Stat), TreeError> {
        let (descriptor, stat) = self.open_path(path)?;
        if stat.kind != NodeKind::File {
            return Err(self.failed(path, "read", io::Error::other("it is not a regular file")));
        }
        let file = reopen(&descriptor, OFlags::RDONLY).map_err(|error| self.failed(path, "open", error))?;
        Ok((file, stat))
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// It is absent (`is_absent`), or not a symbolic link.
    pub fn read_link(&mut self, path: &TreePath) -> Result<Vec<u8>, TreeError> {
        let (directory, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&directory, name, Vec::new());
        Ok(target.map_err(|error| self.failed(path, "read the link", error))?.into_bytes())
    }

    /// The names in a directory, sorted by their bytes, without `.`, `..` and the reserved directory.
    ///
    /// # Errors
    /// As [`Lookup::directory`]; or it cannot be listed.
    pub fn names(&mut self, path: &TreePath) -> Result<Vec<Vec<u8>>, TreeError> {
        let at = self.directory(path)?;
        let failed = |error: Errno| self.failed(path, "list", error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = open_below(&at, b".", flags).map_err(failed)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let is_ours = path.is_root() && name == crate::model::RESERVED_NAME;
            if !matches!(name, b"." | b"..") && !is_ours {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Cuts a relative path into steps that one call takes.
fn steps(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if rest.len() <= STEP_MAX_BYTES {
            return Some(std::mem::take(&mut rest));
        }
        let end = rest[..STEP_MAX_BYTES].iter().rposition(|byte| *byte == b'/').expect("a name is shorter than a step");
        let step = &rest[..end];
        rest = &rest[end + 1..];
        Some(step)
    })
}

/// `openat2` that stays below. EAGAIN says that a rename was in the way (openat2(2)): asked again, a few times.
pub(crate) fn open_below(directory: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let open = || rustix::fs::openat2(&directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut result = open();
    for _ in 0..16 {
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
        result = open();
    }
    result
}

/// Opens what an `O_PATH` descriptor names. The only magic link that is followed, and it is our own.
pub(crate) fn reopen(descriptor: impl AsFd, flags: OFlags) -> rustix::io::Result<File> {
    let path = own_path(descriptor);
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(File::from(rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())?))
}

/// The path of a descriptor in `/proc`: for calls that do not take an `O_PATH` descriptor.
pub(crate) fn own_path(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_cut_between_names() {
        let name = [b'n'; 255];
        let path = vec![&name[..]; 40].join(&b'/');
        let parts: Vec<&[u8]> = steps(&path).collect();
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= STEP_MAX_BYTES));
        assert_eq!(parts.join(&b'/'), path);
        assert_eq!(steps(b"").count(), 0);
    }
}
