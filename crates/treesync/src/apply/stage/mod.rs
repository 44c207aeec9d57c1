//! Makes what is new, complete with metadata, where nobody sees it.

mod bytes;
pub(super) mod metadata;
mod ready;
pub(super) mod room;

use super::contents::{ContentError, Contents};
use super::error::Problem;
use super::hidden::intent::Operation;
use super::hidden::{Home, staged_name};
use super::observer::{Observer, Step};
use super::plan::{Act, Bytes, Make, Plan, Who};
use crate::model::{Batch, Entry, Put, Rules, TreePath, Wanted};
use crate::tree::{Identity, Root, Stat, change_xattrs, open_below};
use bytes::{Filled, Filler};
pub(super) use ready::{Ahead, Ready};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use std::fs::File;
use std::io::Read;

/// What was made.
#[derive(Default, Debug)]
pub(super) struct Staged {
    /// What the plan makes, by its number there, as it is in the stage.
    pub(super) ready: Vec<Ready>,
    pub(super) filled: Filled,
    /// Numbers of files whose bytes may not be on the disk.
    pub(super) unwritten: Vec<u64>,
}

impl Staged {
    fn get(&self, number: u64) -> Ready {
        self.ready[usize::try_from(number).expect("an index of the plan")]
    }

    /// The acts of a plan, tied to the inodes that are in the stage by now.
    pub(super) fn operations(&self, plan: &Plan, batch: &Batch) -> Vec<Operation> {
        let identity = |who: Who| match who {
            Who::Known(identity) => identity,
            Who::Staged(number) => self.get(number).identity,
        };
        let operation = |act: &Act| match act.clone() {
            Act::Trash { path, who } => Operation::Trash { path, identity: identity(who) },
            Act::Move { from, to, who } => Operation::Move { from, to, identity: identity(who) },
            Act::Publish { number, path } => {
                let Ready { number, identity } = self.get(number);
                Operation::Publish { number, path, identity }
            }
            Act::Set { path, who, put } => Operation::Set { path, identity: identity(who), entry: Box::new(batch.puts[put].entry.clone()) },
            Act::Times { path, mtime } => Operation::Times { path, mtime },
        };
        plan.acts.iter().map(operation).collect()
    }
}

struct Stager<'s, 'r> {
    home: &'s Home,
    rules: &'s Rules,
    puts: &'s [Put],
    filler: Filler<'s, 'r>,
    staged: Staged,
}

/// Makes all of the plan but what is made ahead. What was made stays in the stage when it fails.
pub(super) fn stage(
    (root, home, rules): (&Root, &Home, &Rules),
    plan: &Plan,
    (batch, contents): (&Batch, &dyn Contents),
    ahead: &mut Ahead,
    observer: &dyn Observer,
) -> Result<Staged, Problem> {
    let mut lookup = root.lookup();
    let filler = Filler { lookup: &mut lookup, contents, buffer: Vec::new(), trusts_inline: false };
    let mut stager = Stager { home, rules, puts: &batch.puts, filler, staged: Staged::default() };
    for (number, make) in (0..).zip(&plan.make) {
        observer.before(Step::Stage(number)).map_err(Problem::Stopped)?;
        home.make_shelf_for(number)?;
        let (ready, is_fresh) = match ahead.take(make, &batch.puts) {
            Some(ready) => (ready, ahead.is_fresh(ready)),
            None => (Ready { number, identity: stager.make(&staged_name(number), make)? }, matches!(make, Make::File { .. })),
        };
        stager.staged.ready.push(ready);
        stager.staged.unwritten.extend(is_fresh.then_some(ready.number));
    }
    Ok(stager.staged)
}

/// Makes files that a batch is likely to hold, with bytes whose digests were compared, as long as `is_free`; how many of the puts need no more attention.
pub(super) fn stage_ahead(
    (root, home, rules): (&Root, &Home, &Rules),
    puts: &[Put],
    ahead: &mut Ahead,
    observer: &dyn Observer,
    is_free: &dyn Fn() -> bool,
) -> Result<usize, Problem> {
    let mut lookup = root.lookup();
    let filler = Filler { lookup: &mut lookup, contents: &NothingElse, buffer: Vec::new(), trusts_inline: true };
    let mut stager = Stager { home, rules, puts, filler, staged: Staged::default() };
    for (put, wanted) in puts.iter().enumerate() {
        if !is_free() {
            return Ok(put);
        }
        if ahead.is_full() || rules.is_kept_on_copy(&wanted.path) {
            continue;
        }
        metadata::check(&wanted.path, &wanted.entry)?;
        let number = ahead.next_number();
        observer.before(Step::StageAhead(number)).map_err(Problem::Stopped)?;
        home.make_shelf_for(number)?;
        // Not before: the others on a shelf that could not be made would have no place.
        ahead.use_number();
        let identity = stager.make(&staged_name(number), &Make::File { put, bytes: Bytes::Inline })?;
        ahead.add(wanted, Ready { number, identity });
    }
    Ok(puts.len())
}

