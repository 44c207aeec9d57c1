//! The agent of one node: attaches and mounts the volumes that the controller assigns, and hands them to pods by CSI.
//!
//! It keeps nothing in memory that it needs after a restart: what is attached it asks the device tree and EC2, what
//! is mounted it asks the kernel. Mounts belong to the node and outlive the process.

mod attach;
mod csi;
mod device;
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

use crate::admin::Admin;
use crate::api::PoolVolume;
use crate::api::keys::LABEL_NODE;
use crate::domain::NodeName;
use crate::ec2::Ec2;
use crate::k8s::watch::{Wakers, reflect};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

pub use device::DeviceTree;
pub use place::Place;
pub use privileges::drop_privileges;
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
}

/// Runs until SIGTERM. Mounts and attachments stay as they are.
pub async fn run<E: Ec2>(client: Client, ec2: E, place: Place, settings: Settings) -> anyhow::Result<()> {
    let admin = Admin::serve(settings.admin_address, Metrics::default()).await?;
    let wake = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let mine = watcher::Config::default().labels(&format!("{LABEL_NODE}={}", settings.node));
    let volumes = reflect::<PoolVolume>(&mut tasks, Api::all(client.clone()), mine, Wakers::new([wake.clone()]));
    let mut shutdown = Shutdown::listen()?;
    tokio::select! {
        ready = volumes.wait_until_ready() => ready.context("the watch of volumes ended before it had listed everything")?,
        () = shutdown.requested() => return Ok(()),
    }
    let agent = Agent::new(client, ec2, place, settings, volumes, admin, wake);
    pool_node::register(&agent).await?;
    csi::serve(&agent, &mut tasks)?;
    tasks.spawn(reconcile::run(agent.clone()));
    tasks.spawn(pool_node::run(agent));
    tokio::select! {
        () = shutdown.requested() => {
            info!("stopped; mounts stay");
            Ok(())
        }
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of the agent ended: {ended:?}")),
    }
}
