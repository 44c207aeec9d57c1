//! The steps of an apply, for tests that stop it between any two of them.

use std::io;

/// What is about to be done to a copy. After a crash between any two steps the copy recovers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Making one new file, link, symbolic link or directory in the stage.
    Stage(u64),
    /// Making one file in the stage that a batch is likely to hold.
    StageAhead(u64),
    /// Having the bytes of what was made ahead written.
    WriteAhead,
    /// Having the bytes of the stage written.
    WriteStage,
    /// Writing the intent.
    WriteIntent,
    /// Making stage and intent durable.
    Sync,
    /// Marking the copy as being changed.
    MarkApplying,
    /// One operation of the intent.
    Operation(usize),
    /// Marking the copy as clean.
    MarkDone,
    /// Removing the intent.
    RemoveIntent,
    /// Removing what was removed or replaced and has other names.
    EmptyTrash,
    /// Moving what was replaced by the apply before out of the stage.
    EmptyStage,
    /// Marking a raw clone as a copy that is being repaired; what is sure of it is noted.
    MarkClone,
    /// Removing the index of the source from a raw clone.
    RemoveIndex,
    /// Making all durable.
    MakeDurable,
}

/// Told of each step before it is done.
pub trait Observer: Send + Sync {
    /// An error stops the apply there, as a crash would.
    fn before(&self, step: Step) -> io::Result<()>;
}

/// Lets everything pass.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn before(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}
