//! What the engine and the subscribers share: the position, recent batches, the status.

use super::rate::{Clock, Limit};
use super::status::{Detection, Phase, PublishStatus};
use super::still::Stills;
use super::{PublishError, PublishOptions};
use crate::index::{Index, Opened};
use crate::model::{Ahead, Batch, Position, Rules};
use crate::tree::{Root, Stop};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

/// A batch, about how many bytes it takes, and when it was told.
struct Recent(Arc<Batch>, usize, Instant);

/// Told how long it took from the telling of a batch until the readers of a copy saw it.
pub type OnVisible = Arc<dyn Fn(Duration) + Send + Sync>;

/// What changes while the engine runs.
pub(super) struct State {
    pub position: Position,
    /// Batches without a gap, the last one ends at the position.
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    pub status: PublishStatus,
    /// Whether the source was ever compared to its end. Before, what the index lacks says nothing: a list of everything
    /// would empty the copies.
    pub is_complete: bool,
    /// Whether the engine does the last sync of the source, or is done with it.
    is_last_sync: bool,
    /// How many subscriptions have handed out everything up to the position.
    caught_up: u64,
    /// What was read ahead of the next batch.
    ahead: Vec<Arc<Ahead>>,
    /// How many hints were told before those.
    ahead_before: u64,
    ahead_bytes: u64,
}

/// Bytes of files that are told ahead of one batch at most: they travel a second time with it.
const AHEAD_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is open of a source.
#[derive(Clone)]
struct Open {
    /// None while there is no room for it.
    index: Option<Arc<Index>>,
    root: Arc<Root>,
}

/// Shared by the engine, subscriptions and readers.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// What is open of the source; none once it was let go.
    open: RwLock<Option<Open>>,
    /// Ends what reads the source.
    pub stop: Stop,
    pub rules: Rules,
    pub stills: Stills,
    subscriber_rate: Option<u64>,
    /// Of all subscribers together.
    limit: Limit,
    pub clock: Arc<dyn Clock>,
    ring_bytes: usize,
    started: Instant,
    /// Subscriptions that want to know ahead.
    listeners: AtomicUsize,
    on_visible: Option<OnVisible>,
}

