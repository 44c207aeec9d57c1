//! What the service needs of a publisher. All calls block; the service makes them on threads of their own.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Batch, ManifestPart, Position, TreePath, Wanted};

/// What comes next for a subscriber.
#[derive(Clone, Debug)]
pub enum Step {
    /// Changes.
    Batch(Arc<Batch>),
    /// A part of the list of everything.
    Manifest(ManifestPart),
    /// All before it brings a copy here, and there is nothing newer yet.
    InSync(Position),
}

/// Why a source does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The request cannot be met as it is; the text names what is wrong with it.
    #[error("{0}")]
    Refused(String),
    /// The source cannot do it now; the text says why.
    #[error("{0}")]
    Failed(String),
}

/// What happens after a position, without end.
pub trait Steps: Send {
    /// The next step; none when nothing came in time.
    ///
    /// # Errors
    /// When the source has failed or is closed. There is nothing more.
    fn next(&mut self, timeout: Duration) -> Result<Option<Step>, SourceError>;
}

/// What a push or a delete changed, or would.
#[derive(Clone, Debug)]
pub struct Changed {
    /// A copy at it has the change.
    pub position: Position,
    /// The paths, in order.
    pub paths: Vec<TreePath>,
}

/// How a source is.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// The newest.
    pub position: Position,
    /// How it learns of changes, in a word.
    pub state: String,
    /// More for people and logs, each with its name.
    pub details: Vec<(String, String)>,
}

/// A source that can be served.
pub trait Source: Send + Sync + 'static {
    /// What happens after a position; with none, first a manifest.
    fn subscribe(&self, since: Option<Position>) -> Result<Box<dyn Steps>, SourceError>;
    /// Bytes of a file; none when it no longer has them.
    fn open(&self, wanted: &Wanted) -> Result<Option<Box<dyn Read + Send>>, SourceError>;
    /// Sees at once what stands at a path and below.
    fn push(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError>;
    /// Removes a path and all below from the source.
    fn delete(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError>;
    /// Makes all up to the position durable, and notes that a restart may trust it.
    fn checkpoint(&self) -> Result<Position, SourceError>;
    /// Compares the whole source with the index.
    fn rescan(&self) -> Result<Position, SourceError>;
    /// How it is.
    fn status(&self) -> SourceStatus;
}
