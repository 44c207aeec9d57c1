//! What was seen of one pool, parsed into values: the whole input of the supply plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::live::{AgentSeen, PublishWanted, SourceObject, SyncSeen};
use super::refresh::{ContentSeen, RefreshSeen, RefreshWanted};
use crate::domain::cloud::Tags;
use crate::domain::{
    ClaimRef, CloudSnapshot, CloudVolume, Encryption, GiB, InstanceId, ModificationState, NodeName, ObjectKey, Phase, Role, Schedule,
    SnapshotId, SyncPosition, Uid, VolumeId, VolumeSettings, Zone,
};

/// Everything that the plan for one pool depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSeen {
    /// When EC2 was asked: what was made later cannot be in these answers.
    pub observed: Timestamp,
    /// What the user asked for.
    pub pool: PoolWanted,
    /// What EC2 says of the source.
    pub source: SourceSeen,
    /// How busy EC2 is with snapshots of the source, those of other pools included.
    pub source_load: SourceLoad,
    /// The last time span in which each look found the source volume attached to nothing.
    pub source_free: Option<FreeSpan>,
    /// Snapshots that carry this pool's UID, in any order.
    pub snapshots: Vec<CloudSnapshot>,
    /// The pool's copies, in any order.
    pub volumes: Vec<VolumeSeen>,
    /// The object of the source volume, of a pool that is live or was.
    pub source_object: Option<SourceObject>,
    /// Agents that could publish the source; empty for a pool that is not live.
    pub agents: BTreeMap<NodeName, AgentSeen>,
    /// The node of each instance that has an agent.
    pub instances: BTreeMap<InstanceId, NodeName>,
    /// Nodes that exist.
    pub nodes: BTreeSet<NodeName>,
    /// Zones in which at least one node exists.
    pub zones_with_nodes: BTreeSet<Zone>,
}

/// The parsed spec of a pool, and what of its metadata and stored intent matters.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the object, and they vary independently")]
pub struct PoolWanted {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID, the root of all ownership proofs.
    pub uid: Uid,
    /// The cluster whose tag our resources carry.
    pub cluster: String,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub has_finalizer: bool,
    /// Whether every EC2 write is stopped.
    pub paused: bool,
    /// Volumes to keep ready and unclaimed.
    pub replicas: u32,
    /// Where the content comes from.
    pub source: Source,
    /// The id of the source that was used before.
    pub recorded_source: Option<String>,
    /// Wanted size of each volume; none: the source's.
    pub size: Option<GiB>,
    /// How volumes are made, their size left out.
    pub template: TemplateWanted,
    /// Wanted zones; empty: the source's.
    pub zones: Vec<Zone>,
    /// When snapshots are taken, and how long they are kept.
    pub snapshots: SnapshotsWanted,
    /// Whether EC2 resources are kept when the pool is deleted.
    pub retain_on_deletion: bool,
    /// The highest generation of a snapshot that was ever seen completed; 0 for none.
    pub completed_generation: u64,
    /// Since when EC2 denies to delete a snapshot of the pool.
    pub denied_since: Option<Timestamp>,
    /// The snapshot that was decided on last, and when.
    pub snapshot_intent: Option<(u64, Timestamp)>,
    /// The checkpoint that was ordered last, and when.
    pub checkpoint_order: Option<(u64, Timestamp)>,
    /// How the source is published, of a pool that is live.
    pub live: Option<PublishWanted>,
    /// How far its ready volumes may fall behind; none for a pool that is not live, or refreshes nothing.
    pub refresh: Option<RefreshWanted>,
}

/// How volumes are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateWanted {
    /// Type and speed; what is none is as EC2 gives it.
    pub settings: VolumeSettings,
    /// Encryption, which cannot be changed in place.
    pub encryption: Encryption,
    /// The tags of the user.
    pub tags: Tags,
}

/// When snapshots are taken, and how long they are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotsWanted {
    /// When; none: only the first. Or why that cannot be understood.
    pub schedule: Result<Option<Schedule>, String>,
    /// Whether none is taken while the source cannot have changed.
    pub skip_unchanged: bool,
    /// Completed snapshots that are kept.
    pub keep_count: u32,
    /// How old a completed snapshot may become; none: as old as it likes.
    pub keep_age: Option<SignedDuration>,
    /// How many generations a ready volume may be behind the newest completed snapshot.
    pub allowed_lag: u64,
}

/// How busy EC2 is with snapshots of one volume.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SourceLoad {
    /// Snapshots that are being stored, or failed: EC2 counts both.
    pub unfinished: u32,
    /// When the last one was started.
    pub last_started: Option<Timestamp>,
}

/// A time span in which each look found a volume attached to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FreeSpan {
    /// The first look.
    pub since: Timestamp,
    /// The last look.
    pub until: Timestamp,
}

/// Where the content of a pool comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A volume, of which snapshots are taken.
    Volume(VolumeId),
    /// A fixed snapshot.
    Snapshot(SnapshotId),
    /// The volume of a PersistentVolumeClaim of the pool's namespace, by its name.
    Claim(String),
}

/// What EC2 says of the source.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSeen {
    /// There is no resource of this id.
    Missing(String),
    /// The claim names no EBS volume.
    Faulty(ClaimFault),
    /// The source volume.
    Volume(CloudVolume),
    /// The source snapshot.
    Snapshot(CloudSnapshot),
}

