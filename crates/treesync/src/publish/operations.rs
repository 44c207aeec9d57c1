//! What an operator asks of a source: push, delete, checkpoint.

use super::PublishError;
use super::engine::Engine;
use super::observer::EngineStep;
use super::reader::{Reader, Seen};
use super::status::Changed;
use crate::index::{At, Below, Observation};
use crate::model::{Position, TreePath};
use crate::tree::{NodeKind, TreeError, Walk};
use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;

/// Bytes of small files that a push carries with it.
const PUSH_INLINE_BYTES: u64 = 8 * 1024 * 1024;
/// Paths that a refusal names.
const PATHS_SAID: usize = 5;
/// Paths that one commit of a push has.
const PUSH_PATHS: usize = 4096;

impl Engine {
    /// Reads a path and all below, and commits it as new.
    pub(super) fn push(&mut self, path: &TreePath, is_dry_run: bool) -> Result<Changed, PublishError> {
        let (paths, _) = self.at_and_below(path)?;
        if !is_dry_run {
            // What stands above must be known, and what is gone must be gone, before it is put.
            self.settle_feed()?;
            self.look_at(path)?;
            for part in paths.chunks(PUSH_PATHS) {
                self.put_anew(part)?;
            }
        }
        Ok(Changed { position: self.shared.position(), paths })
    }

    fn put_anew(&mut self, paths: &[TreePath]) -> Result<(), PublishError> {
        let (shared, root) = (self.shared.clone(), self.root.clone());
        let mut reader = Reader::new(&root, &shared, self.feed.as_ref(), PUSH_INLINE_BYTES);
        let mut observations = Vec::new();
        for path in paths {
            let Some(at) = at_of(&mut reader, path)? else { continue };
            let found = match reader.read(path)? {
                Seen::Absent => None,
                Seen::Found(mut found) => {
                    if found.identity.is_some() {
                        found.below = Below::Compared;
                    }
                    Some(*found)
                }
                Seen::Hot | Seen::Elsewhere => {
                    return Err(PublishError::Refused(format!("{path} changes all the time; push it when its writer rests")));
                }
            };
            observations.push(Observation { at, found, is_forced: true });
        }
        drop(reader);
        self.commit(observations)?;
        Ok(())
    }

    /// Removes a path and all below from the source, and tells. What does not travel is on no copy and in no dry run or
    /// receipt, so it is not removed with the rest: with something of that below, nothing is.
    pub(super) fn delete(&mut self, path: &TreePath, is_dry_run: bool) -> Result<Changed, PublishError> {
        if path.is_root() {
            return Err(PublishError::Refused("the root of a source cannot be deleted; name a path in it".to_owned()));
        }
        let (paths, others) = self.at_and_below(path)?;
        if !others.is_empty() {
            let some: Vec<String> = others.iter().take(PATHS_SAID).map(ToString::to_string).collect();
            return Err(PublishError::Refused(format!(
                "{path} has {} paths below that do not travel, and would go unseen: {}{}; remove or move them at the source first, or delete what is beside them",
                others.len(),
                some.join(", "),
                if others.len() > some.len() { " and more" } else { "" },
            )));
        }
        if !is_dry_run {
            let removed = self.remove(path);
            self.look_at(path)?;
            removed?;
        }
        Ok(Changed { position: self.shared.position(), paths })
    }

    /// All paths at and below one that travel, and those that do not: of a directory that is excluded, itself.
    fn at_and_below(&self, path: &TreePath) -> Result<(Vec<TreePath>, Vec<TreePath>), PublishError> {
        if !self.shared.rules.travels(path) {
            return Err(PublishError::Refused(format!("{path} is excluded, so no copy has it")));
        }
        let (mut paths, mut others) = (Vec::new(), Vec::new());
        let mut walk = Walk::new(&self.root, path.clone());
        while let Some(visit) = walk.next() {
            let visit = visit?;
            if !self.shared.rules.travels(&visit.path) {
                walk.skip_below();
                others.push(visit.path);
            } else if visit.stat.kind.travels() {
                paths.push(visit.path);
            } else {
                others.push(visit.path);
            }
        }
        if paths.first() != Some(path) {
            let source = self.root.path().display();
            return Err(PublishError::Refused(format!("{path} is not in {source}, or is of a kind that does not travel; check the path")));
        }
        Ok((paths, others))
    }

    /// Directories bottom up: each is empty when its turn comes, or the removal fails and says where.
    fn remove(&self, path: &TreePath) -> Result<(), PublishError> {
        let mut visits = Walk::new(&self.root, path.clone()).collect::<Result<Vec<_>, TreeError>>()?;
        if let Some(mounted) = visits.iter().find(|visit| visit.stat.kind == NodeKind::MountPoint) {
            return Err(PublishError::Refused(format!("something is mounted at {}; unmount it first", mounted.path)));
        }
        visits.reverse();
        let mut lookup = self.root.lookup();
        for visit in visits {
            let (directory, name) = match lookup.parent(&visit.path) {
                Err(error) if error.is_absent() => continue,
                opened => opened?,
            };
            let flags = if visit.stat.kind == NodeKind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match unlinkat(&directory, name, flags) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(lookup.failed(&visit.path, "remove", error).into()),
            }
        }
        Ok(())
    }

    /// Takes in a path, and what is above it, as it is now.
    fn look_at(&mut self, path: &TreePath) -> Result<(), PublishError> {
        let (shared, root) = (self.shared.clone(), self.root.clone());
        let mut reader = Reader::new(&root, &shared, self.feed.as_ref(), 0);
        let mut names = BTreeSet::new();
        let mut above = Some(path.clone());
        while let Some(path) = above {
            names.extend(at_of(&mut reader, &path)?);
            above = path.parent();
        }
        drop(reader);
        self.take_in_names(names)
    }

    /// Everything before this call is committed and durable when it returns.
    pub(super) fn checkpoint(&mut self) -> Result<Position, PublishError> {
        let position = self.settle()?;
        self.make_durable()?;
        Ok(position)
    }

    /// Makes what was told durable at the source itself, so that after a crash of the host it need not be read again.
    pub(super) fn make_durable(&mut self) -> Result<(), PublishError> {
        let generation = self.shared.position().generation;
        let failed = |error: Errno| self.root.lookup().failed(&TreePath::root(), "sync the filesystem of", error);
        self.options.observer.before(EngineStep::Sync);
        rustix::fs::syncfs(&*self.root).map_err(failed)?;
        if self.shared.status().durable_generation != generation {
            self.options.observer.before(EngineStep::MarkDurable);
            self.shared.index()?.set_durable(generation)?;
            self.shared.update(|status| status.durable_generation = generation);
        }
        Ok(())
    }
}

/// The name of a path, by the identity of its directory.
fn at_of(reader: &mut Reader, path: &TreePath) -> Result<Option<At>, PublishError> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(Some(At { parent: None, name: Vec::new() })) };
    Ok(reader.identity(&parent)?.map(|(parent, _)| At { parent: Some(parent), name: name.to_vec() }))
}