/// For files whose bytes came with them.
struct NothingElse;

impl Contents for NothingElse {
    fn open(&self, _: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        Err(ContentError::Gone)
    }
}

impl Stager<'_, '_> {
    fn make(&mut self, number: &str, make: &Make) -> Result<Identity, Problem> {
        match make {
            Make::Passage => self.directory(number, &TreePath::root(), None),
            Make::Directory { put } => {
                let put = &self.puts[*put];
                self.directory(number, &put.path, Some(&put.entry))
            }
            Make::File { put, bytes } => {
                let put = &self.puts[*put];
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                // Mostly the right one already, and nobody else gets into the stage. Bits beyond it come with the owner.
                let mode = Mode::from_bits_truncate(metadata::mode(&put.entry, self.rules) & 0o777);
                let file = rustix::fs::openat(self.home.stage(), number, flags, mode);
                let file = File::from(file.map_err(|error| Problem::io("stage", &put.path, error))?);
                let filled = self.filler.fill(&file, put, bytes)?;
                self.staged.filled.received_bytes += filled.received_bytes;
                self.staged.filled.local_bytes += filled.local_bytes;
                self.finish(&file, &put.path, &put.entry)
            }
            Make::Symlink { put } => self.symlink(number, &self.puts[*put]),
            Make::Link { of } => {
                let (directory, name) = self.filler.lookup.parent(of)?;
                let linked = rustix::fs::linkat(&directory, name, self.home.stage(), number, AtFlags::empty());
                linked.map_err(|error| Problem::io("link", of, error))?;
                self.identity(number)
            }
            Make::LinkStaged { number: of } => {
                let stage = self.home.stage();
                let of = staged_name(self.staged.get(*of).number);
                let linked = rustix::fs::linkat(stage, of, stage, number, AtFlags::empty());
                linked.map_err(Problem::own("link a staged file"))?;
                self.identity(number)
            }
        }
    }

    fn identity(&self, number: &str) -> Result<Identity, Problem> {
        let stat = Stat::at(self.home.stage(), number.as_bytes()).map_err(Problem::own("read the state of a staged file"))?;
        Ok(stat.identity)
    }

    fn finish(&self, file: &File, path: &TreePath, entry: &Entry) -> Result<Identity, Problem> {
        let stat = Stat::at(file, b"").map_err(|error| Problem::io("read the state of the new", path, error))?;
        metadata::finish(file, &stat, entry, self.rules)
            .map_err(|error| Problem::io("set owner, mode, attributes or times of", path, error))?;
        Ok(stat.identity)
    }

    fn directory(&self, number: &str, path: &TreePath, entry: Option<&Entry>) -> Result<Identity, Problem> {
        let stage = self.home.stage();
        let failed = |error: rustix::io::Errno| Problem::io("stage the directory", path, error);
        rustix::fs::mkdirat(stage, number, Mode::from_bits_truncate(0o755)).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = File::from(open_below(stage, number.as_bytes(), flags).map_err(failed)?);
        match entry {
            Some(entry) => self.finish(&directory, path, entry),
            None => Ok(Stat::at(&directory, b"").map_err(failed)?.identity),
        }
    }

    fn symlink(&self, number: &str, put: &Put) -> Result<Identity, Problem> {
        let (stage, entry) = (self.home.stage(), &put.entry);
        let failed = |error: rustix::io::Errno| Problem::io("stage the symbolic link", &put.path, error);
        rustix::fs::symlinkat(&entry.link_target[..], stage, number).map_err(failed)?;
        let (owner, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(stage, number, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        if !entry.xattrs.is_empty() {
            let link = open_below(stage, number.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
            change_xattrs(&link, &[], &entry.xattrs, self.rules)
                .map_err(|error| Problem::io("set attributes of the symbolic link", &put.path, error))?;
        }
        let times = metadata::times(entry.mtime);
        rustix::fs::utimensat(stage, number, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        self.identity(number)
    }
}
