//! Starts and ends sessions and publishers, so that they are those that are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kube::runtime::reflector::Store;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::listener::Listener;
use super::publication::{Published, failed};
use super::rest;
use super::scene::Scene;
use super::session::Session;
use super::sources;
use super::wanted::{Following, Publication, Wanted, wanted};
use crate::api::PoolVolume;
use crate::domain::{ObjectKey, VolumeId};

/// How often everything is looked at without a reason: what has ended by itself is started again.
const LOOK: Duration = Duration::from_secs(1);
/// How long a source that cannot be published rests.
const RETRY: Duration = Duration::from_secs(5);

/// What a crew is told.
pub(super) enum Command {
    /// What is wanted may have changed.
    Look,
    /// The same, and say when it is done.
    Settle(oneshot::Sender<()>),
}

/// What this node does for one pool.
#[derive(Default)]
struct Pool {
    session: Option<Session>,
    published: Option<Published>,
    rests_until: Option<Instant>,
    /// Copies of which it was read where they are.
    looked: BTreeSet<VolumeId>,
}

/// Runs forever.
pub(super) async fn run(scene: Scene, sources: Store<PoolVolume>, changed: Arc<Notify>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut pools = BTreeMap::new();
    let mut listener = None;
    loop {
        let command = tokio::select! {
            // Nobody can be told what to do any more.
            command = commands.recv() => if command.is_some() { command } else { return },
            () = changed.notified() => None,
            () = tokio::time::sleep(LOOK) => None,
        };
        let mut waiting = Vec::new();
        let mut next = command;
        while let Some(command) = next {
            if let Command::Settle(done) = command {
                waiting.push(done);
            }
            next = commands.try_recv().ok();
        }
        advance(&scene, &sources, &mut listener, &mut pools).await;
        for done in waiting {
            // Who asked may be gone.
            done.send(()).ok();
        }
    }
}

async fn advance(scene: &Scene, sources: &Store<PoolVolume>, listener: &mut Option<Listener>, pools: &mut BTreeMap<ObjectKey, Pool>) {
    let seen = sources.state();
    let seen = seen.iter().filter_map(|source| Some((sources::pool_of(source), sources::seen(source)?))).collect();
    let is_news = scene.board.read().sources != seen;
    if is_news {
        scene.board.change(|state| seen.clone_into(&mut state.sources));
    }
    let wanted = wanted(&scene.board.read().available(), &seen);
    let keys: BTreeSet<&ObjectKey> = wanted.publications.keys().chain(wanted.followings.keys()).collect();
    for key in &keys {
        pools.entry((*key).clone()).or_default();
    }
    if let Err(error) = listen(scene, listener, &wanted, pools).await {
        wanted.publications.keys().for_each(|pool| failed(scene, pool, error.clone()));
    }
    let listener = listener.as_ref();
    let steps = pools.iter_mut().map(|(key, pool)| pool.step(scene, listener, key, &wanted));
    join_all(steps).await;
    pools.retain(|key, _| keys.contains(key));
    scene.metrics.keep_pools(|namespace, name| pools.contains_key(&ObjectKey::new(namespace, name)));
}

/// Listens once there is something to publish. A port that is served no more is bound again, and everything published
/// anew on it.
async fn listen(
    scene: &Scene,
    listener: &mut Option<Listener>,
    wanted: &Wanted,
    pools: &mut BTreeMap<ObjectKey, Pool>,
) -> Result<(), String> {
    if listener.take_if(|listener| !listener.is_serving()).is_some() {
        for (key, pool) in pools {
            pool.publish(scene, None, key, None).await;
        }
    }
    if listener.is_none() && !wanted.publications.is_empty() {
        *listener = Some(Listener::start(scene).await?);
    }
    Ok(())
}

impl Pool {
    async fn step(&mut self, scene: &Scene, listener: Option<&Listener>, key: &ObjectKey, wanted: &Wanted) {
        self.follow(scene, key, wanted.followings.get(key)).await;
        self.publish(scene, listener, key, wanted.publications.get(key)).await;
    }

    async fn follow(&mut self, scene: &Scene, key: &ObjectKey, wanted: Option<&Following>) {
        if let (Some(session), Some(wanted)) = (&mut self.session, wanted) {
            session.adapt(scene, wanted).await;
        }
        if let Some(session) = self.session.take_if(|session| !session.fits(wanted)) {
            session.end().await;
            scene.board.change(|state| drop(state.links.remove(key)));
        }
        if let (None, Some(wanted)) = (&self.session, wanted) {
            self.session = Session::start(scene, key, wanted);
            rest::look(scene, key, wanted, &mut self.looked);
        }
    }

    async fn publish(&mut self, scene: &Scene, listener: Option<&Listener>, key: &ObjectKey, wanted: Option<&Publication>) {
        if let Some(published) = self.published.take_if(|published| !published.fits(wanted)) {
            published.end(listener, key).await;
            scene.board.change(|state| drop(state.publishing.remove(key)));
        }
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if let (None, Some(wanted), Some(listener), false) = (&self.published, wanted, listener, rests) {
            self.published = Published::start(scene, listener, key, wanted).await;
            self.rests_until = self.published.is_none().then(|| Instant::now() + RETRY);
        }
    }
}
