//! The thread that reads the source and commits: what is due from the feed, comparisons, and requests, one after another.

use super::compare::Comparison;
use super::observer::EngineStep;
use super::reader::Met;
use super::ring::{Shared, length_of};
use super::room::{FIRST_PAUSE, NoRoom};
use super::status::{Changed, Detection, Phase};
use super::{DetectionWish, PublishError, PublishOptions};
use crate::feed::{Dirty, Due, Feed, Writer};
use crate::index::{Identity, Index, Observation};
use crate::model::{Position, TreePath};
use crate::tree::{Root, Stop};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Observations that a comparison gathers for one commit. A commit costs some milliseconds, an observation some hundred bytes.
pub(super) const COMMIT_OBSERVATIONS: usize = 4096;
/// Bytes of small files that one commit carries.
pub(super) const INLINE_MAX_TOTAL_BYTES: u64 = 8 * 1024 * 1024;
/// Times that directories which move while they are compared are compared again at once.
const SETTLE_TRIES: u32 = 3;
/// How long the engine sleeps when nothing is due.
const IDLE: Duration = Duration::from_hours(1);

pub(super) type Reply<T> = Sender<Result<T, PublishError>>;

/// What the engine is asked.
pub(super) enum Message {
    /// The feed has something.
    Woken,
    Push {
        path: TreePath,
        is_dry_run: bool,
        reply: Reply<Changed>,
    },
    Delete {
        path: TreePath,
        is_dry_run: bool,
        reply: Reply<Changed>,
    },
    Checkpoint {
        reply: Reply<Position>,
    },
    Rescan {
        reply: Reply<Position>,
    },
    Settle {
        reply: Reply<Position>,
    },
    /// The last thing that is asked.
    LetGo {
        reply: Reply<Position>,
    },
    Stop,
}

pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) root: Arc<Root>,
    pub(super) options: PublishOptions,
    pub(super) feed: Option<Feed>,
    pub(super) messages: Receiver<Message>,
    pub(super) comparison: Option<Comparison>,
    /// When the next whole comparison is due.
    pub(super) next_comparison: Instant,
    /// Without a feed: something was left to the next comparison, which is not to wait for its time.
    pub(super) compares_soon: bool,
    /// What is done now is the last, and ends with a sync.
    pub(super) lets_go: bool,
    /// It was told to end: nothing is waited for any more.
    is_ending: bool,
    /// How long the next full disk is waited for.
    pub(super) room_pause: Duration,
    /// What was told of but may not be on the disk, until it is read anew.
    pub(super) suspects: Vec<TreePath>,
    /// Directories that may not be known whole, since they moved while they were compared; until they are. Only in memory:
    /// the next start compares everything.
    pub(super) unfinished: BTreeSet<Identity>,
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

