//! Does the operations of an intent, for the first time or again.

use super::error::Problem;
use super::hidden::Home;
use super::hidden::intent::Operation;
use super::stage::metadata;
use crate::model::{Entry, Rules, TreePath};
use crate::tree::{Identity, Lookup, NodeKind, Root, Stat};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// Does operations one after the other.
pub(super) struct Publisher<'p> {
    lookup: Lookup<'p>,
    home: &'p Home,
    rules: &'p Rules,
    /// Whether some may be done already. Then each looks before it acts.
    is_redo: bool,
}

impl<'p> Publisher<'p> {
    pub(super) fn new(root: &'p Root, home: &'p Home, rules: &'p Rules, is_redo: bool) -> Self {
        Self { lookup: root.lookup(), home, rules, is_redo }
    }

    /// Does one. Doing it again after it was done, or after a stop in the middle of it, gives the same.
    pub(super) fn run(&mut self, operation: &Operation) -> Result<(), Problem> {
        match operation {
            Operation::Trash { path, identity } => self.trash(path, *identity),
            Operation::Move { from, to, identity } => self.shift(from, to, *identity),
            Operation::Publish { number, path, identity } => self.publish(*number, path, *identity),
            Operation::Set { path, identity, entry } => self.set(path, *identity, entry),
            Operation::Times { path, mtime } => {
                let Some(stat) = self.lookup.stat(path)?.filter(|stat| stat.kind == NodeKind::Directory) else { return Ok(()) };
                if stat.mtime == *mtime {
                    return Ok(());
                }
                let (directory, name) = self.lookup.parent(path)?;
                let times = metadata::times(*mtime);
                let set = match name {
                    b"" => rustix::fs::futimens(&directory, &times),
                    name => rustix::fs::utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW),
                };
                set.map_err(|error| Problem::io("set the times of", path, error))
            }
        }
    }

    fn trash(&mut self, path: &TreePath, identity: Identity) -> Result<(), Problem> {
        let Some(stat) = self.lookup.stat(path)?.filter(|stat| stat.identity == identity) else { return Ok(()) };
        let (directory, name) = self.lookup.parent(path)?;
        match self.home.take_away(&directory, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Problem::io("remove", path, error)),
        }
        if stat.kind == NodeKind::Directory {
            self.lookup.forget();
        }
        Ok(())
    }

    fn shift(&mut self, from: &TreePath, to: &TreePath, identity: Identity) -> Result<(), Problem> {
        if self.lookup.stat(from)?.is_none_or(|stat| stat.identity != identity) {
            return Ok(());
        }
        let (old, old_name) = self.lookup.parent(from)?;
        let (new, new_name) = self.lookup.parent(to)?;
        let moved = rustix::fs::renameat_with(&old, old_name, &new, new_name, RenameFlags::NOREPLACE);
        moved.map_err(|error| match error {
            Errno::EXIST => Problem::Drift { path: to.clone(), found: "exists, and a directory is to be moved there" },
            error => Problem::io("move a directory to", to, error),
        })?;
        self.lookup.forget();
        Ok(())
    }

    fn publish(&mut self, number: u64, path: &TreePath, identity: Identity) -> Result<(), Problem> {
        let number = number.to_string();
        let (directory, name) = self.lookup.parent(path)?;
        if self.is_redo {
            if is_at(&directory, name, identity) {
                return Ok(());
            }
            if !is_at(self.home.stage(), number.as_bytes(), identity) {
                return Err(Problem::Drift { path: path.clone(), found: "was published and is not there any more" });
            }
        }
        let failed = |error: Errno| Problem::io("publish", path, error);
        match rustix::fs::renameat(self.home.stage(), &number, &directory, name) {
            Ok(()) => return Ok(()),
            // Another kind stands there, or a directory that is not empty.
            Err(Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        rustix::fs::renameat_with(self.home.stage(), &number, &directory, name, RenameFlags::EXCHANGE).map_err(failed)?;
        self.lookup.forget();
        self.home.take_away(self.home.stage(), number.as_bytes()).map_err(failed)
    }

    fn set(&mut self, path: &TreePath, identity: Identity, entry: &Entry) -> Result<(), Problem> {
        let (descriptor, stat) = match self.lookup.open_path(path) {
            Ok(opened) => opened,
            Err(error) if error.is_absent() => return Err(drifted(path)),
            Err(error) => return Err(error.into()),
        };
        if stat.identity != identity {
            return Err(drifted(path));
        }
        metadata::change(&descriptor, &stat, entry, self.rules)
            .map_err(|error| Problem::io("change owner, mode, attributes or times of", path, error))
    }
}

fn drifted(path: &TreePath) -> Problem {
    Problem::Drift { path: path.clone(), found: "is not the file that was there when the change began" }
}

fn is_at(directory: impl AsFd, name: &[u8], identity: Identity) -> bool {
    Stat::at(directory, name).is_ok_and(|stat| stat.identity == identity)
}
