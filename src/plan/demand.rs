//! The input and output of the demand plan: claims, offers, PersistentVolumes, and what to do for them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::{Access, ClaimRef, GiB, NodeName, ObjectKey, Reason, ReclaimPolicy, Uid, VolumeId, Zone};

use super::observation::{Origin, VolumeSeen};
use super::refresh::ContentSeen;
use super::{dispatch, release};

/// Everything that dispatch and release depend on.
#[derive(Clone, Debug, Default)]
pub struct DemandSeen {
    /// Claims of our driver that have no PersistentVolume yet.
    pub claims: Vec<ClaimSeen>,
    /// UIDs of all claims of our driver that exist.
    pub live_claims: BTreeSet<String>,
    /// What each pool offers.
    pub offers: BTreeMap<ObjectKey, Offer>,
    /// All volumes of all pools. `cloud` is not filled: dispatch makes no call to EC2.
    pub volumes: Vec<VolumeSeen>,
    /// PersistentVolumes of our driver.
    pub pvs: Vec<PvSeen>,
    /// The zone of each node.
    pub node_zones: BTreeMap<NodeName, Zone>,
    /// When all of this was seen.
    pub now: Timestamp,
    /// Volumes that an agent waits for while another node may hold them.
    pub requests: BTreeMap<VolumeId, NodeName>,
}

/// A claim that waits for a volume.
#[derive(Clone, Debug)]
pub struct ClaimSeen {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: Uid,
    /// The pool that it names, or what is wrong with it.
    pub pool: Result<ObjectKey, String>,
    /// The size that it asks for.
    pub requested: GiB,
    /// Whether it asks for the source itself, to write it.
    pub wants_source: bool,
    /// Whether its class waits for a node to be chosen.
    pub waits_for_node: bool,
    /// The node that the scheduler chose.
    pub selected_node: Option<NodeName>,
}

/// What a pool offers to claims.
#[derive(Clone, Debug)]
pub struct Offer {
    /// UID of the pool.
    pub pool_uid: Uid,
    /// The size of its volumes; none while the source is unknown.
    pub size: Option<GiB>,
    /// The zones in which it keeps volumes; empty while the source is unknown.
    pub zones: Vec<Zone>,
    /// How pods use a volume.
    pub access: Access,
    /// What happens on release.
    pub reclaim: ReclaimPolicy,
    /// Whether a volume that pods wrote can be made as the source again: it follows one, and nothing is left out of that.
    pub restores: bool,
    /// Whether a volume is made for a claim when none is ready.
    pub makes_on_demand: bool,
    /// Other namespaces that may claim.
    pub namespaces: Vec<String>,
    /// What new volumes are filled from.
    pub origin: Option<Origin>,
    /// What they have of the source then, of a pool that is live.
    pub content: Option<ContentSeen>,
    /// The PersistentVolumeClaim that is its source, which nobody gets from us.
    pub source_claim: Option<String>,
    /// Whether the pool is being deleted or paused, so that nothing new is made.
    pub is_closed: bool,
}

/// A PersistentVolume of our driver.
#[derive(Clone, Debug)]
pub struct PvSeen {
    /// Its name.
    pub name: String,
    /// The PoolVolume that it stands for; none when its attribute was changed by hand.
    pub volume: Option<ObjectKey>,
    /// UID of the claim that it was made for.
    pub claim_uid: String,
    /// Whether that claim is gone.
    pub is_released: bool,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether it stays until an administrator deletes it.
    pub is_retained: bool,
}

/// One effect of the demand plan.
#[derive(Clone, Debug, PartialEq)]
pub enum DemandAction {
    /// Write claim and node into a ready volume, only if it is unchanged since it was seen.
    Reserve {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The claim.
        claim: ClaimRef,
        /// The node that shall attach it.
        node: Option<NodeName>,
    },
    /// Make a PoolVolume that belongs to the claim from the start. Idempotent by its name.
    CreateForClaim {
        /// The pool.
        pool: ObjectKey,
        /// UID of the pool.
        pool_uid: Uid,
        /// Its number.
        slot: u32,
        /// Its zone.
        zone: Zone,
        /// Its size.
        size: GiB,
        /// What it is filled from.
        origin: Origin,
        /// What it has of the source then.
        content: Option<ContentSeen>,
        /// The claim.
        claim: ClaimRef,
        /// The node that shall attach it.
        node: Option<NodeName>,
    },
    /// Make the PersistentVolume of a reserved volume. Idempotent by its name.
    CreatePv {
        /// The volume.
        volume: ObjectKey,
        /// The claim.
        claim: ClaimRef,
        /// Its EBS volume.
        volume_id: VolumeId,
        /// Its zone.
        zone: Zone,
        /// Its size.
        size: GiB,
        /// Whether it stays after release.
        retain: bool,
    },
    /// Order the volume's agent to attach it: another node than before, or the first.
    Assign {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The node.
        node: NodeName,
    },
    /// Order the volume's agent to unmount and detach it.
    Unassign {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
    },
    /// End the refresh of a volume before its time, since a claim waits for it: it is unmounted and detached, then ready.
    CutRefresh {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// Which claim waits.
        why: String,
    },
    /// Take the claim off a volume: it is ready again, or its deletion may go on.
    Free {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// When set, this PersistentVolume must not exist: then no pod can have used the volume.
        unless_pv: Option<String>,
        /// Whether the volume is kept aside instead of handed out again.
        retire: bool,
    },
    /// Order the agent of a released volume to compare it with its source and to mend what differs.
    Restore {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The order, with its time.
        id: String,
    },
    /// Note that nothing is left of what the pods of its claim wrote, and order the agent to unmount and detach it.
    Restored {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// UID of the claim.
        claim_uid: String,
        /// How many paths were mended.
        mended: u64,
    },
    /// Order the agent to unmount and detach a volume that cannot be made as its source again. It is discarded then.
    GiveUp {
        /// The volume.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// What went wrong.
        why: String,
    },
    /// Delete a PoolVolume that must not be handed out again.
    Discard {
        /// The volume.
        volume: ObjectKey,
        /// Its UID.
        uid: Uid,
    },
    /// Delete a PersistentVolume whose volume is settled.
    DeletePv(String),
    /// Let the scheduler choose another node.
    Reschedule(ObjectKey),
    /// Tell the user, by an event on the claim.
    Tell {
        /// The claim.
        claim: ObjectKey,
        /// Its UID.
        uid: Uid,
        /// The reason of the event.
        reason: Reason,
        /// What is the matter and what to do.
        message: String,
    },
}

/// Decides for all claims and PersistentVolumes: releases first, since they make volumes ready, then dispatch.
pub fn demand(seen: &DemandSeen) -> Vec<DemandAction> {
    let mut actions = release::plan(seen);
    actions.extend(dispatch::plan(seen));
    actions
}
