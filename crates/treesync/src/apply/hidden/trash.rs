//! Removes what was moved out of sight, piece by piece, whatever its depth.

use crate::tree::open_below;
use rustix::fs::{AtFlags, OFlags, RenameFlags};
use rustix::io::Errno;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The names in a directory.
pub(super) fn names(directory: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// One above all numbers in use. Whoever is root in a pod can use up the highest: then it begins anew, and those in use are
/// passed by.
pub(super) fn first_free_number(trash: &OwnedFd) -> io::Result<u64> {
    let numbers = names(trash)?.into_iter().filter_map(|name| std::str::from_utf8(&name).ok()?.parse::<u64>().ok());
    Ok(numbers.max().map_or(0, |highest| highest.wrapping_add(1)))
}

/// The next number to try.
pub(super) fn take_number(next: &Cell<u64>) -> u64 {
    let number = next.get();
    next.set(number.wrapping_add(1));
    number
}

/// What is left to do. What cannot be removed costs nothing of it, or it would keep the rest from its turn for ever.
struct Emptying<'t> {
    trash: &'t OwnedFd,
    next: &'t Cell<u64>,
    waiting: Vec<Vec<u8>>,
    left: usize,
}

/// Removes up to `most` names; whether nothing is left that can be removed. A directory below another is moved up next to
/// it first: no descriptor is open but one, and a stop in between loses nothing.
pub(super) fn empty(trash: &OwnedFd, next: &Cell<u64>, most: usize) -> io::Result<bool> {
    let mut emptying = Emptying { trash, next, waiting: names(trash)?, left: most };
    while let Some(name) = emptying.waiting.pop() {
        if emptying.left == 0 || !emptying.remove(&name)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Emptying<'_> {
    /// False when the work is used up.
    fn remove(&mut self, name: &[u8]) -> io::Result<bool> {
        if unlink(self.trash, name)? {
            self.left -= 1;
            return Ok(true);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        // Mounted over or immutable: it stays.
        let Ok(directory) = open_below(self.trash, name, flags) else { return Ok(true) };
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let below = entry.file_name().to_bytes();
            if matches!(below, b"." | b"..") {
                continue;
            }
            if self.left == 0 {
                return Ok(false);
            }
            if unlink(&directory, below)? {
                self.left -= 1;
            } else {
                self.move_up(&directory, below);
            }
        }
        // Not empty when something in it could not be removed: it stays.
        let _ = rustix::fs::unlinkat(self.trash, name, AtFlags::REMOVEDIR);
        Ok(true)
    }

    fn move_up(&mut self, directory: &OwnedFd, name: &[u8]) {
        let (up, moved) = loop {
            let up = take_number(self.next).to_string();
            match rustix::fs::renameat_with(directory, name, self.trash, &up, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                moved => break (up, moved),
            }
        };
        // A mount point cannot be moved: it stays.
        if moved.is_ok() {
            self.waiting.push(up.into_bytes());
            self.left -= 1;
        }
    }
}

/// Removes a file or an empty directory; false for a directory that is not empty, or when it may not be removed.
fn unlink(directory: impl AsFd, name: &[u8]) -> io::Result<bool> {
    let result = match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR),
        result => result,
    };
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::PERM | Errno::BUSY | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
