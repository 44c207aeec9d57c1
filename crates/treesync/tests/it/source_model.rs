//! A filesystem in memory with inodes whose numbers come again, names that are told to be dirty as fanotify tells them,
//! and a reader that says what stands where.

use crate::copy_model::Tree;
use std::collections::{BTreeMap, BTreeSet};
use treesync::index::{At, Below, Found, Identity, Observation, Stamp, View};
use treesync::model::{ContentHash, Entry, Kind, Mtime, TreePath};

#[derive(Clone, Debug)]
pub enum Node {
    Directory(BTreeMap<Vec<u8>, u64>),
    File(Vec<u8>),
    Symlink(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Inode {
    node: Node,
    mode: u32,
    /// Distinguishes uses of one number.
    birth: u64,
    ctime: u64,
}

/// One operation; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Operation {
    File { directory: usize, name: u8, content: u8 },
    Directory { directory: usize, name: u8 },
    Symlink { directory: usize, name: u8, target: u8 },
    Mode { path: usize, mode: u32 },
    Rename { from: usize, directory: usize, name: u8 },
    Exchange { one: usize, other: usize },
    Link { from: usize, directory: usize, name: u8 },
    Remove { path: usize },
    Flush { all: bool },
}

/// The source. Inode 1 is the root.
#[derive(Clone, Debug)]
pub struct SourceModel {
    inodes: BTreeMap<u64, Inode>,
    clock: u64,
    pub dirty: Vec<Dirty>,
}

/// What the kernel says may have changed.
#[derive(Clone, Debug)]
pub enum Dirty {
    Name(At),
    /// The number of its names changed; which names is not said.
    Inode(u64),
}

const ROOT: u64 = 1;

impl SourceModel {
    pub fn new() -> Self {
        let root = Inode { node: Node::Directory(BTreeMap::new()), mode: 0o755, birth: 0, ctime: 0 };
        let dirty = vec![Dirty::Name(At { parent: None, name: vec![] })];
        Self { inodes: BTreeMap::from([(ROOT, root)]), clock: 0, dirty }
    }

