//! What a node has of a source that another driver attaches, and what is told of that. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use treesync::model::Position;

use crate::api::{NodeStatus, SyncState, SyncStatus};
use crate::domain::{ObjectKey, VolumeId};

/// What this node has of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Here {
    /// Pods have it, and it is published.
    Published { device: String, filesystem: String, pods: u32 },
    /// Pods have it, and it is not published: it is not assigned to this node, or cannot be, and why.
    Used { device: String, pods: u32, problem: Option<String> },
    /// No pod has it.
    Unused { is_attached: bool, word: Word },
}

/// What this node has of each source, and the object that this is about.
pub(super) type Board = BTreeMap<VolumeId, (ObjectKey, Here)>;

impl Here {
    /// What is told of it to the object of another pool, for which it is not published.
    pub(super) fn of_another(&self, published_for: &ObjectKey) -> Self {
        match self {
            Self::Published { device, pods, .. } | Self::Used { device, pods, .. } => {
                let problem = format!("it is the source of the PoolVolume {published_for} as well; a source is published for one pool");
                Self::Used { device: device.clone(), pods: *pods, problem: Some(problem) }
            }
            Self::Unused { is_attached, .. } => Self::Unused { is_attached: *is_attached, word: Word::AsBefore },
        }
    }
}

/// What is known of the content of a source that no pod of this node has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Word {
    /// No more than what was said before.
    AsBefore,
    /// It was let go at this time, and was here then; none when that is not known.
    LetGo(Option<Position>, Timestamp),
}

/// What is to be stored, after what is stored. None: nothing is to be said.
pub(super) fn side(here: &Here, stored: Option<NodeStatus>, blank: NodeStatus, is_assigned: bool, now: Timestamp) -> Option<NodeStatus> {
    let is_known = stored.is_some();
    let stored = stored.unwrap_or(blank);
    let has_word = stored.sync.as_ref().is_some_and(|sync| sync.state == SyncState::NotMounted);
    let before = NodeStatus { attached: true, error: None, ..stored.clone() };
    match here {
        Here::Published { device, filesystem, pods } => {
            let (device, filesystem) = (Some(device.clone()), Some(filesystem.clone()));
            let sync = stored.sync.filter(|_| !has_word);
            Some(NodeStatus { device, filesystem, mounted: true, published: *pods, sync, ..before })
        }
        // What was said of its content does not hold any more.
        Here::Used { device, pods, problem } => {
            let (device, error) = (Some(device.clone()), problem.clone());
            (is_known || is_assigned).then_some(NodeStatus { device, mounted: false, published: *pods, sync: None, error, ..before })
        }
        Here::Unused { is_attached, word } => {
            let sync = match word {
                Word::AsBefore if has_word && !stored.mounted => stored.sync,
                // Pods came and went, or may have, while nobody looked.
                Word::AsBefore => Some(not_mounted(None, now, stored.sync)),
                Word::LetGo(last, at) => Some(not_mounted(last.as_ref(), *at, stored.sync)),
            };
            let device = stored.device.filter(|_| *is_attached);
            let side = NodeStatus { attached: *is_attached, device, mounted: false, published: 0, sync, ..before };
            (is_known || is_assigned).then_some(side)
        }
    }
}

