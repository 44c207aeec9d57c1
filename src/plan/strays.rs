//! What becomes of resources that carry our cluster tag and that no object knows: adopted, deleted with proof, or left and told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::cloud::Tags;
use crate::domain::tags::{TAG_GENERATION, TAG_POOL, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, CloudVolume, GiB, ObjectKey, SnapshotId, SnapshotState, Uid, VolumeId, VolumeState, Zone};

use super::observation::Origin;

/// How long a volume must be unknown before it is deleted: several times what a write or a read can be late.
pub const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// Everything that the collector depends on.
#[derive(Clone, Debug, Default)]
pub struct StraysSeen {
    /// When EC2 was asked.
    pub observed: Timestamp,
    /// All pools.
    pub pools: BTreeMap<ObjectKey, PoolFacts>,
    /// Volumes of our cluster that no PoolVolume, no PersistentVolume and no pool names.
    pub volumes: Vec<Stray<CloudVolume>>,
    /// Snapshots of our cluster that carry the UID of no pool.
    pub snapshots: Vec<Stray<CloudSnapshot>>,
    /// Adopted volumes, with the tags that they must carry.
    pub adopted: Vec<Adopted>,
}

/// A resource, and since when nobody knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stray<Item> {
    /// The resource.
    pub item: Item,
    /// The first look that showed it without an owner.
    pub since: Timestamp,
}

/// What the collector must know of a pool.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the object, and they vary independently")]
pub struct PoolFacts {
    /// Its UID.
    pub uid: Uid,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether every EC2 write is stopped.
    pub paused: bool,
    /// Whether its EC2 resources outlive it.
    pub retains: bool,
    /// Whether pods can only read its volumes, so that none can have been written.
    pub is_read_only: bool,
    /// The source volume; none for fixed content.
    pub source: Option<VolumeId>,
    /// Numbers of its volumes.
    pub slots: BTreeSet<u32>,
}

/// A PoolVolume that was made for an EBS volume that existed before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted {
    /// The UID of its pool.
    pub pool_uid: Uid,
    /// Its own UID.
    pub uid: Uid,
    /// Its EBS volume.
    pub cloud: CloudVolume,
}

/// One effect of the collector.
#[derive(Clone, Debug, PartialEq)]
pub enum StrayAction {
    /// Make a PoolVolume for a volume of a pool that was made anew under its name. Idempotent by its name.
    AdoptVolume {
        /// The pool.
        pool: ObjectKey,
        /// UID of the pool.
        pool_uid: Uid,
        /// Its number.
        slot: u32,
        /// The EBS volume.
        volume: VolumeId,
        /// Its zone.
        zone: Zone,
        /// Its size.
        size: GiB,
        /// What it was filled from.
        origin: Origin,
        /// Whether it is kept aside, since pods may have written it.
        retired: bool,
    },
    /// Give an adopted volume the tags by which its new owner can prove that it is theirs.
    TagVolume {
        /// The volume.
        volume: VolumeId,
        /// The tags.
        tags: Tags,
    },
    /// Give a snapshot to the pool that was made anew under the name of its own.
    TagSnapshot {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The tags.
        tags: Tags,
    },
    /// Delete a volume of a living pool, if a fresh look proves that nobody knows it.
    DeleteVolume {
        /// The pool.
        pool: ObjectKey,
        /// The volume.
        volume: VolumeId,
        /// Since when nobody knows it.
        since: Timestamp,
    },
}

/// Why a resource is left as it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum LeftBecause {
    /// A tag by which we prove ownership is missing or odd: somebody changed it.
    Retagged,
    /// There is no pool of the name that it carries: it may have been kept on purpose.
    PoolGone,
    /// The pool is paused, or keeps what it loses.
    PoolKeeps,
    /// An instance has it, or EC2 has not finished with it.
    InUse,
    /// It has not been unknown for long enough.
    Young,
}

impl LeftBecause {
    /// The spelling in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retagged => "retagged",
            Self::PoolGone => "pool_gone",
            Self::PoolKeeps => "pool_keeps",
            Self::InUse => "in_use",
            Self::Young => "young",
        }
    }
}

/// What to do about strays, and what is left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StrayPlan {
    /// Effects. At most one a resource.
    pub actions: Vec<StrayAction>,
    /// What is left, by id.
    pub left: BTreeMap<String, LeftBecause>,
    /// Pools that get something back: nothing new is made for them before.
    pub adopting: BTreeSet<ObjectKey>,
}

