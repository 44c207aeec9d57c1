//! The pool controller: observe, plan, execute, publish, for every pool whenever something changed.

mod claim_source;
mod crew;
mod execute;
mod failure;
mod modify;
mod observe;
mod publish;
#[cfg(test)]
mod quiet;
mod snapshot;
mod source_object;
mod unreadable;
mod view;

pub(super) use execute::pool_volume;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::api::VolumePool;
use crate::domain::{ModificationState, NodeName, ObjectKey, VolumeId};
use crate::ec2::{self, Ec2};
use crate::plan::strays::StrayAction;
use crate::plan::{self, PoolSeen, Report};

use super::admission::{self, Turns, Wish, admit};
use super::backoff::Backoff;
use super::collect::{self, Collector};
use super::context::Context;
use super::parse;
use super::sweep::{self, Interest, Looked, Sweep};

use crew::{Calls, Crew};
pub use view::View;

/// What is seen of one pool; `None` when its spec cannot be read, or the sweep has not asked about its source.
pub fn pool_seen(view: &View, cluster: &str, sweep: &Sweep, pool: &VolumePool) -> Option<PoolSeen> {
    observe::pool(view, cluster, sweep, pool)
}

/// One look at EC2 for all pools of a view, for whoever looks only once.
pub async fn sweep_for<E: Ec2>(ec2: &E, cluster: &str, view: &View, now: Timestamp) -> Result<Sweep, ec2::Error> {
    sweep::once(ec2, cluster, now, &observe::interest(view, None, false)).await
}

/// The shortest time between two passes, so that a burst of changes is one pass.
const SETTLE: Duration = Duration::from_millis(20);
/// How many times as long as a pass the pause after it is at least: supply uses a third of a core at most.
const REST: u32 = 2;
/// The longest time between two passes, for back-offs that end and windows that close.
const RESYNC: Duration = Duration::from_secs(5);
/// The time to the next pass while calls wait for their rate: about one call of those that EC2 refills with 5 a second.
const QUEUED: Duration = Duration::from_millis(200);

/// Objects that are made for a pool in one pass: as many as EC2 gives volumes at once (see `ec2::pacing`). To make a thousand
/// first would cost seconds in which EC2 could have been asked.
const MOST_NEW_OBJECTS: usize = 100;

/// The age at which a sweep is no longer believed: three times the longest pause between two.
const TOO_OLD: SignedDuration = SignedDuration::from_secs(90);

/// The ends of the channels between supply and the sweeper.
pub struct Sweeper {
    /// Sweeps as they come.
    pub sweeps: watch::Receiver<Looked>,
    /// What the next sweep must look at.
    pub interest: watch::Sender<Interest>,
    /// Asks for a sweep at once.
    pub kick: Arc<Notify>,
}

/// What a pass leaves behind.
#[derive(Debug, Default)]
struct Passed {
    is_moving: bool,
    /// EC2 writes that wait for their rate.
    queued: usize,
}

/// A pool whose plan has something to do or to say.
struct Planned {
    pool: Arc<VolumePool>,
    seen: PoolSeen,
    actions: Vec<plan::Action>,
    report: Report,
    is_news: bool,
}

/// What supply keeps between passes: nothing that it could not lose.
#[derive(Debug, Default)]
struct Desk {
    backoff: Arc<Backoff>,
    crew: Crew,
    turns: Turns,
    collector: Collector,
    told_unreadable: BTreeSet<ObjectKey>,
}

/// Runs for as long as this replica leads.
pub async fn run<E: Ec2>(context: Context<E>, mut sweeper: Sweeper, wake: Arc<Notify>) {
    let mut desk = Desk::default();
    loop {
        if desk.crew.settle() {
            sweeper.kick.notify_one();
        }
        let Looked { sweep, failing } = sweeper.sweeps.borrow_and_update().clone();
        unreadable::tell(&context, &mut desk.told_unreadable, failing.as_ref(), context.clock.now()).await;
        let begun = Instant::now();
        let passed = match &sweep {
            Some(sweep) if context.clock.now().duration_since(sweep.started) < TOO_OLD => pass(&context, &mut desk, sweep),
            _ => Passed { is_moving: true, queued: 0 },
        };
        tell_interest(&context, &sweeper, sweep.as_deref(), passed.is_moving);
        tokio::time::sleep(SETTLE.max(begun.elapsed() * REST)).await;
        tokio::select! {
            () = wake.notified() => {}
            changed = sweeper.sweeps.changed() => if changed.is_err() { return },
            has_changed = desk.crew.next() => if has_changed { sweeper.kick.notify_one() },
            () = tokio::time::sleep(if passed.queued > 0 { QUEUED } else { RESYNC }) => {}
        }
    }
}

