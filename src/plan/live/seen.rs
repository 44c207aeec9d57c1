//! What is seen of the source volume of a live pool, of the agents that could publish it, and of how far volumes are with it.

use jiff::Timestamp;

use crate::domain::{GiB, NodeName, SyncPosition, SyncState, VolumeId, Zone};

use super::super::observation::VolumeSeen;

/// How a source is published, and what claims of its pool are promised.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PublishWanted {
    /// Patterns of paths that are not copied.
    pub exclude: Vec<String>,
    /// Patterns of paths that copies keep as they are.
    pub preserve_on_copies: Vec<String>,
    /// Bytes a second to all followers; none: no limit.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// How old the content of a copy may be when a pod gets it.
    pub max_staleness_milliseconds: u64,
    /// Whether pods get what a copy has while nobody publishes the source.
    pub serves_alone: bool,
    /// The driver that attaches the source, when our agents do not.
    pub attached_by: Option<String>,
}

/// The PoolVolume of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceObject {
    /// The object, joined with what EC2 shows of the source volume.
    pub volume: VolumeSeen,
    /// How agents are told to publish it.
    pub publish: Option<PublishWanted>,
    /// The number of the checkpoint that was ordered last.
    pub checkpoint: Option<u64>,
    /// The node whose pods wait for it, or have it from another driver.
    pub requested_by: Option<NodeName>,
}

impl SourceObject {
    /// What the agent says that shall publish it, once it does.
    pub(in super::super) fn publishing(&self) -> Option<&SyncSeen> {
        let side =
            self.volume.node.as_ref().filter(|side| Some(side.node.as_str()) == self.volume.node_name.as_ref().map(NodeName::as_str));
        side?.sync.as_ref().filter(|sync| sync.state == SyncState::Publishing)
    }

    /// Whether agents are told that another driver attaches it.
    pub(super) fn is_foreign(&self) -> bool {
        self.publish.as_ref().is_some_and(|publish| publish.attached_by.is_some())
    }
}

/// An agent, as far as it matters to a source.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AgentSeen {
    /// The zone of its instance.
    pub zone: Zone,
    /// How many volumes its instance can still take.
    pub free_slots: u32,
    /// Whether it can publish: it has an address and a certificate.
    pub publishes: bool,
    /// Whether its node takes no new pods, and so may be about to go.
    pub is_cordoned: bool,
}

/// How far a volume is with its source, as its agent reports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SyncSeen {
    /// What it is doing.
    pub state: SyncState,
    /// The position that it has, also after a loss of power; none while it has none.
    pub position: Option<SyncPosition>,
    /// Where the source is published; of a source only.
    pub address: Option<String>,
    /// The last checkpoint; of a source only.
    pub checkpoint: Option<CheckpointSeen>,
    /// The last comparison that was ordered.
    pub verified: Option<VerifiedSeen>,
    /// When it last had all that the source had; of a source that no pod has, when the last one let it go.
    pub last_in_sync: Option<Timestamp>,
    /// What fails at present.
    pub error: Option<String>,
}

/// The answer to an order of a checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckpointSeen {
    /// The number that was ordered.
    pub number: u64,
    /// What a snapshot that is taken later has at least; none when the checkpoint failed.
    pub position: Option<SyncPosition>,
}

/// The answer to an order of a comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifiedSeen {
    /// The order.
    pub id: String,
    /// How many paths differed.
    pub differences: u64,
    /// Whether all of them were mended.
    pub repaired: bool,
    /// Why the comparison could not be made.
    pub error: Option<String>,
}

/// The object of a source that shall be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSource {
    /// The source volume.
    pub volume: VolumeId,
    /// Its zone.
    pub zone: Zone,
    /// Its size.
    pub size: GiB,
    /// How it is published.
    pub publish: PublishWanted,
}
