//! Files that are staged before the batch comes that is likely to hold them.

use super::{Copy, CopyError, Problem, Step};
use crate::apply::stage::{Ahead, stage_ahead};
use crate::model::{self, Put};

/// Where not so many times the bytes of the files are free, none are made ahead.
const FREE_TIMES: u64 = 8;
/// Beside the bytes of each file: its block, its inode, and its name.
const PER_FILE_BYTES: u64 = 8192;

impl Copy {
    /// Stages files that the next batch is likely to hold, but for the first `done`, as long as `is_free` says so. Nobody
    /// sees them, and a batch takes only those that are just what it wants; the others go with what is replaced. How many of
    /// them need no more attention. Does nothing where the copy has no position, or little room.
    ///
    /// # Errors
    /// The disk failed. The copy is as it was.
    pub fn stage_ahead(&mut self, files: &model::Ahead, done: usize, is_free: &dyn Fn() -> bool) -> Result<usize, CopyError> {
        let staged = self.stage_ahead_inner(files.puts().get(done..).unwrap_or_default(), is_free);
        staged.map(|staged| done + staged).map_err(|problem| self.failed(problem))
    }

    fn stage_ahead_inner(&mut self, puts: &[Put], is_free: &dyn Fn() -> bool) -> Result<usize, Problem> {
        if self.position().is_none() || self.pending.is_some() || !self.has_much_room(puts)? {
            return Ok(puts.len());
        }
        self.empty_stage()?;
        let place = (&self.root, &self.home, &*self.options.rules);
        stage_ahead(place, puts, &mut self.ahead, &*self.options.observer, is_free)
    }

    /// Makes what was staged ahead durable, and looks at what it is to replace, so that an apply finds it in memory. Once for
    /// a batch, and again when much came since.
    ///
    /// # Errors
    /// The disk failed. The copy is as it was, and nothing is staged ahead.
    pub fn write_ahead(&mut self, is_free: &dyn Fn() -> bool) -> Result<(), CopyError> {
        let result = self.write_ahead_inner(is_free).inspect_err(|_| {
            // The kernel tells of lost bytes once: an apply would not hear of them.
            self.drop_ahead();
        });
        result.map_err(|problem| self.failed(problem))
    }

    fn write_ahead_inner(&mut self, is_free: &dyn Fn() -> bool) -> Result<(), Problem> {
        let fresh = self.ahead.fresh();
        if self.ahead.is_worth_writing() && self.by_file == 0 && !self.options.sync_budget.is_zero() {
            self.step(Step::SyncAhead)?;
            self.ahead.note_written();
            self.sync_filesystem(fresh)?;
        }
        let mut lookup = self.root.lookup();
        while is_free()
            && let Some(path) = self.ahead.next_path()
        {
            // Whatever is wrong there shows with the batch.
            drop(lookup.stat(&path));
        }
        Ok(())
    }

    fn has_much_room(&self, puts: &[Put]) -> Result<bool, Problem> {
        let (free_bytes, free_inodes) = self.root.free_space().map_err(Problem::own("ask for the free space"))?;
        let inline = puts.iter().filter_map(|put| put.inline.as_ref()).map(|bytes| bytes.len() as u64 + PER_FILE_BYTES);
        let has_inodes = free_inodes.is_none_or(|free| free / FREE_TIMES >= puts.len() as u64);
        Ok(has_inodes && free_bytes / FREE_TIMES >= inline.sum())
    }

    /// What was made ahead. From now on the stage is no place for more.
    pub(super) fn take_ahead(&mut self) -> Ahead {
        self.is_stage_used |= !self.ahead.is_unused();
        std::mem::take(&mut self.ahead)
    }

    /// Forgets what was made ahead: it goes with what was replaced, and counts as that.
    pub(super) fn drop_ahead(&mut self) {
        self.replaced += self.take_ahead().left();
    }

    /// Throws away what waits in the stage.
    pub(super) fn clear_stage(&mut self) -> Result<(), Problem> {
        // In this order, so that nothing is counted on that may be gone.
        (self.ahead, self.is_stage_used) = (Ahead::default(), true);
        self.home.clear_stage()?;
        self.is_stage_used = false;
        Ok(())
    }

    /// Gives back what nobody needs.
    pub(super) fn make_room(&mut self) -> Result<(), Problem> {
        self.drop_ahead();
        self.empty_stage()?;
        if self.has_trash {
            self.sweep(usize::MAX)?;
        }
        Ok(())
    }
}
