//! Tests with an API server that counts and a quiet EC2: ten thousand quiet volumes in the real loop, and an EC2 that cannot be read.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store, store::Writer};
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tower_service::Service;

use super::publish::settled;
use super::{Sweeper, View, observe, run, unreadable};
use crate::api::keys::FINALIZER;
use crate::api::{PoolVolume, VolumePool};
use crate::clock::Clock;
use crate::controller::context::Context;
use crate::controller::stores::Stores;
use crate::controller::sweep::{self, Failing, Interest, Looked, Sources, Sweep};
use crate::domain::cloud::Tags;
use crate::domain::tags::{TAG_CLUSTER, TAG_POOL, TAG_POOL_UID, TAG_SOURCE, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, CloudVolume, GiB, InstanceId, SnapshotId, SnapshotState, VolumeId, VolumeSettings, VolumeState};
use crate::ec2::pacing::{Gate, Limits};
use crate::ec2::{CreateVolume, Ec2, Error, ModificationShown, ModifyVolume};
use crate::metrics::Metrics;
use crate::plan;

const POOLS: usize = 500;
const VOLUMES_A_POOL: usize = 20;
const CLUSTER: &str = "quiet";
/// Longer than the longest pause between two passes, so that at least one pass finds nothing to do by itself.
const WATCHED: Duration = Duration::from_secs(7);

/// An API server that nobody should call: it counts, and refuses.
#[derive(Clone, Default)]
struct Untouched(Arc<AtomicUsize>);

impl Service<Request<Body>> for Untouched {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        std::future::ready(Ok(answer))
    }
}

/// An account in which nothing changes. It counts sweeps, and refuses every write.
#[derive(Clone)]
struct QuietAccount {
    volumes: Arc<Vec<CloudVolume>>,
    source: CloudSnapshot,
    sweeps: Arc<AtomicUsize>,
}

fn refused<T>(action: &'static str) -> Result<T, Error> {
    panic!("a quiet account is asked to {action}")
}

impl Ec2 for QuietAccount {
    async fn volumes_by_tag(&self, _: &str, _: &str) -> Result<Vec<CloudVolume>, Error> {
        self.sweeps.fetch_add(1, Ordering::Relaxed);
        Ok((*self.volumes).clone())
    }

    async fn volumes_by_id(&self, _: &[VolumeId]) -> Result<Vec<CloudVolume>, Error> {
        Ok(Vec::new())
    }

    async fn volumes_of_instance(&self, _: &InstanceId) -> Result<Vec<CloudVolume>, Error> {
        refused("list the volumes of an instance")
    }

    async fn initialized_percent(&self, ids: &[VolumeId]) -> Result<BTreeMap<VolumeId, u8>, Error> {
        panic!("all blocks are loaded, but {} volumes are asked about", ids.len())
    }

    async fn snapshots_by_tag(&self, _: &str, _: &str) -> Result<Vec<CloudSnapshot>, Error> {
        Ok(Vec::new())
    }

    async fn snapshots_by_id(&self, _: &[SnapshotId]) -> Result<Vec<CloudSnapshot>, Error> {
        Ok(vec![self.source.clone()])
    }

    async fn create_volume(&self, _: &CreateVolume) -> Result<CloudVolume, Error> {
        refused("create a volume")
    }

    async fn modify_volume(&self, _: &VolumeId, _: &ModifyVolume) -> Result<(), Error> {
        refused("modify a volume")
    }

    async fn modifications(&self, _: &[VolumeId]) -> Result<BTreeMap<VolumeId, ModificationShown>, Error> {
        Ok(BTreeMap::new())
    }

    async fn delete_volume(&self, _: &VolumeId) -> Result<(), Error> {
        refused("delete a volume")
    }

    async fn create_snapshot(&self, _: &VolumeId, _: &Tags) -> Result<CloudSnapshot, Error> {
        refused("create a snapshot")
    }

    async fn delete_snapshot(&self, _: &SnapshotId) -> Result<(), Error> {
        refused("delete a snapshot")
    }

    async fn tag(&self, _: &str, _: &Tags) -> Result<(), Error> {
        refused("tag")
    }

    async fn attach_volume(&self, _: &VolumeId, _: &InstanceId, _: &str) -> Result<(), Error> {
        refused("attach a volume")
    }

    async fn detach_volume(&self, _: &VolumeId, _: &InstanceId) -> Result<bool, Error> {
        refused("detach a volume")
    }

