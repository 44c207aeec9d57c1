//! The driver: time passes, and the data plane does what the world owes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Shell;
use crate::disk::{Disk, Progress};
use crate::error::Error;
use crate::world::Effect;

/// How often to look while something moves.
const TICK: Duration = Duration::from_millis(20);
/// How often to look while nothing does.
const IDLE: Duration = Duration::from_secs(1);
/// How long to wait before a busy device is looked at again.
const BUSY_RETRY: Duration = Duration::from_millis(50);
/// How long to wait before a failed effect is tried again.
const FAILED_RETRY: Duration = Duration::from_secs(1);

/// How an effect ended.
type Ended = (Effect, Result<Progress, Error>);

impl Shell {
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

fn unwrap(ended: Result<Ended, tokio::task::JoinError>) -> Ended {
    match ended {
        Ok(ended) => ended,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
