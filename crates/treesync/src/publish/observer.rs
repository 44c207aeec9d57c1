//! The steps of a publisher, for tests that end it between any two of them.

/// What a publisher is about to do. When it dies between any two steps, the next one loses nothing that was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EngineStep {
    /// Opening the index.
    OpenIndex,
    /// Noting in the index that it is in use.
    NoteUse,
    /// Going on with a comparison of the whole source.
    Compare,
    /// Reading names that may have changed.
    Read,
    /// Committing what was read.
    Commit,
    /// Telling subscribers what was committed.
    Tell,
    /// Noting that the source was compared to its end.
    MarkComplete,
    /// Making the source durable.
    Sync,
    /// Noting up to where the source is durable.
    MarkDurable,
    /// Noting that the index is closed in order.
    MarkClean,
}

/// Told of each step before it is done, on the thread that does it.
pub trait EngineObserver: Send + Sync {
    /// Returns when the step may be done.
    fn before(&self, step: EngineStep);
}

/// Lets everything pass.
pub(super) struct Unobserved;

impl EngineObserver for Unobserved {
    fn before(&self, _: EngineStep) {}
}
