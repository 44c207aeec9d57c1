//! Keeps every copy of a session in a lane, or on its way back into one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::handle::{Answer, Ask, SessionError};
use super::lane::{Ended, Lane, MainLane};
use super::plan::{CopyId, Group, back_off, groups};
use super::turns::Turns;
use super::worker::{Fault, NO_LANE, Open, Order, Said, Seat, start};
use crate::model::{Position, TreePath};
use crate::wire::{Address, CallError, Client, CopyState, TlsSource};

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
    /// What the certificate of the publisher is for, where that is not the host of the address.
    pub server_name: Option<String>,
    /// Which of the sources that are served there; empty: the only one.
    pub source: String,
    /// For TCP.
    pub tls: Option<TlsSource>,
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
    /// The copy has all that the source has; durable. Told again about once a second while that stays so.
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
    /// Closed, or about to be, while it is verified.
    Paused,
}

struct Slot {
    seat: Seat,
    thread: JoinHandle<()>,
    stage: Stage,
    failures: u32,
    state: CopyState,
}

pub(super) struct Supervisor {
    address: Address,
    server_name: Option<String>,
    source: String,
    tls: Option<TlsSource>,
    session: String,
    spool_directory: PathBuf,
    jitter: Box<dyn FnMut() -> f64 + Send>,
    notices: mpsc::UnboundedSender<Notice>,
    slots: BTreeMap<CopyId, Slot>,
    next_id: CopyId,
    client: Option<Client>,
    /// At most one attempt.
    connecting: JoinSet<Result<Client, CallError>>,
    connection_failures: u32,
    connect_from: Instant,
    lanes: JoinSet<(Ended, Instant)>,
    lane_count: u64,
    main: MainLane,
    turns: Turns,
    said: mpsc::UnboundedSender<(CopyId, Said)>,
    heard: Option<mpsc::UnboundedReceiver<(CopyId, Said)>>,
    resume: mpsc::UnboundedSender<String>,
    resumed: Option<mpsc::UnboundedReceiver<String>>,
    slow: mpsc::UnboundedSender<CopyId>,
    slowed: Option<mpsc::UnboundedReceiver<CopyId>>,
    faults: watch::Sender<()>,
    acknowledged: watch::Sender<(Option<Client>, Vec<CopyState>)>,
}

impl Supervisor {
    pub(super) fn new(settings: Settings, notices: mpsc::UnboundedSender<Notice>) -> io::Result<Self> {
        let (said, heard) = mpsc::unbounded_channel();
        let (slow, slowed) = mpsc::unbounded_channel();
        let (resume, resumed) = mpsc::unbounded_channel();
        let mut supervisor = Self {
            address: settings.address,
            server_name: settings.server_name,
            source: settings.source,
            tls: settings.tls,
            session: settings.session,
            spool_directory: settings.spool_directory,
            jitter: settings.jitter,
            notices,
            slots: BTreeMap::new(),
            next_id: 0,
            client: None,
            connecting: JoinSet::new(),
            connection_failures: 0,
            connect_from: Instant::now(),
            lanes: JoinSet::new(),
            lane_count: NO_LANE,
            main: MainLane::default(),
            turns: Turns::new(),
            said,
            heard: Some(heard),
            resume,
            resumed: Some(resumed),
            slow,
            slowed: Some(slowed),
            faults: watch::Sender::new(()),
            acknowledged: watch::Sender::new((None, Vec::new())),
        };
        for (name, open) in settings.copies {
            supervisor.seat(name, open)?;
        }
        Ok(supervisor)
    }