impl Engine {
    pub fn open(
        (root, stop): (Arc<Root>, Stop),
        options: PublishOptions,
        sender: &Sender<Message>,
        messages: Receiver<Message>,
    ) -> Result<Self, PublishError> {
        options.observer.before(EngineStep::OpenIndex);
        let (index, opened) = Index::open(&root, &options.index)?;
        let wake = sender.clone();
        let wake = Box::new(move || {
            // Nobody listens any more: the engine has ended.
            let _ = wake.send(Message::Woken);
        });
        let (feed, detection) = match options.detection {
            DetectionWish::Poll => (None, Detection::Poll { reason: "as configured".to_owned() }),
            DetectionWish::Automatic => match Feed::start(&root, options.feed, wake) {
                Ok(feed) => (Some(feed), Detection::Fanotify),
                Err(refused) => (None, Detection::Poll { reason: refused.reason }),
            },
        };
        if let Detection::Poll { reason } = &detection {
            tracing::warn!(source = %root.path().display(), %reason, "changes are found by comparing the whole source from time to time");
        }
        options.observer.before(EngineStep::NoteUse);
        let suspects = suspects(&index)?;
        let shared = Arc::new(Shared::new(index, opened, (root.clone(), stop), &options, detection)?);
        let (comparison, next_comparison) = (None, Instant::now());
        let (lets_go, is_ending, room_pause, unfinished) = (false, false, FIRST_PAUSE, BTreeSet::new());
        let mut engine = Self {
            shared,
            root,
            options,
            feed,
            messages,
            comparison,
            next_comparison,
            compares_soon: false,
            lets_go,
            is_ending,
            room_pause,
            suspects,
            unfinished,
        };
        engine.begin_comparison(false);
        engine.read_suspects()?;
        Ok(engine)
    }

    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Until it is stopped. A panic ends the publisher, not the process: the index is as of the last commit.
    pub fn run(mut self) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.follow()));
        let (is_stopped, reason) = match result {
            Ok(Ok(())) => (true, "it was stopped".to_owned()),
            Ok(Err(error)) => (self.is_ending, error.to_string()),
            Err(_) => (false, "a defect of treesync; the log has the place".to_owned()),
        };
        let source = self.root.path().display();
        if is_stopped {
            tracing::info!(%source, %reason, "the publisher ends");
        } else {
            tracing::error!(%source, %reason, "the publisher ends");
        }
        let shared = self.shared.clone();
        // Who waits for the end counts on all being closed.
        drop(self);
        shared.end(reason);
    }

    /// A full disk is waited for.
    fn follow(&mut self) -> Result<(), PublishError> {
        let path = self.root.path().to_owned();
        loop {
            match self.follow_while_there_is_room().map_err(|error| error.of_source(&path)) {
                Err(PublishError::NoRoom { error, .. }) if !self.is_ending => {
                    if !self.wait_for_room(&NoRoom { path: &path, error: &error })? {
                        return Ok(());
                    }
                }
                followed => return followed,
            }
        }
    }

    fn follow_while_there_is_room(&mut self) -> Result<(), PublishError> {
        self.survive(Self::read_suspects)?;
        loop {
            match self.messages.recv_timeout(self.until_next()) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    self.is_ending = true;
                    return self.close();
                }
                Ok(Message::LetGo { reply }) => {
                    self.is_ending = true;
                    let last = self.let_go();
                    self.send(&reply, last)?;
                    // Those who follow are told what came last meanwhile; nobody is answered any more.
                    while !matches!(self.messages.recv(), Ok(Message::Stop) | Err(_)) {}
                    return Ok(());
                }
                Ok(message) => self.answer(message)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.read_ahead();
            let due = self.feed.as_ref().map(Feed::take).unwrap_or_default();
            self.survive(|engine| engine.take_in(due))?;
            if self.is_comparison_due() {
                self.survive(Self::compare_slice)?;
            }
        }
    }

    /// A source that cannot be read is an error to tell and try again; an index that cannot be written is the end.
    fn survive(&mut self, step: impl FnOnce(&mut Self) -> Result<(), PublishError>) -> Result<(), PublishError> {
        match step(self) {
            Err(PublishError::Tree(error)) => {
                self.shared.check()?;
                tracing::warn!(%error, "the source cannot be read; it is compared again");
                self.shared.update(|status| status.last_error = Some(error.to_string()));
                Ok(())
            }
            result => result,
        }
    }

    fn until_next(&self) -> Duration {
        let now = Instant::now();
        let next = |feed: &Feed| feed.due_at().into_iter().chain(feed.ahead_at()).min();
        let feed = self.feed.as_ref().and_then(|feed| Some(next(feed)?.saturating_sub(feed.now())));
        let comparison = match &self.comparison {
            Some(comparison) => Some(comparison.next_slice),
            None => self.compares_again().then_some(self.next_comparison),
        };
        let comparison = comparison.map(|at| at.saturating_duration_since(now));
        let stills = self.shared.stills.expire(self.shared.now());
        feed.into_iter().chain(comparison).chain(stills).min().unwrap_or(IDLE).min(IDLE)
    }

    fn answer(&mut self, message: Message) -> Result<(), PublishError> {
        match message {
            Message::Woken | Message::LetGo { .. } | Message::Stop => Ok(()),
            Message::Push { path, is_dry_run, reply } => {
                let pushed = self.push(&path, is_dry_run);
                self.send(&reply, pushed)
            }
            Message::Delete { path, is_dry_run, reply } => {
                let deleted = self.delete(&path, is_dry_run);
                self.send(&reply, deleted)
            }
            Message::Checkpoint { reply } => {
                let checkpoint = self.checkpoint();
                self.send(&reply, checkpoint)
            }
            Message::Rescan { reply } => {
                self.begin_comparison(false);
                let settled = self.settle();
                self.send(&reply, settled)
            }
            Message::Settle { reply } => {
                let settled = self.settle();
                self.send(&reply, settled)
            }
        }
    }

    /// Sends an answer. An error of the index is one of the engine as well.
    fn send<T>(&self, reply: &Reply<T>, result: Result<T, PublishError>) -> Result<(), PublishError> {
        let result = result.map_err(|error| error.of_source(self.root.path()));
        let ours = match &result {
            Err(PublishError::NoRoom { path, error }) => Some(PublishError::NoRoom { path: path.clone(), error: error.clone() }),
            Err(PublishError::Index(error)) => Some(PublishError::Ended(error.to_string())),
            _ => None,
        };
        // Who asked may have gone.
        let _ = reply.send(result);
        ours.map_or(Ok(()), Err)
    }

    /// Ends a comparison that runs, if it is not one to begin with, and all that happened before.
    pub(super) fn settle(&mut self) -> Result<Position, PublishError> {
        // Again for what moved while it was compared, unless it never rests.
        for _ in 0..SETTLE_TRIES {
            if self.feed.is_none() && self.comparison.is_none() {
                self.begin_comparison(false);
            }
            self.compare_to_the_end()?;
            // What changed while the comparison ran.
            self.settle_feed()?;
            if self.unfinished.is_empty() && !self.compares_soon {
                break;
            }
        }
        Ok(self.shared.position())
    }

    /// Takes in what the feed has, and goes on with a comparison that runs until it is through.
    fn compare_to_the_end(&mut self) -> Result<(), PublishError> {
        loop {
            self.settle_feed()?;
            match &self.comparison {
                Some(comparison) if !comparison.is_audit => self.compare_slice()?,
                _ => return Ok(()),
            }
        }
    }

    /// Takes in what the feed has, without waiting for a comparison.
    pub(super) fn settle_feed(&mut self) -> Result<(), PublishError> {
        let due = self.feed.as_ref().map(Feed::take_all).unwrap_or_default();
        self.take_in(due)
    }

    pub(super) fn note_met(&self, met: &Met) {
        if met.unreadable + met.hot > 0 {
            let (hot, error) = (met.hot, met.last_error.clone());
            self.shared.update(|status| {
                status.hot += hot;
                status.last_error = error.or(status.last_error.take());
            });
        }
    }

    /// Reads and commits what is due. What cannot be is found by another comparison.
    pub(super) fn take_in(&mut self, due: Due) -> Result<(), PublishError> {
        let taken = self.take_in_due(due);
        self.or_compare_anew(taken)
    }

    fn take_in_due(&mut self, due: Due) -> Result<(), PublishError> {
        if due.is_everything {
            self.shared.update(|status| status.overflows += 1);
            self.begin_comparison(false);
        }
        if due.dirty.is_empty() {
            return Ok(());
        }
        // First, also since what a comparison found may be what tells where the names are.
        self.commit_compared()?;
        let view = self.shared.index()?.view()?;
        let mut names = BTreeSet::new();
        for dirty in due.dirty {
            match dirty {
                Dirty::Name(at) => {
                    names.insert(at);
                }
                Dirty::Directory(identity) => names.extend(view.at_of(&identity)?),
                Dirty::Handle(identity) => {
                    let inode = self.feed.as_ref().and_then(|feed| feed.inode_of(&identity));
                    names.extend(inode.map(|inode| view.names_of(inode)).transpose()?.unwrap_or_default());
                }
            }
        }
        drop(view);
        self.take_in_names(names)?;
        self.shared.state().forget_ahead();
        let events = self.feed.as_ref().map_or(0, Feed::event_count);
        self.shared.update(|status| status.events = events);
        Ok(())
    }

    /// Commits and tells; returns how many changes there were. What moved while it was read is read again.
    pub(super) fn commit(&mut self, observations: Vec<Observation>) -> Result<u64, PublishError> {
        self.shared.check()?;
        if observations.is_empty() {
            return Ok(0);
        }
        let observations = self.with_companions(observations)?;
        self.options.observer.before(EngineStep::Commit);
        let committed = self.shared.index()?.commit(observations, unix_seconds())?;
        let changed = committed.batch.as_ref().map_or(0, |batch| (batch.structure.len() + batch.puts.len()) as u64);
        if let Some(batch) = committed.batch {
            self.options.observer.before(EngineStep::Tell);
            tracing::debug!(generation = batch.to, changed, bytes = length_of(&batch), "committed");
            self.shared.publish(batch);
        }
        if !committed.unsettled.is_empty() {
            match &self.feed {
                Some(feed) => committed.unsettled.into_iter().for_each(|at| feed.add(Dirty::Name(at), Writer::Done)),
                None => self.compare_soon(),
            }
        }
        Ok(changed)
    }

    /// Takes in all that happened, also if the source was not compared to its end yet, and notes that.
    fn let_go(&mut self) -> Result<Position, PublishError> {
        self.lets_go = true;
        let position = self.settle()?;
        self.shared.begin_last_sync()?;
        self.make_durable()?;
        self.shared.check()?;
        self.options.observer.before(EngineStep::MarkClean);
        self.shared.index()?.set_clean(true)?;
        Ok(position)
    }

    fn close(&mut self) -> Result<(), PublishError> {
        self.shared.check()?;
        if self.shared.status().phase == Phase::Following {
            self.checkpoint()?;
            self.options.observer.before(EngineStep::MarkClean);
            self.shared.index()?.set_clean(true)?;
        }
        Ok(())
    }
}

/// Notes that the index is used, and gives what was told of but may not be on the disk: a generation that was told may name
/// bytes that the disk lost with the power.
pub(super) fn suspects(index: &Index) -> Result<Vec<TreePath>, PublishError> {
    let in_doubt_since = index.begin_use(&boot())?;
    Ok(in_doubt_since.map(|since| index.view()?.content_after(since)).transpose()?.unwrap_or_default())
}

/// Names this run of the host; empty where the kernel does not say.
fn boot() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
