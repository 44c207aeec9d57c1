//! Whose is what: resources by the value of the tag that names their owner.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Audit;
use crate::world::{VolumePhase, World};

/// How to tell owners.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owners<'a> {
    /// The tag whose value is the owner.
    pub(crate) tag: &'a str,
    /// The owners that still exist, if that is known.
    pub(crate) existing: Option<&'a BTreeSet<String>>,
}

/// What belongs to one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// How many volumes have each status; those that are being deleted are left out.
    pub volumes: BTreeMap<String, usize>,
    /// GiB of these volumes.
    pub gib: u64,
    /// Snapshots.
    pub snapshots: usize,
    /// Instances that are not terminated.
    pub instances: usize,
}

impl Audit {
    /// Adds who owns what, by the value of this tag. `existing` are the owners that still exist,
    /// if the caller knows: what belongs to another is listed as [`Audit::ownerless`].
    #[must_use]
    pub fn by_owner(mut self, world: &World, tag_key: &str, existing: Option<&BTreeSet<String>>) -> Self {
        let is_lost = |owner: &str| !owner.is_empty() && existing.is_some_and(|existing| !existing.contains(owner));
        let value = |tags: &BTreeMap<String, String>| tags.get(tag_key).cloned().unwrap_or_default();
        for volume in world.volumes().values().filter(|v| !matches!(v.phase, VolumePhase::Deleting { .. })) {
            let owner = value(&volume.tags);
            if is_lost(&owner) {
                self.ownerless.push(format!("{} ({}) of {owner}", volume.id, volume.status()));
            }
            let holdings = self.owners.entry(owner).or_default();
            *holdings.volumes.entry(volume.status().to_owned()).or_default() += 1;
            holdings.gib += u64::from(volume.size_gib);
        }
        for snapshot in world.snapshots().values().filter(|s| !s.deleted) {
            let owner = value(&snapshot.tags);
            if is_lost(&owner) {
                self.ownerless.push(format!("{} ({}) of {owner}", snapshot.id, snapshot.status()));
            }
            self.owners.entry(owner).or_default().snapshots += 1;
        }
        for instance in world.instances().values().filter(|i| i.phase.state().1 != "terminated") {
            self.owners.entry(value(&instance.tags)).or_default().instances += 1;
        }
        self
    }
}
