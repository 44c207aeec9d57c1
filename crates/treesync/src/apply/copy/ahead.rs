//! Files that are staged before the batch comes that is likely to hold them.

use super::{Copy, CopyError, Problem, Step};
use crate::apply::stage::{Ahead, stage_ahead};
use crate::model::{self, Put};
use std::time::{Duration, Instant};

/// Where not so many times the bytes of the files are free, none are made ahead.
const FREE_TIMES: u64 = 8;
/// Beside the bytes of each file: its block, its inode, and its name.
const PER_FILE_BYTES: u64 = 8192;

/// A lookup that took no longer did not wait for a disk: the fastest answer after some 50 µs, memory after some 5.
const FROM_MEMORY: Duration = Duration::from_micros(25);
/// Lookups in a row that were answered from memory, until the next ones are likely to be as well.
const IN_A_ROW: u32 = 16;

/// Whether what is looked at is in memory already, so that to look ahead is work for nothing.
#[derive(Default)]
struct Warmth(u32);

impl Warmth {
    fn note(&mut self, took: Duration) {
        self.0 = if took <= FROM_MEMORY { self.0 + 1 } else { 0 };
    }

    fn is_likely(&self) -> bool {
        self.0 >= IN_A_ROW
    }
}

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

    /// Has the bytes of what was staged ahead written, and looks at what it is to replace, so that an apply finds it in memory.
    /// Durable it is with the apply.
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
        let fresh = self.ahead.take_fresh();
        if !fresh.is_empty() {
            self.step(Step::WriteAhead)?;
            self.write_staged(&fresh)?;
        }
        let (mut lookup, mut warmth) = (self.root.lookup(), Warmth::default());
        while is_free()
            && !warmth.is_likely()
            && let Some(path) = self.ahead.next_path()
        {
            let begun = Instant::now();
            // Whatever is wrong there shows with the batch.
            drop(lookup.stat(&path));
            warmth.note(begun.elapsed());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_is_looked_at_ahead_no_longer() {
        let mut warmth = Warmth::default();
        let mut note = |times: u32, micros| {
            (0..times).for_each(|_| warmth.note(Duration::from_micros(micros)));
            warmth.is_likely()
        };
        assert!(!note(15, 5) && !note(1, 60), "one of them was on the disk");
        assert!(!note(15, 25) && note(1, 25));
    }
}
