//! The source of many copies: follows a tree, gives each batch of changes a generation, and tells subscribers what they
//! lack. One thread (`engine`) reads the source and commits to the index; everything else only looks.

mod ahead;
mod compare;
mod content;
mod engine;
mod intake;
mod observer;
mod operations;
mod rate;
mod reader;
mod ring;
mod room;
mod scan;
mod status;
mod still;
mod subscription;

pub use content::ContentReader;
pub use observer::{EngineObserver, EngineStep};
pub use rate::{Clock, Limit, TokenBucket};
pub use ring::OnVisible;
pub use status::{Changed, Detection, Phase, PublishStatus};
pub use subscription::{Step, Subscription};

use crate::feed::FeedOptions;
use crate::index::{IndexError, IndexOptions};
use crate::model::{Position, Rules, TreePath, Wanted};
use crate::tree::{Root, Stop, TreeError};
use engine::{Engine, Message};
use ring::Shared;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Why a publisher does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The source cannot be read or written; names the path.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Something else than the filesystem that is expected was found at the path. Nothing was written to it.
    #[error("{path} is on device {found} instead of {wanted}: another filesystem, or none, is mounted there; mount the right one first",
        path = path.display(), found = in_words(*found), wanted = in_words(*wanted))]
    OtherFilesystem {
        /// The root that was opened.
        path: PathBuf,
        /// Its device, as `st_dev`.
        found: u64,
        /// The device that it must have, as `st_dev`.
        wanted: u64,
    },
    /// The index cannot be written since there is no room for it. It is tried again; until then nothing is published.
    #[error("the filesystem of {path} is full, so that what changes there cannot be noted and published; make room on it ({error})",
        path = path.display())]
    NoRoom {
        /// The root of the source.
        path: PathBuf,
        /// What the index said.
        error: String,
    },
    /// The request itself cannot be met; the world is as before.
    #[error("{0}")]
    Refused(String),
    /// The publisher has ended; the text says why.
    #[error("the publisher has ended: {0}")]
    Ended(String),
}

impl PublishError {
    /// Names the source where a full disk is what is wrong.
    fn of_source(self, path: &Path) -> Self {
        match self {
            Self::Index(error) if error.is_no_room() => Self::NoRoom { path: path.to_owned(), error: error.to_string() },
            error => error,
        }
    }
}

/// A device as `lsblk` and `/proc/self/mountinfo` write it.
fn in_words(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// How changes are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DetectionWish {
    /// By fanotify, by polling where the kernel refuses that.
    Automatic,
    /// By polling.
    Poll,
}

/// How a source is published. `Default` is right for most.
#[derive(Clone)]
pub struct PublishOptions {
    /// What travels.
    pub rules: Rules,
    /// The device that the root must be on, as `st_dev`: a mount may have gone from the path meanwhile, and what is below it is
    /// not the source. None: any.
    pub device: Option<u64>,
    /// The index.
    pub index: IndexOptions,
    /// How changes are found.
    pub detection: DetectionWish,
    /// The feed.
    pub feed: FeedOptions,
    /// Between two comparisons of the whole source while polling. 10 s: a scan of 100,000 files takes about 0.3 s of a core.
    pub poll_interval: Duration,
    /// Between two comparisons that check the feed; zero: never. A day: what they find is a defect.
    pub audit_interval: Duration,
    /// Names that such a check compares in a second at most. 20,000 is about a twentieth of a core.
    pub audit_names_per_second: u32,
    /// Bytes a second to all subscribers together; none: no limit.
    pub rate_bytes_per_second: Option<u64>,
    /// Bytes a second to each subscriber, whatever it takes them by; none: no limit.
    pub subscriber_rate_bytes_per_second: Option<u64>,
    /// By what time these rates are kept.
    pub clock: Arc<dyn Clock>,
    /// Bytes of recent batches that are kept in memory, so that a subscriber that is close gets them without reading the index.
    pub ring_bytes: usize,
    /// How long [`Publisher::let_go`] waits until those who follow were told what came last. Bytes that they have to ask for come
    /// too late.
    pub tells_within: Duration,
    /// Told how long it took until the readers of a copy saw a change, for each copy that acknowledges over a wire.
    pub on_visible: Option<OnVisible>,
    /// Told of every step.
    pub observer: Arc<dyn EngineObserver>,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            device: None,
            index: IndexOptions::default(),
            detection: DetectionWish::Automatic,
            feed: FeedOptions::default(),
            poll_interval: Duration::from_secs(10),
            audit_interval: Duration::from_hours(24),
            audit_names_per_second: 20_000,
            rate_bytes_per_second: None,
            subscriber_rate_bytes_per_second: None,
            clock: Arc::new(rate::SystemClock::start()),
            ring_bytes: 64 * 1024 * 1024,
            tells_within: Duration::from_millis(100),
            on_visible: None,
            observer: Arc::new(observer::Unobserved),
        }
    }
}

