//! Does the operations of an intent, for the first time or again.

use super::error::Problem;
use super::hidden::intent::Operation;
use super::hidden::{Home, staged_name};
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
    /// What was published last took the place of something.
    replaces: bool,
    /// Something of before is in the stage.
    has_replaced: bool,
}

impl<'p> Publisher<'p> {
    pub(super) fn new(root: &'p Root, home: &'p Home, rules: &'p Rules, is_redo: bool) -> Self {
        Self { lookup: root.lookup(), home, rules, is_redo, replaces: false, has_replaced: false }
    }

    /// Whether what was replaced is in the stage by now.
    pub(super) fn has_replaced(&self) -> bool {
        self.has_replaced
    }

    /// Does one. Doing it again after it was done, or after a stop in the middle of it, gives the same.
    pub(super) fn run(&mut self, operation: &Operation) -> Result<(), Problem> {
        match operation {
            Operation::Trash { path, identity } => self.trash(path, *identity),
            Operation::Move { from, to, identity } => self.shift(from, to, *identity),
            Operation::Publish { number, path, identity } => self.publish(*number, path, *identity),
            Operation::Set { path, identity, entry } => self.set(path, *identity, entry),
            Operation::Times { path, mtime } => {
                let (directory, name) = match self.lookup.parent(path) {
                    Ok(place) => place,
                    Err(error) if error.is_absent() => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
                let times = metadata::times(*mtime);
                let set = match name {
                    b"" => rustix::fs::futimens(&directory, &times),
                    name => rustix::fs::utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW),
                };
                match set {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(error) => Err(Problem::io("set the times of", path, error)),
                }
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
        let number = staged_name(number);
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
        let stage = self.home.stage();
        let rename = |flags| rustix::fs::renameat_with(stage, &number, &directory, name, flags);
        let begin = if self.replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        match rename(begin) {
            Ok(()) if !self.replaces => return Ok(()),
            Ok(()) => {}
            Err(Errno::EXIST) if !self.replaces => {
                self.replaces = true;
                rename(RenameFlags::EXCHANGE).map_err(failed)?;
            }
            Err(Errno::NOENT) if self.replaces => {
                self.replaces = false;
                return rename(RenameFlags::NOREPLACE).map_err(failed);
            }
            Err(error) => return Err(failed(error)),
        }
        self.has_replaced = true;
        self.lookup.forget_below(path);
        Ok(())
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
