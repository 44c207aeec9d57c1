//! What administrators ask for: faults, rules, imports, another time.

use std::sync::{Arc, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::Shell;
use crate::error::Error;
use crate::import::Import;
use crate::rule_changes;
use crate::script::Script;
use crate::world::fault::Fault;
use crate::world::{ApiError, Rules};

impl Shell {
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
}
