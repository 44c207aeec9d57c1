//! One look at everything of ours in EC2, shared by all pools, taken often only while something moves.

mod memory;
mod source_use;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::warn;

use crate::clock::Clock;
use crate::domain::tags::{TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, CloudVolume, SnapshotId, VolumeId, VolumeState};
use crate::ec2::{self, Ec2, ModificationShown};
use crate::plan::FreeSpan;

use memory::Memory;

/// Pause between sweeps while something moves.
const FAST: Duration = Duration::from_millis(500);
/// Pause between sweeps while nothing moves: finds what others changed.
const SLOW: Duration = Duration::from_secs(30);
/// Looks at a source that are further apart say nothing about the time between: one and a half of [`SLOW`].
const LONGEST_GAP: SignedDuration = SignedDuration::from_secs(45);
/// The shortest time from one sweep to the next, however often somebody asks for one.
const CLOSEST: Duration = Duration::from_millis(200);
/// Describe calls that sweeps make each second at most, of the twenty that EC2 refills: a large account is looked at
/// less often. Source: EC2 developer guide, "Request throttling".
const CALLS_A_SECOND: f64 = 8.0;
/// Resources in one page, and ids in one filter. Source: EC2 API reference, DescribeVolumes and `Filter`.
const PAGE: usize = 500;
const IDS_PER_FILTER: usize = 200;

/// What EC2 showed at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// When it was begun.
    pub started: Timestamp,
    /// All volumes with our cluster tag.
    pub volumes: Vec<CloudVolume>,
    /// All snapshots with our cluster tag.
    pub snapshots: Vec<CloudSnapshot>,
    /// The source volumes that exist.
    pub source_volumes: BTreeMap<VolumeId, CloudVolume>,
    /// The source snapshots that exist.
    pub source_snapshots: BTreeMap<SnapshotId, CloudSnapshot>,
    /// The sources that were asked about: one that is not in here is unknown, not missing.
    pub asked: Sources,
    /// The last time span in which each look found a source volume attached to nothing.
    pub free_spans: BTreeMap<VolumeId, FreeSpan>,
    /// Changes in place, of volumes for which one was asked.
    pub modifications: BTreeMap<VolumeId, ModificationShown>,
    /// Percent of blocks loaded, of volumes that were not complete before.
    pub initialized_percent: BTreeMap<VolumeId, u8>,
    by_id: HashMap<VolumeId, usize>,
    /// By UID of the pool, then of the PoolVolume.
    by_owner: HashMap<String, HashMap<String, usize>>,
    snapshots_by_pool: HashMap<String, Vec<usize>>,
}

/// What the sweeper has found.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The last look that succeeded.
    pub sweep: Option<Arc<Sweep>>,
    /// Why looks fail since; none when the last one did not.
    pub failing: Option<Failing>,
}

/// Looks that fail in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// When the first of them failed.
    pub since: Timestamp,
    /// What it said.
    pub error: String,
}

impl Looked {
    /// Remembers a failure; says whether it is the first in a row.
    fn failed(&mut self, error: &ec2::Error, now: Timestamp) -> bool {
        let is_first = self.failing.is_none();
        self.failing.get_or_insert_with(|| Failing { since: now, error: error.lasting() });
        is_first
    }
}

/// Ids of the sources of all pools.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sources {
    /// Source volumes.
    pub volumes: BTreeSet<VolumeId>,
    /// Source snapshots.
    pub snapshots: BTreeSet<SnapshotId>,
}

/// What the sweeper must know of the pools.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Interest {
    /// Sources to look at.
    pub sources: Sources,
    /// Whether something moves.
    pub is_moving: bool,
    /// Volumes whose blocks are known to be loaded; they are not asked about again.
    pub initialized: BTreeSet<VolumeId>,
    /// Volumes with a change in place that has not ended.
    pub modified: BTreeSet<VolumeId>,
}

