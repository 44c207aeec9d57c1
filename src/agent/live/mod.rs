//! Live content: the agent that has the source publishes it, and every agent keeps its mounted copies in step.
//!
//! `wanted` says what this node shall do, `crew` does it. What is heard of sources and copies stands on the `board`, from
//! which the `gate` lets claims pass and `reports` writes the objects. Nothing here is needed after a restart: positions
//! are on the volumes, orders and answers in the objects.

mod board;
mod crew;
mod deletion;
mod gate;
mod listener;
mod names;
mod operations;
mod orders;
mod pace;
mod progress;
mod public_file;
mod publication;
mod publishers;
mod reports;
mod rest;
mod scene;
mod session;
mod side;
mod sources;
mod tell;
mod verification;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::events::{self, Recorder};
use kube::runtime::reflector::Store;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use treesync::apply::{MarkerState, read_marker};
use treesync::model::Position;
use treesync::tree::Root;
use treesync::wire::TlsMaterial;

use super::device::Device;
use super::report::Reporter;
use crate::api::{PathOperation, PoolVolume, Role};
use crate::domain::{NodeName, ObjectKey, VolumeId};
use crate::metrics::LiveMetrics;
use board::{Board, State};
use crew::Command;
use gate::Terms;
use publishers::Publishers;
use scene::Scene;
use wanted::Kept;

pub use scene::SyncSettings;

/// What live content reads of the cluster, and who is woken when that changes.
pub(super) struct Watched {
    /// The volumes of this node.
    pub(super) volumes: Store<PoolVolume>,
    /// The sources of all pools.
    pub(super) sources: Store<PoolVolume>,
    /// All operations.
    pub(super) operations: Store<PathOperation>,
    /// The certificate of this agent, once it has one.
    pub(super) identity: watch::Receiver<Option<TlsMaterial>>,
    /// Notified when sources change.
    pub(super) sources_changed: Arc<Notify>,
    /// The same, for what looks after sources of other drivers.
    pub(super) foreign_changed: Arc<Notify>,
    /// Notified when orders may have changed.
    pub(super) orders_changed: Arc<Notify>,
}