/// How much longer a last checkpoint is waited for that is writing the source to its disk: the kernel keeps the filesystem busy
/// meanwhile in any case, so that nobody gets it earlier for throwing the position away. A disk that needs more is slow or broken.
const SYNCS_WITHIN: Duration = Duration::from_secs(10);
/// How long the end of an engine that was cut short is waited for: it stops between two blocks of a file.
const CLOSES_WITHIN: Duration = Duration::from_millis(500);

/// A source that is being followed. All calls may come from any thread, and block. Dropping it ends the engine and notes
/// that the index was closed in order.
pub struct Publisher {
    shared: Arc<Shared>,
    engine: Sender<Message>,
    thread: Option<JoinHandle<()>>,
    tells_within: Duration,
}

impl Publisher {
    /// Opens the index in the reserved directory of a source, marks the filesystem, and begins to compare the source with
    /// the index; from then on no change is missed. Returns at once: subscribers get what is found while it is found, and
    /// [`Step::InSync`] when the comparison is done.
    ///
    /// # Errors
    /// The root or its reserved directory cannot be used, it is on another device than [`PublishOptions::device`], which is seen
    /// before anything is written, or another publisher follows it. A damaged index is none: it is
    /// built again, in a new epoch.
    pub fn start(path: &Path, options: PublishOptions) -> Result<Self, PublishError> {
        let stop = Stop::default();
        let root = Root::open(path)?;
        let found = root.device();
        if let Some(wanted) = options.device.filter(|wanted| *wanted != found) {
            return Err(PublishError::OtherFilesystem { path: path.to_owned(), found, wanted });
        }
        let root = (Arc::new(root.until(stop.clone())), stop);
        let (sender, receiver) = channel();
        let tells_within = options.tells_within;
        let engine = Engine::open(root, options, &sender, receiver).map_err(|error| error.of_source(path))?;
        let shared = engine.shared();
        let thread = std::thread::Builder::new().name("treesync-publish".to_owned()).spawn(move || engine.run());
        let thread = thread.map_err(|error| PublishError::Ended(error.to_string()))?;
        Ok(Self { shared, engine: sender, thread: Some(thread), tells_within })
    }

    /// Where the source is: the last generation that subscribers may have.
    pub fn position(&self) -> Position {
        self.shared.position()
    }

    /// How it is.
    pub fn status(&self) -> PublishStatus {
        self.shared.status()
    }

    /// The readers of a copy see more than before.
    pub(crate) fn note_seen(&self, before: Position, now: Position) {
        self.shared.seen(before, now);
    }

    /// So many bytes were sent.
    pub(crate) fn note_sent(&self, bytes: u64) {
        self.shared.update_quietly(|status| status.sent_bytes += bytes);
    }

    /// All that happens after a position. None, a position of another history, or one below the floor begin with a manifest.
    /// A position that this source never reached means that the source was restored from an older state: a new epoch begins.
    ///
    /// # Errors
    /// The publisher has ended, or the index cannot be read.
    pub fn subscribe(&self, since: Option<Position>) -> Result<Subscription, PublishError> {
        self.subscribe_within(&self.limit(), since)
    }

    /// What one subscriber may take, by as many subscriptions and readers as it wants: those that are given the same limit
    /// share [`PublishOptions::subscriber_rate_bytes_per_second`].
    pub fn limit(&self) -> Limit {
        self.shared.subscriber_limit()
    }

    /// As [`Publisher::subscribe`], which is a subscriber of its own, within the limit of one.
    ///
    /// # Errors
    /// As [`Publisher::subscribe`].
    pub fn subscribe_within(&self, limit: &Limit, since: Option<Position>) -> Result<Subscription, PublishError> {
        Subscription::new(self.shared.clone(), since, limit.clone())
    }

