//! Plans files and symbolic links, the names of one file together.

use super::bytes::{Bytes, Held, held, is_base};
use super::overlay::Place;
use super::{Act, Make, Planner, Who};
use crate::apply::error::Problem;
use crate::apply::stage::metadata;
use crate::model::{Entry, Kind, Put, TreePath};
use crate::tree::{Identity, NodeKind, Reading, Stat, hash_sparse};
use std::collections::HashMap;

/// A name that is put, and what stands there.
pub(super) struct Name {
    put: usize,
    /// Where on the copy it stands today.
    origin: Option<TreePath>,
    now: Option<Stat>,
}

/// Names by link group; a name without one is a group of its own.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<Vec<Name>>,
    by_number: HashMap<u64, usize>,
}

impl Groups {
    pub(super) fn add(&mut self, index: usize, put: &Put, place: Place, now: Option<Stat>) {
        let origin = match place {
            Place::At(origin) => Some(origin),
            Place::Absent | Place::New(_) => None,
        };
        let name = Name { put: index, origin, now };
        let group = match put.entry.link_group {
            0 => self.groups.len(),
            number => *self.by_number.entry(number).or_insert(self.groups.len()),
        };
        if group == self.groups.len() {
            self.groups.push(Vec::new());
        }
        self.groups[group].push(name);
    }

    pub(super) fn into_groups(self) -> Vec<Vec<Name>> {
        self.groups
    }
}

/// The inode of a copy that has what a group is to have.
struct Standing {
    identity: Identity,
    /// One of its places.
    origin: TreePath,
    /// Whether all of its names are of the group, or leave, so that it may be changed.
    is_ours_alone: bool,
}

impl Planner<'_> {
    pub(super) fn group(&mut self, names: &[Name]) -> Result<(), Problem> {
        let puts = self.puts;
        let first = &puts[names[0].put];
        if let Some(other) = names.iter().map(|name| &puts[name.put]).find(|put| put.entry != first.entry) {
            return Err(Problem::Hostile { path: other.path.clone(), found: "is another name of a file and differs from it" });
        }
        match self.standing(names)? {
            Some(standing) if standing.is_ours_alone => self.change_in_place(names, &standing),
            standing => self.make_anew(names, standing.as_ref()),
        }
    }

    /// The inode that the most names of the group have, if it has the right bytes.
    fn standing(&mut self, names: &[Name]) -> Result<Option<Standing>, Problem> {
        let mut counts: Vec<(Identity, &Name, u32)> = Vec::new();
        for name in names {
            let Some(stat) = name.now else { continue };
            match counts.iter_mut().find(|(identity, _, _)| *identity == stat.identity) {
                Some((_, _, count)) => *count += 1,
                None => counts.push((stat.identity, name, 1)),
            }
        }
        counts.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        for (identity, name, count) in counts {
            let (Some(stat), Some(origin)) = (name.now, &name.origin) else { continue };
            if self.is_held(&self.puts[name.put], &stat, origin)? {
                let leaving = self.leaving.get(&identity).copied().unwrap_or(0);
                return Ok(Some(Standing { identity, origin: origin.clone(), is_ours_alone: stat.links == count + leaving }));
            }
        }
        Ok(None)
    }

    fn is_held(&mut self, put: &Put, stat: &Stat, origin: &TreePath) -> Result<bool, Problem> {
        match (put.entry.kind, stat.kind) {
            (Kind::Symlink, NodeKind::Symlink) => Ok(self.lookup.read_link(origin)? == put.entry.link_target),
            (Kind::File { size_bytes, content }, NodeKind::File) => match held(put, stat, self.given.generation) {
                Held::Yes => Ok(true),
                Held::No => Ok(false),
                // Bytes that are here are cheaper than a look at those of the copy.
                Held::Perhaps if put.inline.is_some() && stat.links == 1 => Ok(false),
                Held::Perhaps => {
                    let (file, _) = self.lookup.open_file(origin)?;
                    let hash = hash_sparse(&file, size_bytes).map_err(|error| Problem::io("read", origin, error))?;
                    Ok(hash == Some(content))
                }
            },
            _ => Ok(false),
        }
    }

    fn change_in_place(&mut self, names: &[Name], standing: &Standing) -> Result<(), Problem> {
        let puts = self.puts;
        let mut is_set = false;
        for name in names {
            let path = &puts[name.put].path;
            if name.now.is_some_and(|stat| stat.identity == standing.identity) {
                if !is_set {
                    let who = Who::Known(standing.identity);
                    self.acts.settings.push(Act::Set { path: path.clone(), who, put: name.put });
                    is_set = true;
                }
            } else {
                let number = self.make(Make::Link { of: standing.origin.clone() });
                self.publish(name, number)?;
            }
        }
        Ok(())
    }

    fn make_anew(&mut self, names: &[Name], standing: Option<&Standing>) -> Result<(), Problem> {
        let first = &names[0];
        let make = match self.puts[first.put].entry.kind {
            Kind::Symlink => Make::Symlink { put: first.put },
            _ => self.file(first, standing)?,
        };
        let number = self.make(make);
        self.publish(first, number)?;
        for name in &names[1..] {
            let link = self.make(Make::LinkStaged { number });
            self.publish(name, link)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &Name, standing: Option<&Standing>) -> Result<Make, Problem> {
        let put = &self.puts[name.put];
        let make = |bytes| Make::File { put: name.put, bytes };
        if put.inline.is_some() || put.entry.file().is_some_and(|(size_bytes, _)| size_bytes == 0) {
            return Ok(make(Bytes::Inline));
        }
        if let Some(standing) = standing {
            return Ok(make(Bytes::Local(standing.origin.clone())));
        }
        if let (Some(stat), Some(origin)) = (&name.now, &name.origin)
            && is_base(put, stat, self.given.generation)
        {
            return Ok(make(Bytes::Patch(origin.clone())));
        }
        if let Some(at) = &put.held_at
            && let Some(found) = self.held_at(name.put, at)?
        {
            return Ok(found);
        }
        Ok(make(Bytes::Ask))
    }

    /// A file that moved is linked when nothing of it changed and all of its names leave; else its bytes are copied.
    fn held_at(&mut self, index: usize, at: &TreePath) -> Result<Option<Make>, Problem> {
        let put = &self.puts[index];
        let Some(stat) = self.lookup.stat(at)?.filter(|stat| stat.kind == NodeKind::File) else { return Ok(None) };
        if put.entry.file().is_none_or(|(size_bytes, _)| size_bytes != stat.size_bytes) {
            return Ok(None);
        }
        let Reading::Entry(entry, stat) = self.lookup.read_entry(at, self.rules)? else { return Ok(None) };
        if entry.kind != put.entry.kind {
            return Ok(None);
        }
        let wanted = Entry { mode: metadata::mode(&put.entry, self.rules), link_group: entry.link_group, ..put.entry.clone() };
        let leaves = self.leaving.get(&stat.identity) == Some(&stat.links);
        let is_same = *entry == wanted && leaves;
        Ok(Some(if is_same { Make::Link { of: at.clone() } } else { Make::File { put: index, bytes: Bytes::Local(at.clone()) } }))
    }

    fn publish(&mut self, name: &Name, number: u64) -> Result<(), Problem> {
        let path = self.puts[name.put].path.clone();
        self.touch_parent(&path)?;
        self.replaces_links |= name.now.is_some_and(|stat| stat.kind != NodeKind::Directory && stat.links > 1);
        let acts = if name.now.is_none() { &mut self.acts.fresh } else { &mut self.acts.replaced };
        acts.push(Act::Publish { number, path });
        Ok(())
    }
}
