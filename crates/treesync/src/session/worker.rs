//! One thread for each copy: it alone touches the copy, in the order of its orders.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::contents::SharedContents;
use super::expected::Expected;
use super::hints::Hints;
use super::plan::CopyId;
use super::turns::Turns;
use crate::model::{Ahead, Batch, ManifestPart, Position, TreePath};

/// Orders that wait for a copy. Enough that a short delay of one copy does not delay the others; few enough that the
/// bytes for them fit in memory.
const ORDERS_AHEAD: usize = 8;

/// Pieces of tidying up when the last order is done.
const LAST_PIECES: usize = 10;
/// How long a copy rests before it tidies up: the other copies of the host, and what follows at once, come first.
const REST: Duration = Duration::from_millis(300);

/// Since the last hint, before what was made of them is written: many files together take less than one by one.
const CALM: Duration = Duration::from_millis(4);

/// Why a copy does not take a step.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The source has newer bytes by now. Nothing is wrong with the copy: ask again from where it is.
    #[error("the source no longer has bytes of {0}")]
    Gone(String),
    /// The copy cannot, or its marker is not what it should be; the text names it.
    #[error("{0}")]
    Failed(String),
}

/// What a session does with a copy. All calls block. After a fault the copy is dropped and opened again.
pub trait Replica: Send {
    /// Where it is; none when it was never in sync.
    fn position(&self) -> Option<Position>;
    /// Applies changes; visible when it returns.
    fn apply(&mut self, batch: &Batch, contents: &SharedContents) -> Result<(), Fault>;
    /// Makes files that the next batch is likely to hold, the first `done` of which are made, where nobody sees them; goes
    /// on as long as `is_free` says so. How many of them need no more attention.
    fn stage_ahead(&mut self, ahead: &Ahead, _done: usize, _is_free: &dyn Fn() -> bool) -> usize {
        ahead.puts().len()
    }
    /// Has the bytes of what was made ahead written, since there is nothing else to do; blocks until they are. Then, as long as
    /// `is_free` says so, may do what makes the next batch faster.
    fn write_ahead(&mut self, _is_free: &dyn Fn() -> bool) {}
    /// Compares a part of itself with a part of a manifest, and repairs what differs. Parts come in order.
    fn reconcile(&mut self, part: &ManifestPart, contents: &SharedContents) -> Result<(), Fault>;
    /// Makes all durable that was applied.
    fn make_durable(&mut self) -> Result<(), Fault>;
    /// From now on looks for changes that others make, if it is to, and calls when there may be some.
    fn watch(&mut self, _wake: Box<dyn Fn() + Send>) {}
    /// What others have changed since this was asked last, and how many paths in all; none: nothing new.
    fn drifted(&mut self) -> Option<(Vec<TreePath>, u64)> {
        None
    }
    /// Does a short piece of work that can wait, and that no reader sees; whether there is more of it.
    fn tidy(&mut self) -> bool {
        false
    }
}

/// Opens a copy, and recovers it.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Replica>, Fault> + Send>;

/// What a worker is to do.
pub(super) enum Order {
    /// Drop the copy, open it anew, and say where it is.
    Open,
    /// Apply changes that came on a lane.
    Apply { lane: u64, batch: Arc<Batch>, contents: Arc<SharedContents> },
    /// Compare with a part of a manifest that came on a lane.
    Reconcile { lane: u64, part: Arc<ManifestPart>, contents: Arc<SharedContents> },
    /// Make the copy durable and drop it; say when that is done.
    Close(oneshot::Sender<()>),
    /// Say that all before is done.
    Tell(oneshot::Sender<()>),
    /// Look whether others have changed the copy.
    LookForDrift,
    /// There are hints.
    StageAhead,
    /// Do what could wait, unless the copy has changed since.
    TidyUp,
    /// Say that the copy is in sync when all before is done.
    InSync { lane: u64, position: Position },
}

/// What a worker says.
#[derive(Debug)]
pub(super) enum Said {
    Opened(Option<Position>),
    Visible(Position),
    Durable(Position),
    InSync(Position),
    /// Paths that others have changed, and how many in all.
    Drift {
        paths: Vec<TreePath>,
        total: u64,
    },
    /// The copy is out of its lane and closed.
    Fault(Fault),
}

/// How the rest of the session speaks to a worker. A copy is in one lane at a time: orders of another are dropped.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) id: CopyId,
    pub(super) orders: mpsc::Sender<Order>,
    lane: Arc<AtomicU64>,
    hints: Hints,
}

impl Seat {
    /// Has the copy make files ahead when it has nothing else to do.
    pub(super) fn hint(&self, ahead: Arc<Ahead>) {
        if self.hints.add(ahead) {
            remind(&self.hints, &self.orders);
        }
    }

    pub(super) fn is_in(&self, lane: u64) -> bool {
        self.lane.load(Ordering::Acquire) == lane
    }

    /// Takes the copy out of whatever lane it is in.
    pub(super) fn leave(&self) {
        self.lane.store(NO_LANE, Ordering::Release);
    }

