//! Reads names of the source that may have changed, with all that must be read together with them.

use super::PublishError;
use super::engine::{COMMIT_OBSERVATIONS, Engine, INLINE_MAX_TOTAL_BYTES};
use super::observer::EngineStep;
use super::reader::{Met, Reader, Seen};
use super::scan::{Scan, Step};
use crate::feed::{Dirty, Writer};
use crate::index::{At, Below, Identity, IndexError, Observation, View};
use crate::model::TreePath;
use std::collections::{BTreeMap, BTreeSet};

/// From so many names on two threads read them: to start one takes as long as to read two files.
const NAMES_FOR_TWO: usize = 32;

impl Engine {
    /// Reads names, and all below directories that the index does not know, and commits.
    pub(super) fn take_in_names(&mut self, names: BTreeSet<At>) -> Result<(), PublishError> {
        self.commit_compared()?;
        self.options.observer.before(EngineStep::Read);
        let (shared, root) = (self.shared.clone(), self.root.clone());
        let view = shared.index()?.view()?;
        let reader = |inline_bytes| Reader::new(&root, &shared, self.feed.as_ref(), inline_bytes);
        let (gathered, met) = gather_all(&reader, &view, names, self.is_comparing(), &self.unfinished)?;
        self.note_met(&met);
        self.add_hot(gathered.hot);
        self.unfinished.extend(gathered.unknown.iter().map(|(_, identity)| identity.clone()));
        let mut observations = gathered.observations;
        if gathered.takes_over {
            self.commit(std::mem::take(&mut observations))?;
        }
        for (path, identity) in gathered.unknown {
            observations = self.scan_below(path, &identity, observations, INLINE_MAX_TOTAL_BYTES)?;
        }
        self.commit(observations)?;
        self.forget_finished()
    }

    /// Directories that moved while they were compared are compared again, from their beginning.
    pub(super) fn add_unfinished(&mut self, unfinished: Vec<Identity>) {
        for identity in unfinished {
            match &self.feed {
                Some(feed) => feed.add(Dirty::Directory(identity.clone()), Writer::Done),
                None => self.compare_soon(),
            }
            self.unfinished.insert(identity);
        }
    }

    /// Those that the index does not know any more are compared in any case when they come back.
    fn forget_finished(&mut self) -> Result<(), PublishError> {
        if self.unfinished.is_empty() {
            return Ok(());
        }
        let view = self.shared.index()?.view()?;
        let unfinished = std::mem::take(&mut self.unfinished).into_iter();
        let known = unfinished.map(|identity| Ok(view.directory_of(&identity)?.map(|_| identity)));
        self.unfinished = known.filter_map(Result::transpose).collect::<Result<_, IndexError>>()?;
        Ok(())
    }

    pub(super) fn add_hot(&self, hot: Vec<At>) {
        if let Some(feed) = &self.feed {
            for at in hot {
                feed.add(Dirty::Name(at), Writer::Busy);
            }
        }
    }

    /// Compares all below a directory, with observations that are still to be committed; returns those that are left.
    fn scan_below(
        &mut self,
        path: TreePath,
        identity: &Identity,
        mut observations: Vec<Observation>,
        inline_bytes: u64,
    ) -> Result<Vec<Observation>, PublishError> {
        let (shared, root) = (self.shared.clone(), self.root.clone());
        let mut scan = Scan::below(path, identity.clone());
        loop {
            let view = shared.index()?.view()?;
            let mut reader = Reader::new(&root, &shared, self.feed.as_ref(), inline_bytes);
            scan.resume(&mut reader)?;
            let step = loop {
                let step = scan.step(&mut reader, &view, &mut observations)?;
                if step != Step::More || observations.len() >= COMMIT_OBSERVATIONS {
                    break step;
                }
            };
            let met = std::mem::take(&mut reader.met);
            drop((reader, view));
            self.note_met(&met);
            self.add_hot(std::mem::take(&mut scan.hot));
            if step == Step::Done {
                self.unfinished.remove(identity);
                self.add_unfinished(scan.unfinished);
                return Ok(observations);
            }
            self.commit(std::mem::take(&mut observations))?;
        }
    }

    /// Adds all other names of files with several names.
    pub(super) fn with_companions(&mut self, mut observations: Vec<Observation>) -> Result<Vec<Observation>, PublishError> {
        let (shared, root) = (self.shared.clone(), self.root.clone());
        let view = shared.index()?.view()?;
        let mut reader = Reader::new(&root, &shared, self.feed.as_ref(), INLINE_MAX_TOTAL_BYTES);
        let (mut asked, mut hot) = (BTreeSet::new(), Vec::new());
        loop {
            let mut names: BTreeSet<At> = view.companions(&observations)?.into_iter().collect();
            names.retain(|at| asked.insert(at.clone()));
            if names.is_empty() {
                self.add_hot(hot);
                return Ok(observations);
            }
            for at in names {
                let path = match reader.path_of(&at, &view) {
                    Ok(path) => path,
                    Err(PublishError::Tree(error)) => reader.pass_by(&error).map(|()| None)?,
                    Err(error) => return Err(error),
                };
                let Some(path) = path else { continue };
                match reader.read_at(&path, &at)? {
                    Seen::Absent => observations.push(Observation { at, found: None, is_forced: false }),
                    Seen::Found(found) if found.identity.is_none() => {
                        observations.push(Observation { at, found: Some(*found), is_forced: false });
                    }
                    // A directory has an event of its own.
                    Seen::Found(_) | Seen::Hot => {}
                    Seen::Elsewhere => hot.push(at),
                }
            }
        }
    }

