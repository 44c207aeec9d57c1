//! Decides what an apply does, from the batch and what stands on the copy. Reads, and changes nothing.

mod bytes;
mod files;
mod overlay;
mod structure;
mod touched;

pub(super) use bytes::Bytes;

use super::error::Problem;
use super::stage::metadata;
use crate::model::{Batch, Mtime, Put, Rules, TreePath};
use crate::tree::{Identity, Lookup, NodeKind, Root, Stat, TreeError, Walk};
use overlay::{Overlay, Place};
use std::collections::HashMap;
use touched::Touched;

/// Something to make in the stage, under its index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Make {
    /// A directory that a move needs; a put gives it its state.
    Passage,
    /// The directory, file or symbolic link of a put.
    Directory { put: usize },
    /// A file.
    File { put: usize, bytes: Bytes },
    /// A symbolic link.
    Symlink { put: usize },
    /// Another name of a file that is on the copy.
    Link { of: TreePath },
    /// Another name of a staged file.
    LinkStaged { number: u64 },
}

/// Which inode an act is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// One that is on the copy.
    Known(Identity),
    /// One that will be in the stage.
    Staged(u64),
}

/// As [`super::hidden::intent::Operation`], before the stage is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Trash { path: TreePath, who: Who },
    Move { from: TreePath, to: TreePath, who: Who },
    Publish { number: u64, path: TreePath },
    Set { path: TreePath, who: Who, put: usize },
    Times { path: TreePath, mtime: Mtime },
}

/// What an apply does.
#[derive(Default, Debug)]
pub(super) struct Plan {
    pub(super) make: Vec<Make>,
    /// In the order in which they are published.
    pub(super) acts: Vec<Act>,
    /// Paths that the rules keep on the copy, and that were left alone.
    pub(super) kept: u64,
    /// Whether a file is replaced that has other names.
    pub(super) replaces_links: bool,
}

/// What the copy has been given before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Given {
    /// Every put up to this generation.
    pub(super) generation: u64,
    /// Every structural change up to this generation.
    pub(super) structure: u64,
}

/// Acts by the place they have in the order of publishing.
#[derive(Default)]
struct Ordered {
    structure: Vec<Act>,
    directories: Vec<Act>,
    fresh: Vec<Act>,
    replaced: Vec<Act>,
    settings: Vec<Act>,
    removals: Vec<Act>,
    directory_settings: Vec<Act>,
}

struct Planner<'p> {
    root: &'p Root,
    lookup: Lookup<'p>,
    rules: &'p Rules,
    puts: &'p [Put],
    given: Given,
    overlay: Overlay,
    touched: Touched,
    /// Directories that puts are in, as they are today: each is opened once, with the first of them.
    parents: HashMap<TreePath, Stat>,
    /// How many names of an inode the structural changes take away.
    leaving: HashMap<Identity, u32>,
    /// Of the paths of directories that are made in passing.
    passage_bytes: usize,
    make: Vec<Make>,
    acts: Ordered,
    kept: u64,
    replaces_links: bool,
}

/// Plans a batch.
pub(super) fn plan(root: &Root, rules: &Rules, batch: &Batch, given: Given) -> Result<Plan, Problem> {
    let mut planner = Planner {
        root,
        lookup: root.lookup(),
        rules,
        puts: &batch.puts,
        given,
        overlay: Overlay::default(),
        touched: Touched::default(),
        parents: HashMap::new(),
        leaving: HashMap::new(),
        passage_bytes: 0,
        make: Vec::new(),
        acts: Ordered::default(),
        kept: 0,
        replaces_links: false,
    };
    planner.structure(&batch.structure)?;
    planner.puts()?;
    Ok(planner.finish())
}

