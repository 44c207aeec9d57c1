//! A copy on disk as a session needs it: applied to, or compared with a manifest and repaired.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::contents::{FetchError, SharedContents};
use super::drift::Drift;
use super::worker::{Fault, Open, Replica};
use crate::apply::{ContentError, Contents, Copy, CopyError, CopyOptions, Problem};
use crate::model::{Ahead, Batch, ManifestPart, Position, Put, TreePath, Wanted};
use crate::tree::Root;
use crate::verify::{Comparer, Finding, Progress, Repairer};

/// Names that are removed from the trash before the copy looks whether it is wanted: some 10 ms on ext4 and XFS.
const TRASH_AT_ONCE: usize = 500;

/// Opens the copy at a directory whenever the session asks for it.
pub fn copy_at(directory: PathBuf, options: CopyOptions) -> Open {
    open_at(directory, options, false)
}

/// As [`copy_at`], and tells of every path that another process changes ([`super::Notice::Drifted`]). It is told, not
/// undone: a comparison with repair does that. The rest of the filesystem that the copy is on costs some time as well.
pub fn watched_copy_at(directory: PathBuf, options: CopyOptions) -> Open {
    open_at(directory, options, true)
}

fn open_at(directory: PathBuf, options: CopyOptions, is_watched: bool) -> Open {
    let is_doubtful = Arc::new(AtomicBool::new(false));
    Box::new(move || {
        let failed = |error: &dyn std::fmt::Display| Fault::Failed(error.to_string());
        let root = Root::open(&directory).map_err(|error| failed(&error))?;
        let copy = Copy::open(root, options.clone()).map_err(|error| failed(&error))?;
        let adopt = options.adopt;
        let is_doubtful = is_doubtful.clone();
        Ok(Box::new(Follower { is_doubtful, is_watched, ..Follower::of(copy, adopt) }))
    })
}

pub(super) struct Follower {
    copy: Copy,
    adopt: bool,
    /// For the next comparison; without one, whether it reads all bytes depends on what is known of the copy.
    comparer: Option<Comparer>,
    /// What the last comparison read.
    progress: Option<Progress>,
    /// Somebody else changed the copy, or it is to become one of another source: it has no position until it is compared
    /// with a manifest. Outlives the opening, since the marker does not know.
    is_doubtful: Arc<AtomicBool>,
    reconciling: Option<(Comparer, Repairer)>,
    /// Whether to look for changes that others make.
    is_watched: bool,
    drift: Option<Drift>,
}

impl Follower {
    /// For one comparison.
    pub(super) fn new(copy: Copy, adopt: bool, comparer: Comparer) -> Self {
        Self { comparer: Some(comparer), ..Self::of(copy, adopt) }
    }

    fn of(copy: Copy, adopt: bool) -> Self {
        let is_doubtful = Arc::default();
        Self { copy, adopt, comparer: None, progress: None, is_doubtful, reconciling: None, is_watched: false, drift: None }
    }

    /// Removes what no comparison sees: others can write into the hidden directory of a copy that is mounted for them.
    pub(super) fn throw_out_strangers(&mut self) -> Result<(), Fault> {
        self.copy.throw_out_strangers().map_err(|error| self.fault(&error))
    }

    /// What the comparison that is done has read.
    pub(super) fn take_progress(&mut self) -> Option<Progress> {
        self.progress.take()
    }

    fn fault(&self, error: &CopyError) -> Fault {
        if error.problem.is_gone() {
            let path = if let Problem::Content { path, .. } = &error.problem { path.to_string() } else { String::new() };
            return Fault::Gone(path);
        }
        let is_refused = matches!(error.problem, Problem::OtherSource { .. }) && !self.adopt;
        if error.problem.is_cured_by_repair() && !is_refused {
            self.is_doubtful.store(true, Ordering::Relaxed);
        }
        Fault::Failed(error.to_string())
    }

