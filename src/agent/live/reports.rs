//! Writes `status.node.sync` of the volumes of this node, as seldom as anybody needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use tokio::time::Instant;
use tracing::debug;

use super::board::State;
use super::orders::open_orders;
use super::pace::Pace;
use super::scene::Scene;
use super::side::{news, side};
use super::sources::pool_of;
use crate::agent::report::Reporter;
use crate::agent::state::volume_id;
use crate::api::path_operation::OperationPhase;
use crate::api::{NodeStatus, PathOperation, PoolVolume, SyncStatus};
use crate::domain::VolumeId;

/// The longest time between two looks: a copy of which nothing is heard becomes stale by that alone.
const LOOK: Duration = Duration::from_secs(1);
/// Changes that come together are looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// Runs forever.
pub(super) async fn run(scene: Scene, reporter: Reporter, volumes: Store<PoolVolume>, operations: Store<PathOperation>) {
    let mut board = scene.board.watch();
    let mut paces = BTreeMap::<VolumeId, Pace>::new();
    loop {
        let now = Instant::now();
        let mut next = now + LOOK;
        let state = board.borrow_and_update().clone();
        paces.retain(|id, _| state.kept.contains_key(id));
        let mut writes = Vec::new();
        for volume in volumes.state() {
            let Some(id) = volume_id(&volume).filter(|id| state.keeps(id, &volume)) else { continue };
            let stored = reporter.stored(&volume).filter(|stored| stored.mounted).and_then(|stored| stored.sync);
            let Some(side) = side(&state, &id, stored.as_ref(), now) else { continue };
            let is_awaited = !open_orders(&volume, Some(&side)).is_empty() || is_awaited(&volume, &operations);
            let pace = paces.entry(id.clone()).or_default();
            match pace.due(now, news(stored.as_ref(), &side), is_awaited) {
                Some(due) if due <= now => {
                    pace.wrote(now);
                    writes.push(write(&scene, &reporter, volume, id, side));
                }
                Some(due) => next = next.min(due),
                None => {}
            }
        }
        join_all(writes).await;
        measure(&scene, &state);
        tokio::select! {
            changed = board.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next) => {}
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Whether a receipt waits for the position of the volume.
fn is_awaited(volume: &PoolVolume, operations: &Store<PathOperation>) -> bool {
    let pool = pool_of(volume);
    operations.state().iter().any(|operation| {
        let is_of_pool = operation.spec.pool_ref.name == pool.name && operation.namespace().as_deref() == Some(pool.namespace.as_str());
        is_of_pool && operation.status.as_ref().is_some_and(|status| status.phase == Some(OperationPhase::Running))
    })
}

async fn write(scene: &Scene, reporter: &Reporter, volume: std::sync::Arc<PoolVolume>, id: VolumeId, side: SyncStatus) {
    let change = |stored: Option<NodeStatus>| {
        let is_kept = scene.board.read().kept.contains_key(&id);
        // Once it is let go, its last words are those of who unmounts it.
        stored.map(|stored| if stored.mounted && is_kept { NodeStatus { sync: Some(side.clone()), ..stored } } else { stored })
    };
    if let Err(error) = reporter.report(&volume, change).await {
        debug!(%error, volume = volume.name_any(), "the position was not reported and is reported again");
    }
}

fn measure(scene: &Scene, state: &State) {
    let mut lags = BTreeMap::new();
    for (id, copy) in &state.copies {
        if let (Some(kept), Some(lag)) = (state.kept.get(id), copy.lag()) {
            let worst = lags.entry(&kept.pool).or_insert(0);
            *worst = lag.max(*worst);
        }
    }
    for (pool, lag) in lags {
        scene.metrics.lag(&pool.namespace, &pool.name, lag);
    }
}
