//! A lane: one stream for many copies. What comes is received once and given to each of them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::contents::SharedContents;
use super::plan::Group;
use super::worker::{NO_LANE, Order, Seat};
use crate::model::{Batch, Position};
use crate::wire::{CallError, Client, CopyState, Message};

/// Batches that the main lane keeps for copies that come from another lane and are a little behind.
const RECENT: usize = 16;
/// How long a copy may hold up the others of its lane; then it goes on in one of its own.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lane in which all copies end that have caught up.
#[derive(Default, Clone)]
pub(super) struct MainLane(Arc<Mutex<Option<Entrance>>>);

#[derive(Clone)]
struct Entrance {
    lane: u64,
    joining: mpsc::UnboundedSender<Joining>,
}

/// Copies that leave a lane for the main one, and how far they are.
struct Joining {
    lane: u64,
    seats: Vec<Seat>,
    position: Position,
}

impl MainLane {
    fn entrance(&self) -> std::sync::MutexGuard<'_, Option<Entrance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this lane the main one if there is none.
    fn claim(&self, lane: u64, joining: &mpsc::UnboundedSender<Joining>) {
        self.entrance().get_or_insert_with(|| Entrance { lane, joining: joining.clone() });
    }

    fn leave(&self, lane: u64) {
        self.entrance().take_if(|entrance| entrance.lane == lane);
    }

    /// The way into the main lane, if that is another.
    fn other(&self, lane: u64) -> Option<mpsc::UnboundedSender<Joining>> {
        self.entrance().as_ref().filter(|entrance| entrance.lane != lane).map(|entrance| entrance.joining.clone())
    }
}

/// How a lane ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its copies are in the main lane, or have left one by one.
    Left,
    /// The stream broke or was refused; the copies are free.
    Broken(CallError),
}

/// What a lane needs.
pub(super) struct Lane {
    pub(super) number: u64,
    pub(super) seats: Vec<Seat>,
    pub(super) client: Client,
    pub(super) session: String,
    /// Where its copies are at the start, for those who wait for them.
    pub(super) copies: Vec<CopyState>,
    pub(super) spool_directory: PathBuf,
    pub(super) main: MainLane,
    /// Changes when copies may have left their lanes.
    pub(super) faults: watch::Receiver<()>,
    /// Told of a copy that holds up the others, and is put out.
    pub(super) slow: mpsc::UnboundedSender<usize>,
}

/// How far a lane is.
struct Progress {
    /// Orders that were given go to here.
    at: Option<Position>,
    /// Between the parts of one step nobody can join.
    is_between_parts: bool,
    has_caught_up: bool,
    /// Where the source had nothing more, until something came.
    in_sync: Option<Position>,
    recent: VecDeque<Arc<Batch>>,
}

impl Lane {
    /// Runs until the stream breaks or no copy is left. Cancel safe: copies keep what they were given whole.
    pub(super) async fn run(mut self, group: Group) -> Ended {
        let (entrance, mut joining) = mpsc::unbounded_channel();
        let mut progress =
            Progress { at: group.since, is_between_parts: false, has_caught_up: false, in_sync: None, recent: VecDeque::new() };
        let ended = self.follow(&mut progress, &entrance, &mut joining).await;
        self.main.leave(self.number);
        for seat in &self.seats {
            self.put_out(seat);
        }
        // Those that came too late are free again as well.
        joining.close();
        while let Ok(late) = joining.try_recv() {
            self.bounce(&late);
        }
        match ended {
            Ok(()) => Ended::Left,
            Err(error) => Ended::Broken(error),
        }
    }

    async fn follow(
        &mut self,
        progress: &mut Progress,
        entrance: &mpsc::UnboundedSender<Joining>,
        joining: &mut mpsc::UnboundedReceiver<Joining>,
    ) -> Result<(), CallError> {
        let mut messages = self.client.subscribe_ahead(progress.at, &self.session, &self.copies).await?;
        loop {
            self.main.claim(self.number, entrance);
            self.seats.retain(|seat| seat.is_in(self.number));
            if self.seats.is_empty() || progress.has_caught_up && self.join_main(progress).await {
                return Ok(());
            }
            let message = tokio::select! {
                Some(joined) = joining.recv(), if !progress.is_between_parts => {
                    self.admit(joined, progress).await;
                    continue;
                }
                // A session that has ended ends its lanes.
                Ok(()) = self.faults.changed() => continue,
                message = messages.next() => message?,
            };
            match message {
                Some(message) => self.give(message, progress).await,
                None => return Err(self.client.ended()),
            }
        }
    }

    async fn give(&mut self, message: Message, progress: &mut Progress) {
        let contents = Arc::new(SharedContents::new(self.client.clone(), Handle::current(), self.spool_directory.clone()));
        let lane = self.number;
        match message {
            Message::Batch(batch) => {
                let batch = Arc::new(batch);
                progress.in_sync = None;
                progress.is_between_parts = !batch.is_last_part;
                if batch.is_last_part {
                    progress.at = Some(Position { source: batch.source, epoch: batch.epoch, generation: batch.to });
                }
                progress.recent.push_back(batch.clone());
                if progress.recent.len() > RECENT {
                    progress.recent.pop_front();
                }
                self.order_all(|| Order::Apply { lane, batch: batch.clone(), contents: contents.clone() }).await;
            }
            Message::Manifest(part) => {
                let part = Arc::new(part);
                progress.is_between_parts = !part.is_last_part;
                progress.recent.clear();
                progress.in_sync = None;
                if part.is_last_part {
                    progress.at = Some(part.position);
                }
                self.order_all(|| Order::Reconcile { lane, part: part.clone(), contents: contents.clone() }).await;
            }
            Message::InSync(position) => {
                (progress.has_caught_up, progress.in_sync) = (true, Some(position));
                self.order_all(|| Order::InSync { lane, position }).await;
            }
            Message::Ahead(ahead) => {
                let ahead = Arc::new(ahead);
                self.seats.iter().filter(|seat| seat.is_in(lane)).for_each(|seat| seat.hint(ahead.clone()));
            }
            // Never part of this stream; a peer that sends them does no harm.
            Message::Digests(_) => {}
        }
    }