    /// Has small files come together. An error names the copy, as all of its errors do.
    fn prefetch<'p>(&self, puts: impl Iterator<Item = &'p Put>, contents: &SharedContents) -> Result<(), Fault> {
        let wanted = puts.filter_map(|put| put.entry.file().map(|(size, content)| Wanted::whole(put.path.clone(), size, content)));
        contents.prefetch(wanted).map_err(|error| Fault::Failed(format!("{}: {error}", self.copy.root().path().display())))
    }

    /// A copy of another source is not made one of this by accident.
    fn check_source(&self, position: &Position) -> Result<(), Fault> {
        let marked = self.copy.marker().map(|marker| marker.position);
        let is = self.copy.cloned_at().or(marked).map(|at| at.source).filter(|is| *is != position.source);
        match is {
            Some(is) if !self.adopt => Err(Fault::Failed(format!(
                "{}: it is a copy of source {is}, not of {}; give --adopt to turn it into its copy, or name the right directory",
                self.copy.root().path().display(),
                position.source
            ))),
            _ => Ok(()),
        }
    }

    /// Reads what cannot be trusted.
    fn own_comparer(&self, source: &Position) -> Comparer {
        let is_doubtful = self.is_doubtful.load(Ordering::Relaxed);
        let has_all_to = |sure: &Position| sure.is_comparable_to(source) && sure.generation <= source.generation;
        match self.copy.cloned_at().filter(has_all_to) {
            Some(sure) if !is_doubtful => Comparer::sure_to(sure.generation),
            // Size and time tell enough of a copy that only was away for long.
            _ => Comparer::new(is_doubtful || self.copy.position().is_none()),
        }
    }

    /// Compares and repairs; tells what differed.
    pub(super) fn reconcile_telling(&mut self, part: &ManifestPart, contents: &SharedContents) -> Result<Vec<Finding>, Fault> {
        if part.puts.first().is_some_and(|put| put.path.is_root()) {
            self.check_source(&part.position)?;
            let comparer = self.comparer.take().unwrap_or_else(|| self.own_comparer(&part.position));
            self.reconciling = Some((comparer, Repairer::default()));
        }
        let Some((mut comparer, mut repairer)) = self.reconciling.take() else {
            return Err(Fault::Failed("the manifest does not begin with the root".to_owned()));
        };
        let failed = |error: &dyn std::fmt::Display| Fault::Failed(error.to_string());
        let mut found = comparer.compare(self.copy.root(), self.copy.rules(), &part.puts).map_err(|error| failed(&error))?;
        if part.is_last_part {
            let extra = comparer.finish(self.copy.root(), self.copy.rules()).map_err(|error| failed(&error))?;
            found.extend(extra.into_iter().map(|finding| (finding, None)));
        }
        let batch = repairer.batch(&part.puts, &found, part.position, part.is_last_part);
        if part.is_last_part || !batch.puts.is_empty() || !batch.structure.is_empty() {
            self.prefetch(batch.puts.iter().filter(|put| put.content_generation > 0), contents)?;
            self.copy.repair(&batch, contents).map_err(|error| self.fault(&error))?;
        }
        if part.is_last_part {
            self.is_doubtful.store(false, Ordering::Relaxed);
            self.progress = comparer.into_progress();
            self.drift.iter_mut().for_each(Drift::forget);
        } else {
            self.reconciling = Some((comparer, repairer));
        }
        Ok(found.into_iter().map(|(finding, _)| finding).collect())
    }
}

impl Replica for Follower {
    fn position(&self) -> Option<Position> {
        self.copy.position().filter(|_| !self.is_doubtful.load(Ordering::Relaxed))
    }

    fn apply(&mut self, batch: &Batch, contents: &SharedContents) -> Result<(), Fault> {
        let at = self.copy.position().map_or(0, |position| position.generation);
        let is_wanted = |put: &&Put| put.inline.is_none() && put.content_generation > at && put.held_at.is_none() && put.delta.is_none();
        self.prefetch(batch.puts.iter().filter(is_wanted), contents)?;
        self.copy.apply(batch, contents).map_err(|error| self.fault(&error))?;
        Ok(())
    }

    fn stage_ahead(&mut self, ahead: &Ahead, done: usize, is_free: &dyn Fn() -> bool) -> usize {
        if self.position().is_none_or(|position| position.generation != ahead.generation()) {
            return ahead.puts().len();
        }
        match self.copy.stage_ahead(ahead, done, is_free) {
            Ok(done) => done,
            Err(error) => {
                // What is wrong shows again with the batch, if it is still wrong then.
                tracing::debug!(%error, "files are not made ahead");
                ahead.puts().len()
            }
        }
    }

    fn write_ahead(&mut self, is_free: &dyn Fn() -> bool) {
        if let Err(error) = self.copy.write_ahead(is_free) {
            tracing::debug!(%error, "what was made ahead is not used");
        }
    }

    fn reconcile(&mut self, part: &ManifestPart, contents: &SharedContents) -> Result<(), Fault> {
        self.reconcile_telling(part, contents).map(drop)
    }

    fn make_durable(&mut self) -> Result<(), Fault> {
        self.copy.make_durable().map_err(|error| self.fault(&error))
    }

    fn watch(&mut self, wake: Box<dyn Fn() + Send>) {
        if self.is_watched {
            self.drift = Drift::watch(self.copy.root(), wake);
        }
    }

    fn drifted(&mut self) -> Option<(Vec<TreePath>, u64)> {
        self.drift.as_mut()?.take(self.copy.rules())
    }

    /// Empties the trash.
    fn tidy(&mut self) -> bool {
        if !self.copy.has_trash() {
            return false;
        }
        match self.copy.empty_trash(TRASH_AT_ONCE) {
            Ok(is_empty) => !is_empty,
            Err(error) => {
                // Readers do not see it, and the next apply tries again.
                tracing::warn!(%error, "the trash of a copy cannot be emptied");
                false
            }
        }
    }
}

impl Contents for SharedContents {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Read + Send>, ContentError> {
        SharedContents::open(self, wanted).map_err(|error| match error {
            FetchError::Gone => ContentError::Gone,
            error => ContentError::Failed(io::Error::other(error)),
        })
    }
}