    fn entries(&self, inode: u64) -> Option<&BTreeMap<Vec<u8>, u64>> {
        match &self.inodes.get(&inode)?.node {
            Node::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    fn identity(&self, inode: u64) -> Identity {
        Identity(format!("{inode}.{}", self.inodes[&inode].birth).into_bytes().into())
    }

    /// Every name: its directory, itself, its inode; the root left out.
    fn names(&self) -> Vec<(u64, Vec<u8>, u64)> {
        let mut found = Vec::new();
        let mut directories = vec![ROOT];
        while let Some(directory) = directories.pop() {
            for (name, inode) in self.entries(directory).unwrap() {
                found.push((directory, name.clone(), *inode));
                directories.extend(self.entries(*inode).map(|_| *inode));
            }
        }
        found.sort();
        found
    }

    fn directories(&self) -> Vec<u64> {
        let below = self.names().into_iter().map(|(_, _, inode)| inode).filter(|inode| self.entries(*inode).is_some());
        [ROOT].into_iter().chain(below).collect()
    }

    fn is_at_or_below(&self, inode: u64, top: u64) -> bool {
        inode == top || self.entries(top).is_some_and(|entries| entries.values().any(|below| self.is_at_or_below(inode, *below)))
    }

    fn soil(&mut self, directory: u64, name: &[u8]) {
        let at = At { parent: Some(self.identity(directory)), name: name.to_vec() };
        self.dirty.push(Dirty::Name(at));
        self.touch(directory);
    }

    fn touch(&mut self, inode: u64) {
        self.clock += 1;
        self.inodes.get_mut(&inode).unwrap().ctime = self.clock;
    }

    fn link(&mut self, directory: u64, name: &[u8], inode: u64) {
        let Node::Directory(entries) = &mut self.inodes.get_mut(&directory).unwrap().node else { unreachable!() };
        let old = entries.insert(name.to_vec(), inode);
        self.soil(directory, name);
        self.collect(old);
    }

    fn unlink(&mut self, directory: u64, name: &[u8]) -> u64 {
        let Node::Directory(entries) = &mut self.inodes.get_mut(&directory).unwrap().node else { unreachable!() };
        let inode = entries.remove(name).unwrap();
        self.soil(directory, name);
        inode
    }

    /// Frees inodes that have no name, so that their numbers come again at once.
    fn collect(&mut self, gone: Option<u64>) {
        self.dirty.extend(gone.map(Dirty::Inode));
        let mut named: BTreeSet<u64> = self.names().into_iter().map(|(_, _, inode)| inode).collect();
        named.insert(ROOT);
        self.inodes.retain(|inode, _| named.contains(inode));
    }

    fn make(&mut self, node: Node) -> u64 {
        let inode = (2..u64::MAX).find(|inode| !self.inodes.contains_key(inode)).unwrap();
        self.clock += 1;
        self.inodes.insert(inode, Inode { node, mode: 0o644, birth: self.clock, ctime: self.clock });
        inode
    }

    /// Does it if it is possible here; a real kernel says no otherwise.
    pub fn run(&mut self, operation: &Operation) {
        let directories = self.directories();
        let names = self.names();
        let directory = |number: &usize| directories[number % directories.len()];
        let name = |number: &u8| vec![b'a' + number % 5];
        let pick = |number: &usize| (!names.is_empty()).then(|| names[number % names.len()].clone());
        match operation {
            Operation::File { directory: at, name: called, content } => self.write(directory(at), &name(called), vec![*content]),
            Operation::Directory { directory: at, name: called } => {
                if !self.entries(directory(at)).unwrap().contains_key(&name(called)) {
                    let made = self.make(Node::Directory(BTreeMap::new()));
                    self.link(directory(at), &name(called), made);
                }
            }
            Operation::Symlink { directory: at, name: called, target } => {
                if !self.entries(directory(at)).unwrap().contains_key(&name(called)) {
                    let made = self.make(Node::Symlink(vec![b'/', *target]));
                    self.link(directory(at), &name(called), made);
                }
            }
            Operation::Mode { path, mode } => {
                if let Some((at, called, inode)) = pick(path) {
                    self.inodes.get_mut(&inode).unwrap().mode = *mode;
                    self.touch(inode);
                    self.soil(at, &called);
                }
            }
            Operation::Rename { from, directory: at, name: called } => {
                if let Some(from) = pick(from) {
                    self.rename(from, directory(at), &name(called));
                }
            }
            Operation::Exchange { one, other } => {
                if let (Some(one), Some(other)) = (pick(one), pick(other)) {
                    self.exchange(&one, &other);
                }
            }
            Operation::Link { from, directory: at, name: called } => {
                let free = !self.entries(directory(at)).unwrap().contains_key(&name(called));
                if let Some((_, _, inode)) = pick(from).filter(|(_, _, inode)| free && self.entries(*inode).is_none()) {
                    self.link(directory(at), &name(called), inode);
                    self.dirty.push(Dirty::Inode(inode));
                    self.touch(inode);
                }
            }
            Operation::Remove { path } => {
                if let Some((at, called, _)) = pick(path) {
                    self.remove(at, &called);
                }
            }
            Operation::Flush { .. } => {}
        }
    }

    /// Through the name if it is a file, else a file anew in place of what is there.
    fn write(&mut self, directory: u64, name: &[u8], content: Vec<u8>) {
        let there = self.entries(directory).unwrap().get(name).copied();
        if let Some(inode) = there.filter(|inode| matches!(self.inodes[inode].node, Node::File(_))) {
            self.inodes.get_mut(&inode).unwrap().node = Node::File(content);
            self.touch(inode);
            self.soil(directory, name);
            return;
        }
        if there.is_some() {
            self.remove(directory, name);
        }
        let made = self.make(Node::File(content));
        self.link(directory, name, made);
    }

    /// As `rm -r`: from the leaves.
    fn remove(&mut self, directory: u64, name: &[u8]) {
        let inode = self.entries(directory).unwrap()[name];
        for below in self.entries(inode).cloned().unwrap_or_default().into_keys() {
            self.remove(inode, &below);
        }
        let gone = self.unlink(directory, name);
        self.collect(Some(gone));
        if self.inodes.contains_key(&gone) {
            self.touch(gone);
        }
    }

    fn rename(&mut self, (from, called, inode): (u64, Vec<u8>, u64), to: u64, name: &[u8]) {
        let there = self.entries(to).unwrap().get(name).copied();
        let into_itself = self.is_at_or_below(to, inode);
        let is_allowed = match there {
            None => true,
            Some(there) => match (self.entries(inode), self.entries(there)) {
                (None, None) => there != inode,
                (Some(_), Some(entries)) => entries.is_empty(),
                _ => false,
            },
        };
        if is_allowed && !into_itself {
            self.unlink(from, &called);
            self.link(to, name, inode);
            self.touch(inode);
        }
    }

    fn exchange(&mut self, one: &(u64, Vec<u8>, u64), other: &(u64, Vec<u8>, u64)) {
        if self.is_at_or_below(other.0, one.2) || self.is_at_or_below(one.0, other.2) || one.2 == other.2 {
            return;
        }
        for ((directory, name, _), inode) in [(one, other.2), (other, one.2)] {
            let Node::Directory(entries) = &mut self.inodes.get_mut(directory).unwrap().node else { unreachable!() };
            entries.insert(name.clone(), inode);
            self.soil(*directory, name);
            self.touch(inode);
        }
    }

    fn link_count(&self, inode: u64) -> u32 {
        u32::try_from(self.names().iter().filter(|(_, _, named)| *named == inode).count()).unwrap()
    }

    fn entry(&self, inode: u64) -> Entry {
        let Inode { node, mode, .. } = &self.inodes[&inode];
        let (kind, link_target) = match node {
            Node::Directory(_) => (Kind::Directory, vec![]),
            Node::File(bytes) => (Kind::File { size_bytes: bytes.len() as u64, content: ContentHash::of(bytes) }, vec![]),
            Node::Symlink(target) => (Kind::Symlink, target.clone()),
        };
        let link_group = if kind != Kind::Directory && self.link_count(inode) > 1 { inode } else { 0 };
        Entry { kind, mode: *mode, uid: 0, gid: 0, mtime: Mtime::default(), link_target, xattrs: vec![], link_group }
    }

    fn found(&self, inode: u64, is_listed: bool) -> Found {
        let Inode { ctime, .. } = &self.inodes[&inode];
        let is_directory = self.entries(inode).is_some();
        Found {
            entry: self.entry(inode),
            stamp: Stamp {
                inode,
                link_count: self.link_count(inode),
                ctime: Mtime { seconds: 0, nanoseconds: u32::try_from(*ctime).unwrap() },
            },
            identity: is_directory.then(|| self.identity(inode)),
            below: if is_listed { Below::Listed } else { Below::Unsaid },
            blocks: vec![],
            inline: None,
        }
    }

    fn inode_of(&self, identity: &Identity) -> Option<u64> {
        self.directories().into_iter().find(|inode| self.identity(*inode) == *identity)
    }

    /// Reads names as they are now; a directory that the index does not know with all below, and all companions.
    pub fn observe(&self, dirty: &[Dirty], view: &View) -> Vec<Observation> {
        let mut seen: BTreeMap<At, Option<Found>> = BTreeMap::new();
        let names = dirty.iter().map(|dirty| match dirty {
            Dirty::Name(at) => vec![at.clone()],
            Dirty::Inode(inode) => view.names_of(*inode).unwrap(),
        });
        let mut waiting: Vec<At> = names.flatten().collect();
        let mut asked = BTreeSet::new();
        loop {
            while let Some(at) = waiting.pop() {
                if asked.insert(at.clone()) && !seen.contains_key(&at) {
                    self.observe_one(at, view, &mut seen);
                }
            }
            let observations: Vec<Observation> =
                seen.clone().into_iter().map(|(at, found)| Observation { at, found, is_forced: false }).collect();
            waiting = view.companions(&observations).unwrap();
            waiting.retain(|at| !asked.contains(at));
            if waiting.is_empty() {
                return observations;
            }
        }
    }

    fn observe_one(&self, at: At, view: &View, seen: &mut BTreeMap<At, Option<Found>>) {
        let inode = match &at.parent {
            None => Some(ROOT),
            Some(parent) => match self.inode_of(parent) {
                // The handle is stale: a directory above is dirty.
                None => return,
                Some(parent) => self.entries(parent).unwrap().get(&at.name).copied(),
            },
        };
        let Some(inode) = inode else {
            seen.insert(at, None);
            return;
        };
        let is_new = self.entries(inode).is_some() && view.directory_of(&self.identity(inode)).unwrap().is_none();
        seen.insert(at, Some(self.found(inode, is_new)));
        if is_new {
            for name in self.entries(inode).unwrap().keys() {
                self.observe_one(At { parent: Some(self.identity(inode)), name: name.clone() }, view, seen);
            }
        }
    }

    /// The whole tree, as a copy should be.
    pub fn tree(&self) -> Tree {
        let mut tree = Tree::from([(TreePath::root(), self.entry(ROOT))]);
        let mut waiting = vec![(TreePath::root(), ROOT)];
        while let Some((path, directory)) = waiting.pop() {
            for (name, inode) in self.entries(directory).unwrap() {
                let path = path.join(name).unwrap();
                tree.insert(path.clone(), self.entry(*inode));
                if self.entries(*inode).is_some() {
                    waiting.push((path, *inode));
                }
            }
        }
        tree
    }
}

impl SourceModel {
    /// Every name there is, the root among them.
    pub fn every_name(&self) -> Vec<Dirty> {
        let below = self.names().into_iter().map(|(directory, name, _)| At { parent: Some(self.identity(directory)), name });
        [At { parent: None, name: vec![] }].into_iter().chain(below).map(Dirty::Name).collect()
    }
}