    async fn attach_limit(&self, _: &InstanceId) -> Result<u32, Error> {
        refused("tell a limit")
    }
}

fn object<K: serde::de::DeserializeOwned>(value: serde_json::Value) -> K {
    serde_json::from_value(value).expect("the object is valid")
}

fn pool(number: usize) -> VolumePool {
    object(json!({
        "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "VolumePool",
        "metadata": {"name": format!("p{number}"), "namespace": "shop", "uid": format!("pool-{number}"), "resourceVersion": "1",
            "generation": 1, "finalizers": [FINALIZER]},
        "spec": {"replicas": VOLUMES_A_POOL, "source": {"snapshotID": "snap-0123456789abcdef0"}, "zones": ["us-east-1a"]},
    }))
}

fn volume(pool: usize, slot: usize) -> PoolVolume {
    let id = format!("vol-{:017x}", pool * VOLUMES_A_POOL + slot);
    object(json!({
        "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolVolume",
        "metadata": {"name": format!("p{pool}-{slot}"), "namespace": "shop", "uid": format!("uid-{pool}-{slot}"), "resourceVersion": "1",
            "finalizers": [FINALIZER]},
        "spec": {"poolRef": {"name": format!("p{pool}"), "uid": format!("pool-{pool}")}, "zone": "us-east-1a", "slot": slot,
            "origin": {"snapshotID": "snap-0123456789abcdef0", "generation": 1}, "sizeGiB": 20},
        "status": {"phase": "Ready", "cloud": {"volumeID": id, "state": "available", "initializedPercent": 100,
            "requestedTime": "2026-01-01T00:00:00Z"}},
    }))
}

fn cloud(pool: usize, slot: usize) -> CloudVolume {
    let tags = [(TAG_CLUSTER, CLUSTER.to_owned()), (TAG_POOL, format!("shop/p{pool}")), (TAG_POOL_UID, format!("pool-{pool}"))];
    let tags = tags.into_iter().chain([(TAG_VOLUME_UID, format!("uid-{pool}-{slot}"))]);
    CloudVolume {
        id: VolumeId::new(format!("vol-{:017x}", pool * VOLUMES_A_POOL + slot)),
        state: VolumeState::Available,
        zone: "us-east-1a".into(),
        size: GiB(20),
        settings: VolumeSettings { volume_type: "gp3".to_owned(), iops: Some(3000), throughput: Some(125) },
        snapshot: Some("snap-0123456789abcdef0".into()),
        tags: tags.map(|(key, value)| (key.to_owned(), value)).collect(),
        attachments: Vec::new(),
    }
}

fn account() -> QuietAccount {
    let volumes = (0..POOLS).flat_map(|pool| (0..VOLUMES_A_POOL).map(move |slot| cloud(pool, slot))).collect();
    let source = CloudSnapshot {
        id: "snap-0123456789abcdef0".into(),
        state: SnapshotState::Completed,
        volume: "vol-source".into(),
        size: GiB(20),
        progress_percent: 100,
        started: None,
        tags: [(TAG_SOURCE.to_owned(), "*".to_owned())].into(),
    };
    QuietAccount { volumes: Arc::new(volumes), source, sweeps: Arc::default() }
}

/// A store with these objects, which nothing changes while the writer lives.
fn filled<K>(objects: Vec<K>) -> (Store<K>, Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(object));
    }
    writer.apply_watcher_event(&Event::InitDone);
    (store, writer)
}

/// The pools with the status that the controller would have written long ago.
fn settled_pools(account: &QuietAccount, volumes: &[PoolVolume], node: &k8s_openapi::api::core::v1::Node) -> Vec<VolumePool> {
    let arcs: Vec<Arc<PoolVolume>> = volumes.iter().cloned().map(Arc::new).collect();
    let view = View::new((0..POOLS).map(|number| Arc::new(pool(number))).collect(), arcs, &[Arc::new(node.clone())], &[]);
    let mut sweep = Sweep::new(Timestamp::now(), (*account.volumes).clone(), Vec::new());
    sweep.source_snapshots = [(account.source.id.clone(), account.source.clone())].into();
    sweep.asked = Sources { snapshots: [account.source.id.clone()].into(), ..Sources::default() };
    let with_status = |pool: &Arc<VolumePool>| {
        let seen = observe::pool(&view, CLUSTER, &sweep, pool).expect("it can be read");
        let plan = plan::supply(&seen, Timestamp::now());
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        let mut pool = (**pool).clone();
        pool.status = Some(settled(&pool, &seen, &plan.report, Timestamp::now()));
        pool
    };
    view.pools.iter().map(with_status).collect()
}

