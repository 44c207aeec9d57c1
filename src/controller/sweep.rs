//! One look at everything of ours in EC2, shared by all pools, taken often only while something moves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::domain::tags::{TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, CloudVolume, SnapshotId, VolumeId, VolumeState};
use crate::ec2::{self, Ec2};

/// Pause between sweeps while something moves: at most four calls a second of each describe, of the twenty that EC2
/// refills for each. Source: EC2 developer guide, "Request throttling".
const FAST: Duration = Duration::from_millis(500);
/// Pause between sweeps while nothing moves: finds what others changed.
const SLOW: Duration = Duration::from_secs(30);

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
    /// Percent of blocks loaded, of volumes that were not complete before.
    pub initialized_percent: BTreeMap<VolumeId, u8>,
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
}

impl Sweep {
    /// The EBS volume of a PoolVolume: by the id that EC2 gave, or by our tag when the reply was lost.
    pub fn find(&self, id: Option<&VolumeId>, pool_uid: &str, volume_uid: &str) -> Option<&CloudVolume> {
        let is = |volume: &CloudVolume, key: &str, value: &str| volume.tags.get(key).is_some_and(|found| found == value);
        match id {
            Some(id) => self.volumes.iter().find(|volume| volume.id == *id),
            None => self.volumes.iter().find(|volume| is(volume, TAG_VOLUME_UID, volume_uid) && is(volume, TAG_POOL_UID, pool_uid)),
        }
    }
}

/// Sweeps forever: at once when kicked, soon while something moves, seldom otherwise.
pub async fn run<E: Ec2>(
    ec2: E,
    cluster: String,
    interest: watch::Receiver<Interest>,
    kick: Arc<Notify>,
    sweeps: watch::Sender<Option<Arc<Sweep>>>,
) {
    loop {
        let wanted = interest.borrow().clone();
        match look(&ec2, &cluster, &wanted).await {
            Ok(sweep) => {
                sweeps.send_replace(Some(Arc::new(sweep)));
            }
            Err(error) => warn!(%error, "EC2 cannot be read; nothing is decided until it can"),
        }
        let pause = if interest.borrow().is_moving { FAST } else { SLOW };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = kick.notified() => {}
        }
    }
}

async fn look<E: Ec2>(ec2: &E, cluster: &str, wanted: &Interest) -> Result<Sweep, ec2::Error> {
    let started = Timestamp::now();
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
    let initialized_percent = if unsettled.is_empty() { BTreeMap::new() } else { ec2.initialized_percent(&unsettled).await? };
    Ok(Sweep {
        started,
        volumes,
        snapshots,
        source_volumes: source_volumes.into_iter().map(|volume| (volume.id.clone(), volume)).collect(),
        source_snapshots: source_snapshots.into_iter().map(|snapshot| (snapshot.id.clone(), snapshot)).collect(),
        asked: wanted.sources.clone(),
        initialized_percent,
    })
}