impl Sweep {
    /// A sweep in which everything is found without a search.
    pub fn new(started: Timestamp, volumes: Vec<CloudVolume>, snapshots: Vec<CloudSnapshot>) -> Self {
        let mut sweep = Self { started, ..Self::default() };
        for (index, volume) in volumes.iter().enumerate() {
            sweep.by_id.insert(volume.id.clone(), index);
            if let (Some(pool), Some(object)) = (volume.tags.get(TAG_POOL_UID), volume.tags.get(TAG_VOLUME_UID)) {
                sweep.by_owner.entry(pool.clone()).or_default().entry(object.clone()).or_insert(index);
            }
        }
        for (index, snapshot) in snapshots.iter().enumerate() {
            if let Some(pool) = snapshot.tags.get(TAG_POOL_UID) {
                sweep.snapshots_by_pool.entry(pool.clone()).or_default().push(index);
            }
        }
        Self { volumes, snapshots, ..sweep }
    }

    /// The EBS volume of a PoolVolume: by the id that EC2 gave, or by our tag when the reply was lost.
    pub fn find(&self, id: Option<&VolumeId>, pool_uid: &str, volume_uid: &str) -> Option<&CloudVolume> {
        let index = match id {
            Some(id) => self.by_id.get(id),
            None => self.by_owner.get(pool_uid).and_then(|volumes| volumes.get(volume_uid)),
        };
        index.map(|index| &self.volumes[*index])
    }

    /// The snapshots that carry the UID of a pool.
    pub fn snapshots_of(&self, pool_uid: &str) -> impl Iterator<Item = &CloudSnapshot> {
        self.snapshots_by_pool.get(pool_uid).into_iter().flatten().map(|index| &self.snapshots[*index])
    }

    /// How many calls it took at least.
    fn calls(&self) -> usize {
        let pages = |count: usize, size: usize| count.div_ceil(size);
        let listed = pages(self.volumes.len(), PAGE).max(1) + pages(self.snapshots.len(), PAGE).max(1);
        let asked = [self.asked.volumes.len(), self.asked.snapshots.len(), self.initialized_percent.len()];
        listed + asked.map(|count| pages(count, IDS_PER_FILTER)).iter().sum::<usize>()
    }
}

/// The pause after a sweep that took so many calls; with `is_kicked`, when somebody waits for the next one.
fn pause(calls: usize, is_moving: bool, is_kicked: bool) -> Duration {
    let affordable = Duration::from_secs_f64(f64::from(u32::try_from(calls).unwrap_or(u32::MAX)) / CALLS_A_SECOND).max(CLOSEST);
    match (is_kicked, is_moving) {
        (true, _) => affordable,
        (false, true) => affordable.max(FAST),
        (false, false) => affordable.max(SLOW),
    }
}

/// Sweeps forever, once somebody has told what to look at: at once when kicked, soon while something moves, seldom otherwise.
pub async fn run<E: Ec2>(
    ec2: E,
    (cluster, clock): (String, Clock),
    mut interest: watch::Receiver<Interest>,
    kick: Arc<Notify>,
    sweeps: watch::Sender<Looked>,
) {
    let mut memory = Memory::default();
    // Without this the first sweep would ask about the blocks of all volumes, and about no source.
    if interest.changed().await.is_err() {
        return;
    }
    loop {
        let begun = Instant::now();
        let wanted = interest.borrow_and_update().clone();
        let calls = match look(&ec2, &cluster, clock.now(), &wanted, &mut memory).await {
            Ok(sweep) => {
                let calls = sweep.calls();
                sweeps.send_replace(Looked { sweep: Some(Arc::new(sweep)), failing: None });
                calls
            }
            Err(error) => {
                warn!(%error, "EC2 cannot be read; nothing is decided until it can");
                sweeps.send_if_modified(|looked| looked.failed(&error, clock.now()));
                1
            }
        };
        let is_moving = interest.borrow().is_moving;
        tokio::select! {
            () = tokio::time::sleep_until(begun + pause(calls, is_moving, false)) => {}
            () = kick.notified() => tokio::time::sleep_until(begun + pause(calls, is_moving, true)).await,
        }
    }
}

