//! What the service needs of a publisher. All calls block; the service makes them on threads of their own.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Position, TreePath, Wanted};
use crate::publish::{Changed, Detection, Limit, PublishError, Publisher, Step, Subscription};

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
    /// From now on tells as well what the next batch is likely to hold ([`Step::Ahead`]), if it can.
    fn want_ahead(&mut self) {}
    /// Whether the last step said that all is told, and that is still so.
    fn is_in_sync(&self) -> bool {
        false
    }
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
    /// What one connection may take, by all of its streams together.
    fn limit(&self) -> Limit {
        Limit::default()
    }
    /// What happens after a position; with none, first a manifest.
    fn subscribe(&self, limit: &Limit, since: Option<Position>) -> Result<Box<dyn Steps>, SourceError>;
    /// Bytes of a file; none when it no longer has them.
    fn open(&self, limit: &Limit, wanted: &Wanted) -> Result<Option<Box<dyn Read + Send>>, SourceError>;
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
    /// Is told that the readers of a copy see more than before, once for each copy.
    fn seen(&self, _before: Position, _now: Position) {}
    /// Is told how many bytes of changes and files were sent.
    fn sent(&self, _bytes: u64) {}
}

impl From<PublishError> for SourceError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Refused(why) => Self::Refused(why),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl Steps for Subscription {
    fn next(&mut self, timeout: Duration) -> Result<Option<Step>, SourceError> {
        Ok(Subscription::next(self, timeout)?)
    }

    fn want_ahead(&mut self) {
        Subscription::want_ahead(self);
    }

    fn is_in_sync(&self) -> bool {
        Subscription::is_in_sync(self)
    }
}

impl<S: Source> Source for Arc<S> {
    fn limit(&self) -> Limit {
        S::limit(self)
    }

    fn subscribe(&self, limit: &Limit, since: Option<Position>) -> Result<Box<dyn Steps>, SourceError> {
        S::subscribe(self, limit, since)
    }

    fn open(&self, limit: &Limit, wanted: &Wanted) -> Result<Option<Box<dyn Read + Send>>, SourceError> {
        S::open(self, limit, wanted)
    }

    fn push(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError> {
        S::push(self, path, is_dry_run)
    }

    fn delete(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError> {
        S::delete(self, path, is_dry_run)
    }

    fn checkpoint(&self) -> Result<Position, SourceError> {
        S::checkpoint(self)
    }

    fn rescan(&self) -> Result<Position, SourceError> {
        S::rescan(self)
    }

    fn status(&self) -> SourceStatus {
        S::status(self)
    }

    fn seen(&self, before: Position, now: Position) {
        S::seen(self, before, now);
    }

    fn sent(&self, bytes: u64) {
        S::sent(self, bytes);
    }
}

impl Source for Publisher {
    fn limit(&self) -> Limit {
        Publisher::limit(self)
    }

    fn subscribe(&self, limit: &Limit, since: Option<Position>) -> Result<Box<dyn Steps>, SourceError> {
        Ok(Box::new(self.subscribe_within(limit, since)?))
    }

    fn open(&self, limit: &Limit, wanted: &Wanted) -> Result<Option<Box<dyn Read + Send>>, SourceError> {
        Ok(self.read_within(limit, wanted)?.map(|reader| -> Box<dyn Read + Send> { Box::new(reader) }))
    }

    fn push(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError> {
        Ok(Publisher::push(self, path, is_dry_run)?)
    }

    fn delete(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, SourceError> {
        Ok(Publisher::delete(self, path, is_dry_run)?)
    }

    fn checkpoint(&self) -> Result<Position, SourceError> {
        Ok(Publisher::checkpoint(self)?)
    }

    fn rescan(&self) -> Result<Position, SourceError> {
        Ok(Publisher::rescan(self)?)
    }

    fn seen(&self, before: Position, now: Position) {
        self.note_seen(before, now);
    }

    fn sent(&self, bytes: u64) {
        self.note_sent(bytes);
    }

    fn status(&self) -> SourceStatus {
        let status = Publisher::status(self);
        let phase = format!("{:?}", status.phase).to_lowercase();
        let (detection, reason) = match status.detection {
            Detection::Fanotify => ("fanotify", None),
            Detection::Poll { reason } => ("poll", Some(reason)),
        };
        let numbers = [
            ("entries", status.entries),
            ("floor", status.floor),
            ("durable generation", status.durable_generation),
            ("events", status.events),
            ("overflows", status.overflows),
            ("scans", status.scans),
            ("drift of the feed", status.drift_of_feed),
            ("skipped", status.skipped),
            ("unreadable", status.unreadable),
            ("hot files", status.hot),
            ("subscribers", status.subscribers),
            ("sent bytes", status.sent_bytes),
        ];
        let texts = [
            ("detection", Some(detection.to_owned())),
            ("polling because", reason),
            ("index", Some(status.index.to_owned())),
            ("last error", status.last_error),
            ("stalled", status.stalled),
            ("ended because", status.end_reason),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
        let details = texts.chain(numbers.map(|(name, number)| (name.to_owned(), number.to_string()))).collect();
        SourceStatus { position: status.position, state: phase, details }
    }
}
