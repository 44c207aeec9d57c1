//! Plans removals and moves of directories, in the order of the history.

use super::overlay::Place;
use super::{Act, Make, Planner, Who};
use crate::apply::error::Problem;
use crate::model::{Put, Structural, TreePath};
use crate::tree::{NodeKind, Stat, Walk};

/// Paths of directories that a batch makes in passing, together. Those of a real tree are some hundred bytes each; a source that
/// lies could fill the memory, since each level of a path is such a directory.
const PASSAGES_MAX_BYTES: usize = 16 * 1024 * 1024;

impl Planner<'_> {
    pub(super) fn structure(&mut self, changes: &[Structural]) -> Result<(), Problem> {
        let last_move = changes.iter().rposition(|change| matches!(change, Structural::RenameDirectory { .. }));
        for (at, change) in changes.iter().enumerate() {
            if change.generation() <= self.given.structure {
                continue;
            }
            match change {
                Structural::Remove { path, .. } => {
                    // Readers keep what is removed until what replaces it is there, unless a move or a put needs the place.
                    let is_last = last_move.is_none_or(|last| last < at) && !is_in_the_way(self.puts, path);
                    self.remove(path, is_last)?;
                }
                Structural::RenameDirectory { from, to, .. } => self.rename(from, to)?,
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &TreePath, is_last: bool) -> Result<(), Problem> {
        if self.rules.is_kept_on_copy(path) {
            self.kept += 1;
            return Ok(());
        }
        self.check_moved_in(path)?;
        let origin = match self.overlay.locate(path) {
            Place::Absent => return Ok(()),
            Place::At(origin) => origin,
            // Made in passing for something that moved into it.
            Place::New(number) => {
                self.touch_parent(path)?;
                self.acts.structure.push(Act::Trash { path: path.clone(), who: Who::Staged(number) });
                self.overlay.set(path, Place::Absent);
                self.touched.remove(path);
                return Ok(());
            }
        };
        let Some(stat) = self.lookup.stat(&origin)? else { return Ok(()) };
        self.touch_parent(path)?;
        let kept = if stat.kind == NodeKind::Directory { self.kept_below(path, &origin)? } else { Vec::new() };
        let mut acts = Vec::new();
        if kept.is_empty() {
            self.trash(path, &stat, &mut acts)?;
            self.overlay.set(path, Place::Absent);
            self.touched.remove(path);
        } else {
            self.remove_around(path, &origin, &kept, &mut acts)?;
        }
        let place = if is_last { &mut self.acts.removals } else { &mut self.acts.structure };
        place.extend(acts);
        Ok(())
    }

    /// What moved into a directory that is removed next goes with it, unless the rules keep something in there.
    fn check_moved_in(&self, path: &TreePath) -> Result<(), Problem> {
        if self.rules.keeps_nothing() {
            return Ok(());
        }
        for (at, origin) in self.overlay.moved_below(path) {
            if let Some(kept) = self.kept_below(&at, &origin)?.first() {
                return Err(Problem::NeedsManifest(format!("{kept} is kept on the copy and its directory was moved and removed")));
            }
        }
        Ok(())
    }

    fn trash(&mut self, path: &TreePath, stat: &Stat, acts: &mut Vec<Act>) -> Result<(), Problem> {
        if stat.is_frozen {
            return Err(Problem::Frozen(path.clone()));
        }
        if stat.kind == NodeKind::MountPoint {
            return Err(Problem::Drift { path: path.clone(), found: "is a mount point; unmount it" });
        }
        if stat.kind != NodeKind::Directory {
            *self.leaving.entry(stat.identity).or_default() += 1;
        }
        acts.push(Act::Trash { path: path.clone(), who: Who::Known(stat.identity) });
        Ok(())
    }

    /// Removes all of a directory but what is kept, and the directories on the way to that.
    fn remove_around(&mut self, path: &TreePath, origin: &TreePath, kept: &[TreePath], acts: &mut Vec<Act>) -> Result<(), Problem> {
        self.kept += kept.len() as u64;
        let mut walk = Walk::new(self.root, origin.clone());
        while let Some(visit) = walk.next() {
            let visit = visit?;
            let at = visit.path.moved(origin, path);
            let next_kept = &kept[kept.partition_point(|keep| *keep < at)..];
            match next_kept.first() {
                Some(keep) if *keep == at => walk.skip_below(),
                Some(keep) if keep.is_below(&at) => self.touch(&at)?,
                _ => {
                    walk.skip_below();
                    self.trash(&at, &visit.stat, acts)?;
                    self.overlay.set(&at, Place::Absent);
                }
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: &TreePath, to: &TreePath) -> Result<(), Problem> {
        if self.rules.is_kept_on_copy(from) {
            return Ok(());
        }
        if self.rules.is_kept_on_copy(to) {
            return self.remove(from, false);
        }
        let who = match self.overlay.locate(from) {
            Place::Absent => return Ok(()),
            Place::New(number) => Who::Staged(number),
            Place::At(origin) => {
                let stat = self.lookup.stat(&origin)?;
                let Some(stat) = stat.filter(|stat| stat.kind == NodeKind::Directory) else { return Ok(()) };
                if stat.is_frozen {
                    return Err(Problem::Frozen(from.clone()));
                }
                Who::Known(stat.identity)
            }
        };
        self.passages(to)?;
        self.remove(to, false)?;
        if self.stat_at(to)?.is_some() {
            return Err(Problem::Kept(to.clone()));
        }
        self.touch_parent(from)?;
        self.touch_parent(to)?;
        self.acts.structure.push(Act::Move { from: from.clone(), to: to.clone(), who });
        self.overlay.shift(from, to);
        self.touched.shift(from, to);
        Ok(())
    }

    fn stat_at(&mut self, path: &TreePath) -> Result<Option<Stat>, Problem> {
        let place = self.overlay.locate(path);
        self.stat(&place)
    }

    /// Makes the directories above a path that the copy lacks.
    fn passages(&mut self, path: &TreePath) -> Result<(), Problem> {
        let mut above: Vec<TreePath> = std::iter::successors(path.parent(), TreePath::parent).collect();
        above.pop();
        for directory in above.into_iter().rev() {
            let place = self.overlay.locate(&directory);
            let stat = self.stat(&place)?;
            if matches!(place, Place::New(_)) || stat.is_some_and(|stat| stat.kind == NodeKind::Directory) {
                continue;
            }
            self.passage_bytes += directory.as_bytes().len();
            if self.passage_bytes > PASSAGES_MAX_BYTES {
                return Err(Problem::NeedsManifest(
                    "the directories that the changes make in passing have paths of more than 16 MiB".to_owned(),
                ));
            }
            self.remove(&directory, false)?;
            self.touch_parent(&directory)?;
            let number = self.make(Make::Passage);
            self.acts.structure.push(Act::Publish { number, path: directory.clone() });
            self.overlay.set(&directory, Place::New(number));
            self.touched.add(directory, None);
        }
        Ok(())
    }
}

/// Whether a put is about the path, something below, or makes something else of a directory above.
fn is_in_the_way(puts: &[Put], path: &TreePath) -> bool {
    let next = puts.partition_point(|put| put.path < *path);
    let at_or_below = puts.get(next).is_some_and(|put| put.path == *path || put.path.is_below(path));
    at_or_below
        || std::iter::successors(path.parent(), TreePath::parent).any(|above| {
            let put = puts.binary_search_by(|put| put.path.cmp(&above));
            put.is_ok_and(|at| !puts[at].entry.is_directory())
        })
}