    /// Bytes of a file, exactly those that the index knows. None: the source has others by now, and says so in a later
    /// batch. A reader that meets a change on its way fails with `InvalidData`; nothing of it may be used.
    ///
    /// # Errors
    /// The publisher has ended, or the source cannot be read.
    pub fn read(&self, wanted: &Wanted) -> Result<Option<ContentReader>, PublishError> {
        self.read_within(&self.limit(), wanted)
    }

    /// As [`Publisher::read`], which is for a subscriber of its own, within the limit of one.
    ///
    /// # Errors
    /// As [`Publisher::read`].
    pub fn read_within(&self, limit: &Limit, wanted: &Wanted) -> Result<Option<ContentReader>, PublishError> {
        content::open(&self.shared, wanted, limit)
    }

    /// Reads a path and all below now, and puts it to all copies even if nothing changed. Returns when it is committed; a
    /// copy at the position that is returned has it.
    ///
    /// # Errors
    /// Nothing is there, or it does not travel.
    pub fn push(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, PublishError> {
        self.ask(|reply| Message::Push { path: path.clone(), is_dry_run, reply })
    }

    /// Removes a path and all below from the source, and so from all copies.
    ///
    /// # Errors
    /// It is the root, nothing is there, it does not travel, or the source refuses. A removal that fails half-way has
    /// removed the other half; that is in the history like every change.
    pub fn delete(&self, path: &TreePath, is_dry_run: bool) -> Result<Changed, PublishError> {
        self.ask(|reply| Message::Delete { path: path.clone(), is_dry_run, reply })
    }

    /// Takes in everything that happened before this call, makes the source and the index durable, and returns where that
    /// is. A clone of the volume that is made after it returns is at that position or a later one.
    ///
    /// # Errors
    /// The source cannot be read or synced.
    pub fn checkpoint(&self) -> Result<Position, PublishError> {
        self.ask(|reply| Message::Checkpoint { reply })
    }

    /// Compares the whole source with the index, and returns where it is then.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn rescan(&self) -> Result<Position, PublishError> {
        self.ask(|reply| Message::Rescan { reply })
    }

    /// Takes in everything that happened before this call, with everything that a running comparison finds.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn settle(&self) -> Result<Position, PublishError> {
        self.ask(|reply| Message::Settle { reply })
    }

    /// Ends as [`Publisher::checkpoint`] does, if all that happened is read within `longest`, and is cut short then; closes
    /// everything of the source in any case, though others still have this publisher, so that the filesystem can be unmounted.
    /// Those who follow and are not slow are told what came last. Returns where the source is, and notes that the index was closed
    /// in order; none when it was cut short, or had ended before. The next start reads again then what may not be durable.
    ///
    /// When `longest` is over and the source is being written to its disk for this checkpoint (`syncfs`, the last that it does),
    /// it is waited for up to 10 s more: the kernel holds the filesystem until that is done, so that nobody could unmount it
    /// earlier. Is it not done even then, it counts as cut short. Blocks half a second longer where a block is being read.
    pub fn let_go(&self, longest: Duration) -> Option<Position> {
        let (reply, answer) = channel();
        let asked = self.engine.send(Message::LetGo { reply });
        let last = asked.ok().and_then(|()| self.last_position(&answer, longest));
        if last.is_some() {
            self.shared.wait_until_told(self.tells_within);
        }
        self.shared.stop.set();
        // It has ended when nobody listens.
        let _ = self.engine.send(Message::Stop);
        let deadline = Instant::now() + CLOSES_WITHIN;
        let mut state = self.shared.state();
        while state.status.phase != Phase::Ended && Instant::now() < deadline {
            state = self.shared.wait(state, deadline.saturating_duration_since(Instant::now()));
        }
        last
    }

    /// Waits for the last checkpoint, and cuts it short unless it only has to be written to the disk.
    fn last_position(&self, answer: &Receiver<Result<Position, PublishError>>, longest: Duration) -> Option<Position> {
        let answered = match answer.recv_timeout(longest) {
            Err(RecvTimeoutError::Timeout) if !self.shared.cut_short() => answer.recv_timeout(SYNCS_WITHIN),
            answered => answered,
        };
        answered.ok()?.ok()
    }

    fn ask<T>(&self, message: impl FnOnce(Sender<Result<T, PublishError>>) -> Message) -> Result<T, PublishError> {
        let (reply, answer) = channel();
        let ended = || PublishError::Ended(self.shared.end_reason());
        self.engine.send(message(reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.engine.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