fn context(
    server: &Untouched,
    account: &QuietAccount,
    (pools, volumes, nodes): (Store<VolumePool>, Store<PoolVolume>, Store<k8s_openapi::api::core::v1::Node>),
) -> Context<QuietAccount> {
    let client = Client::new(server.clone(), "default");
    let reporter = Reporter { controller: "test".to_owned(), instance: None };
    let (pool_nodes, claims, pvs, classes, operations) =
        (filled(vec![]).0, filled(vec![]).0, filled(vec![]).0, filled(vec![]).0, filled(vec![]).0);
    Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        ec2: account.clone(),
        gate: Gate::new(Limits::default()),
        cluster: CLUSTER.to_owned(),
        stores: Stores { pools, volumes, pool_nodes, nodes, claims, pvs, classes, operations },
        clock: Clock::default(),
        metrics: Metrics::default(),
        said: Arc::default(),
    }
}

#[tokio::test]
async fn pools_that_wait_are_told_once_an_outage_that_ec2_cannot_be_read() {
    let (server, account, now) = (Untouched::default(), account(), Timestamp::now());
    let ready = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "PoolReady", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}], "observedGeneration": 1});
    let with_ready = |number| VolumePool { status: Some(object(ready.clone())), ..pool(number) };
    let mut deleted = with_ready(1);
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    let (pools, _pools) = filled(vec![with_ready(0), deleted, pool(2)]);
    let context = context(&server, &account, (pools, filled(vec![]).0, filled(vec![]).0));
    let failing = |seconds| Failing { since: now - SignedDuration::from_secs(seconds), error: "DescribeVolumes: Unreachable".to_owned() };
    let mut told = BTreeSet::new();
    let writes = || server.0.load(Ordering::Relaxed);
    unreadable::tell(&context, &mut told, Some(&failing(29)), now).await;
    assert_eq!(writes(), 0, "it may pass by itself");
    for _ in 0..2 {
        unreadable::tell(&context, &mut told, Some(&failing(30)), now).await;
        assert_eq!(writes(), 2, "the pool that is deleted and the one that is not ready, once each");
    }
    unreadable::tell(&context, &mut told, None, now).await;
    assert!(told.is_empty(), "the next outage is told again");
}

#[tokio::test]
async fn ten_thousand_quiet_volumes_cost_no_request_and_two_sweeps() {
    let (server, account) = (Untouched::default(), account());
    let node: k8s_openapi::api::core::v1::Node =
        object(json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "us-east-1a"}}}));
    let volumes: Vec<PoolVolume> = (0..POOLS).flat_map(|pool| (0..VOLUMES_A_POOL).map(move |slot| volume(pool, slot))).collect();
    let (pools, _pools) = filled(settled_pools(&account, &volumes, &node));
    let (volumes, _volumes) = filled(volumes);
    let (nodes, _nodes) = filled(vec![node]);
    let context = context(&server, &account, (pools, volumes, nodes));
    let (kick, (sweeps_sender, sweeps), (interest, interested)) =
        (Arc::new(Notify::new()), watch::channel(Looked::default()), watch::channel(Interest::default()));
    let metrics = context.metrics.clone();
    let sweeper =
        tokio::spawn(sweep::run(account.clone(), (CLUSTER.to_owned(), Clock::default()), interested, kick.clone(), sweeps_sender));
    let supply = tokio::spawn(run(context, Sweeper { sweeps, interest, kick }, Arc::new(Notify::new())));
    tokio::time::sleep(WATCHED).await;
    assert!(!sweeper.is_finished() && !supply.is_finished());
    sweeper.abort();
    supply.abort();
    let figures = metrics.text();
    assert_eq!(figures.matches("state=\"ready\"").count(), POOLS, "every pool was looked at");
    assert_eq!(server.0.load(Ordering::Relaxed), 0, "nothing has changed, so nothing is written");
    let sweeps = account.sweeps.load(Ordering::Relaxed);
    assert!(sweeps <= 2, "{sweeps} sweeps: one at the start, one that the start asked for, and the next after half a minute");
}