    /// Moves the copy from one lane to another; false when it is not in the first, since others move copies too.
    pub(super) fn change(&self, from: u64, to: u64) -> bool {
        self.lane.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Has a copy look whether there is something to make ahead.
fn remind(hints: &Hints, orders: &mpsc::Sender<Order>) {
    if hints.tell() && orders.try_send(Order::StageAhead).is_err() {
        // It has much to do, and looks when that is done.
        hints.untell();
    }
}

/// No lane has this number.
pub(super) const NO_LANE: u64 = 0;

/// Starts the thread of a copy. It ends when all of its seats are dropped, after the order that it is at.
pub(super) fn start(
    id: CopyId,
    open: Open,
    said: mpsc::UnboundedSender<(CopyId, Said)>,
    turns: Turns,
) -> std::io::Result<(Seat, JoinHandle<()>)> {
    let (sender, orders) = mpsc::channel(ORDERS_AHEAD);
    let lane = Arc::new(AtomicU64::new(NO_LANE));
    // A worker ends when nobody can give it orders but itself.
    let own_orders = sender.downgrade();
    let hints = Hints::default();
    let seat = Seat { id, orders: sender, lane: lane.clone(), hints: hints.clone() };
    let runtime = Handle::current();
    let worker = Worker {
        id,
        open,
        said,
        orders,
        own_orders,
        lane,
        hints,
        turns,
        runtime,
        replica: None,
        undurable: None,
        expected: Expected::default(),
        has_changed: false,
        will_tidy: false,
    };
    let thread = std::thread::Builder::new().name(format!("treesync-copy-{id}")).spawn(move || worker.run())?;
    Ok((seat, thread))
}

struct Worker {
    id: CopyId,
    open: Open,
    said: mpsc::UnboundedSender<(CopyId, Said)>,
    orders: mpsc::Receiver<Order>,
    own_orders: mpsc::WeakSender<Order>,
    lane: Arc<AtomicU64>,
    hints: Hints,
    turns: Turns,
    runtime: Handle,
    replica: Option<Box<dyn Replica>>,
    /// Applied, and perhaps lost by a loss of power.
    undurable: Option<Position>,
    /// What was made ahead is kept for it.
    expected: Expected,
    /// Since it was to be tidied up.
    has_changed: bool,
    /// An order to tidy up is on its way.
    will_tidy: bool,
}

impl Worker {
    fn run(mut self) {
        while let Some(order) = self.orders.blocking_recv() {
            if let Err(fault) = self.or_fault(|worker| worker.obey(order).and_then(|()| worker.settle())) {
                self.fail(fault);
            }
            if let Err(fault) = self.or_fault(|worker| {
                worker.look_around();
                Ok(())
            }) {
                self.fail(fault);
            }
        }
        // Nobody waits for the answer any more; the copy is in order either way.
        drop(self.make_durable());
        let replica = self.replica.as_mut();
        replica.map(|replica| (0..LAST_PIECES).take_while(|_| replica.tidy()).count());
    }

    /// A defect is a fault of this copy, which is dropped with what it has half done and opened anew: else its thread would be
    /// gone, and nobody would be told.
    fn or_fault(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(Fault::Failed(format!("a defect of treesync stopped it: {}; report it", text.unwrap_or("a panic without words"))))
        })
    }

    fn fail(&mut self, fault: Fault) {
        self.lane.store(NO_LANE, Ordering::Release);
        self.replica = None;
        self.undurable = None;
        self.hints.clear();
        self.say(Said::Fault(fault));
    }

    /// What is done beside orders.
    fn look_around(&mut self) {
        self.stage_ahead();
        if let Some((paths, total)) = self.replica.as_mut().and_then(|replica| replica.drifted()) {
            self.say(Said::Drift { paths, total });
        }
    }

