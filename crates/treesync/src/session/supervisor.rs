//! Keeps every copy of a session in a lane, or on its way back into one.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lane::{Ended, Lane, MainLane};
use super::plan::{CopyId, Group, back_off, groups};
use super::worker::{Fault, NO_LANE, Open, Order, Said, Seat, start};
use crate::model::{Position, TreePath};
use crate::wire::{Address, CallError, Client, CopyState, TlsFiles};

/// How long copies that are open wait for those that are being opened, to share a stream from the start.
const GATHER: Duration = Duration::from_secs(1);
/// How long a thread that is busy with one order is given before it is looked at again.
const BUSY: Duration = Duration::from_millis(100);
/// How long threads have to finish what they are at when the session stops.
const GRACE: Duration = Duration::from_secs(20);
/// A lane that lived this long did not fail for the same reason as the one before.
const STEADY: Duration = Duration::from_secs(5);

/// What a session is to do.
pub struct Settings {
    /// Where the publisher is.
    pub address: Address,
    /// For TCP.
    pub tls: Option<TlsFiles>,
    /// Names this session at the publisher; no other may have it at the same time.
    pub session: String,
    /// The copies: names for messages, and how each is opened.
    pub copies: Vec<(String, Open)>,
    /// Where bytes of large files wait until all copies have them.
    pub spool_directory: PathBuf,
    /// Gives numbers from 0 to 1 that spread retries.
    pub jitter: Box<dyn FnMut() -> f64 + Send>,
}

/// What a session tells while it runs. `copy` is the name of one.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the fields are what their names say")]
pub enum Notice {
    /// The copy is open, recovered, and here.
    Opened { copy: String, position: Option<Position> },
    /// Readers of the copy see this.
    Visible { copy: String, position: Position },
    /// A loss of power takes nothing up to here.
    Durable { copy: String, position: Position },
    /// The copy has all that the source has; durable.
    InSync { copy: String, position: Position },
    /// The copy stays where it is, serves that, and is tried again.
    Behind { copy: String, problem: String, retry: Duration },
    /// Another process has changed these paths of the copy, or one of them as a part of all. `total` counts all since the
    /// copy was opened or compared.
    Drifted { copy: String, paths: Vec<TreePath>, total: u64 },
    /// A connection stands, and versions are agreed.
    Connected { address: Address },
    /// There is no connection; copies serve what they have.
    Disconnected { problem: String, retry: Duration },
}

enum Stage {
    /// To be opened then.
    Due(Instant),
    Opening,
    /// Open since then, not in a lane.
    Ready(Option<Position>, Instant),
    /// In a lane, until its seat says otherwise.
    Placed,
}

struct Slot {
    seat: Seat,
    stage: Stage,
    failures: u32,
    state: CopyState,
}

struct Supervisor {
    address: Address,
    tls: Option<TlsFiles>,
    session: String,
    spool_directory: PathBuf,
    jitter: Box<dyn FnMut() -> f64 + Send>,
    notices: mpsc::UnboundedSender<Notice>,
    slots: Vec<Slot>,
    client: Option<Client>,
    connection_failures: u32,
    connect_from: Instant,
    lanes: JoinSet<(Ended, Instant)>,
    lane_count: u64,
    main: MainLane,
    slow: mpsc::UnboundedSender<CopyId>,
    faults: watch::Sender<()>,
    acknowledged: watch::Sender<(Option<Client>, Vec<CopyState>)>,
}

/// Follows the source until `stop` is ready, then lets each copy finish what it is at. Problems of copies and of the
/// connection are told as notices, and tried again without end.
///
/// # Errors
/// When threads cannot be started, or do not end in time.
pub async fn run(settings: Settings, notices: mpsc::UnboundedSender<Notice>, stop: impl Future<Output = ()>) -> io::Result<()> {
    let (said, mut heard) = mpsc::unbounded_channel();
    let (slow, mut slowed) = mpsc::unbounded_channel();
    let (acknowledged, states) = watch::channel((None, Vec::new()));
    let (mut slots, mut threads) = (Vec::new(), Vec::new());
    for (id, (name, open)) in settings.copies.into_iter().enumerate() {
        let (seat, thread) = start(id, open, said.clone())?;
        let state = CopyState { name, visible: None, durable: None, problem: None, drift: None };
        slots.push(Slot { seat, stage: Stage::Due(Instant::now()), failures: 0, state });
        threads.push(thread);
    }
    let acknowledging = tokio::spawn(acknowledge(states, settings.session.clone()));
    let mut supervisor = Supervisor {
        address: settings.address,
        tls: settings.tls,
        session: settings.session,
        spool_directory: settings.spool_directory,
        jitter: settings.jitter,
        notices,
        slots,
        client: None,
        connection_failures: 0,
        connect_from: Instant::now(),
        lanes: JoinSet::new(),
        lane_count: NO_LANE,
        main: MainLane::default(),
        slow,
        faults: watch::Sender::new(()),
        acknowledged,
    };
    tokio::pin!(stop);
    loop {
        let next = supervisor.advance().await;
        tokio::select! {
            () = &mut stop => break,
            Some((id, said)) = heard.recv() => supervisor.hear(id, said),
            Some(_) = slowed.recv() => {}
            Some(ended) = supervisor.lanes.join_next() => supervisor.lane_ended(ended),
            () = tokio::time::sleep_until(next) => {}
        }
    }
    supervisor.lanes.shutdown().await;
    drop(supervisor);
    acknowledging.abort();
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(std::thread::JoinHandle::join).filter(Result::is_err).count());
    match tokio::time::timeout(GRACE, joined).await {
        Ok(Ok(0)) => Ok(()),
        Ok(_) => Err(io::Error::other("the thread of a copy has failed")),
        Err(_) => Err(io::Error::other("a copy does not finish; it is recovered when it is opened again")),
    }
}

