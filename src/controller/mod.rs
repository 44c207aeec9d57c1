//! The controller: one leader that keeps pools filled (`supply`), claims served (`demand`) and path operations done.

pub mod admission;
mod attempt;
mod backoff;
mod certificates;
mod collect;
mod context;
mod demand;
mod error;
mod operations;
pub(crate) mod parse;
pub(crate) mod parse_sync;
mod refresh;
mod stores;
mod supply;
mod sweep;
mod volume_write;

use std::sync::Arc;

use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::admin::Admin;
use crate::clock::Clock;
use crate::ec2::Ec2;
use crate::ec2::pacing::Gate;
use crate::k8s::fence::fenced;
use crate::k8s::lease::Elector;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

use context::Context;
use stores::{Stores, Wake};
use supply::Sweeper;

pub use supply::{View, pool_seen, sweep_for};
pub use sweep::Sweep;

/// Name of the Lease.
const LEASE_NAME: &str = "volume-dispatcher-controller";

/// What a controller must be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster whose tag our EC2 resources carry; no two clusters of an account may share it.
    pub cluster: String,
    /// The namespace of the Lease, of the authorities and of the agents.
    pub namespace: String,
    /// The name of this replica, unique among them.
    pub identity: String,
    /// Where health and metrics are served.
    pub admin_address: std::net::SocketAddr,
}

/// Runs until SIGTERM, or until leadership is lost, which is an error: the process must not go on.
///
/// `gate` is the one that the calls of `ec2` pass.
pub async fn run<E: Ec2>(client: Client, (ec2, gate): (E, Gate), clock: Clock, settings: Settings) -> anyhow::Result<()> {
    let metrics = Metrics::default();
    let counted = metrics.clone();
    gate.listen(Box::new(move |action, result| counted.call(action, result)));
    let admin = Admin::serve(settings.admin_address, metrics.clone()).await?;
    let wake = Wake::default();
    let mut tasks = JoinSet::new();
    let stores = Stores::watch(&client, &mut tasks, &wake);
    let requests = certificates::Requests::watch(&mut tasks, &client);
    let mut shutdown = Shutdown::listen()?;
    tokio::select! {
        ready = stores.ready() => ready?,
        () = shutdown.requested() => return Ok(()),
    }
    admin.set_ready();
    let mut elector = Elector::new(Api::namespaced(client.clone(), &settings.namespace), LEASE_NAME, &settings.identity);
    let (term, writer) = (elector.term(), fenced(&client, &elector.term()));
    gate.guard(Box::new(move || term.lasts()));
    let reporter = Reporter { controller: "volume-dispatcher".to_owned(), instance: Some(settings.identity.clone()) };
    let context = Context {
        recorder: Recorder::new(writer.clone(), reporter),
        client: writer,
        ec2,
        gate,
        cluster: settings.cluster.clone(),
        stores,
        clock,
        metrics,
        said: Arc::default(),
    };
    tokio::select! {
        () = elector.acquire() => {}
        () = shutdown.requested() => return Ok(()),
    }
    let (writer, clock, namespace) = (context.client.clone(), context.clock.clone(), settings.namespace.clone());
    tasks.spawn(certificates::run(writer, clock, namespace, context.metrics.clone(), requests));
    lead(&mut tasks, context, wake);
    tokio::select! {
        () = shutdown.requested() => {
            tasks.shutdown().await;
            elector.release().await;
            info!("stopped, and gave the lease back");
            Ok(())
        }
        () = elector.keep() => Err(anyhow::anyhow!("leadership was lost; another replica goes on")),
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of the controller ended: {ended:?}")),
    }
}

fn lead<E: Ec2>(tasks: &mut JoinSet<()>, context: Context<E>, wake: Wake) {
    let kick = Arc::new(Notify::new());
    let (sweeps_sender, sweeps) = watch::channel(sweep::Looked::default());
    let (interest, interest_receiver) = watch::channel(sweep::Interest::default());
    tasks.spawn(sweep::run(
        context.ec2.clone(),
        (context.cluster.clone(), context.clock.clone()),
        interest_receiver,
        kick.clone(),
        sweeps_sender,
    ));
    tasks.spawn(supply::run(context.clone(), Sweeper { sweeps, interest, kick }, wake.supply));
    tasks.spawn(operations::run(context.clone(), wake.operations));
    tasks.spawn(demand::run(context, wake.demand));
}
