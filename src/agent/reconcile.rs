//! Brings each volume that the controller has assigned to this node to where it should be, and back.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use tokio::task::{self, JoinSet};
use tracing::{Instrument, debug, info, info_span, warn};

use super::attach::{self, Attached};
use super::live;
use super::mount::{self, Growth, Mode, table};
use super::state::{Agent, Mounted, is_foreign, volume_id};
use crate::api::{NodeStatus, PoolVolume, Role};
use crate::domain::{Access, Phase, VolumeId};
use crate::ec2::Ec2;
use crate::k8s::write::Outcome;

/// The first and the longest rest of a volume that failed; it doubles in between.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The first and the longest pause while EC2, the kernel or a pod must act; it doubles in between. An attachment takes
/// one to four seconds in EC2, so the first looks come soon.
const POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// The longest time between two looks at a volume that is where it should be.
const RESYNC: Duration = Duration::from_secs(10);

/// Whether a volume must be looked at again without a new reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// It is where it should be.
    Settled,
    /// It waits for EC2, the kernel or a pod.
    Moving,
    /// It could not go on.
    Failed,
}

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

impl Error {
    /// The words for a status: the same for the same failure, so that it is written once.
    fn lasting(&self) -> String {
        match self {
            Self::Ec2(error) => error.lasting(),
            other => other.to_string(),
        }
    }
}

/// Runs forever. A wake looks at all volumes; one that is being worked on is looked at again afterwards.
pub(super) async fn run<E: Ec2>(agent: Agent<E>) {
    let mut crew = Crew { agent, workers: JoinSet::new(), busy: HashMap::new(), again: BTreeSet::new(), rests: HashMap::new() };
    loop {
        tokio::select! {
            () = crew.agent.woken() => crew.start_all(),
            () = tokio::time::sleep(RESYNC) => crew.start_all(),
            Some(done) = crew.workers.join_next_with_id(), if !crew.workers.is_empty() => crew.finish(done),
        }
    }
}

/// One worker a volume.
struct Crew<E> {
    agent: Agent<E>,
    workers: JoinSet<Progress>,
    busy: HashMap<task::Id, VolumeId>,
    again: BTreeSet<VolumeId>,
    /// How a volume ended its last rounds, and how many of these in a row.
    rests: HashMap<VolumeId, (Progress, u32)>,
}

impl<E: Ec2> Crew<E> {
    fn start_all(&mut self) {
        for volume in self.agent.volumes.state().into_iter().filter(|volume| !is_foreign(volume)) {
            match volume_id(&volume) {
                Some(id) if self.busy.values().any(|busy| *busy == id) => drop(self.again.insert(id)),
                Some(id) => self.start(volume, id, Duration::ZERO),
                None => {}
            }
        }
    }

    fn start(&mut self, volume: Arc<PoolVolume>, id: VolumeId, rest: Duration) {
        let span = info_span!("volume", name = %volume.name_any(), volume_id = %id);
        let work = work(self.agent.clone(), volume, id.clone());
        let rested = async move {
            tokio::time::sleep(rest).await;
            work.await
        };
        let worker = self.workers.spawn(rested.instrument(span));
        self.busy.insert(worker.id(), id);
    }

    fn finish(&mut self, done: Result<(task::Id, Progress), task::JoinError>) {
        let (worker, progress) = done.unwrap_or_else(|error| {
            warn!(%error, "a worker ended by itself");
            (error.id(), Progress::Failed)
        });
        let Some(id) = self.busy.remove(&worker) else { return };
        let is_news = self.again.remove(&id);
        let rest = self.rest(&id, progress);
        let must_go_on = is_news || progress != Progress::Settled;
        if let Some(volume) = self.agent.assigned(&id).filter(|_| must_go_on) {
            self.start(volume, id, rest);
        }
    }

    /// How long a volume rests before its next round: none when it is settled, else twice as long as before.
    fn rest(&mut self, id: &VolumeId, progress: Progress) -> Duration {
        let (first, longest) = match progress {
            Progress::Settled => {
                self.rests.remove(id);
                return Duration::ZERO;
            }
            Progress::Moving => POLL,
            Progress::Failed => RETRY,
        };
        let (last, rounds) = self.rests.entry(id.clone()).or_insert((progress, 0));
        *rounds = if *last == progress { rounds.saturating_add(1) } else { 1 };
        *last = progress;
        doubled(first, *rounds).min(longest)
    }
}

fn doubled(first: Duration, rounds: u32) -> Duration {
    first.saturating_mul(1 << rounds.saturating_sub(1).min(16))
}

async fn work<E: Ec2>(agent: Agent<E>, volume: Arc<PoolVolume>, id: VolumeId) -> Progress {
    let _guard = agent.lock(&id).await;
    // A newer version may have come while the lock was held by another.
    let volume = agent.assigned(&id).unwrap_or(volume);
    let result = if is_wanted(&agent, &volume) { bring(&agent, &volume, &id).await } else { take_away(&agent, &volume, &id).await };
    match result {
        Ok(progress) => progress,
        Err(error) => {
            warn!(%error, "failed and is tried again");
            let lasting = error.lasting();
            let failed = agent.report(&volume, |side| Some(NodeStatus { error: Some(lasting.clone()), ..agent.side(side) })).await;
            if let Err(error) = failed {
                debug!(%error, "the failure was not reported");
            }
            Progress::Failed
        }
    }
}

/// Wanted once it is assigned here and filled. A source holds what its owner has put there.
fn is_wanted<E>(agent: &Agent<E>, volume: &PoolVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase);
    let is_filled =
        volume.spec.role == Role::Source || matches!(phase, Some(Phase::Ready | Phase::Refreshing | Phase::Claimed | Phase::Deleting));
    volume.spec.node_name.as_deref() == Some(agent.settings.node.as_str()) && is_filled
}