impl Supervisor {
    /// Does all that is due; says when to come again at the latest.
    async fn advance(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + Duration::from_hours(1);
        for slot in &mut self.slots {
            if matches!(slot.stage, Stage::Placed) && slot.seat.is_in(NO_LANE) {
                slot.stage = Stage::Due(now);
            }
            if let Stage::Due(at) = slot.stage {
                if at > now {
                    next = next.min(at);
                } else if slot.seat.orders.try_send(Order::Open).is_ok() {
                    slot.stage = Stage::Opening;
                } else {
                    next = next.min(now + BUSY);
                }
            }
        }
        let ready = |slot: &Slot| if let Stage::Ready(_, since) = slot.stage { Some(since) } else { None };
        let Some(earliest) = self.slots.iter().filter_map(ready).min() else { return next };
        let is_gathering = self.slots.iter().any(|slot| matches!(slot.stage, Stage::Opening)) && now < earliest + GATHER;
        if is_gathering {
            return next.min(earliest + GATHER);
        }
        if now < self.connect_from {
            return next.min(self.connect_from);
        }
        match self.connect().await {
            Ok(client) => self.place(&client),
            Err(error) => self.disconnected(&error),
        }
        next.min(Instant::now() + BUSY)
    }

    async fn connect(&mut self) -> Result<Client, CallError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = Client::connect(&self.address, self.tls.as_ref()).await?;
        self.client = Some(client.clone());
        self.tell(Notice::Connected { address: self.address.clone() });
        Ok(client)
    }

    fn disconnected(&mut self, error: &CallError) {
        self.client = None;
        self.connection_failures += 1;
        let retry = back_off(self.connection_failures, (self.jitter)());
        self.connect_from = Instant::now() + retry;
        self.tell(Notice::Disconnected { problem: error.to_string(), retry });
    }

    /// Puts all copies that are ready into lanes.
    fn place(&mut self, client: &Client) {
        let ready = self.slots.iter().enumerate().filter_map(|(id, slot)| match slot.stage {
            Stage::Ready(position, _) => Some((id, position)),
            _ => None,
        });
        let ready: Vec<(CopyId, Option<Position>)> = ready.collect();
        for group in groups(&ready) {
            self.lane_count += 1;
            let number = self.lane_count;
            let mut seats = Vec::new();
            let mut copies = Vec::new();
            for id in &group.copies {
                let slot = &mut self.slots[*id];
                slot.stage = Stage::Placed;
                slot.seat.change(NO_LANE, number);
                seats.push(slot.seat.clone());
                copies.push(slot.state.clone());
            }
            self.start_lane(number, seats, copies, client.clone(), group);
        }
    }

    fn start_lane(&mut self, number: u64, seats: Vec<Seat>, copies: Vec<CopyState>, client: Client, group: Group) {
        let lane = Lane {
            number,
            seats,
            client,
            session: self.session.clone(),
            copies,
            spool_directory: self.spool_directory.clone(),
            main: self.main.clone(),
            slow: self.slow.clone(),
            faults: self.faults.subscribe(),
        };
        let since = Instant::now();
        self.lanes.spawn(async move { (lane.run(group).await, since) });
    }

    fn lane_ended(&mut self, ended: Result<(Ended, Instant), tokio::task::JoinError>) {
        if let Ok((Ended::Broken(error), since)) = ended {
            if since.elapsed() > STEADY {
                self.connection_failures = 0;
            }
            self.disconnected(&error);
        }
    }

    fn hear(&mut self, id: CopyId, said: Said) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let copy = slot.state.name.clone();
        let notice = match said {
            Said::Opened(position) => {
                slot.stage = Stage::Ready(position, Instant::now());
                (slot.state.visible, slot.state.durable) = (position, position);
                Notice::Opened { copy, position }
            }
            Said::Visible(position) => {
                slot.state.visible = Some(position);
                Notice::Visible { copy, position }
            }
            Said::Durable(position) => {
                slot.state.durable = Some(position);
                Notice::Durable { copy, position }
            }
            Said::InSync(position) => {
                slot.failures = 0;
                self.connection_failures = 0;
                slot.state.problem = None;
                (slot.state.visible, slot.state.durable) = (Some(position), Some(position));
                Notice::InSync { copy, position }
            }
            Said::Drift { paths, total } => {
                slot.state.drift = Some(total);
                Notice::Drifted { copy, paths, total }
            }
            Said::Fault(fault) => {
                self.faults.send_replace(());
                slot.failures += 1;
                let retry = back_off(slot.failures, (self.jitter)());
                slot.stage = Stage::Due(Instant::now() + retry);
                let is_copy = matches!(fault, Fault::Failed(_));
                let problem = fault.to_string();
                slot.state.problem = is_copy.then(|| problem.clone());
                Notice::Behind { copy, problem, retry }
            }
        };
        self.tell(notice);
        let states = self.slots.iter().map(|slot| slot.state.clone()).collect();
        self.acknowledged.send_replace((self.client.clone(), states));
    }

    fn tell(&self, notice: Notice) {
        // Nobody has to listen.
        drop(self.notices.send(notice));
    }
}

/// Tells the publisher where the copies are, as often as it answers.
async fn acknowledge(mut states: watch::Receiver<(Option<Client>, Vec<CopyState>)>, session: String) {
    while states.changed().await.is_ok() {
        let (client, copies) = states.borrow_and_update().clone();
        if let Some(client) = client
            && let Err(error) = client.acknowledge(&session, &copies).await
        {
            tracing::debug!(%error, "the publisher does not note where the copies are; it is told again with the next change");
        }
    }
}
