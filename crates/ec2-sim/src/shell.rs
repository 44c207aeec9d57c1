//! The shell around the world: real time, the state file, and the data plane at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, MutexGuard, Notify, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::disk::{Disk, Progress};
use crate::error::Error;
use crate::iam::{self, AccessKey, Credentials};
use crate::imds::Endpoints;
use crate::import::Import;
use crate::rule_changes;
use crate::script::Script;
use crate::sigv4::{self, SignedRequest};
use crate::store::Store;
use crate::world::fault::Fault;
use crate::world::{ApiError, Call, Effect, Reply, Rules, SnapshotPhase, VolumePhase, World};

/// How often to look while something moves.
const TICK: Duration = Duration::from_millis(20);
/// How often to look while nothing does.
const IDLE: Duration = Duration::from_secs(1);
/// How long to wait before a busy device is looked at again.
const BUSY_RETRY: Duration = Duration::from_millis(50);
/// How long to wait before a failed effect is tried again.
const FAILED_RETRY: Duration = Duration::from_secs(1);

/// A world that is being driven.
#[derive(Debug)]
pub(crate) struct Shell {
    world: Mutex<World>,
    store: Arc<Store>,
    /// None: every effect counts as carried out.
    disk: Option<Arc<Disk>>,
    /// Who may call; everybody when there are none.
    credentials: Option<Credentials>,
    /// The region that signatures are for.
    region: String,
    clock: Clock,
    endpoints: Endpoints,
    /// The faults that wait for a number of calls.
    script: std::sync::Mutex<Script>,
    /// Wakes the driver.
    work: Notify,
    /// Counts settled effects, for those who wait for one.
    settled: watch::Sender<u64>,
}

/// The answer to a call, with what is needed to write it down.
pub(crate) struct Answer {
    pub(crate) request_id: String,
    pub(crate) now: Timestamp,
    pub(crate) result: Result<Reply, ApiError>,
}

/// An answer, and whether it reaches the client.
pub(crate) struct Delivered {
    pub(crate) answer: Answer,
    pub(crate) lost: bool,
}

impl Delivered {
    /// An answer that nothing happens to.
    pub(crate) fn safely(answer: Answer) -> Self {
        Self { answer, lost: false }
    }
}

/// How an effect ended.
type Ended = (Effect, Result<Progress, Error>);

impl Shell {
    pub(crate) fn new(world: World, store: Store, disk: Option<Disk>, credentials: Option<Credentials>, clock: Clock) -> Self {
        Self {
            clock,
            script: std::sync::Mutex::default(),
            endpoints: Endpoints::default(),
            region: world.settings().region.clone(),
            credentials,
            world: Mutex::new(world),
            store: Arc::new(store),
            disk: disk.map(Arc::new),
            work: Notify::new(),
            settled: watch::Sender::new(0),
        }
    }

    /// Finds out who signed a request; nobody in particular when no credentials are configured.
    ///
    /// The time is that of the machine, as it is for the client.
    pub(crate) fn authenticate(&self, request: &SignedRequest<'_>) -> Result<Option<Arc<AccessKey>>, ApiError> {
        let Some(credentials) = &self.credentials else {
            return Ok(None);
        };
        let secret = |id: &str| credentials.find(id).map(|key| key.secret());
        let id = sigv4::verify(request, &self.region, Timestamp::now(), secret)?;
        Ok(credentials.find(&id).cloned())
    }

    /// Puts the faults of a script in force: at once, by the clock from now, or by the count of calls.
    pub(crate) async fn perform(&self, mut script: Script) -> Result<(), ApiError> {
        let mut world = self.world.lock().await;
        let now = self.now();
        for (at_ms, fault) in script.timed.drain(..) {
            let later = i64::try_from(at_ms).ok().and_then(|ms| now.checked_add(SignedDuration::from_millis(ms)).ok());
            if at_ms == 0 {
                world.inject(now, fault)?;
            } else {
                world.schedule(later.unwrap_or(Timestamp::MAX), fault)?;
            }
        }
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
        Ok(())
    }

    /// Injects a fault. What it changes is stored before this returns.
    pub(crate) async fn inject(&self, fault: Fault) -> Result<u64, ApiError> {
        let mut world = self.world.lock().await;
        let id = world.inject(self.now(), fault)?;
        let saved = self.save(&mut world).await;
        drop(world);
        self.work.notify_one();
        saved.map(|()| id).map_err(|error| ApiError::new("InternalError", error.to_string()))
    }

    /// Changes the rules that are named, and returns them all.
    pub(crate) async fn change_rules(&self, wanted: &serde_json::Value) -> Result<Rules, Error> {
        let mut world = self.world.lock().await;
        let rules = rule_changes::changed(world.rules(), wanted)?;
        world.set_rules(rules.clone());
        self.save(&mut world).await?;
        Ok(rules)
    }