/// Tells the sweeper what to look at, and wakes it when that is news.
fn tell_interest<E: Ec2>(context: &Context<E>, sweeper: &Sweeper, sweep: Option<&Sweep>, is_moving: bool) {
    let mut interest = observe::interest(&View::of_stores(&context.stores), sweep, is_moving);
    interest.initialized = initialized(context);
    interest.modified = modified(context);
    let is_news = sweeper.interest.borrow().sources != interest.sources || interest.is_moving && !sweeper.interest.borrow().is_moving;
    sweeper.interest.send_replace(interest);
    if is_news {
        sweeper.kick.notify_one();
    }
}

/// One pass over all pools whose last effects are done: plans each, and starts what the account's rates allow.
fn pass<E: Ec2>(context: &Context<E>, desk: &mut Desk, sweep: &Sweep) -> Passed {
    let view = View::of_stores(&context.stores);
    let names: BTreeSet<ObjectKey> = view.pools.iter().map(|pool| parse::key_of(&**pool)).collect();
    context.metrics.keep_pools(|namespace, pool| names.contains(&ObjectKey::new(namespace, pool)));
    let collection = desk.collector.look(context, &view, sweep);
    let (mut planned, is_unsettled) = plan_all(context, desk, sweep, &view);
    for pool in planned.iter_mut().filter(|pool| collection.adopting.contains(&pool.seen.pool.key)) {
        pool.actions.retain(|action| !action.makes_something());
    }
    start_collection(context, desk, collection.actions);
    let is_moving = is_unsettled || planned.iter().any(|pool| !pool.actions.is_empty());
    let queued = start_all(context, desk, planned);
    context.metrics.queue(queued, desk.crew.len());
    Passed { is_moving, queued }
}

/// Starts the collector's effects under a name that no pool has, so that they never run twice at once.
fn start_collection<E: Ec2>(context: &Context<E>, desk: &mut Desk, actions: Vec<StrayAction>) {
    let name = ObjectKey::new(String::new(), "collector");
    if actions.is_empty() || desk.crew.is_busy(&name) {
        return;
    }
    let context = context.clone();
    desk.crew.start(name, Calls::new(), async move { collect::carry_out(&context, actions).await });
}

/// The plans of all pools that are not busy and not quiet, and whether something moves. A quiet pool is let go at once: what
/// is seen of ten thousand volumes is tens of megabytes.
fn plan_all<E: Ec2>(context: &Context<E>, desk: &Desk, sweep: &Sweep, view: &View) -> (Vec<Planned>, bool) {
    let (mut planned, mut is_unsettled, now) = (Vec::new(), false, Instant::now());
    let mut refreshing = BTreeSet::new();
    for pool in &view.pools {
        if desk.crew.is_busy(&parse::key_of(&**pool)) {
            is_unsettled = true;
            continue;
        }
        // A source that was not asked about makes the next sweep urgent by itself, see `observe::interest`.
        let Some(seen) = observe::pool(view, &context.cluster, sweep, pool) else { continue };
        let plan = plan::supply(&seen, context.clock.now());
        let mut actions = plan.actions;
        actions.retain(|action| desk.backoff.is_due(&execute::label(action, &seen), now));
        keep_first_objects(&mut actions);
        actions.retain(|action| keeps_room(action, &mut refreshing));
        is_unsettled |= plan.report.is_moving;
        publish::measure(context, &seen, &plan.report);
        let is_news = desk.backoff.is_due(&publication(&seen), now) && publish::is_news(context, pool, &seen, &plan.report);
        if !actions.is_empty() || is_news {
            planned.push(Planned { pool: pool.clone(), seen, actions, report: plan.report, is_news });
        }
    }
    (planned, is_unsettled)
}

/// All pools see the same room on a node, so one refresh a node begins in a pass; the next pass counts it.
fn keeps_room(action: &plan::Action, refreshing: &mut BTreeSet<NodeName>) -> bool {
    match action {
        plan::Action::BeginRefresh { node, .. } => refreshing.insert(node.clone()),
        _ => true,
    }
}

/// Leaves all but the first new objects to the next pass, which plans them again.
fn keep_first_objects(actions: &mut Vec<plan::Action>) {
    let mut objects = 0;
    actions.retain(|action| {
        objects += usize::from(matches!(action, plan::Action::CreatePoolVolume(_)));
        objects <= MOST_NEW_OBJECTS || !matches!(action, plan::Action::CreatePoolVolume(_))
    });
}

