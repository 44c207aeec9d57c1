//! What an apply leaves behind, and when it goes.
//!
//! To free a file takes as long as to make one. What was replaced is therefore exchanged with what replaces it, and waits
//! in the stage until the copy rests, or the next apply needs the stage: then the stage goes to the trash as a whole.

use super::{Copy, CopyError, Intent, MarkerState, Problem, Step};
use crate::apply::hidden::intent::Operation;
use crate::apply::hidden::marker;

/// Names that one apply removes from the trash at most, so that the removal of a large tree does not delay what follows.
/// About a tenth of a second on ext4 and XFS.
const TRASH_PER_APPLY: usize = 5_000;
/// Names of replaced files that wait in the trash of a copy which never rests. About 80 MB of files of 4 KiB.
const REPLACED_WAITING_MAX: u64 = 20_000;
/// Names that such a copy removes before an apply. About half a second on ext4 and XFS.
const SWEPT_AT_ONCE: usize = 25_000;

impl Copy {
    /// Removes up to `most` names of what was replaced or removed; whether all is gone. Readers do not see it.
    /// Waits while an apply is unfinished: its redo must find no inode number used again.
    pub fn empty_trash(&mut self, most: usize) -> Result<bool, CopyError> {
        if self.marker.is_some_and(|marker| matches!(marker.state, MarkerState::Applying { .. })) {
            return Ok(false);
        }
        // What was made ahead and not asked for since goes as well.
        self.drop_ahead();
        let result = self.empty_stage().and_then(|()| self.sweep(most));
        result.map_err(|problem| self.failed(problem))
    }

    /// Moves to the trash what others have put into the hidden directory, where no comparison looks. Of use only while nothing is
    /// under way: after a repair.
    pub fn throw_out_strangers(&mut self) -> Result<(), CopyError> {
        self.has_trash = true;
        let result = self.home.throw_out_strangers(&self.root, marker::is_a_file(&self.root));
        result.map_err(|problem| self.failed(problem))
    }

    /// Whether [`Copy::empty_trash`] may find something to do.
    pub fn has_trash(&self) -> bool {
        (self.has_trash || self.is_stage_used || !self.ahead.is_unused())
            && !self.marker.is_some_and(|marker| matches!(marker.state, MarkerState::Applying { .. }))
    }

    /// Removes names of files that have others in the tree, at once: while they are in stage or trash such a file has one
    /// name more than the source's.
    pub(super) fn let_go_of_links(&mut self, replaces_links: bool, intent: &Intent) -> Result<(), Problem> {
        self.step(Step::EmptyTrash)?;
        if replaces_links {
            self.clear_stage()?;
        }
        if intent.operations.iter().any(|operation| matches!(operation, Operation::Trash { .. })) {
            let replaced = usize::try_from(self.replaced).unwrap_or(usize::MAX);
            self.sweep(TRASH_PER_APPLY.saturating_add(replaced))?;
        }
        Ok(())
    }

    /// Moves what was replaced, and waits in the stage, to the trash.
    pub(super) fn empty_stage(&mut self) -> Result<(), Problem> {
        if self.is_stage_used {
            self.step(Step::EmptyStage)?;
            self.home.replace_stage()?;
            (self.is_stage_used, self.has_trash) = (false, true);
        }
        if self.replaced > REPLACED_WAITING_MAX {
            self.sweep(SWEPT_AT_ONCE)?;
        }
        Ok(())
    }

    pub(super) fn sweep(&mut self, most: usize) -> Result<bool, Problem> {
        let result = self.home.empty_trash(most);
        self.has_trash = !matches!(result, Ok(true));
        if !self.has_trash {
            self.replaced = 0;
        }
        result
    }
}