    /// Makes a volume with the content of a folder, and returns its id.
    pub(crate) async fn import(&self, import: Import) -> Result<String, Error> {
        let Some(disk) = self.disk.clone() else {
            return Err(Error::Import("the simulator runs without files and devices (--no-data)".to_owned()));
        };
        let preparing = Arc::clone(&disk);
        let (import, prepared) = match tokio::task::spawn_blocking(move || {
            let prepared = import.prepare(&preparing);
            (import, prepared)
        })
        .await
        {
            Ok((import, prepared)) => (import, prepared?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        // Nothing is filled while the world is held: the image is there before its volume is looked for.
        let mut world = self.world.lock().await;
        let before = world.clone();
        let made = import.finish(&mut world, self.now(), &disk, &prepared);
        let stored = match made {
            Ok(id) => self.save(&mut world).await.map(|()| id),
            failed => failed,
        };
        if stored.is_err() {
            *world = before;
        }
        drop(world);
        self.work.notify_one();
        stored
    }

    /// Carries a call out with what the injected faults do to it on its way: late, twice, or without an answer.
    pub(crate) async fn carry_out(&self, key: Option<&AccessKey>, call: &Call) -> Delivered {
        let due = self.script.lock().unwrap_or_else(PoisonError::into_inner).due(call.action.name());
        for fault in due {
            if let Err(error) = self.inject(fault).await {
                tracing::warn!(%error, "a fault of the script cannot happen");
            }
        }
        let delivery = self.world.lock().await.deliver(call);
        tokio::time::sleep(Duration::from_millis(delivery.request_delay_ms)).await;
        let mut answer = self.call(key, call).await;
        for _ in 1..delivery.copies {
            answer = self.call(key, call).await;
        }
        tokio::time::sleep(Duration::from_millis(delivery.reply_delay_ms)).await;
        Delivered { answer, lost: delivery.reply_lost }
    }

    /// Answers a call of this access key. A change is on disk before this returns.
    async fn call(&self, key: Option<&AccessKey>, call: &Call) -> Answer {
        let mut world = self.world.lock().await;
        let now = self.now();
        self.step(&mut world, now);
        let request_id = world.request_id();
        if let Some(key) = key
            && let Err(denied) = iam::authorize(key, &world, &call.action)
        {
            world.count(call.action.name(), false);
            return Answer { request_id, now, result: Err(denied) };
        }
        let changes = !call.action.is_read() && !call.dry_run;
        let mut result = world.apply(now, call);
        if changes
            && result.is_ok()
            && let Err(error) = self.save(&mut world).await
        {
            tracing::error!(%error, "the state cannot be stored");
            world.undo_call();
            result = Err(ApiError::new("InternalError", error.to_string()));
        }
        drop(world);
        self.work.notify_one();
        let copied = result.as_ref().map(copies_of_now).unwrap_or_default();
        for id in &copied {
            if let Err(error) = self.copied(id).await {
                result = Err(error);
                break;
            }
        }
        Answer { request_id, now, result }
    }

    /// Answers a request that never became a call.
    pub(crate) async fn refuse(&self, action: &str, error: ApiError) -> Answer {
        let mut world = self.world.lock().await;
        world.count(action, false);
        Answer { request_id: world.request_id(), now: self.now(), result: Err(error) }
    }

    /// The time of the simulated account.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far its clock is ahead of the machine's, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.clock.ahead_ms()
    }

    /// Puts the clock forward, with everything that happens meanwhile; false when that is too far.
    pub(crate) async fn advance_clock(&self, millis: u64) -> Result<bool, Error> {
        let mut world = self.world.lock().await;
        if !self.clock.advance(millis) {
            return Ok(false);
        }
        self.step(&mut world, self.now());
        // All of it: the clock is stored even when nothing else has changed.
        let saved = self.save_all(&world).await;
        drop(world);
        self.work.notify_one();
        saved.map(|()| true)
    }

    /// The metadata endpoints of the instances.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Gives the data folder back; calls that change something fail from now on.
    pub(crate) fn close(&self) {
        self.store.release();
    }

    /// The world, advanced to now.
    pub(crate) async fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().await;
        self.step(&mut world, self.now());
        world
    }

    /// Advances the world and returns what the data plane owes; nothing without one.
    fn step(&self, world: &mut World, now: Timestamp) -> Vec<Effect> {
        if self.disk.is_none() {
            world.settle(now);
            return Vec::new();
        }
        world.advance(now)
    }