    /// Reads again what is in doubt, whatever its ctime says.
    pub(super) fn read_suspects(&mut self) -> Result<(), PublishError> {
        let view = self.shared.index()?.view()?;
        let mut names = BTreeSet::new();
        for path in &self.suspects {
            let Some(parent) = path.parent() else { continue };
            let row = view.row(&parent)?;
            let identity = row.map(|row| view.identity_of(row.directory)).transpose()?.flatten();
            names.extend(identity.zip(path.name()).map(|(parent, name)| At { parent: Some(parent), name: name.to_vec() }));
        }
        drop(view);
        self.take_in_names(names)?;
        self.suspects.clear();
        Ok(())
    }
}

/// What reading a set of names gave.
#[derive(Default)]
struct Gathered {
    observations: Vec<Observation>,
    /// Directories that the index does not know, or not whole.
    unknown: Vec<(TreePath, Identity)>,
    /// One of them is where the index has another one.
    takes_over: bool,
    hot: Vec<At>,
}

impl Gathered {
    /// A directory may be after what is in it then; the index waits for it.
    fn add(&mut self, more: Self) {
        self.observations.extend(more.observations);
        self.unknown.extend(more.unknown);
        self.takes_over |= more.takes_over;
        self.hot.extend(more.hot);
    }
}

/// Reads names, many of them on two threads: the copies wait for it, and are idle.
fn gather_all<'a>(
    reader: &(impl Fn(u64) -> Reader<'a> + Sync),
    view: &View,
    names: BTreeSet<At>,
    is_comparing: bool,
    unfinished: &BTreeSet<Identity>,
) -> Result<(Gathered, Met), PublishError> {
    let gather = |names: Vec<At>, inline_bytes| {
        let mut reader = reader(inline_bytes);
        let gathered = gather(&mut reader, view, names, is_comparing, unfinished)?;
        Ok((gathered, reader.met))
    };
    let mut names: Vec<At> = names.into_iter().collect();
    if names.len() < NAMES_FOR_TWO {
        return gather(names, INLINE_MAX_TOTAL_BYTES);
    }
    // Names of a directory follow each other, so that each directory is opened by one of the two.
    let others = names.split_off(names.len() / 2);
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| gather(others, INLINE_MAX_TOTAL_BYTES / 2));
        (gather(names, INLINE_MAX_TOTAL_BYTES / 2), other.join())
    });
    let ((mut all, mut met), (more, more_met)) = (first?, second.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
    all.add(more);
    met.add(more_met);
    Ok((all, met))
}

/// Reads names in the order of their paths, so that a directory is seen before what is in it. While a comparison runs, all
/// below directories that moved is compared as well: they may have moved to where it was already.
fn gather(
    reader: &mut Reader,
    view: &View,
    names: Vec<At>,
    is_comparing: bool,
    unfinished: &BTreeSet<Identity>,
) -> Result<Gathered, PublishError> {
    let looks_below = is_comparing || reader.has_exclusions();
    let (mut paths, mut gathered) = (BTreeMap::new(), Gathered::default());
    for at in names {
        match reader.path_of(&at, view) {
            Ok(Some(path)) => drop(paths.insert(path, at)),
            // Gone, or outside: then a directory above it is to be looked at as well, or it is none of ours.
            Ok(None) => {}
            Err(PublishError::Tree(error)) => {
                reader.pass_by(&error)?;
                gathered.hot.push(at);
            }
            Err(error) => return Err(error),
        }
    }
    for (path, at) in paths {
        let row = view.row_of(&at)?;
        let found = match reader.read_at(&path, &at)? {
            Seen::Absent if row.is_none() => continue,
            Seen::Absent => None,
            Seen::Found(found) => Some(*found),
            Seen::Hot | Seen::Elsewhere => {
                gathered.hot.push(at);
                continue;
            }
        };
        let mut observation = Observation { at, found, is_forced: false };
        if let Some(found) = &mut observation.found
            && let Some(identity) = &found.identity
        {
            let known = view.directory_of(identity)?;
            let has_moved = row.as_ref().is_none_or(|row| known != Some(row.directory));
            if known.is_none() || (has_moved && looks_below) || unfinished.contains(identity) {
                gathered.unknown.push((path, identity.clone()));
                found.below = Below::Compared;
                gathered.takes_over |= known.is_none() && row.is_some_and(|row| row.directory != 0);
            }
        }
        gathered.observations.push(observation);
    }
    Ok(gathered)
}