    /// Gives an order to all copies. One that does not take it in time is put out, unless it is alone.
    async fn order_all(&mut self, order: impl Fn() -> Order) {
        let is_alone = self.seats.len() == 1;
        for seat in &self.seats {
            if !seat.is_in(self.number) {
                continue;
            }
            // A thread that has ended takes no orders, and its session knows.
            let send = seat.orders.send(order());
            if is_alone {
                drop(send.await);
            } else if tokio::time::timeout(PATIENCE, send).await.is_err() {
                self.put_out(seat);
                self.wake(seat);
            }
        }
    }

    /// Takes copies in that come from another lane, if they have what this lane has given, or it still has what they lack.
    async fn admit(&mut self, joined: Joining, progress: &Progress) {
        let missing = progress.at.and_then(|at| missing(&progress.recent, joined.position, at));
        let Some(missing) = missing else {
            self.bounce(&joined);
            return;
        };
        for seat in joined.seats {
            if !seat.change(joined.lane, self.number) {
                continue;
            }
            for batch in &missing {
                let contents = Arc::new(SharedContents::new(self.client.clone(), Handle::current(), self.spool_directory.clone()));
                drop(seat.orders.send(Order::Apply { lane: self.number, batch: batch.clone(), contents }).await);
            }
            // A lane that still catches up knows nothing of that.
            if let Some(position) = progress.in_sync {
                drop(seat.orders.send(Order::InSync { lane: self.number, position }).await);
            }
            self.seats.push(seat);
        }
    }

    /// Gives the copies of this lane to the main one, if there is another, when all have done what they were given.
    async fn join_main(&mut self, progress: &Progress) -> bool {
        let (Some(main), Some(position)) = (self.main.other(self.number), progress.at) else { return false };
        for seat in &self.seats {
            let (done, wait) = oneshot::channel();
            drop(seat.orders.send(Order::Tell(done)).await);
            drop(wait.await);
        }
        let seats = std::mem::take(&mut self.seats);
        match main.send(Joining { lane: self.number, seats, position }) {
            Ok(()) => true,
            Err(refused) => {
                self.seats = refused.0.seats;
                false
            }
        }
    }

    fn put_out(&self, seat: &Seat) {
        seat.change(self.number, NO_LANE);
    }

    /// Copies that cannot join start again on their own.
    fn bounce(&self, joined: &Joining) {
        for seat in &joined.seats {
            if seat.change(joined.lane, NO_LANE) {
                self.wake(seat);
            }
        }
    }

    /// The session may have ended, and then nobody places copies any more.
    fn wake(&self, seat: &Seat) {
        self.slow.send(seat.id).ok();
    }
}

/// What a copy at `from` lacks of a lane that is at `to`; none when that is not known any more.
fn missing(recent: &VecDeque<Arc<Batch>>, from: Position, to: Position) -> Option<Vec<Arc<Batch>>> {
    if !from.is_comparable_to(&to) {
        return None;
    }
    let lacking: Vec<Arc<Batch>> = recent.iter().filter(|batch| batch.to > from.generation).cloned().collect();
    let reaches_back = lacking.first().is_none_or(|first| first.from <= from.generation);
    let is_there = from.generation >= to.generation;
    (is_there || !lacking.is_empty() && reaches_back).then_some(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceId;

    fn at(generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch: 1, generation }
    }

    fn recent(bounds: &[(u64, u64)]) -> VecDeque<Arc<Batch>> {
        let batch = |&(from, to): &(u64, u64)| Batch {
            source: SourceId([1; 16]),
            epoch: 1,
            from,
            to,
            is_last_part: true,
            structure: Vec::new(),
            puts: Vec::new(),
        };
        bounds.iter().map(batch).map(Arc::new).collect()
    }

    fn lacks(from: Position, to: u64) -> Option<Vec<u64>> {
        let recent = recent(&[(5, 6), (6, 9), (9, 10)]);
        missing(&recent, from, at(to)).map(|batches| batches.iter().map(|batch| batch.to).collect())
    }

    #[test]
    fn a_copy_that_joins_gets_what_it_lacks_or_is_sent_away() {
        assert_eq!(lacks(at(10), 10), Some(vec![]));
        assert_eq!(lacks(at(12), 10), Some(vec![]), "ahead: it skips what comes");
        assert_eq!(lacks(at(6), 10), Some(vec![9, 10]));
        assert_eq!(lacks(at(7), 10), Some(vec![9, 10]), "in the middle of one: that one is idempotent");
        assert_eq!(lacks(at(4), 10), None, "what it lacks is not kept any more");
        assert_eq!(lacks(Position { epoch: 2, ..at(10) }, 10), None);
        assert_eq!(missing(&VecDeque::new(), at(3), at(4)), None);
    }
}