fn not_mounted(last: Option<&Position>, at: Timestamp, stored: Option<SyncStatus>) -> SyncStatus {
    let (source, epoch, generation) = last.map(|last| (last.source.to_string(), last.epoch, last.generation)).unwrap_or_default();
    // Times are stored in whole seconds.
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let stored = stored.unwrap_or_default();
    SyncStatus {
        state: SyncState::NotMounted,
        source,
        epoch,
        generation,
        last_in_sync_time: Some(Time(at)),
        checkpoint: stored.checkpoint,
        ..SyncStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use treesync::model::SourceId;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch: 3, generation }
    }

    fn stored(state: SyncState, mounted: bool) -> NodeStatus {
        let sync = SyncStatus { state, source: "before".to_owned(), generation: 4, ..SyncStatus::default() };
        NodeStatus { name: "node1".to_owned(), attached: true, mounted, sync: Some(sync), ..NodeStatus::default() }
    }

    fn told(here: &Here, stored: Option<NodeStatus>, is_assigned: bool) -> Option<NodeStatus> {
        side(here, stored, NodeStatus { name: "node1".to_owned(), ..NodeStatus::default() }, is_assigned, NOW)
    }

    fn used(problem: Option<&str>) -> Here {
        Here::Used { device: "nvme1n1".to_owned(), pods: 2, problem: problem.map(str::to_owned) }
    }

    fn unused(word: Word) -> Here {
        Here::Unused { is_attached: true, word }
    }

    #[test]
    fn a_source_that_was_let_go_is_told_with_its_last_position() {
        let side = told(&unused(Word::LetGo(Some(at(9)), NOW)), Some(stored(SyncState::Publishing, true)), true).expect("a side");
        let sync = side.sync.expect("its last words");
        assert_eq!((side.mounted, side.published, sync.state, sync.epoch, sync.generation), (false, 0, SyncState::NotMounted, 3, 9));
        assert_eq!(sync.last_in_sync_time, Some(Time(NOW)));
    }

    #[test]
    fn one_that_was_cut_short_has_no_position() {
        let side = told(&unused(Word::LetGo(None, NOW)), Some(stored(SyncState::Publishing, true)), true).expect("a side");
        assert_eq!(side.sync.expect("its last words").source, "");
    }

    #[test]
    fn last_words_stay_until_a_pod_has_it_again() {
        let before = stored(SyncState::NotMounted, false);
        assert_eq!(told(&unused(Word::AsBefore), Some(before.clone()), false), Some(before.clone()));
        let again = told(&used(None), Some(before.clone()), false).expect("a side");
        assert_eq!((again.sync, again.mounted, again.published), (None, false, 2));
        let published = Here::Published { device: "nvme1n1".to_owned(), filesystem: "xfs".to_owned(), pods: 1 };
        assert_eq!(told(&published, Some(before), true).expect("a side").sync, None);
        let scanning = stored(SyncState::Scanning, true);
        assert_eq!(told(&published, Some(scanning.clone()), true).expect("a side").sync, scanning.sync, "the publisher's own words");
    }

    #[test]
    fn what_was_published_by_a_process_that_ended_is_not_known_any_more() {
        let side = told(&unused(Word::AsBefore), Some(stored(SyncState::Publishing, true)), true).expect("a side");
        let sync = side.sync.expect("its last words");
        assert_eq!((sync.state, sync.source.as_str(), side.mounted), (SyncState::NotMounted, "", false));
    }

    #[test]
    fn a_node_that_was_never_told_to_publish_it_says_nothing() {
        assert_eq!(told(&unused(Word::AsBefore), None, false), None);
        assert_eq!(told(&used(None), None, false), None);
        assert!(told(&unused(Word::AsBefore), None, true).is_some(), "pods came and went before it was published");
    }

    #[test]
    fn a_second_pool_with_the_same_source_is_told_why_it_is_not_published_for_it() {
        let published = Here::Published { device: "nvme1n1".to_owned(), filesystem: "xfs".to_owned(), pods: 1 };
        let side = told(&published.of_another(&ObjectKey::new("shop", "web-source")), None, true).expect("a side");
        assert!(!side.mounted && side.sync.is_none() && side.error.expect("a reason").contains("shop/web-source as well"));
        let rests = unused(Word::LetGo(Some(at(9)), NOW)).of_another(&ObjectKey::new("shop", "web-source"));
        assert_eq!(told(&rests, None, true).expect("a side").sync.expect("words").source, "", "what the other had is not its own");
    }

    #[test]
    fn why_it_cannot_be_published_is_told() {
        let side = told(&used(Some("it is read-only")), None, true).expect("a side");
        assert_eq!((side.error.as_deref(), side.attached, side.mounted), (Some("it is read-only"), true, false));
    }
}