/// Why a claim names no EBS volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimFault {
    /// There is no such claim.
    NotFound,
    /// It has no PersistentVolume yet.
    NotBound,
    /// Its PersistentVolume is something else, in words.
    NotEbs(String),
    /// It is a raw block device, and the pool is live: no mount tells when it is written.
    Raw,
}

/// A snapshot and the generation of its content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The generation.
    pub generation: u64,
}

impl Origin {
    /// That of a source, which its owner has filled.
    pub fn none() -> Self {
        Self { snapshot: SnapshotId::new(""), generation: 0 }
    }
}

/// One PoolVolume joined with what EC2 and its agent say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeSeen {
    /// Namespace and name.
    pub key: ObjectKey,
    /// What it is to its pool.
    pub role: Role,
    /// UID: one object is one attempt to make one EBS volume.
    pub uid: Uid,
    /// The version that decisions were made on; writes with an older one are refused.
    pub resource_version: String,
    /// The name of its pool.
    pub pool: String,
    /// Its number in the pool.
    pub slot: u32,
    /// How often in a row EC2 had failed to make a volume before it.
    pub attempt: u32,
    /// The encryption that was asked for.
    pub encryption: Encryption,
    /// Its zone.
    pub zone: Zone,
    /// Its size.
    pub size: GiB,
    /// What it is filled from.
    pub origin: Origin,
    /// The claim that holds it.
    pub claim: Option<ClaimRef>,
    /// The driver that attaches it, of a source that our agents do not attach.
    pub attached_by: Option<String>,
    /// The node that shall attach it.
    pub node_name: Option<NodeName>,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether it must never be handed out again.
    pub retired: bool,
    /// The id of the comparison with its source that is ordered.
    pub ordered: Option<String>,
    /// UID of the claim after which it was found, or made, as its source.
    pub restored_after: Option<String>,
    /// What it was noted to have of its source; none: what its snapshot has.
    pub content: Option<ContentSeen>,
    /// Its last refresh, or the one that is under way.
    pub refresh: Option<RefreshSeen>,
    /// The phase that was published last.
    pub phase: Option<Phase>,
    /// What we stored of EC2's answers.
    pub recorded: Recorded,
    /// The EBS volume as of this sweep, found by id or by our tag.
    pub cloud: Option<CloudVolume>,
    /// Percent of blocks loaded, as of this sweep or as stored.
    pub initialized_percent: u8,
    /// What the agent reports.
    pub node: Option<NodeSide>,
}

/// What is stored in a PoolVolume about its EBS volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The volume that EC2 gave.
    pub volume: Option<VolumeId>,
    /// When it was asked for.
    pub requested: Option<Timestamp>,
    /// When the object was made for an EBS volume that existed before it; its tags follow.
    pub adopted: Option<Timestamp>,
    /// Since when EC2 does not list it.
    pub missing_since: Option<Timestamp>,
    /// Whether EC2 accepted its deletion.
    pub deletion_accepted: bool,
    /// The last change in place.
    pub modification: Option<Modification>,
    /// Since when EC2 denies its deletion.
    pub denied_since: Option<Timestamp>,
    /// What EC2 last refused.
    pub error: Option<String>,
}

/// A change of a volume in place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Modification {
    /// When it was asked for.
    pub requested: Timestamp,
    /// How far it is; none while EC2 does not show it.
    pub state: Option<ModificationState>,
    /// Why EC2 refused it, if it did.
    pub refusal: Option<String>,
}

impl Modification {
    /// Whether the volume is about to become another, so that it is worth looking again soon.
    pub(super) fn is_under_way(&self) -> bool {
        self.refusal.is_none() && matches!(self.state, None | Some(ModificationState::Modifying))
    }
}

/// What the agent of a node reports about a volume.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NodeSide {
    /// The node.
    pub node: String,
    /// Whether EC2 shows it attached there.
    pub attached: bool,
    /// Its filesystem, once it was mounted.
    pub filesystem: Option<String>,
    /// Whether its filesystem is mounted.
    pub mounted: bool,
    /// How many pods have it.
    pub published: u32,
    /// What fails at present.
    pub error: Option<String>,
    /// How far its content is with the source, of a pool that is live.
    pub sync: Option<SyncSeen>,
}

impl VolumeSeen {
    /// Whether no agent has anything of it.
    pub fn is_off_nodes(&self) -> bool {
        self.node_name.is_none() && self.node.is_none()
    }

    /// Whether a claim may have it now. What was published may be older than the order to refresh it, or than the end of that.
    pub fn is_claimable(&self) -> bool {
        let is_at_rest = self.refresh.is_none() || self.is_off_nodes();
        self.phase == Some(Phase::Ready) && is_at_rest && self.claim.is_none() && !self.deleting && !self.retired
    }
}

impl PoolSeen {
    /// Where the source is, as the agent says that publishes it; none while nobody does.
    pub(super) fn published_position(&self) -> Option<&SyncPosition> {
        self.source_object.as_ref().filter(|_| self.pool.live.is_some())?.publishing()?.position.as_ref()
    }

    /// Whether every zone that the user named lacks a node, so that nothing could ever use what is made.
    pub fn has_no_usable_zone(&self) -> bool {
        let wanted = &self.pool.zones;
        !wanted.is_empty() && wanted.iter().all(|zone| !self.zones_with_nodes.contains(zone))
    }
}