/// Decides about every stray. The order of a listing changes nothing.
pub fn strays(seen: &StraysSeen) -> StrayPlan {
    let mut plan = StrayPlan::default();
    let mut slots: BTreeMap<&ObjectKey, BTreeSet<u32>> = seen.pools.iter().map(|(key, pool)| (key, pool.slots.clone())).collect();
    let mut volumes: Vec<&Stray<CloudVolume>> = seen.volumes.iter().collect();
    volumes.sort_by(|a, b| a.item.id.cmp(&b.item.id));
    for stray in volumes {
        match of_volume(seen, stray, &mut slots) {
            Ok(action) => plan.add(action),
            Err(why) => drop(plan.left.insert(stray.item.id.to_string(), why)),
        }
    }
    let mut snapshots: Vec<&Stray<CloudSnapshot>> = seen.snapshots.iter().collect();
    snapshots.sort_by(|a, b| a.item.id.cmp(&b.item.id));
    for stray in snapshots {
        match of_snapshot(seen, &stray.item) {
            Ok((pool, action)) => {
                plan.adopting.insert(pool);
                plan.actions.push(action);
            }
            Err(why) => drop(plan.left.insert(stray.item.id.to_string(), why)),
        }
    }
    let mut adopted: Vec<&Adopted> = seen.adopted.iter().collect();
    adopted.sort_by(|a, b| a.cloud.id.cmp(&b.cloud.id));
    plan.actions.extend(adopted.into_iter().filter_map(retag));
    plan
}

impl StrayPlan {
    fn add(&mut self, action: StrayAction) {
        if let StrayAction::AdoptVolume { pool, .. } = &action {
            self.adopting.insert(pool.clone());
        }
        self.actions.push(action);
    }
}

/// The pool whose name a resource carries, and the UID of the pool that made it.
fn owner<'a>(seen: &'a StraysSeen, tags: &'a Tags) -> Result<(&'a ObjectKey, &'a PoolFacts, &'a str), LeftBecause> {
    let key = tags.get(TAG_POOL).and_then(|text| ObjectKey::parse(text)).ok_or(LeftBecause::Retagged)?;
    let uid = tags.get(TAG_POOL_UID).ok_or(LeftBecause::Retagged)?;
    let (key, pool) = seen.pools.get_key_value(&key).ok_or(LeftBecause::PoolGone)?;
    if pool.paused {
        return Err(LeftBecause::PoolKeeps);
    }
    Ok((key, pool, uid))
}

fn of_volume<'a>(
    seen: &'a StraysSeen,
    stray: &'a Stray<CloudVolume>,
    slots: &mut BTreeMap<&'a ObjectKey, BTreeSet<u32>>,
) -> Result<StrayAction, LeftBecause> {
    let volume = &stray.item;
    let (key, pool, uid) = owner(seen, &volume.tags)?;
    if !volume.tags.contains_key(TAG_VOLUME_UID) {
        return Err(LeftBecause::Retagged);
    }
    let is_failed = volume.state == VolumeState::Error && volume.live_attachments().next().is_none();
    if !volume.is_free() && !is_failed {
        return Err(LeftBecause::InUse);
    }
    if uid == pool.uid.as_str() {
        let is_old = seen.observed.duration_since(stray.since) >= GRACE;
        return match (pool.retains, is_old) {
            (true, _) => Err(LeftBecause::PoolKeeps),
            (false, false) => Err(LeftBecause::Young),
            (false, true) => Ok(StrayAction::DeleteVolume { pool: key.clone(), volume: volume.id.clone(), since: stray.since }),
        };
    }
    let generation = volume.tags.get(TAG_GENERATION).and_then(|text| text.parse().ok());
    match (&volume.snapshot, generation) {
        _ if pool.deleting || is_failed => Err(LeftBecause::PoolKeeps),
        (Some(snapshot), Some(generation)) => Ok(StrayAction::AdoptVolume {
            pool: key.clone(),
            pool_uid: pool.uid.clone(),
            slot: free_slot(slots.entry(key).or_default()),
            volume: volume.id.clone(),
            zone: volume.zone.clone(),
            size: volume.size,
            origin: Origin { snapshot: snapshot.clone(), generation },
            retired: !pool.is_read_only,
        }),
        _ => Err(LeftBecause::Retagged),
    }
}

fn of_snapshot(seen: &StraysSeen, snapshot: &CloudSnapshot) -> Result<(ObjectKey, StrayAction), LeftBecause> {
    let (key, pool, _) = owner(seen, &snapshot.tags)?;
    let has_generation = snapshot.tags.get(TAG_GENERATION).is_some_and(|text| text.parse::<u64>().is_ok());
    if !has_generation || pool.source.as_ref() != Some(&snapshot.volume) {
        return Err(LeftBecause::Retagged);
    }
    if pool.deleting || !matches!(snapshot.state, SnapshotState::Completed | SnapshotState::Pending) {
        return Err(LeftBecause::PoolKeeps);
    }
    let tags = [(TAG_POOL_UID.to_owned(), pool.uid.to_string())].into();
    Ok((key.clone(), StrayAction::TagSnapshot { snapshot: snapshot.id.clone(), tags }))
}

fn retag(adopted: &Adopted) -> Option<StrayAction> {
    let wanted: Tags =
        [(TAG_POOL_UID.to_owned(), adopted.pool_uid.to_string()), (TAG_VOLUME_UID.to_owned(), adopted.uid.to_string())].into();
    let is_tagged = wanted.iter().all(|(key, value)| adopted.cloud.tags.get(key) == Some(value));
    (!is_tagged).then(|| StrayAction::TagVolume { volume: adopted.cloud.id.clone(), tags: wanted })
}

fn free_slot(slots: &mut BTreeSet<u32>) -> u32 {
    let slot = (0..u32::MAX).find(|slot| !slots.contains(slot)).unwrap_or(u32::MAX);
    slots.insert(slot);
    slot
}
