//! Brings each volume that the controller has assigned to this node to where it should be, and back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::task::JoinSet;
use tracing::{Instrument, debug, info, info_span, warn};

use super::attach::{self, Attached};
use super::mount::{self, Mode, table};
use super::report::report;
use super::state::{Agent, Mounted, volume_id};
use crate::api::{NodeStatus, PoolVolume};
use crate::domain::{Access, Phase, VolumeId};
use crate::ec2::Ec2;
use crate::k8s::write::Outcome;

/// How long a step that failed, or waits for EC2, rests.
const RETRY: Duration = Duration::from_secs(1);

/// Why a volume is not where it should be yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// EC2 refused or failed.
    #[error(transparent)]
    Ec2(#[from] crate::ec2::Error),
    /// The kernel refused.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// The API server refused or failed.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    /// The device tree cannot be read, or a worker ended.
    #[error("{0}")]
    Local(String),
}

/// Runs forever: every wake looks at all volumes that nobody is working on.
pub(super) async fn run<E: Ec2>(agent: Agent<E>) {
    let mut workers: JoinSet<VolumeId> = JoinSet::new();
    let mut busy = BTreeSet::new();
    loop {
        for volume in agent.volumes.state() {
            let Some(id) = volume_id(&volume) else { continue };
            if busy.insert(id.clone()) {
                let (agent, span) = (agent.clone(), info_span!("volume", name = %volume.name_any(), volume_id = %id));
                workers.spawn(work(agent, volume, id).instrument(span));
            }
        }
        tokio::select! {
            () = agent.woken() => {}
            Some(done) = workers.join_next(), if !workers.is_empty() => match done {
                Ok(id) => { busy.remove(&id); }
                Err(error) => warn!(%error, "a worker ended by itself"),
            },
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn work<E: Ec2>(agent: Agent<E>, volume: Arc<PoolVolume>, id: VolumeId) -> VolumeId {
    let _guard = agent.lock(&id).await;
    // A newer version may have come while the lock was held by another.
    let volume = agent.assigned(&id).unwrap_or(volume);
    let result = if is_wanted(&agent, &volume) { bring(&agent, &volume, &id).await } else { take_away(&agent, &volume, &id).await };
    if let Err(error) = result {
        warn!(%error, "failed and is tried again");
        let side = NodeStatus { error: Some(error.to_string()), ..current(&agent, &volume) };
        if let Err(error) = report(&agent, &volume, Some(side)).await {
            debug!(%error, "the failure was not reported");
        }
        tokio::time::sleep(RETRY).await;
    }
    id
}

/// Wanted once it is assigned here and filled.
fn is_wanted<E>(agent: &Agent<E>, volume: &PoolVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase);
    let is_filled = matches!(phase, Some(Phase::Ready | Phase::Claimed | Phase::Deleting));
    volume.spec.node_name.as_deref() == Some(agent.settings.node.as_str()) && is_filled
}

fn current<E>(agent: &Agent<E>, volume: &PoolVolume) -> NodeStatus {
    let stored = volume.status.as_ref().and_then(|status| status.node.clone());
    stored.filter(|side| side.name == agent.settings.node.as_str()).unwrap_or_else(|| NodeStatus {
        name: agent.settings.node.to_string(),
        instance_id: agent.place.instance.to_string(),
        ..NodeStatus::default()
    })
}

fn base_path<E>(agent: &Agent<E>, volume: &PoolVolume) -> PathBuf {
    // An underscore cannot be in a namespace or a name, so two volumes never share a path.
    let name = format!("{}_{}", volume.namespace().unwrap_or_default(), volume.name_any());
    agent.settings.state.join("volumes").join(name)
}

/// Attached, checked, mounted, reported. The intent is reported first, so that the controller waits for us even if
/// it takes the volume away in this moment.
async fn bring<E: Ec2>(agent: &Agent<E>, volume: &PoolVolume, id: &VolumeId) -> Result<(), Error> {
    let side = current(agent, volume);
    if volume.status.as_ref().is_none_or(|status| status.node.is_none())
        && report(agent, volume, Some(side.clone())).await? == Outcome::Stale
    {
        return Ok(());
    }
    let device = match attach::ensure_attached(agent, volume, id).await? {
        Attached::Device(device) => device,
        Attached::NotYet(reason) => {
            debug!(reason, "waits");
            return Ok(tokio::time::sleep(attach::POLL).await);
        }
    };
    let access = volume.spec.claim_ref.as_ref().map_or(Access::ReadOnly, |claim| claim.access);
    let mode = if access == Access::ReadOnly { Mode::ReadOnly } else { Mode::ReadWrite };
    let path = base_path(agent, volume);
    let published = {
        let (device, path) = (device.clone(), path.clone());
        blocking(move || {
            mount::ensure_mounted(&device, &path, mode)?;
            Ok(users(&path)?.len())
        })
        .await?
    };
    agent.set_mounted(id, Some(Mounted { path, device_numbers: device.numbers.clone(), access }));
    let is_news = !side.mounted;
    let side = NodeStatus {
        attached: true,
        device: Some(device.name.clone()),
        mounted: true,
        published: u32::try_from(published).unwrap_or(u32::MAX),
        error: None,
        ..side
    };
    report(agent, volume, Some(side)).await?;
    if is_news {
        info!(device = device.name, "mounted");
    }
    Ok(())
}

/// Unmounted, detached, reported, in this order, and only when no pod has it.
async fn take_away<E: Ec2>(agent: &Agent<E>, volume: &PoolVolume, id: &VolumeId) -> Result<(), Error> {
    if volume.status.as_ref().is_none_or(|status| status.node.is_none()) {
        return Ok(());
    }
    agent.set_mounted(id, None);
    let path = base_path(agent, volume);
    let published = {
        let path = path.clone();
        blocking(move || Ok(users(&path)?.len())).await?
    };
    let side = NodeStatus { published: u32::try_from(published).unwrap_or(u32::MAX), ..current(agent, volume) };
    if published > 0 {
        report(agent, volume, Some(side)).await?;
        return Ok(tokio::time::sleep(RETRY).await);
    }
    blocking(move || mount::ensure_unmounted(&path)).await?;
    report(agent, volume, Some(NodeStatus { mounted: false, published: 0, error: None, ..side })).await?;
    if !attach::ensure_detached(agent, id).await? {
        return Ok(tokio::time::sleep(attach::POLL).await);
    }
    if report(agent, volume, None).await? == Outcome::Done {
        info!("detached");
    }
    Ok(())
}

/// Where else the filesystem that is mounted at `base` shows: the pods that have it.
fn users(base: &std::path::Path) -> Result<Vec<PathBuf>, mount::Error> {
    let all = mount::table()?;
    let device = table::at(&all, base).last().map(|mount| mount.device.clone());
    let users = device.map(|device| table::others(&all, &device, base).into_iter().map(PathBuf::from).collect());
    Ok(users.unwrap_or_default())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, mount::Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Error::Local(error.to_string()))??)
}