impl Planner<'_> {
    fn make(&mut self, make: Make) -> u64 {
        self.make.push(make);
        self.make.len() as u64 - 1
    }

    /// What stands at a path once the changes so far are done.
    fn stat(&mut self, place: &Place) -> Result<Option<Stat>, Problem> {
        match place {
            Place::At(origin) => Ok(self.lookup.stat(origin)?),
            Place::Absent | Place::New(_) => Ok(None),
        }
    }

    /// A directory that names come to or go from: it must be there, and be changeable; its mtime is set back afterwards.
    fn touch(&mut self, directory: &TreePath) -> Result<(), Problem> {
        if self.touched.knows(directory) {
            return Ok(());
        }
        let drift = |found| Problem::Drift { path: directory.clone(), found };
        let mtime = match self.overlay.locate(directory) {
            Place::New(_) => None,
            Place::Absent => return Err(drift("is absent, and something is to be in it")),
            Place::At(origin) => {
                let stat = match self.directory_stat(&origin) {
                    Err(error) if error.is_absent() => return Err(drift("is absent, and something is to be in it")),
                    Err(TreeError::NotBelow { .. }) => return Err(drift("is a link, a mount or a file, where a directory should be")),
                    stat => stat?,
                };
                if stat.is_frozen {
                    return Err(Problem::Frozen(directory.clone()));
                }
                Some(stat.mtime)
            }
        };
        self.touched.add(directory.clone(), mtime);
        Ok(())
    }

    fn directory_stat(&mut self, directory: &TreePath) -> Result<Stat, TreeError> {
        if let Some(stat) = self.parents.get(directory) {
            return Ok(*stat);
        }
        let opened = self.lookup.directory(directory)?;
        let stat = Stat::at(&opened, b"").map_err(|error| self.lookup.failed(directory, "read the state of", error))?;
        self.parents.insert(directory.clone(), stat);
        Ok(stat)
    }

    fn touch_parent(&mut self, path: &TreePath) -> Result<(), Problem> {
        self.touch(&path.parent().unwrap_or_default())
    }

    fn puts(&mut self) -> Result<(), Problem> {
        let puts = self.puts;
        let mut files = files::Groups::default();
        for (index, put) in puts.iter().enumerate() {
            if self.rules.is_kept_on_copy(&put.path) {
                self.kept += 1;
                continue;
            }
            metadata::check(&put.path, &put.entry)?;
            let place = self.overlay.locate(&put.path);
            let now = self.changeable(&put.path, &place)?;
            if put.entry.is_directory() {
                self.directory(index, &place, now)?;
            } else {
                self.file_in_the_way(&put.path, now)?;
                files.add(index, put, place, now);
            }
        }
        for group in files.into_groups() {
            self.group(&group)?;
        }
        Ok(())
    }

    /// What stands at the path of a put, if it may be changed.
    fn changeable(&mut self, path: &TreePath, place: &Place) -> Result<Option<Stat>, Problem> {
        // A path below something that is no directory any more is found out when its parent is touched.
        let now = match self.stat(place) {
            Err(Problem::Tree(TreeError::NotBelow { .. })) => {
                self.touch_parent(path)?;
                None
            }
            now => now?,
        };
        if let (Some(_), Place::At(origin)) = (now, place) {
            // While it is open.
            self.directory_stat(&origin.parent().unwrap_or_default())?;
        }
        match now {
            Some(stat) if stat.is_frozen => Err(Problem::Frozen(path.clone())),
            Some(stat) if stat.kind == NodeKind::MountPoint => {
                Err(Problem::Drift { path: path.clone(), found: "is a mount point; unmount it" })
            }
            now => Ok(now),
        }
    }

    fn directory(&mut self, put: usize, place: &Place, now: Option<Stat>) -> Result<(), Problem> {
        let path = self.puts[put].path.clone();
        let who = match (place, now) {
            (Place::New(number), _) => Who::Staged(*number),
            (_, Some(stat)) if stat.kind == NodeKind::Directory => Who::Known(stat.identity),
            _ => {
                self.touch_parent(&path)?;
                let number = self.make(Make::Directory { put });
                self.acts.directories.push(Act::Publish { number, path: path.clone() });
                self.overlay.set(&path, Place::New(number));
                self.touched.add(path.clone(), None);
                Who::Staged(number)
            }
        };
        self.acts.directory_settings.push(Act::Set { path, who, put });
        Ok(())
    }

    /// A directory that must become a file goes with all below, unless something below is kept.
    fn file_in_the_way(&mut self, path: &TreePath, now: Option<Stat>) -> Result<(), Problem> {
        if now.is_some_and(|stat| stat.kind == NodeKind::Directory) {
            let Place::At(origin) = self.overlay.locate(path) else { return Ok(()) };
            if !self.kept_below(path, &origin)?.is_empty() {
                return Err(Problem::Kept(path.clone()));
            }
            self.overlay.set(path, Place::Absent);
            self.touched.remove(path);
        }
        Ok(())
    }

    /// What the rules keep below a path, in order; what is below a kept directory is not listed.
    fn kept_below(&self, path: &TreePath, origin: &TreePath) -> Result<Vec<TreePath>, Problem> {
        let mut kept = Vec::new();
        if self.rules.keeps_nothing() {
            return Ok(kept);
        }
        let mut walk = Walk::new(self.root, origin.clone());
        while let Some(visit) = walk.next() {
            let at = visit?.path.moved(origin, path);
            if self.rules.is_kept_on_copy(&at) {
                walk.skip_below();
                kept.push(at);
            }
        }
        Ok(kept)
    }

    fn finish(self) -> Plan {
        let puts = self.puts;
        let is_put = |path: &TreePath| puts.binary_search_by(|put| put.path.cmp(path)).is_ok_and(|at| puts[at].entry.is_directory());
        let times = self.touched.into_times().filter(|(path, _)| !is_put(path)).map(|(path, mtime)| Act::Times { path, mtime });
        let mut acts = self.acts.structure;
        acts.extend(self.acts.directories);
        acts.extend(self.acts.fresh);
        acts.extend(self.acts.replaced);
        acts.extend(self.acts.settings);
        acts.extend(self.acts.removals);
        // The deepest first: a directory that loses its permissions last still lets us in.
        acts.extend(self.acts.directory_settings.into_iter().rev());
        acts.extend(times);
        Plan { make: self.make, acts, kept: self.kept, replaces_links: self.replaces_links }
    }
}