    /// Follows the source until nobody can ask any more, then lets each copy finish what it is at.
    pub(super) async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Ask>) -> io::Result<()> {
        let receivers = (self.heard.take(), self.slowed.take(), self.resumed.take());
        let (Some(mut heard), Some(mut slowed), Some(mut resumed)) = receivers else { return Ok(()) };
        let acknowledging = tokio::spawn(acknowledge(self.acknowledged.subscribe(), self.session.clone()));
        loop {
            let next = self.advance();
            tokio::select! {
                // What a worker said before it closed its copy is heard before the copy is to be opened again.
                biased;
                Some((id, said)) = heard.recv() => self.hear(id, said),
                ask = asked.recv() => match ask {
                    Some(ask) => self.obey(ask).await,
                    None => break,
                },
                Some(_) = slowed.recv() => {}
                Some(name) = resumed.recv() => self.resume(&name),
                Some(connected) = self.connecting.join_next() => self.connected(connected),
                Some(ended) = self.lanes.join_next() => self.lane_ended(ended),
                () = tokio::time::sleep_until(next) => {}
            }
        }
        acknowledging.abort();
        self.lanes.shutdown().await;
        self.end().await
    }

    async fn end(self) -> io::Result<()> {
        // Without their seats the threads end.
        let threads: Vec<JoinHandle<()>> = self.slots.into_values().map(|slot| slot.thread).collect();
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count());
        match tokio::time::timeout(GRACE, joined).await {
            Ok(Ok(0)) => Ok(()),
            Ok(_) => Err(io::Error::other("the thread of a copy has failed")),
            Err(_) => Err(io::Error::other("a copy does not finish; it is recovered when it is opened again")),
        }
    }

    /// Gives a copy a thread.
    fn seat(&mut self, name: String, open: Open) -> io::Result<()> {
        let id = self.next_id;
        let (seat, thread) = start(id, open, self.said.clone(), self.turns.clone())?;
        self.next_id += 1;
        let state = CopyState { name, visible: None, durable: None, problem: None, drift: None };
        self.slots.insert(id, Slot { seat, thread, stage: Stage::Due(Instant::now()), failures: 0, state });
        Ok(())
    }

    fn find(&self, name: &str) -> Result<CopyId, SessionError> {
        let found = self.slots.iter().find(|(_, slot)| slot.state.name == name);
        match found {
            None => Err(SessionError::Unknown(name.to_owned())),
            Some((_, slot)) if matches!(slot.stage, Stage::Paused) => Err(SessionError::Verifying(name.to_owned())),
            Some((id, _)) => Ok(*id),
        }
    }

    fn add(&mut self, name: String, open: Open) -> Result<(), SessionError> {
        if self.slots.values().any(|slot| slot.state.name == name) {
            return Err(SessionError::Taken(name));
        }
        let copy = name.clone();
        self.seat(name, open).map_err(|error| SessionError::Thread { copy, problem: error.to_string() })?;
        self.acknowledge();
        Ok(())
    }

    /// Takes a copy out of its lane and has it closed; ready when it is.
    fn close(&mut self, id: CopyId) -> impl Future<Output = ()> + Send + use<> {
        let seat = self.slots.get(&id).map(|slot| slot.seat.clone());
        if let Some(seat) = &seat {
            seat.leave();
        }
        self.faults.send_replace(());
        async move {
            let (closed, wait) = oneshot::channel();
            if let Some(seat) = seat {
                // A thread that has ended has closed its copy.
                drop(seat.orders.send(Order::Close(closed)).await);
                drop(wait.await);
            }
        }
    }

    fn pause(&mut self, name: &str, answer: Answer<Client>) {
        let id = match self.find(name) {
            Ok(id) => id,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let Some(client) = self.client.clone() else { return drop(answer.send(Err(SessionError::Disconnected(self.address.clone())))) };
        let closed = self.close(id);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.stage = Stage::Paused;
        }
        let (name, resume) = (name.to_owned(), self.resume.clone());
        tokio::spawn(async move {
            closed.await;
            if answer.send(Ok(client)).is_err() {
                // Nobody verifies it any more.
                resume.send(name).ok();
            }
        });
    }

    fn resume(&mut self, name: &str) {
        let is_it = |slot: &&mut Slot| slot.state.name == name && matches!(slot.stage, Stage::Paused);
        if let Some(slot) = self.slots.values_mut().find(is_it) {
            slot.stage = Stage::Due(Instant::now());
        }
    }

    /// Ends all streams. The copies are free, and a connection is made anew.
    async fn leave_publisher(&mut self) {
        self.lanes.shutdown().await;
        for slot in self.slots.values() {
            slot.seat.leave();
        }
        (self.main, self.connecting, self.client) = (MainLane::default(), JoinSet::new(), None);
        (self.connection_failures, self.connect_from) = (0, Instant::now());
    }

    async fn obey(&mut self, ask: Ask) {
        // Who asked may have gone away; what was asked is done.
        match ask {
            Ask::Add { name, open, answer } => drop(answer.send(self.add(name, open))),
            Ask::Remove { name, answer } => match self.find(&name) {
                Err(error) => drop(answer.send(Err(error))),
                Ok(id) => {
                    let closed = self.close(id);
                    self.slots.remove(&id);
                    self.acknowledge();
                    // The thread has ended, or the copy is closed: either is what was asked.
                    tokio::spawn(async move {
                        closed.await;
                        answer.send(Ok(())).ok();
                    });
                }
            },
            Ask::Redirect { address, server_name, answer } => {
                (self.address, self.server_name) = (address, server_name);
                self.leave_publisher().await;
                drop(answer.send(Ok(())));
            }
            Ask::Pause { name, answer } => self.pause(&name, answer),
            Ask::Resume { name } => self.resume(&name),
        }
    }

    /// Does all that is due; says when to come again at the latest.
    fn advance(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + Duration::from_hours(1);
        for slot in self.slots.values_mut() {
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
        let Some(earliest) = self.slots.values().filter_map(ready).min() else { return next };
        let is_gathering = self.slots.values().any(|slot| matches!(slot.stage, Stage::Opening)) && now < earliest + GATHER;
        if is_gathering {
            return next.min(earliest + GATHER);
        }
        if now < self.connect_from {
            return next.min(self.connect_from);
        }
        match self.client.clone() {
            Some(client) => self.place(&client),
            None if self.connecting.is_empty() => self.connect(),
            None => {}
        }
        next
    }

    fn connect(&mut self) {
        let (address, server_name, source) = (self.address.clone(), self.server_name.clone(), self.source.clone());
        let tls = self.tls.clone();
        self.connecting.spawn(async move { Client::connect_named(&address, server_name.as_deref(), &source, tls.as_ref()).await });
    }

    fn connected(&mut self, connected: Result<Result<Client, CallError>, tokio::task::JoinError>) {
        match connected {
            Ok(Ok(client)) => {
                self.client = Some(client);
                self.tell(Notice::Connected { address: self.address.clone() });
            }
            Ok(Err(error)) => self.disconnected(&error),
            // It has panicked; another is begun.
            Err(_) => {}
        }
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
        let ready = self.slots.iter().filter_map(|(id, slot)| match slot.stage {
            Stage::Ready(position, _) => Some((*id, position)),
            _ => None,
        });
        let ready: Vec<(CopyId, Option<Position>)> = ready.collect();
        for group in groups(&ready) {
            self.lane_count += 1;
            let number = self.lane_count;
            let mut seats = Vec::new();
            let mut copies = Vec::new();
            for id in &group.copies {
                let Some(slot) = self.slots.get_mut(id) else { continue };
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
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let is_paused = matches!(slot.stage, Stage::Paused);
        let copy = slot.state.name.clone();
        let notice = match said {
            Said::Opened(position) => {
                if !is_paused {
                    slot.stage = Stage::Ready(position, Instant::now());
                }
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
                let is_repeated = slot.state.problem.is_none() && slot.state.durable == Some(position);
                slot.failures = 0;
                self.connection_failures = 0;
                slot.state.problem = None;
                (slot.state.visible, slot.state.durable) = (Some(position), Some(position));
                if is_repeated {
                    // The publisher knows.
                    return self.tell(Notice::InSync { copy, position });
                }
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
                if !is_paused {
                    slot.stage = Stage::Due(Instant::now() + retry);
                }
                let is_copy = matches!(fault, Fault::Failed(_));
                let problem = fault.to_string();
                slot.state.problem = is_copy.then(|| problem.clone());
                Notice::Behind { copy, problem, retry }
            }
        };
        self.tell(notice);
        self.acknowledge();
    }

    fn acknowledge(&self) {
        let states = self.slots.values().map(|slot| slot.state.clone()).collect();
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