/// What the publication of a pool waits under after it has failed.
fn publication(seen: &PoolSeen) -> String {
    format!("publish {}", seen.pool.key)
}

/// Starts a task for each pool that has something to do, and says how many EC2 writes must wait for their rate.
fn start_all<E: Ec2>(context: &Context<E>, desk: &mut Desk, planned: Vec<Planned>) -> usize {
    let of_pool = |pool: &Planned| (pool.seen.pool.key.clone(), admission::wishes(&pool.seen, &pool.actions));
    let wishes: BTreeMap<_, Vec<Wish>> = planned.iter().map(of_pool).collect();
    let calls: BTreeSet<&'static str> = wishes.values().flatten().map(|wish| wish.call).collect();
    let free = |call| context.gate.available(call).saturating_sub(desk.crew.outstanding(call));
    let granted = admit(&wishes, calls.into_iter().map(|call| (call, free(call))).collect(), &mut desk.turns);
    let queued = granted.values().flatten().filter(|granted| !**granted).count();
    for mut pool in planned {
        let mut granted = granted.get(&pool.seen.pool.key).into_iter().flatten();
        pool.actions.retain(|action| action.ec2_call().is_none() || granted.next() == Some(&true));
        start(context, desk, pool);
    }
    queued
}

/// Carries out and publishes in a task of its own, unless there is nothing to carry out and nothing new to say.
fn start<E: Ec2>(context: &Context<E>, desk: &mut Desk, planned: Planned) {
    let Planned { pool, seen, actions, report, is_news } = planned;
    let publication = publication(&seen);
    if actions.is_empty() && !is_news {
        return;
    }
    let mut calls = Calls::new();
    for call in actions.iter().filter_map(plan::Action::ec2_call) {
        *calls.entry(call).or_default() += 1;
    }
    let (context, backoff) = (context.clone(), desk.backoff.clone());
    desk.crew.start(seen.pool.key.clone(), calls, async move {
        let begun = Instant::now();
        let changed = execute::all(&context, &backoff, &pool, &seen, actions).await;
        if is_news {
            match publish::pool(&context, &pool, &seen, &report).await {
                Ok(()) => backoff.succeeded(&publication),
                Err(error) => {
                    let wait = backoff.failed(&publication, Instant::now());
                    warn!(pool = %seen.pool.key, %error, retry_in_seconds = wait.as_secs(), "the status was not written");
                }
            }
        }
        context.metrics.reconciled(begun.elapsed());
        debug!(pool = %seen.pool.key, changed, moving = report.is_moving, "reconciled");
        changed
    });
}

/// Volumes with a change in place that has not ended as far as is known.
fn modified<E: Ec2>(context: &Context<E>) -> BTreeSet<VolumeId> {
    let of_volume = |volume: &Arc<crate::api::PoolVolume>| {
        let cloud = volume.status.as_ref()?.cloud.as_ref()?;
        let last = cloud.modification.as_ref()?;
        let is_over = last.error.is_some() || matches!(last.state, Some(ModificationState::Completed | ModificationState::Failed));
        cloud.volume_id.as_deref().filter(|_| !is_over).map(VolumeId::new)
    };
    context.stores.volumes.state().iter().filter_map(of_volume).collect()
}

fn initialized<E: Ec2>(context: &Context<E>) -> BTreeSet<VolumeId> {
    let done = |volume: &Arc<crate::api::PoolVolume>| {
        let cloud = volume.status.as_ref()?.cloud.as_ref()?;
        (cloud.initialized_percent == 100).then(|| cloud.volume_id.as_deref().map(VolumeId::new)).flatten()
    };
    context.stores.volumes.state().iter().filter_map(done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GiB;

    #[test]
    fn a_large_pool_gets_its_objects_in_parts_and_everything_else_at_once() {
        let origin = plan::Origin { snapshot: "snap-1".into(), generation: 1 };
        let new = |slot| plan::NewVolume { slot, attempt: 0, zone: "a".into(), size: GiB(1), origin: origin.clone(), content: None };
        let mut actions: Vec<plan::Action> = (0..1000).map(new).map(plan::Action::CreatePoolVolume).collect();
        let last = plan::Action::Unassign(ObjectKey::new("shop", "web-0"));
        actions.push(last.clone());
        keep_first_objects(&mut actions);
        assert_eq!((actions.len(), actions.last()), (MOST_NEW_OBJECTS + 1, Some(&last)));
    }
}
