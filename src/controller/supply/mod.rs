//! The pool controller: observe, plan, execute, publish, for every pool whenever something changed.

mod execute;
mod observe;
mod publish;

pub(super) use execute::pool_volume;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::domain::VolumeId;
use crate::ec2::Ec2;
use crate::plan;

use super::backoff::Backoff;
use super::context::Context;
use super::parse;
use super::sweep::{Interest, Sweep};

/// Pools that are worked on at the same time.
const CONCURRENCY: usize = 8;
/// The shortest time between two passes, so that a burst of changes is one pass.
const SETTLE: Duration = Duration::from_millis(20);
/// The longest time between two passes, for back-offs that end and windows that close.
const RESYNC: Duration = Duration::from_secs(5);

/// The age at which a sweep is no longer believed: three times the longest pause between two.
const TOO_OLD: SignedDuration = SignedDuration::from_secs(90);

/// The ends of the channels between supply and the sweeper.
pub struct Sweeper {
    /// Sweeps as they come.
    pub sweeps: watch::Receiver<Option<Arc<Sweep>>>,
    /// What the next sweep must look at.
    pub interest: watch::Sender<Interest>,
    /// Asks for a sweep at once.
    pub kick: Arc<Notify>,
}

/// Runs for as long as this replica leads.
pub async fn run<E: Ec2>(context: Context<E>, mut sweeper: Sweeper, wake: Arc<Notify>) {
    let backoff = Backoff::default();
    loop {
        let sweep = sweeper.sweeps.borrow_and_update().clone();
        let interest = match &sweep {
            Some(sweep) if parse::now().duration_since(sweep.started) < TOO_OLD => pass(&context, &backoff, sweep, &sweeper.kick).await,
            _ => observe::interest(&context, None, true),
        };
        let is_news = sweeper.interest.borrow().sources != interest.sources || interest.is_moving && !sweeper.interest.borrow().is_moving;
        sweeper.interest.send_replace(interest);
        if is_news {
            sweeper.kick.notify_one();
        }
        tokio::time::sleep(SETTLE).await;
        tokio::select! {
            () = wake.notified() => {}
            changed = sweeper.sweeps.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RESYNC) => {}
        }
    }
}

/// One pass over all pools; says what the next sweep must look at.
async fn pass<E: Ec2>(context: &Context<E>, backoff: &Backoff, sweep: &Arc<Sweep>, kick: &Notify) -> Interest {
    let pools = context.stores.pools.state();
    let moving: Vec<bool> = futures::stream::iter(pools)
        .map(|pool| async move {
            let Some(seen) = observe::pool(context, sweep, &pool) else { return true };
            let plan = plan::supply(&seen, parse::now());
            let changed = execute::all(context, backoff, &pool, &seen, plan.actions).await;
            if changed {
                kick.notify_one();
            }
            if let Err(error) = publish::pool(context, &pool, &seen, &plan.report).await {
                warn!(pool = %seen.pool.key, %error, "the status was not written and is written again");
            }
            debug!(pool = %seen.pool.key, changed, moving = plan.report.is_moving, "reconciled");
            changed || plan.report.is_moving
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let is_moving = moving.into_iter().any(|moves| moves);
    let mut interest = observe::interest(context, Some(sweep), is_moving);
    interest.initialized = initialized(context);
    interest
}

fn initialized<E: Ec2>(context: &Context<E>) -> BTreeSet<VolumeId> {
    let done = |volume: &Arc<crate::api::PoolVolume>| {
        let cloud = volume.status.as_ref()?.cloud.as_ref()?;
        (cloud.initialized_percent == 100).then(|| cloud.volume_id.as_deref().map(VolumeId::new)).flatten()
    };
    context.stores.volumes.state().iter().filter_map(done).collect()
}