    /// Waits until the data plane has made the file of a snapshot or of a copied volume:
    /// its content is that of the call.
    async fn copied(&self, id: &str) -> Result<(), ApiError> {
        let mut settled = self.settled.subscribe();
        loop {
            let (waiting, failed) = {
                let world = self.world().await;
                let snapshot = world.snapshots().get(id).map(|s| &s.phase);
                let volume = world.volumes().get(id).map(|v| &v.phase);
                let waiting = matches!(snapshot, Some(SnapshotPhase::Pending { cloned: false, .. }))
                    || matches!(volume, Some(VolumePhase::Creating { filled: false, .. }));
                (waiting, matches!(snapshot, Some(SnapshotPhase::Error)) || matches!(volume, Some(VolumePhase::Error)))
            };
            if failed {
                return Err(ApiError::new("InternalError", format!("'{id}' could not be made.")));
            }
            if !waiting || settled.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Makes durable what has changed: as a line of the journal, or with everything else.
    async fn save(&self, world: &mut World) -> Result<(), Error> {
        let changes = world.take_changes();
        let (store, ahead_ms) = (Arc::clone(&self.store), self.ahead_ms());
        if self.store.wants_all() {
            let state = serde_json::to_vec(world).map_err(Error::Unwritable)?;
            return blocking(move || store.save(&state, ahead_ms)).await;
        }
        if changes.is_empty() {
            return Ok(());
        }
        blocking(move || store.append(changes, ahead_ms)).await
    }

    /// Makes everything durable in one file.
    async fn save_all(&self, world: &World) -> Result<(), Error> {
        let state = serde_json::to_vec(world).map_err(Error::Unwritable)?;
        let (store, ahead_ms) = (Arc::clone(&self.store), self.ahead_ms());
        blocking(move || store.save(&state, ahead_ms)).await
    }

    /// Keeps the world moving and the data plane at work until `stop`.
    ///
    /// On return nothing runs any more and the state is stored.
    pub(crate) async fn drive(&self, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        let mut workshop = Workshop::default();
        while !*stop.borrow() {
            let pause = self.start_work(&mut workshop).await;
            tokio::select! {
                Some(ended) = workshop.running.join_next() => {
                    let mut ended = vec![unwrap(ended)];
                    while let Some(more) = workshop.running.try_join_next() {
                        ended.push(unwrap(more));
                    }
                    if let Err(error) = self.settle(&mut workshop, ended).await {
                        // The next change stores everything again.
                        tracing::error!(%error, "the state cannot be stored");
                    }
                }
                () = self.work.notified() => {}
                () = tokio::time::sleep(pause) => {}
                changed = stop.changed() => {
                    if changed.is_err() {
                        // Whoever could stop this has gone.
                        break;
                    }
                }
            }
        }
        let mut ended = Vec::new();
        while let Some(last) = workshop.running.join_next().await {
            ended.push(unwrap(last));
        }
        if !ended.is_empty() {
            self.settle(&mut workshop, ended).await?;
        }
        let world = self.world.lock().await;
        self.save_all(&world).await
    }

    /// Starts what is owed and not under way, and says how long to sleep.
    async fn start_work(&self, workshop: &mut Workshop) -> Duration {
        let mut world = self.world.lock().await;
        let effects = self.step(&mut world, self.now());
        for missed in world.missed_faults() {
            tracing::warn!(fault = missed, "a scheduled fault could not happen");
        }
        let moving = world.next_due().is_some() || !effects.is_empty();
        drop(world);
        if let Some(disk) = &self.disk {
            workshop.start(effects, disk);
        }
        if moving { TICK } else { IDLE }
    }

    async fn settle(&self, workshop: &mut Workshop, ended: Vec<Ended>) -> Result<(), Error> {
        let mut world = self.world.lock().await;
        for (effect, outcome) in ended {
            workshop.under_way.remove(effect.subject());
            let retry = match outcome {
                Ok(Progress::Done) => {
                    tracing::debug!(?effect, "done");
                    world.confirm(&effect);
                    None
                }
                Ok(Progress::Busy) => {
                    world.busy(&effect);
                    Some(BUSY_RETRY)
                }
                Err(error) => {
                    tracing::warn!(?effect, %error, "the data plane failed");
                    world.fail(&effect);
                    Some(FAILED_RETRY)
                }
            };
            if let Some(pause) = retry {
                let subject = effect.subject().to_owned();
                workshop.not_before.insert(subject, Instant::now() + pause);
            }
        }
        world.advance(self.now());
        let saved = self.save(&mut world).await;
        drop(world);
        self.settled.send_modify(|count| *count += 1);
        saved
    }
}

/// The resources whose content must be that of the moment of the call.
fn copies_of_now(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Snapshot(snapshot) => vec![snapshot.id.clone()],
        Reply::SnapshotSet(snapshots) => snapshots.iter().map(|snapshot| snapshot.id.clone()).collect(),
        Reply::CopiedVolumes(volumes) => volumes.iter().map(|volume| volume.id.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The effects under way.
#[derive(Debug, Default)]
struct Workshop {
    running: JoinSet<Ended>,
    /// The subjects that an effect is under way for: one at a time.
    under_way: BTreeSet<String>,
    /// When a subject may be tried again.
    not_before: BTreeMap<String, Instant>,
}

impl Workshop {
    fn start(&mut self, effects: Vec<Effect>, disk: &Arc<Disk>) {
        let now = Instant::now();
        self.not_before.retain(|_, at| *at > now);
        for effect in effects {
            let subject = effect.subject();
            if self.not_before.contains_key(subject) || !self.under_way.insert(subject.to_owned()) {
                continue;
            }
            let disk = Arc::clone(disk);
            self.running.spawn_blocking(move || {
                let outcome = disk.perform(&effect);
                (effect, outcome)
            });
        }
    }
}

/// Runs what blocks where it may.
async fn blocking(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn unwrap(ended: Result<Ended, tokio::task::JoinError>) -> Ended {
    match ended {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
