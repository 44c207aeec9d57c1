//! The agent of one node: attaches and mounts the volumes that the controller assigns, and hands them to pods by CSI.
//!
//! Volumes of a pool that is live it also keeps in step with their source, or publishes that source (`live`).
//!
//! It keeps nothing in memory that it needs after a restart: what is attached it asks the device tree and EC2, what
//! is mounted it asks the kernel. Mounts belong to the node and outlive the process.

mod attach;
mod csi;
mod device;
mod foreign;
mod identity;
mod live;
mod mount;
mod place;
mod pool_node;
mod privileges;
mod reconcile;
mod report;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::info;
use treesync::wire::TlsMaterial;

use crate::admin::Admin;
use crate::api::keys::{LABEL_NODE, LABEL_ROLE, ROLE_SOURCE};
use crate::domain::NodeName;
use crate::ec2::Ec2;
use crate::k8s::watch::{Wakers, reflect};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

pub use device::DeviceTree;
pub use live::SyncSettings;
use live::{Live, STOP_WITHIN, Watched};
pub use place::Place;
pub use privileges::drop_privileges;
use report::Reporter;
use state::Agent;

/// What an agent must be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node it runs on.
    pub node: NodeName,
    /// The kubelet's folder, the same path in the container as on the node.
    pub kubelet: PathBuf,
    /// The folder below which volumes are mounted, the same path in the container as on the node.
    pub state: PathBuf,
    /// Where devices appear.
    pub devices: DeviceTree,
    /// The cluster whose tag our EC2 resources carry.
    pub cluster: String,
    /// Where health and metrics are served.
    pub admin_address: SocketAddr,
    /// How agents reach each other.
    pub sync: SyncSettings,
}

/// Runs until SIGTERM. Mounts and attachments stay as they are.
pub async fn run<E: Ec2>(client: Client, ec2: E, place: Place, settings: Settings) -> anyhow::Result<()> {
    let metrics = Metrics::default();
    let admin = Admin::serve(settings.admin_address, metrics.clone()).await?;
    let wake = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let (newest, identity) = tokio::sync::watch::channel(None);
    identity::keep(&mut tasks, &client, &settings.node, newest);
    let watched = watch(&mut tasks, &client, &settings, &wake, identity.clone());
    let mut shutdown = Shutdown::listen()?;
    tokio::select! {
        ready = listed(&watched) => ready.context("a watch ended before it had listed everything")?,
        () = shutdown.requested() => return Ok(()),
    }
    let reporter = Reporter { client: client.clone(), node: settings.node.clone(), instance: place.instance.clone() };
    let volumes = watched.volumes.clone();
    let (sources, foreign_changed) = (watched.sources.clone(), watched.foreign_changed.clone());
    let sync = (settings.sync.clone(), settings.state.clone());
    let live = Live::start(&mut tasks, &settings.node, sync, metrics.live().clone(), reporter.clone(), watched);
    let agent = Agent::new(client, ec2, place, settings, (volumes, wake), admin, (reporter, live.clone()));
    let requested = pool_node::register(&agent).await?;
    csi::serve(&agent, &mut tasks)?;
    tasks.spawn(reconcile::run(agent.clone()));
    foreign::start(&mut tasks, &agent, (sources, foreign_changed), requested);
    tasks.spawn(pool_node::run(agent, identity));
    tokio::select! {
        () = shutdown.requested() => {
            let is_in_order = tokio::time::timeout(STOP_WITHIN, live.stop()).await.is_ok();
            info!(is_in_order, "stopped; mounts stay");
            Ok(())
        }
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of the agent ended: {ended:?}")),
    }
}

/// Watches the volumes of this node, the sources of all pools, and all operations.
fn watch(
    tasks: &mut JoinSet<()>,
    client: &Client,
    settings: &Settings,
    wake: &Arc<Notify>,
    identity: tokio::sync::watch::Receiver<Option<TlsMaterial>>,
) -> Watched {
    let [sources_changed, orders_changed, foreign_changed] = std::array::from_fn(|_| Arc::new(Notify::new()));
    let mine = watcher::Config::default().labels(&format!("{LABEL_NODE}={}", settings.node));
    let of_sources = watcher::Config::default().labels(&format!("{LABEL_ROLE}={ROLE_SOURCE}"));
    let wakers = |all: &[&Arc<Notify>]| Wakers::new(all.iter().copied().cloned());
    Watched {
        volumes: reflect(tasks, Api::all(client.clone()), mine, wakers(&[wake, &orders_changed])),
        // A volume is mounted in another way once its pool has a source.
        sources: reflect(tasks, Api::all(client.clone()), of_sources, wakers(&[wake, &sources_changed, &foreign_changed])),
        operations: reflect(tasks, Api::all(client.clone()), watcher::Config::default(), wakers(&[&orders_changed])),
        identity,
        sources_changed,
        foreign_changed,
        orders_changed,
    }
}

async fn listed(watched: &Watched) -> anyhow::Result<()> {
    watched.volumes.wait_until_ready().await?;
    watched.sources.wait_until_ready().await?;
    Ok(())
}
