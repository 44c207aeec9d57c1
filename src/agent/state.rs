//! What all parts of an agent share: settings, the volumes assigned to the node, and who waits for which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt};
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::time::Instant;

use super::live::Live;
use super::report::Reporter;
use super::{Place, Settings};
use crate::admin::Admin;
use crate::api::{NodeStatus, PoolVolume};
use crate::domain::{Access, VolumeId};
use crate::k8s::write::Outcome;

/// A volume that is mounted on this node and held by a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mounted {
    pub(super) path: PathBuf,
    pub(super) device_numbers: String,
    pub(super) access: Access,
}

/// One agent; clones share everything.
#[derive(Clone)]
pub(super) struct Agent<E> {
    pub(super) client: Client,
    pub(super) ec2: E,
    pub(super) place: Place,
    pub(super) settings: Arc<Settings>,
    pub(super) volumes: Store<PoolVolume>,
    pub(super) admin: Admin,
    pub(super) reporter: Reporter,
    pub(super) live: Live,
    wake: Arc<Notify>,
    mounted: watch::Sender<BTreeMap<VolumeId, Mounted>>,
    requested: watch::Sender<Requests>,
    locks: Arc<Mutex<BTreeMap<VolumeId, Arc<tokio::sync::Mutex<()>>>>>,
    /// Device names that were asked for: they may not be listed by EC2 yet, or have failed for the volume.
    pub(super) names_in_flight: Arc<tokio::sync::Mutex<BTreeMap<VolumeId, BTreeSet<String>>>>,
}

impl<E> Agent<E> {
    pub(super) fn new(
        client: Client,
        ec2: E,
        place: Place,
        settings: Settings,
        (volumes, wake): (Store<PoolVolume>, Arc<Notify>),
        admin: Admin,
        (reporter, live): (Reporter, Live),
    ) -> Self {
        Self {
            client,
            ec2,
            place,
            settings: Arc::new(settings),
            volumes,
            admin,
            reporter,
            live,
            wake,
            mounted: watch::Sender::default(),
            requested: watch::Sender::default(),
            locks: Arc::default(),
            names_in_flight: Arc::default(),
        }
    }

    /// Has the volumes looked at again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Returns when there is a reason to look at the volumes again. Cancel safe.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Reports what a part of the agent changes of a volume's node side.
    pub(super) async fn report(
        &self,
        volume: &PoolVolume,
        change: impl Fn(Option<NodeStatus>) -> Option<NodeStatus>,
    ) -> kube::Result<Outcome> {
        self.reporter.report(volume, change).await
    }

    /// The stored side, or a blank one.
    pub(super) fn side(&self, stored: Option<NodeStatus>) -> NodeStatus {
        stored.unwrap_or_else(|| self.reporter.blank())
    }

    /// One operation a volume at a time.
    pub(super) async fn lock(&self, volume: &VolumeId) -> OwnedMutexGuard<()> {
        let lock = guard(&self.locks).entry(volume.clone()).or_default().clone();
        lock.lock_owned().await
    }

    /// Publishes that a volume can be bound, or no longer can.
    pub(super) fn set_mounted(&self, volume: &VolumeId, mounted: Option<&Mounted>) {
        self.mounted.send_if_modified(|all| {
            let before = match mounted.cloned() {
                Some(mounted) => all.insert(volume.clone(), mounted),
                None => all.remove(volume),
            };
            before.as_ref() != mounted
        });
    }

    /// Volumes that pods on this node wait for, and how many.
    pub(super) fn requested(&self) -> watch::Receiver<Requests> {
        self.requested.subscribe()
    }

    /// The volume as it is mounted at this moment.
    pub(super) fn mounted(&self, volume: &VolumeId) -> Option<Mounted> {
        self.mounted.borrow().get(volume).cloned()
    }

    /// Waits until a volume is mounted; the error says what it waited for, in words for the pod's events. Cancel safe:
    /// who gives up takes the request back.
    pub(super) async fn wait_for_mount(&self, volume: &VolumeId, longest: Duration) -> Result<Mounted, String> {
        let mut mounted = self.mounted.subscribe();
        if let Some(found) = mounted.borrow_and_update().get(volume).cloned() {
            return Ok(found);
        }
        let _request = Request::new(&self.requested, volume);
        let deadline = Instant::now() + longest;
        let found = tokio::time::timeout_at(deadline, mounted.wait_for(|all| all.contains_key(volume))).await;
        let found = found.ok().and_then(Result::ok).and_then(|all| all.get(volume).cloned());
        found.ok_or_else(|| self.what_is_missing(volume))
    }

    fn what_is_missing(&self, id: &VolumeId) -> String {
        let Some(volume) = self.assigned(id) else {
            return format!(
                "{id} is not assigned to node {}; another node still holds it, or its claim is not dispatched",
                self.settings.node
            );
        };
        let error = volume.status.as_ref().and_then(|status| status.node.as_ref()?.error.clone());
        let reason = error.unwrap_or_else(|| "it is being attached".to_owned());
        format!("{id} ({}) is not mounted yet: {reason}", volume.name_any())
    }

    /// Notes whether pods of this node have a source that another driver mounts, so that the controller gives it to us.
    pub(super) fn set_requested(&self, volume: &VolumeId, is_requested: bool) {
        self.requested.send_if_modified(|all| if is_requested { all.mounted.insert(volume.clone()) } else { all.mounted.remove(volume) });
    }

    /// The object of an EBS volume, when it is assigned to this node to be attached.
    pub(super) fn assigned(&self, id: &VolumeId) -> Option<Arc<PoolVolume>> {
        let has_id = |volume: &&Arc<PoolVolume>| volume_id(volume).as_ref() == Some(id) && !is_foreign(volume);
        self.volumes.state().iter().find(has_id).cloned()
    }
}

/// What this node asks for. One volume may be the copy of one pool and the source of another, so both are kept apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// How many pods wait for each volume.
    waiting: BTreeMap<VolumeId, usize>,
    /// Sources that another driver attaches, and that pods have or had.
    mounted: BTreeSet<VolumeId>,
}

impl Requests {
    /// All of them, each once and in order.
    pub(super) fn all(&self) -> BTreeSet<&VolumeId> {
        self.waiting.keys().chain(&self.mounted).collect()
    }
}

/// A pod's wait for a volume, for as long as this lives.
struct Request<'a> {
    requested: &'a watch::Sender<Requests>,
    volume: VolumeId,
}

impl<'a> Request<'a> {
    fn new(requested: &'a watch::Sender<Requests>, volume: &VolumeId) -> Self {
        requested.send_modify(|all| *all.waiting.entry(volume.clone()).or_default() += 1);
        Self { requested, volume: volume.clone() }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.requested.send_modify(|all| {
            let waiting = all.waiting.get(&self.volume).copied().unwrap_or(0);
            if waiting > 1 {
                all.waiting.insert(self.volume.clone(), waiting - 1)
            } else {
                all.waiting.remove(&self.volume)
            };
        });
    }
}

/// The EBS volume of an object, once EC2 has given one.
pub(super) fn volume_id(volume: &PoolVolume) -> Option<VolumeId> {
    volume.status.as_ref()?.cloud.as_ref()?.volume_id.as_deref().map(VolumeId::new)
}

/// Whether it is a source that another driver attaches, mounts, unmounts and detaches.
pub(super) fn is_foreign(volume: &PoolVolume) -> bool {
    volume.spec.publish.as_ref().is_some_and(|publish| publish.attached_by.is_some())
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