    /// Has the copy tidied up when it has rested.
    fn tidy_later(&mut self) {
        if self.will_tidy {
            return;
        }
        self.will_tidy = true;
        let orders = self.own_orders.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(REST).await;
            if let Some(orders) = orders.upgrade() {
                // A thread that has ended has tidied up.
                orders.send(Order::TidyUp).await.ok();
            }
        });
    }

    /// Does what can wait, as long as nothing else is to be done.
    fn tidy_up(&mut self) {
        self.will_tidy = false;
        let expects_batch = self.expected.may_come(self.generation(), Instant::now());
        let has_rested = !std::mem::take(&mut self.has_changed) && !expects_batch;
        while has_rested && !self.has_orders() {
            if !self.replica.as_mut().is_some_and(|replica| replica.tidy()) {
                return;
            }
        }
        self.tidy_later();
    }

    fn generation(&self) -> Option<u64> {
        self.replica.as_ref()?.position().map(|position| position.generation)
    }

    /// Whether there are orders; that to look at hints is none.
    fn has_orders(&self) -> bool {
        self.orders.len() > usize::from(self.hints.is_told())
    }

    /// For whoever reminds this thread of its hints later.
    fn reminder(&self) -> impl FnOnce() + Send + use<> {
        let (hints, orders) = (self.hints.clone(), self.own_orders.clone());
        move || orders.upgrade().iter().for_each(|orders| remind(&hints, orders))
    }

    /// Makes files ahead, as long as nothing else is to be done and it has a turn.
    fn stage_ahead(&mut self) {
        while !self.has_orders()
            && let Some(generation) = self.generation()
            && let Some((ahead, done)) = self.hints.take(generation)
        {
            let Some(turn) = self.turns.take(self.id, self.reminder()) else {
                self.hints.give_back(ahead, done);
                return;
            };
            let (orders, hints) = (&self.orders, &self.hints);
            let is_free = || orders.len() <= usize::from(hints.is_told());
            let done = self.replica.as_mut().map_or(done, |replica| replica.stage_ahead(&ahead, done, &is_free));
            self.hints.give_back(ahead, done);
            drop(turn);
            self.expected.note(generation, Instant::now());
            self.has_changed = true;
            self.tidy_later();
        }
        self.write_ahead();
    }

    /// Has what was made ahead written, when no more came for a moment.
    fn write_ahead(&mut self) {
        let Some(calm) = self.hints.calm().filter(|_| !self.has_orders()) else { return };
        if calm < CALM {
            let remind = self.reminder();
            self.runtime.spawn(async move {
                tokio::time::sleep(CALM.saturating_sub(calm)).await;
                remind();
            });
            return;
        }
        self.hints.note_written();
        let (orders, hints) = (&self.orders, &self.hints);
        let is_free = || orders.len() <= usize::from(hints.is_told());
        self.replica.iter_mut().for_each(|replica| replica.write_ahead(&is_free));
    }

    fn obey(&mut self, order: Order) -> Result<(), Fault> {
        match order {
            Order::Open => {
                self.replica = None;
                let mut replica = (self.open)()?;
                let orders = self.own_orders.clone();
                // A worker with many orders looks after each of them anyway.
                replica.watch(Box::new(move || drop(orders.upgrade().map(|orders| orders.try_send(Order::LookForDrift)))));
                self.say(Said::Opened(replica.position()));
                self.replica = Some(replica);
                self.tidy_later();
                Ok(())
            }
            Order::Apply { lane, batch, contents } => self.with(lane, |replica| replica.apply(&batch, &contents)),
            Order::Reconcile { lane, part, contents } => self.with(lane, |replica| replica.reconcile(&part, &contents)),
            Order::LookForDrift => Ok(()),
            Order::StageAhead => {
                // They are looked at after each order.
                self.hints.untell();
                Ok(())
            }
            Order::TidyUp => {
                self.tidy_up();
                Ok(())
            }
            Order::Close(closed) => {
                let durable = self.make_durable();
                (self.replica, self.undurable) = (None, None);
                // Who asked may be gone.
                closed.send(()).ok();
                durable
            }
            Order::Tell(done) => {
                // Who asked may be gone.
                done.send(()).ok();
                Ok(())
            }
            Order::InSync { lane, position } => self.in_sync(lane, position),
        }
    }

    /// The source has nothing beyond this position. Only a copy that is there is in sync. One that is beyond came from a lane that
    /// was told more, and is told soon here as well; one that is not there has missed something, and asks anew.
    fn in_sync(&mut self, lane: u64, position: Position) -> Result<(), Fault> {
        let Some(replica) = self.replica.as_deref().filter(|_| self.lane.load(Ordering::Acquire) == lane) else { return Ok(()) };
        let is = replica.position();
        if is.is_some_and(|is| is.is_comparable_to(&position) && is.generation > position.generation) {
            return Ok(());
        }
        if is != Some(position) {
            let is = is.map_or_else(|| "no position".to_owned(), |is| is.to_string());
            return Err(Fault::Failed(format!("its source is done at {position}, and the copy is at {is}; it asks anew from there")));
        }
        self.make_durable()?;
        self.say(Said::InSync(position));
        Ok(())
    }

    fn with(&mut self, lane: u64, change: impl FnOnce(&mut dyn Replica) -> Result<(), Fault>) -> Result<(), Fault> {
        let Some(replica) = self.replica.as_deref_mut().filter(|_| self.lane.load(Ordering::Acquire) == lane) else { return Ok(()) };
        let before = replica.position();
        change(replica)?;
        let after = replica.position();
        self.has_changed = true;
        self.tidy_later();
        if let Some(position) = after.filter(|_| after != before) {
            self.undurable = Some(position);
            self.say(Said::Visible(position));
        }
        Ok(())
    }

    /// Makes durable what is applied, unless more is to come at once: one flush then serves both.
    fn settle(&mut self) -> Result<(), Fault> {
        if self.has_orders() { Ok(()) } else { self.make_durable() }
    }

    fn make_durable(&mut self) -> Result<(), Fault> {
        if let (Some(position), Some(replica)) = (self.undurable, self.replica.as_deref_mut()) {
            replica.make_durable()?;
            self.undurable = None;
            self.say(Said::Durable(position));
        }
        Ok(())
    }

    fn say(&self, said: Said) {
        // A session that has ended does not listen.
        drop(self.said.send((self.id, said)));
    }
}
