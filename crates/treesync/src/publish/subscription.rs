//! What one subscriber lacks, in the order in which it must apply it.

use super::content::PAUSE;
use super::rate::Limit;
use super::ring::{Shared, length_of};
use super::{Phase, PublishError};
use crate::index::{CatchUp, Manifest};
use crate::model::{Ahead, Batch, ManifestPart, Position};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What comes next for a subscriber.
#[derive(Clone, Debug)]
pub enum Step {
    /// Changes, or a part of them.
    Batch(Arc<Batch>),
    /// A part of the list of everything.
    Manifest(ManifestPart),
    /// All before it brings a copy here, and there is nothing newer yet.
    InSync(Position),
    /// What the next batch is likely to hold; only for those who want to know ([`Subscription::want_ahead`]).
    Ahead(Arc<Ahead>),
}

/// An epoch so far beyond ours is no history of this source: nobody counts so many restores.
const EPOCHS_AHEAD_MAX: u64 = 1_000_000;

enum Source {
    /// Batches that were told lately.
    Ring,
    CatchUp(Box<CatchUp>),
    Manifest(Box<Manifest>),
}

/// The steps of one subscriber. It is as slow as its owner: a subscriber that falls behind the batches in memory gets
/// them from the index, as states.
pub struct Subscription {
    shared: Arc<Shared>,
    /// Where the subscriber is when it has applied all that it got.
    at: Option<Position>,
    source: Source,
    is_in_sync: bool,
    /// The last position up to which it has handed out everything.
    caught_up_at: Option<Position>,
    /// Whether it had all that there was. Before, what it lacks comes from the index, as states: a batch in memory can want
    /// bytes that were replaced since, and who asks anew for that reason must not get it again.
    is_live: bool,
    limit: Limit,
    /// No step before this time.
    not_before: Duration,
    wants_ahead: bool,
    /// Hints that were told up to now.
    ahead_seen: u64,
}

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>, since: Option<Position>, limit: Limit) -> Result<Self, PublishError> {
        let ours = shared.position();
        if let Some(since) = since.filter(|since| since.source == ours.source) {
            let is_ahead = (since.epoch, since.generation) > (ours.epoch, ours.generation);
            if is_ahead && since.epoch - ours.epoch < EPOCHS_AHEAD_MAX {
                tracing::warn!(copy = %since, source = %ours, "a copy is ahead of the source, so the source is from an older state: a new epoch begins");
                shared.begin_epoch_after(since.epoch)?;
            }
        }
        shared.update(|status| status.subscribers += 1);
        Ok(Self {
            shared,
            at: since,
            source: Source::Ring,
            is_in_sync: false,
            caught_up_at: None,
            is_live: false,
            limit,
            not_before: Duration::ZERO,
            wants_ahead: false,
            ahead_seen: 0,
        })
    }

    /// From now on tells files ahead of the batch that they are likely to be in ([`Step::Ahead`]), while there is nothing
    /// else to tell. Not where bytes are counted: these come twice.
    pub fn want_ahead(&mut self) {
        if !self.wants_ahead && !self.shared.is_limited(&self.limit) {
            self.wants_ahead = true;
            self.shared.count_listener(true);
        }
    }

    /// The next step; none when nothing came in time. Dropping the future owner of the call loses nothing: a step is
    /// taken only when it is returned.
    ///
    /// # Errors
    /// The publisher has ended, or the index cannot be read. There is nothing more.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Step>, PublishError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.shared.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = self.not_before.saturating_sub(self.shared.clock.now());
            if !pause.is_zero() {
                // In slices, so that the end of the publisher is noticed.
                self.shared.clock.sleep(pause.min(left).min(PAUSE));
                if left.is_zero() {
                    return Ok(None);
                }
                continue;
            }
            if let Some(step) = self.step()? {
                self.pay(&step);
                return Ok(Some(step));
            }
            if left.is_zero() {
                return Ok(None);
            }
            let state = self.shared.state();
            let is_told = self.at == Some(state.position) && (self.is_in_sync || state.status.phase == Phase::Scanning);
            let has_hint = self.wants_ahead && self.is_in_sync && state.ahead_after(self.ahead_seen).is_some();
            if state.status.phase != Phase::Ended && (is_told && !has_hint || !state.is_complete) {
                drop(self.shared.wait(state, left));
            }
        }
    }

    /// Whether all that the publisher knows was handed out, and none of it is in doubt. One that polls knows of what was
    /// before its last comparison, one that the kernel tells of what was before its last wait for quiet.
    pub fn is_in_sync(&self) -> bool {
        let state = self.shared.state();
        self.is_in_sync && self.at == Some(state.position) && state.status.phase == Phase::Following
    }

    fn step(&mut self) -> Result<Option<Step>, PublishError> {
        match &mut self.source {
            Source::CatchUp(catch_up) => {
                let position = catch_up.position();
                match catch_up.next_part()? {
                    Some(part) => return Ok(Some(Step::Batch(Arc::new(part)))),
                    None => self.reached(position),
                }
            }
            Source::Manifest(manifest) => {
                let position = manifest.position()?;
                match manifest.next_part()? {
                    Some(part) => return Ok(Some(Step::Manifest(part))),
                    None => self.reached(position),
                }
            }
            Source::Ring => {}
        }
        self.step_live()
    }

    fn reached(&mut self, position: Position) {
        self.at = Some(position);
        self.source = Source::Ring;
        self.is_live = true;
    }

    fn step_live(&mut self) -> Result<Option<Step>, PublishError> {
        let state = self.shared.state();
        if state.status.phase == Phase::Ended {
            drop(state);
            return Err(PublishError::Ended(self.shared.end_reason()));
        }
        if !state.is_complete {
            return Ok(None);
        }
        let position = state.position;
        let at = self.at.filter(|at| at.is_comparable_to(&position));
        if at == Some(position) {
            self.is_live = true;
            if self.caught_up_at.replace(position) != Some(position) {
                drop(state);
                self.shared.count_caught_up(position, true);
                return self.step_live();
            }
            let is_news = !self.is_in_sync && state.status.phase == Phase::Following;
            self.is_in_sync |= is_news;
            if is_news {
                return Ok(Some(Step::InSync(position)));
            }
            let hint = state.ahead_after(self.ahead_seen).filter(|_| self.wants_ahead && self.is_in_sync);
            return Ok(hint.map(|(seen, ahead)| {
                self.ahead_seen = seen;
                Step::Ahead(ahead.clone())
            }));
        }
        self.is_in_sync = false;
        if let Some(batch) = at.filter(|_| self.is_live).and_then(|at| state.after(at.generation)) {
            self.at = Some(Position { generation: batch.to, ..position });
            return Ok(Some(Step::Batch(batch)));
        }
        drop(state);
        let catch_up = match at {
            Some(at) => self.shared.index()?.catch_up(&at)?,
            None => None,
        };
        self.source = match catch_up {
            Some(catch_up) => Source::CatchUp(Box::new(catch_up)),
            None => Source::Manifest(Box::new(self.shared.index()?.view()?.manifest())),
        };
        self.step()
    }

    /// Bytes are counted when they are handed out; the wait for them is before the next step.
    fn pay(&mut self, step: &Step) {
        let length = match step {
            Step::Batch(batch) => length_of(batch),
            Step::Manifest(part) => part.puts.len() * 200,
            Step::InSync(_) | Step::Ahead(_) => return,
        };
        let pause = self.shared.take(&self.limit, length as u64);
        self.not_before = self.shared.clock.now() + pause;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.wants_ahead {
            self.shared.count_listener(false);
        }
        if let Some(position) = self.caught_up_at {
            self.shared.count_caught_up(position, false);
        }
        self.shared.update(|status| status.subscribers = status.subscribers.saturating_sub(1));
    }
}