fn base_path<E>(agent: &Agent<E>, volume: &PoolVolume) -> PathBuf {
    // An underscore cannot be in a namespace or a name, so two volumes never share a path.
    let name = format!("{}_{}", volume.namespace().unwrap_or_default(), volume.name_any());
    agent.settings.state.join("volumes").join(name)
}

/// Attached, checked, mounted, reported. The intent is reported first, so that the controller waits for us even if
/// it takes the volume away in this moment.
async fn bring<E: Ec2>(agent: &Agent<E>, volume: &PoolVolume, id: &VolumeId) -> Result<Progress, Error> {
    let is_new = volume.status.as_ref().is_none_or(|status| status.node.is_none());
    if is_new && agent.report(volume, |side| Some(agent.side(side))).await? == Outcome::Stale {
        return Ok(Progress::Settled);
    }
    let device = match attach::ensure_attached(agent, volume, id).await? {
        Attached::Device(device) => device,
        Attached::NotYet(reason) => {
            debug!(reason, "waits");
            return Ok(Progress::Moving);
        }
    };
    let is_live = agent.live.is_live(volume);
    let access = volume.spec.claim_ref.as_ref().map_or(Access::ReadOnly, |claim| claim.access);
    // What follows a source is written by the agent, whatever pods may do with it.
    let mode = if access == Access::ReadOnly && !is_live { Mode::ReadOnly } else { Mode::ReadWrite };
    let role = volume.spec.role;
    let growth = if role == Role::Source { Growth::Never } else { Growth::ToDevice };
    let path = base_path(agent, volume);
    let (published, filesystem) = {
        let (device, path) = (device.clone(), path.clone());
        blocking(move || {
            mount::ensure_mounted(&device, &path, mode, growth)?;
            if is_live
                && role == Role::Copy
                && let Err(error) = live::prepare_copy(&path)
            {
                warn!(%error, "the copy has no place for its public file");
            }
            let filesystem = table::at(&mount::table()?, &path).last().map(|mount| mount.filesystem.clone());
            Ok((users(&device.numbers, &path)?, filesystem))
        })
        .await?
    };
    if is_live {
        agent.live.keep(id, volume, (&path, &device));
    } else {
        agent.live.let_go(id, volume).await;
    }
    // A pod gets it only once its claim is known here: before, nobody knows whether that may write.
    let mounted = volume.spec.claim_ref.is_some().then(|| Mounted { path, device_numbers: device.numbers.clone(), access });
    agent.set_mounted(id, mounted.as_ref());
    if !agent.reporter.stored(volume).is_some_and(|side| side.mounted) {
        info!(device = device.name, "mounted");
    }
    let mounted = |side: NodeStatus| {
        let (device, filesystem) = (Some(device.name.clone()), filesystem.clone());
        NodeStatus { attached: true, device, filesystem, mounted: true, published, error: None, ..side }
    };
    agent.report(volume, |side| Some(mounted(agent.side(side)))).await?;
    Ok(Progress::Settled)
}

/// Unmounted, detached, reported, in this order, and only when no pod has it.
async fn take_away<E: Ec2>(agent: &Agent<E>, volume: &PoolVolume, id: &VolumeId) -> Result<Progress, Error> {
    let device = agent.settings.devices.find(id).map_err(|error| Error::Local(format!("cannot read the device tree: {error}")))?;
    if device.is_none() && volume.status.as_ref().is_none_or(|status| status.node.is_none()) {
        return Ok(Progress::Settled);
    }
    agent.set_mounted(id, None);
    let path = base_path(agent, volume);
    let published = {
        let path = path.clone();
        blocking(move || {
            let mounted = table::at(&mount::table()?, &path).last().map(|mount| mount.device.clone());
            // With neither a mount nor a device there is nothing that a pod could still have.
            mounted.or(device.map(|device| device.numbers)).map_or(Ok(0), |numbers| users(&numbers, &path))
        })
        .await?
    };
    if published > 0 {
        agent.report(volume, |side| Some(NodeStatus { published, ..agent.side(side) })).await?;
        return Ok(Progress::Moving);
    }
    // Whoever follows or publishes it has it open; the kernel would refuse to unmount it.
    agent.live.let_go(id, volume).await;
    blocking(move || mount::ensure_unmounted(&path)).await?;
    let unmounted = |side: NodeStatus| NodeStatus { mounted: false, published: 0, error: None, sync: None, ..side };
    agent.report(volume, |side| Some(unmounted(agent.side(side)))).await?;
    if !attach::ensure_detached(agent, id).await? {
        return Ok(Progress::Moving);
    }
    if agent.report(volume, |_| None).await? == Outcome::Done {
        info!("detached");
    }
    Ok(Progress::Settled)
}

/// In how many places beside `base` a device is mounted: one for each pod that has it.
fn users(device_numbers: &str, base: &Path) -> Result<u32, mount::Error> {
    let all = mount::table()?;
    Ok(u32::try_from(table::others(&all, device_numbers, base).len()).unwrap_or(u32::MAX))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, mount::Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Error::Local(error.to_string()))??)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_and_never_overflow() {
        let rests: Vec<u64> = (1..=4).map(|rounds| doubled(RETRY.0, rounds).as_secs()).collect();
        assert_eq!(rests, [1, 2, 4, 8]);
        assert_eq!(doubled(RETRY.0, u32::MAX).min(RETRY.1), RETRY.1);
    }
}