/// Live content of this node; clones share everything.
#[derive(Clone)]
pub(super) struct Live {
    board: Board,
    publishers: Publishers,
    sources: Store<PoolVolume>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Live {
    /// Starts all parts, which run as long as `tasks`.
    pub(super) fn start(
        tasks: &mut JoinSet<()>,
        node: &NodeName,
        (settings, state): (SyncSettings, PathBuf),
        metrics: LiveMetrics,
        reporter: Reporter,
        watched: Watched,
    ) -> Self {
        let spool = state.join("spool");
        let (board, client, publishers) = (Board::default(), reporter.client.clone(), Publishers::default());
        let identity = watched.identity;
        let speaker = events::Reporter { controller: "volume-dispatcher-agent".to_owned(), instance: Some(node.to_string()) };
        let recorder = Recorder::new(client.clone(), speaker);
        let scene = Scene { board, client, recorder, node: node.clone(), settings, identity, spool, metrics, publishers };
        let (commands, orders) = mpsc::unbounded_channel();
        let live = Self { board: scene.board.clone(), publishers: scene.publishers.clone(), sources: watched.sources.clone(), commands };
        tasks.spawn(crew::run(scene.clone(), watched.sources, watched.sources_changed, orders));
        let seen = orders::Seen { volumes: watched.volumes.clone(), operations: watched.operations.clone(), reporter: reporter.clone() };
        tasks.spawn(orders::run(scene.clone(), seen, watched.orders_changed, live.commands.clone()));
        tasks.spawn(reports::run(scene, reporter, watched.volumes, watched.operations));
        live
    }

    /// Whether a volume is a source, or a copy that follows one.
    pub(super) fn is_live(&self, volume: &PoolVolume) -> bool {
        let pool = sources::pool_of(volume);
        let is_its_source = |source: &Arc<PoolVolume>| sources::pool_of(source) == pool && sources::seen(source).is_some();
        volume.spec.role == Role::Source || self.sources.state().iter().any(is_its_source)
    }

    /// From now on a mounted volume is published or kept in step.
    pub(super) fn keep(&self, id: &VolumeId, volume: &PoolVolume, (path, device): (&Path, &Device)) {
        let kept = Kept {
            object: ObjectKey::new(volume.namespace().unwrap_or_default(), volume.name_any()),
            pool: sources::pool_of(volume),
            pool_uid: volume.spec.pool_ref.uid.clone(),
            is_source: volume.spec.role == Role::Source,
            path: path.to_owned(),
            device_number: device.number(),
        };
        let is_known = {
            let state = self.board.read();
            state.is_stopping || state.kept.get(id) == Some(&kept)
        };
        if is_known {
            return;
        }
        self.board.change(|state| drop(state.kept.insert(id.clone(), kept)));
        self.commands.send(Command::Look).ok();
    }

    /// From now on a volume is left alone. When this returns nothing of it is open here any more.
    pub(super) async fn let_go(&self, id: &VolumeId, volume: &PoolVolume) {
        let is_kept = self.board.read().keeps(id, volume);
        if is_kept {
            self.board.change(|state| state.forget(id));
            self.board.unused(id).await;
            self.ask(Command::Settle).await;
        }
    }

    /// Whether a volume is published or kept in step for an object.
    pub(super) fn keeps(&self, id: &VolumeId, object: &ObjectKey) -> bool {
        self.board.read().kept.get(id).is_some_and(|kept| kept.object == *object)
    }

    /// What keeps a volume at present, if that is not the object itself.
    pub(super) fn kept_by_another(&self, id: &VolumeId, object: &ObjectKey) -> Option<ObjectKey> {
        self.board.read().kept.get(id).map(|kept| kept.object.clone()).filter(|other| other != object)
    }

    /// From now on a source is published no more. It is closed when this returns, though streams, orders or the crew are in the
    /// middle of something, so that its owner can unmount it. Returns where it was at last; none when that took too long.
    pub(super) async fn release(&self, id: &VolumeId) -> Option<Position> {
        let pool = self.board.read().kept.get(id).map(|kept| kept.pool.clone())?;
        // Before the publisher is taken: one that starts in this moment looks whether it is wanted after it was announced.
        self.board.change(|state| state.forget(id));
        let (publishers, of) = (self.publishers.clone(), pool.clone());
        let last = tokio::task::spawn_blocking(move || publishers.let_go(&of, LAST_WITHIN)).await;
        self.board.change(|state| drop(state.publishing.remove(&pool)));
        self.commands.send(Command::Look).ok();
        last.ok().flatten()
    }

    /// Ends all of it, in order, for the end of the process.
    pub(super) async fn stop(&self) {
        self.board.change(|state| {
            state.is_stopping = true;
            state.kept.clear();
        });
        self.ask(Command::Settle).await;
    }

    async fn ask(&self, command: impl FnOnce(tokio::sync::oneshot::Sender<()>) -> Command) {
        let (done, settled) = tokio::sync::oneshot::channel();
        self.commands.send(command(done)).ok();
        // Without a crew nothing is open.
        settled.await.ok();
    }

    /// Waits until a claim may be given what a copy holds; the error says what it waited for, in words for the pod's
    /// events. Cancel safe.
    pub(super) async fn wait_until_fresh(&self, id: &VolumeId, deadline: Instant) -> Result<(), String> {
        let mut board = self.board.watch();
        loop {
            let verdict = may_publish(&board.borrow_and_update(), id);
            let Err(words) = verdict else { return Ok(()) };
            // Time alone makes nothing fresher.
            if !matches!(tokio::time::timeout_at(deadline, board.changed()).await, Ok(Ok(()))) {
                return Err(format!("{id} is mounted and is not published yet: {words}"));
            }
        }
    }
}

fn may_publish(state: &State, id: &VolumeId) -> Result<(), String> {
    let Some(kept) = state.kept.get(id).filter(|kept| !kept.is_source) else { return Ok(()) };
    let Some(source) = state.sources.get(&kept.pool) else { return Err("the source of its pool is not known yet".to_owned()) };
    let copy = state.copies.get(id).cloned().unwrap_or_default();
    let terms = Terms { promise: source.promise, rests_at: source.rests_at.as_ref() };
    gate::may_publish(Instant::now(), &copy, &state.link(&kept.pool), terms, || is_torn(&kept.path))
}

/// Whether a copy is between two states of its source. One whose marker cannot be read may be.
fn is_torn(path: &Path) -> bool {
    let marker = Root::open(path).map_err(drop).and_then(|root| read_marker(&root).map_err(drop));
    marker.map_or(true, |marker| marker.is_some_and(|marker| marker.state != MarkerState::Clean))
}

/// How long the last checkpoint of a source may take that its owner is about to unmount. The kubelet unmounts about 100 ms after
/// it has unmounted from the last pod, and tries again after half a second when the kernel refuses (Kubernetes
/// `pkg/util/goroutinemap/exponentialbackoff`).
const LAST_WITHIN: Duration = Duration::from_millis(300);

/// Makes a mounted copy ready to be kept in step. Blocks.
pub(super) fn prepare_copy(path: &Path) -> std::io::Result<()> {
    public_file::prepare(path)
}

/// How long the parts have to end in order when the process ends: well within the ten seconds of the chart's
/// `terminationGracePeriodSeconds`. What is cut short then is recovered at the next start.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(6);
