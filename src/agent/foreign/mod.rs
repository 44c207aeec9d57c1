//! Sources that another driver attaches and mounts: published while pods of this node have them, and let go as soon as none has.
//!
//! Nothing is attached, mounted, unmounted or detached for them. What is open of such a source keeps its driver from unmounting it,
//! which tries again; so `watch` closes all of it within well under a second after the last pod's mount has gone, whatever the API
//! server, peers or other sources do. `tell` writes what became of it into the object.

mod here;
mod tell;
mod watch;

use std::sync::Arc;

use kube::runtime::reflector::Store;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::state::Agent;
use crate::api::PoolVolume;
use crate::domain::VolumeId;

/// Starts both parts, which run as long as `tasks`. `requested` is what an earlier process asked for.
pub(super) fn start<E: Clone + Send + Sync + 'static>(
    tasks: &mut JoinSet<()>,
    agent: &Agent<E>,
    (sources, changed): (Store<PoolVolume>, Arc<Notify>),
    requested: Vec<VolumeId>,
) {
    let board = tokio::sync::watch::Sender::default();
    tasks.spawn(tell::run(agent.reporter.clone(), sources.clone(), board.subscribe()));
    tasks.spawn(watch::run(agent.clone(), (sources, changed), requested, board));
}
