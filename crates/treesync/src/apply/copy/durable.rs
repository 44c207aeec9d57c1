//! What makes the changes of a copy outlive a loss of power.

use super::{Copy, Problem, marker};
use std::fs::File;
use std::time::{Duration, Instant};

/// Time that `syncfs` may take for each new file of ours: some ten times what it takes on an idle disk.
const OWN_SYNC_OF_A_FILE: Duration = Duration::from_millis(1);
/// Times that many files are written one by one, before `syncfs` is tried again.
const ONE_BY_ONE: u32 = 16;

/// How the bytes of staged files get to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Writing {
    /// Each file for itself.
    OneByOne,
    /// All at once, with all else on the filesystem: nothing that was made before is left to be made durable.
    Syncfs,
}

impl Copy {
    /// The way for so many files before an intent.
    pub(super) fn how_to_prepare(&mut self, files: usize) -> Writing {
        if self.root.filesystem().keeps_order() { self.how_to_write(files) } else { Writing::Syncfs }
    }

    fn how_to_write(&mut self, files: usize) -> Writing {
        let is_many = files >= self.options.syncfs_from_files;
        if is_many && self.one_by_one == 0 {
            return Writing::Syncfs;
        }
        self.one_by_one = self.one_by_one.saturating_sub(u32::from(is_many));
        Writing::OneByOne
    }

    /// Has the bytes of staged files written to the disk.
    pub(super) fn write_staged(&mut self, numbers: &[u64]) -> Result<(), Problem> {
        match self.how_to_write(numbers.len()) {
            Writing::OneByOne => self.home.write_staged(numbers),
            Writing::Syncfs => self.syncfs(numbers.len()),
        }
    }

    /// The intent is what was made last: where order is kept, its `fsync` makes everything before it durable, if that is
    /// written. `files` were not, unless they were written one by one.
    pub(super) fn sync_prepared(&mut self, intent: &File, how: Writing, files: usize) -> Result<(), Problem> {
        match how {
            Writing::OneByOne => rustix::fs::fsync(intent).map_err(Problem::own("make the intent durable")),
            Writing::Syncfs => self.syncfs(files),
        }
    }

    /// Writes everything, and remembers when that took too long for so many files of ours.
    fn syncfs(&mut self, files: usize) -> Result<(), Problem> {
        let start = Instant::now();
        rustix::fs::syncfs(&self.root).map_err(Problem::own("make the stage durable (syncfs)"))?;
        // What is ours has to be written either way: only the time beyond it is somebody else's.
        let own = OWN_SYNC_OF_A_FILE * u32::try_from(files).unwrap_or(u32::MAX);
        if start.elapsed() > self.options.sync_budget.saturating_add(own) {
            self.one_by_one = ONE_BY_ONE;
        }
        Ok(())
    }

    /// On a filesystem that keeps the order of changes, the marker is the last of them: with it, all are durable.
    ///
    /// XFS answers the `fsync` of a directory with success after it was shut down, by an error of the disk for example
    /// (`xfs_dir_fsync` finds nothing pinned any more). Reading an attribute of it fails then, so the marker is read back.
    pub(super) fn sync_all(&self) -> Result<(), Problem> {
        if !self.root.filesystem().keeps_order() {
            return rustix::fs::syncfs(&self.root).map_err(Problem::own("make the copy durable (syncfs)"));
        }
        rustix::fs::fsync(&self.root).map_err(Problem::own("make the copy durable (fsync of its root)"))?;
        marker::read(&self.root, &self.home).map(drop)
    }
}