impl Shared {
    pub fn new(
        index: Index,
        opened: Opened,
        (root, stop): (Arc<Root>, Stop),
        options: &PublishOptions,
        detection: Detection,
    ) -> Result<Self, PublishError> {
        let view = index.view()?;
        let position = view.position()?;
        let status = PublishStatus {
            position,
            phase: Phase::Scanning,
            detection,
            index: match opened {
                Opened::New => "new",
                Opened::Clean => "clean",
                Opened::Unclean => "unclean",
                Opened::Rebuilt => "rebuilt",
            },
            entries: view.entry_count()?,
            floor: view.floor()?,
            durable_generation: view.durable_generation()?,
            events: 0,
            overflows: 0,
            scans: 0,
            drift_of_feed: 0,
            skipped: 0,
            unreadable: 0,
            hot: 0,
            subscribers: 0,
            sent_bytes: 0,
            last_error: None,
            stalled: None,
            end_reason: None,
        };
        let state = State {
            position,
            recent: VecDeque::new(),
            recent_bytes: 0,
            status,
            is_complete: view.is_complete()?,
            is_last_sync: false,
            caught_up: 0,
            ahead: Vec::new(),
            ahead_before: 0,
            ahead_bytes: 0,
        };
        Ok(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            open: RwLock::new(Some(Open { index: Some(Arc::new(index)), root })),
            stop,
            rules: options.rules.clone(),
            stills: Stills::default(),
            subscriber_rate: options.subscriber_rate_bytes_per_second,
            limit: Limit::new(options.rate_bytes_per_second, options.clock.now()),
            clock: options.clock.clone(),
            ring_bytes: options.ring_bytes,
            started: Instant::now(),
            listeners: AtomicUsize::new(0),
            on_visible: options.on_visible.clone(),
        })
    }

    fn opened(&self) -> Result<Open, PublishError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| PublishError::Ended(self.end_reason()))
    }

    pub fn index(&self) -> Result<Arc<Index>, PublishError> {
        let Open { index, root } = self.opened()?;
        index.ok_or_else(|| PublishError::NoRoom { path: root.path().to_owned(), error: "it is tried again".to_owned() })
    }

    pub fn root(&self) -> Result<Arc<Root>, PublishError> {
        Ok(self.opened()?.root)
    }

    /// Fails once the source is to be let go: nothing more is read or committed then.
    pub fn check(&self) -> Result<(), PublishError> {
        self.stop.check().map_err(|_| PublishError::Ended("the source was let go".to_owned()))
    }

    /// All is read and committed, and the source is written to its disk for the last time: nothing cuts that short any more.
    /// Fails if something did before.
    pub fn begin_last_sync(&self) -> Result<(), PublishError> {
        let mut state = self.state();
        self.check()?;
        state.is_last_sync = true;
        Ok(())
    }

    /// Ends what reads the source, unless only the last sync is to be waited for. Says whether it did.
    pub fn cut_short(&self) -> bool {
        let state = self.state();
        if !state.is_last_sync {
            self.stop.set();
        }
        !state.is_last_sync
    }

    /// Closes all of the source. Readers that are under way close what they have when they meet the end.
    fn close(&self) {
        self.stop.set();
        drop(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
        self.stills.clear();
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the state, at most so long.
    pub fn wait<'a>(&self, state: MutexGuard<'a, State>, timeout: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A limit for one more subscriber.
    pub fn subscriber_limit(&self) -> Limit {
        Limit::new(self.subscriber_rate, self.clock.now())
    }

    /// Whether bytes are counted for a subscriber.
    pub fn is_limited(&self, subscriber: &Limit) -> bool {
        !(subscriber.is_none() && self.limit.is_none())
    }

    /// Counts bytes for a subscriber and for all, and says how long it has to wait before it takes more.
    pub fn take(&self, subscriber: &Limit, bytes: u64) -> Duration {
        let now = self.clock.now();
        subscriber.take(bytes, now).max(self.limit.take(bytes, now))
    }

    pub fn position(&self) -> Position {
        self.state().position
    }

    pub fn status(&self) -> PublishStatus {
        let state = self.state();
        PublishStatus { position: state.position, ..state.status.clone() }
    }

    /// Changes the status and wakes who waits.
    pub fn update(&self, change: impl FnOnce(&mut PublishStatus)) {
        change(&mut self.state().status);
        self.changed.notify_all();
    }

    /// Changes what nobody waits for.
    pub fn update_quietly(&self, change: impl FnOnce(&mut PublishStatus)) {
        change(&mut self.state().status);
    }

    /// The readers of a copy see more than before. What was told so long ago that it is not here any more is no news.
    pub fn seen(&self, before: Position, now: Position) {
        let Some(on_visible) = self.on_visible.as_ref().filter(|_| now.is_comparable_to(&before)) else { return };
        let told = self.state().told_after(before.generation).filter(|_| now.generation > before.generation);
        if let Some(told) = told {
            on_visible(told.elapsed());
        }
    }

    /// The source was compared to its end.
    pub fn complete(&self) -> Result<(), PublishError> {
        if !self.state().is_complete {
            self.index()?.set_complete()?;
        }
        let mut state = self.state();
        state.is_complete = true;
        state.status.phase = Phase::Following;
        state.status.scans += 1;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Tells a batch that was committed.
    pub fn publish(&self, batch: Batch) {
        let length = length_of(&batch);
        let mut state = self.state();
        state.position.generation = batch.to;
        state.caught_up = 0;
        state.forget_ahead();
        if !state.is_complete {
            // Nobody gets batches before the first comparison is done, and there will be many.
            drop(state);
            self.changed.notify_all();
            return;
        }
        state.recent.push_back(Recent(Arc::new(batch), length, Instant::now()));
        state.recent_bytes += length;
        while state.recent_bytes > self.ring_bytes {
            let Some(Recent(_, length, _)) = state.recent.pop_front() else { break };
            state.recent_bytes -= length;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// A subscription has handed out all up to a position, or that one ends.
    pub fn count_caught_up(&self, position: Position, is_there: bool) {
        let mut state = self.state();
        if state.position == position {
            state.caught_up = if is_there { state.caught_up + 1 } else { state.caught_up.saturating_sub(1) };
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until all subscriptions have handed out everything, but not for long.
    pub fn wait_until_told(&self, longest: Duration) {
        let deadline = Instant::now() + longest;
        let mut state = self.state();
        while state.caught_up < state.status.subscribers && Instant::now() < deadline {
            state = self.wait(state, deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// A subscription begins, or ends, to want to know ahead.
    pub fn count_listener(&self, begins: bool) {
        if begins {
            self.listeners.fetch_add(1, Ordering::Relaxed);
        } else {
            self.listeners.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many bytes may still be told ahead of the next batch; zero when nobody wants to know.
    pub fn ahead_budget_bytes(&self) -> u64 {
        let state = self.state();
        let is_told = self.listeners.load(Ordering::Relaxed) > 0 && state.is_complete && state.status.phase == Phase::Following;
        if is_told { AHEAD_MAX_BYTES.saturating_sub(state.ahead_bytes) } else { 0 }
    }

    /// Tells what the next batch is likely to hold.
    pub fn tell_ahead(&self, ahead: Ahead) {
        let mut state = self.state();
        if ahead.puts().is_empty() || ahead.generation() != state.position.generation {
            return;
        }
        state.ahead_bytes += ahead.puts().iter().filter_map(|put| Some(put.inline.as_ref()?.len() as u64)).sum::<u64>();
        state.ahead.push(Arc::new(ahead));
        drop(state);
        self.changed.notify_all();
    }

    /// Begins a later epoch, for a copy that is ahead of us.
    pub fn begin_epoch_after(&self, epoch: u64) -> Result<(), PublishError> {
        // Before the state: why there is none is in it.
        let index = self.index()?;
        let mut state = self.state();
        state.position = index.begin_epoch_after(epoch)?;
        state.caught_up = 0;
        state.status.floor = state.position.generation;
        state.recent.clear();
        state.recent_bytes = 0;
        state.forget_ahead();
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Closes the index, of which nothing can be had any more, and says why. It is closed when nobody has the result.
    pub fn close_index(&self, why: &str) -> Result<Weak<Index>, PublishError> {
        let index = self.index()?;
        if let Some(open) = &mut *self.open.write().unwrap_or_else(PoisonError::into_inner) {
            open.index = None;
        }
        self.update(|status| {
            status.phase = Phase::Scanning;
            (status.last_error, status.stalled) = (Some(why.to_owned()), Some(why.to_owned()));
        });
        Ok(Arc::downgrade(&index))
    }

    /// The index was opened again. It can have a commit more than was told, if that came to the disk though it failed. It should
    /// never have one less, but if it has, what comes is another history.
    pub fn reopen(&self, index: Index) -> Result<(), PublishError> {
        let mut state = self.state();
        let mut position = index.position()?;
        if position.is_comparable_to(&state.position) && position.generation < state.position.generation {
            position = index.begin_epoch_after(position.epoch)?;
        }
        let view = index.view()?;
        (state.is_complete, state.status.floor) = (view.is_complete()?, view.floor()?);
        drop(view);
        if position != state.position {
            state.position = position;
            state.caught_up = 0;
            state.recent.clear();
            state.recent_bytes = 0;
        }
        state.forget_ahead();
        let stalled = state.status.stalled.take();
        state.status.last_error.take_if(|error| stalled.as_ref() == Some(error));
        if let Some(open) = &mut *self.open.write().unwrap_or_else(PoisonError::into_inner) {
            open.index = Some(Arc::new(index));
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// The end of the engine.
    pub fn end(&self, reason: String) {
        self.close();
        let mut state = self.state();
        state.status.phase = Phase::Ended;
        state.status.stalled = None;
        state.status.end_reason.get_or_insert(reason);
        drop(state);
        self.changed.notify_all();
    }

    pub fn end_reason(&self) -> String {
        self.state().status.end_reason.clone().unwrap_or_else(|| "it was stopped".to_owned())
    }
}

impl State {
    /// The next hint after so many of them, and how many there are with it.
    pub fn ahead_after(&self, seen: u64) -> Option<(u64, &Arc<Ahead>)> {
        let at = usize::try_from(seen.saturating_sub(self.ahead_before)).ok()?;
        self.ahead.get(at).map(|ahead| (self.ahead_before + at as u64 + 1, ahead))
    }

    /// What was told ahead came, or came to nothing.
    pub fn forget_ahead(&mut self) {
        self.ahead_before += self.ahead.len() as u64;
        self.ahead.clear();
        self.ahead_bytes = 0;
    }

    /// The batch that follows a generation, if it is still here.
    pub fn after(&self, generation: u64) -> Option<Arc<Batch>> {
        self.recent_after(generation).map(|Recent(batch, ..)| batch.clone())
    }

    /// When the batch that follows a generation was told, if it is still here.
    fn told_after(&self, generation: u64) -> Option<Instant> {
        self.recent_after(generation).map(|Recent(.., told)| *told)
    }

    fn recent_after(&self, generation: u64) -> Option<&Recent> {
        let first = self.recent.front()?.0.from;
        let at = usize::try_from(generation.checked_sub(first)?).ok()?;
        self.recent.get(at).filter(|Recent(batch, ..)| batch.from == generation)
    }
}

/// About how many bytes of memory, or of the wire, a batch takes.
pub(super) fn length_of(batch: &Batch) -> usize {
    let put = |put: &crate::model::Put| {
        let xattrs: usize = put.entry.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len() + 48).sum();
        let inline = put.inline.as_ref().map_or(0, bytes::Bytes::len);
        200 + put.path.as_bytes().len()
            + put.entry.link_target.len()
            + xattrs
            + inline
            + put.delta.as_ref().map_or(0, |delta| delta.blocks.len() * 48)
    };
    200 + batch.structure.len() * 150 + batch.puts.iter().map(put).sum::<usize>()
}