/// One look. `memory` keeps what need not be asked again, and what a lagging read must not make us forget.
async fn look<E: Ec2>(ec2: &E, cluster: &str, started: Timestamp, wanted: &Interest, memory: &mut Memory) -> Result<Sweep, ec2::Error> {
    let source_volumes: Vec<VolumeId> = wanted.sources.volumes.iter().cloned().collect();
    let source_snapshots: Vec<SnapshotId> = wanted.sources.snapshots.iter().cloned().collect();
    let (volumes, snapshots, source_volumes, source_snapshots) = tokio::try_join!(
        ec2.volumes_by_tag(TAG_CLUSTER, cluster),
        ec2.snapshots_by_tag(TAG_CLUSTER, cluster),
        ec2.volumes_by_id(&source_volumes),
        ec2.snapshots_by_id(&source_snapshots),
    )?;
    let usable = |volume: &&CloudVolume| matches!(volume.state, VolumeState::Available | VolumeState::InUse);
    let unsettled: Vec<VolumeId> =
        volumes.iter().filter(usable).map(|volume| volume.id.clone()).filter(|id| !wanted.initialized.contains(id)).collect();
    let due = memory.due(&unsettled, started);
    if !due.is_empty() {
        memory.learn_percents(&due, &ec2.initialized_percent(&due).await?, started);
    }
    let initialized_percent = memory.percents(&unsettled);
    let modified: Vec<VolumeId> = wanted.modified.iter().cloned().collect();
    let modifications = ec2.modifications(&modified).await?;
    memory.source_use.look(started, &source_volumes, LONGEST_GAP);
    Ok(Sweep {
        source_volumes: memory.volumes.keep(source_volumes.into_iter().map(|volume| (volume.id.clone(), volume)), started),
        source_snapshots: memory.snapshots.keep(source_snapshots.into_iter().map(|snapshot| (snapshot.id.clone(), snapshot)), started),
        asked: wanted.sources.clone(),
        free_spans: memory.source_use.spans(),
        modifications,
        initialized_percent,
        ..Sweep::new(started, volumes, snapshots)
    })
}

/// One look without a past, for whoever looks only once.
pub async fn once<E: Ec2>(ec2: &E, cluster: &str, now: Timestamp, wanted: &Interest) -> Result<Sweep, ec2::Error> {
    look(ec2, cluster, now, wanted, &mut Memory::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(count: usize) -> Vec<CloudVolume> {
        let volume = |number: usize| CloudVolume {
            id: VolumeId::new(format!("vol-{number}")),
            state: VolumeState::Available,
            zone: "a".into(),
            size: crate::domain::GiB(1),
            settings: crate::domain::VolumeSettings::default(),
            snapshot: None,
            tags: [(TAG_POOL_UID.to_owned(), "pool".to_owned()), (TAG_VOLUME_UID.to_owned(), format!("uid-{number}"))].into(),
            attachments: Vec::new(),
        };
        (0..count).map(volume).collect()
    }

    #[test]
    fn ten_thousand_quiet_volumes_cost_less_than_two_calls_a_second() {
        let sources = Sources { volumes: (0..500).map(|number| VolumeId::new(format!("vol-s{number}"))).collect(), ..Sources::default() };
        let sweep = Sweep { asked: sources, ..Sweep::new(Timestamp::UNIX_EPOCH, volumes(10_000), Vec::new()) };
        let seconds = usize::try_from(pause(sweep.calls(), false, false).as_secs()).unwrap();
        assert!(sweep.calls() > 20, "{} pages", sweep.calls());
        assert!(sweep.calls() < 2 * seconds, "{} calls each {seconds} s", sweep.calls());
    }

    #[test]
    fn the_pause_follows_what_moves_and_what_it_costs() {
        assert_eq!(pause(2, false, false), SLOW);
        assert_eq!(pause(2, true, false), FAST);
        assert_eq!(pause(2, true, true), Duration::from_millis(250), "a kick is answered at once, but not without end");
        assert_eq!(pause(24, true, false), Duration::from_secs(3), "a large account is not asked more often than it allows");
    }

    #[test]
    fn a_volume_is_found_by_its_id_and_by_its_owner() {
        let sweep = Sweep::new(Timestamp::UNIX_EPOCH, volumes(3), Vec::new());
        let id = |volume: Option<&CloudVolume>| volume.map(|volume| volume.id.to_string());
        assert_eq!(id(sweep.find(Some(&"vol-1".into()), "pool", "uid-2")), Some("vol-1".to_owned()), "the id wins");
        assert_eq!(id(sweep.find(None, "pool", "uid-2")), Some("vol-2".to_owned()));
        assert_eq!(id(sweep.find(None, "another", "uid-2")), None);
        assert_eq!(id(sweep.find(Some(&"vol-9".into()), "pool", "uid-2")), None);
    }
}
