//! Carries out what the controller orders in objects, once each: checkpoints, verifications, operations on paths.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::crew::Command;
use super::operations;
use super::scene::Scene;
use super::sources::pool_of;
use super::verification;
use crate::agent::report::Reporter;
use crate::agent::state::volume_id;
use crate::api::{CheckpointStatus, PathOperation, PoolVolume, SyncStatus, VerifySpec};
use crate::domain::{ObjectKey, VolumeId};

/// How often orders are looked for without a reason: one that could not be carried out is tried again.
const LOOK: Duration = Duration::from_secs(1);

/// What is read of the cluster.
pub(super) struct Seen {
    pub(super) volumes: Store<PoolVolume>,
    pub(super) operations: Store<PathOperation>,
    pub(super) reporter: Reporter,
}

/// What a volume's object asks for and nobody has answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Order {
    /// A checkpoint with this number.
    Checkpoint(u64),
    /// A comparison with the source.
    Verify(VerifySpec),
}

/// The orders of a volume that `side` does not answer.
pub(super) fn open_orders(volume: &PoolVolume, side: Option<&SyncStatus>) -> Vec<Order> {
    let mut open = Vec::new();
    let checkpoint = side.and_then(|side| side.checkpoint.as_ref()).map(|answer| answer.number);
    if let Some(number) = volume.spec.publish.as_ref().and_then(|publish| publish.checkpoint)
        && checkpoint != Some(number)
    {
        open.push(Order::Checkpoint(number));
    }
    let verified = side.and_then(|side| side.verified.as_ref()).map(|answer| answer.id.as_str());
    if let Some(order) = volume.spec.verify.as_ref().filter(|order| verified != Some(order.id.as_str())) {
        open.push(Order::Verify(order.clone()));
    }
    open
}

/// Runs forever.
pub(super) async fn run(scene: Scene, seen: Seen, changed: Arc<Notify>, crew: mpsc::UnboundedSender<Command>) {
    let mut crowd = Crowd { tasks: JoinSet::new(), busy: BTreeSet::new() };
    loop {
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
            Some(done) = crowd.tasks.join_next(), if !crowd.tasks.is_empty() => match done {
                Ok(name) => drop(crowd.busy.remove(&name)),
                Err(error) => {
                    warn!(%error, "an order failed by itself");
                    crowd.busy.clear();
                }
            },
        }
        look_at_volumes(&scene, &seen, &mut crowd, &crew);
        for operation in operations::due(&seen.operations, &scene.node) {
            let (client, scene) = (seen.reporter.client.clone(), scene.clone());
            let name = format!("operation {}", operation.uid().unwrap_or_default());
            crowd.start(name, async move { operations::perform(&client, &scene, &operation).await });
        }
    }
}

fn look_at_volumes(scene: &Scene, seen: &Seen, crowd: &mut Crowd, crew: &mpsc::UnboundedSender<Command>) {
    for volume in seen.volumes.state() {
        let Some(id) = volume_id(&volume).filter(|id| scene.board.read().keeps(id, &volume)) else { continue };
        let stored = seen.reporter.stored(&volume).and_then(|stored| stored.sync);
        let side = super::side::side(&scene.board.read(), &id, stored.as_ref(), tokio::time::Instant::now());
        for order in open_orders(&volume, side.as_ref()) {
            let (scene, id, pool, crew) = (scene.clone(), id.clone(), pool_of(&volume), crew.clone());
            match order {
                Order::Checkpoint(number) => {
                    crowd.start(format!("checkpoint {id} {number}"), async move { checkpoint(&scene, &id, &pool, number).await });
                }
                Order::Verify(order) => {
                    let name = format!("verify {id} {}", order.id);
                    crowd.start(name, async move { verification::perform(&scene, &crew, &id, &order).await });
                }
            }
        }
    }
}

/// Orders under way; each once at a time.
struct Crowd {
    tasks: JoinSet<String>,
    busy: BTreeSet<String>,
}

impl Crowd {
    fn start(&mut self, name: String, work: impl Future<Output = ()> + Send + 'static) {
        if self.busy.insert(name.clone()) {
            self.tasks.spawn(async move {
                work.await;
                name
            });
        }
    }
}

/// Waits for a publisher: the order stays open until there is one.
async fn checkpoint(scene: &Scene, id: &VolumeId, pool: &ObjectKey, number: u64) {
    let Some(publisher) = scene.publishers.of(pool) else { return };
    let made = tokio::task::spawn_blocking(move || publisher.checkpoint().map_err(|error| error.to_string())).await;
    let made = made.unwrap_or_else(|error| Err(error.to_string()));
    info!(%pool, number, result = ?made, "checkpoint");
    let (epoch, generation) = made.as_ref().map_or((0, 0), |position| (position.epoch, position.generation));
    let answer = CheckpointStatus { number, epoch, generation, time: Time(Timestamp::now()), error: made.err() };
    // Of a volume that was let go meanwhile nobody asks any more, and the next time it is here the order stands.
    scene.board.change(|state| {
        if state.kept.contains_key(id) {
            state.answers.entry(id.clone()).or_default().checkpoint = Some(answer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PublishSpec, VerifiedStatus, VerifyLevel};

    fn volume() -> PoolVolume {
        let spec = serde_json::json!({"poolRef": {"name": "web", "uid": "u"}, "zone": "a", "slot": 0, "sizeGiB": 1});
        PoolVolume::new("web-0", serde_json::from_value(spec).expect("a spec"))
    }

    #[test]
    fn an_order_is_open_until_the_answer_has_its_number_or_id() {
        let mut volume = volume();
        assert_eq!(open_orders(&volume, None), []);
        volume.spec.publish = Some(PublishSpec { checkpoint: Some(2), ..PublishSpec::default() });
        let verify = VerifySpec { id: "b".to_owned(), level: VerifyLevel::Content, repair: true };
        volume.spec.verify = Some(verify.clone());
        let time = Time(Timestamp::UNIX_EPOCH);
        let checkpoint = CheckpointStatus { number: 1, epoch: 1, generation: 1, time: time.clone(), error: None };
        let level = VerifyLevel::Content;
        let verified = VerifiedStatus {
            id: "a".to_owned(),
            level,
            generation: 1,
            differences: 0,
            repaired: false,
            completion_time: time,
            error: None,
        };
        let mut side = SyncStatus { checkpoint: Some(checkpoint.clone()), verified: Some(verified.clone()), ..SyncStatus::default() };
        assert_eq!(open_orders(&volume, Some(&side)), [Order::Checkpoint(2), Order::Verify(verify.clone())]);
        side.checkpoint = Some(CheckpointStatus { number: 2, ..checkpoint });
        assert_eq!(open_orders(&volume, Some(&side)), [Order::Verify(verify)]);
        side.verified = Some(VerifiedStatus { id: "b".to_owned(), ..verified });
        assert_eq!(open_orders(&volume, Some(&side)), []);
    }
}
