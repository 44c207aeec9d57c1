//! The shell around the world: real time, the state file, and the data plane at work.

mod calls;
mod drive;
mod requests;

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::Error;
use crate::iam::Credentials;
use crate::imds::Endpoints;
use crate::script::Script;
use crate::store::Store;
use crate::world::{Effect, World};
pub(crate) use calls::{Answer, Delivered};

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

    /// The time of the simulated account.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How far its clock is ahead of the machine's, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.clock.ahead_ms()
    }

    /// The metadata endpoints of the instances.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Gives the data folder back; calls that change something fail from now on. Blocks.
    ///
    /// What is attached stays so; without that, nothing of the folder stays mounted.
    pub(crate) fn close(&self) {
        if let Some(disk) = &self.disk
            && let Err(error) = disk.rest()
        {
            tracing::warn!(%error, "the images stay mounted");
        }
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
}

/// Runs what blocks where it may.
async fn blocking(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
