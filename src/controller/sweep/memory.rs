//! What the sweeper remembers from sweep to sweep: an answer that lacks something once must not make us forget it.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{CloudSnapshot, CloudVolume, SnapshotId, VolumeId};
use crate::plan::VISIBILITY;

use super::source_use::SourceUse;

/// How long the word on a volume's blocks is believed. Source: EBS user guide, "Monitor the status of Amazon EBS volume
/// initialization": it may itself be minutes late, so that asking more often tells nothing.
const PERCENT_LIFE: SignedDuration = SignedDuration::from_secs(2);

/// Answers of earlier sweeps that still count.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Source volumes.
    pub(super) volumes: Sightings<VolumeId, CloudVolume>,
    /// Source snapshots.
    pub(super) snapshots: Sightings<SnapshotId, CloudSnapshot>,
    /// Since when source volumes are attached to nothing.
    pub(super) source_use: SourceUse,
    percents: HashMap<VolumeId, (Timestamp, Option<u8>)>,
}

/// What was listed, and when last.
#[derive(Debug)]
pub(super) struct Sightings<Id, Item> {
    last: BTreeMap<Id, (Timestamp, Item)>,
}

impl<Id, Item> Default for Sightings<Id, Item> {
    fn default() -> Self {
        Self { last: BTreeMap::new() }
    }
}

impl<Id: Clone + Eq + Hash + Ord, Item: Clone> Sightings<Id, Item> {
    /// What is listed now, and what was listed less than [`VISIBILITY`] ago: one answer without it proves nothing.
    pub(super) fn keep(&mut self, listed: impl Iterator<Item = (Id, Item)>, now: Timestamp) -> BTreeMap<Id, Item> {
        self.last.extend(listed.map(|(id, item)| (id, (now, item))));
        self.last.retain(|_, (seen, _)| now.duration_since(*seen) < VISIBILITY);
        self.last.iter().map(|(id, (_, item))| (id.clone(), item.clone())).collect()
    }
}

impl Memory {
    /// The volumes to ask about again; all others are forgotten.
    pub(super) fn due(&mut self, unsettled: &[VolumeId], now: Timestamp) -> Vec<VolumeId> {
        let known = std::mem::take(&mut self.percents);
        self.percents = unsettled.iter().filter_map(|id| Some((id.clone(), *known.get(id)?))).collect();
        let is_due = |id: &&VolumeId| self.percents.get(*id).is_none_or(|(asked, _)| now.duration_since(*asked) >= PERCENT_LIFE);
        unsettled.iter().filter(is_due).cloned().collect()
    }

    /// Stores an answer about these volumes, also that nothing was said of one.
    pub(super) fn learn_percents(&mut self, asked: &[VolumeId], answer: &BTreeMap<VolumeId, u8>, now: Timestamp) {
        self.percents.extend(asked.iter().map(|id| (id.clone(), (now, answer.get(id).copied()))));
    }

    /// What is known of these volumes.
    pub(super) fn percents(&self, ids: &[VolumeId]) -> BTreeMap<VolumeId, u8> {
        ids.iter().filter_map(|id| Some((id.clone(), self.percents.get(id)?.1?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap_or_default()
    }

    #[test]
    fn one_answer_without_a_source_does_not_make_it_missing() {
        let mut sightings = Sightings::<u8, &str>::default();
        assert_eq!(sightings.keep([(1, "a")].into_iter(), at(0)).len(), 1);
        assert_eq!(sightings.keep([].into_iter(), at(59)), [(1, "a")].into(), "the read may lag");
        assert!(sightings.keep([].into_iter(), at(60)).is_empty(), "now it is gone");
        assert!(sightings.keep([].into_iter(), at(0)).is_empty(), "what was never listed is missing at once");
    }

    #[test]
    fn the_latest_answer_about_a_source_counts() {
        let mut sightings = Sightings::<u8, &str>::default();
        sightings.keep([(1, "old")].into_iter(), at(0));
        assert_eq!(sightings.keep([(1, "new")].into_iter(), at(1)), [(1, "new")].into());
    }

    #[test]
    fn blocks_are_asked_about_at_once_and_then_now_and_then() {
        let (mut memory, ids) = (Memory::default(), [VolumeId::new("vol-1"), VolumeId::new("vol-2")]);
        assert_eq!(memory.due(&ids, at(0)), ids);
        memory.learn_percents(&ids, &[(ids[0].clone(), 40)].into(), at(0));
        assert!(memory.due(&ids, at(1)).is_empty());
        assert_eq!(memory.percents(&ids), [(ids[0].clone(), 40)].into(), "of the other nothing was said");
        assert_eq!(memory.due(&ids, at(2)), ids);
        assert_eq!(memory.due(&[], at(2)), []);
        assert_eq!(memory.due(&ids, at(2)), ids, "a volume that was settled is asked about anew");
    }
}
