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
mod reports;
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
use treesync::tree::Root;
use treesync::wire::TlsMaterial;

use super::report::Reporter;
use crate::api::{PathOperation, PoolVolume, Role};
use crate::domain::{NodeName, ObjectKey, VolumeId};
use crate::metrics::LiveMetrics;
use board::{Board, State};
use crew::Command;
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
    /// Notified when orders may have changed.
    pub(super) orders_changed: Arc<Notify>,
}

/// Live content of this node; clones share everything.
#[derive(Clone)]
pub(super) struct Live {
    board: Board,
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
        let (board, client, publishers) = (Board::default(), reporter.client.clone(), Arc::default());
        let identity = watched.identity;
        let speaker = events::Reporter { controller: "volume-dispatcher-agent".to_owned(), instance: Some(node.to_string()) };
        let recorder = Recorder::new(client.clone(), speaker);
        let scene = Scene { board, client, recorder, node: node.clone(), settings, identity, spool, metrics, publishers };
        let (commands, orders) = mpsc::unbounded_channel();
        let live = Self { board: scene.board.clone(), sources: watched.sources.clone(), commands };
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
    pub(super) fn keep(&self, id: &VolumeId, volume: &PoolVolume, path: &Path) {
        let kept = Kept {
            object: ObjectKey::new(volume.namespace().unwrap_or_default(), volume.name_any()),
            pool: sources::pool_of(volume),
            pool_uid: volume.spec.pool_ref.uid.clone(),
            is_source: volume.spec.role == Role::Source,
            path: path.to_owned(),
        };
        if self.board.read().kept.get(id) == Some(&kept) {
            return;
        }
        self.board.change(|state| drop(state.kept.insert(id.clone(), kept)));
        self.commands.send(Command::Look).ok();
    }

    /// From now on a volume is left alone. When this returns nothing of it is open here any more.
    pub(super) async fn let_go(&self, id: &VolumeId) {
        if self.board.read().kept.contains_key(id) {
            self.board.change(|state| state.forget(id));
            self.board.unused(id).await;
            self.ask(Command::Settle).await;
        }
    }

    /// Ends all of it, in order, for the end of the process.
    pub(super) async fn stop(&self) {
        self.board.change(|state| state.kept.clear());
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
    gate::may_publish(Instant::now(), &copy, &state.link(&kept.pool), source.promise, || is_torn(&kept.path))
}

/// Whether a copy is between two states of its source. One whose marker cannot be read may be.
fn is_torn(path: &Path) -> bool {
    let marker = Root::open(path).map_err(drop).and_then(|root| read_marker(&root).map_err(drop));
    marker.map_or(true, |marker| marker.is_some_and(|marker| marker.state != MarkerState::Clean))
}

/// Makes a mounted copy ready to be kept in step. Blocks.
pub(super) fn prepare_copy(path: &Path) -> std::io::Result<()> {
    public_file::prepare(path)
}

/// How long the parts have to end in order when the process ends: well within the ten seconds of the chart's
/// `terminationGracePeriodSeconds`. What is cut short then is recovered at the next start.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(6);
