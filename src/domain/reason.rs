//! The closed set of reasons that conditions, events and metric labels share.

/// Why something is as it is. The spelling is the API: it never changes its meaning.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// All that this condition speaks of is as wanted.
    AsWanted,
    /// The pool has what it promises.
    PoolReady,
    /// The pool is being deleted.
    Deleting,
    /// EC2 denies to delete what is left of the pool.
    DeletionDenied,
    /// The pool's deletion waits for claims to be released.
    ClaimsRemain,
    /// `spec.paused` is true.
    Paused,
    /// `spec.paused` is false.
    Active,
    /// The source volume or snapshot does not exist in this account and region.
    SourceNotFound,
    /// The source does not carry the tag with which its owner shares it with this pool.
    SourceNotShared,
    /// The source is in a state from which nothing can be copied.
    SourceNotUsable,
    /// The claim that is the source is not bound to a PersistentVolume.
    SourceNotBound,
    /// The claim that is the source is not an EBS volume.
    SourceNotEbs,
    /// The claim that is the source names another volume than before.
    SourceChanged,
    /// `spec.template.size` is smaller than the source.
    SizeBelowSource,
    /// A zone of `spec.zones` has no node, so no pod could ever use its volumes.
    ZoneHasNoNode,
    /// A snapshot is being taken; volumes follow when it is completed.
    SnapshotPending,
    /// A snapshot failed; the next attempt follows.
    SnapshotFailed,
    /// `spec.snapshots` cannot be understood.
    InvalidSchedule,
    /// Fewer volumes than wanted are ready; more are on their way.
    Filling,
    /// More volumes than wanted are ready; some are on their way out.
    Shrinking,
    /// Ready volumes are out of date and are being replaced.
    Replacing,
    /// Ready volumes are further behind their source than the pool allows, and are refreshed.
    Refreshing,
    /// The refresh of a volume did not come to its end.
    RefreshFailed,
    /// A ready volume was sent to a node to receive what it lacks.
    RefreshStarted,
    /// A volume has received what it lacked, and leaves its node.
    Refreshed,
    /// A refresh was cut short, since something else was more important.
    RefreshStopped,
    /// EC2 refused or failed a call.
    Ec2Failed,
    /// The agent of the node reports an error for the volume.
    AgentFailed,
    /// The source is on its way to a node that publishes it.
    SourceStarting,
    /// An instance without an agent has the source attached.
    SourceInUse,
    /// No node can publish the source.
    NoNodeForSource,
    /// The node that has the source cannot publish it.
    SourceFailed,
    /// No pod has the source mounted, whose volume another driver attaches, so that its content cannot change.
    NotMounted,
    /// A node was told to publish the source.
    SourceAssigned,
    /// A node publishes the source from now on.
    SourcePublished,
    /// All of the source was compared with what is known of it.
    SourceCompared,
    /// The source or a volume had changed though nobody had told.
    DriftFound,
    /// Mounted volumes lack changes of the source, and receive them.
    CatchingUp,
    /// A mounted volume cannot follow the source.
    CopyFailed,
    /// A snapshot was asked for.
    SnapshotCreated,
    /// A snapshot that nobody needs any more was deleted.
    SnapshotDeleted,
    /// An EBS volume was asked for.
    VolumeCreated,
    /// An EBS volume could not be made.
    VolumeFailed,
    /// A change of an EBS volume in place was asked for.
    VolumeModified,
    /// EC2 cannot be read, so that nothing is decided.
    Ec2Unreadable,
    /// An EBS volume was deleted.
    VolumeDeleted,
    /// An EBS volume whose object was lost has an object again.
    Adopted,
    /// An EBS volume that no object knew was deleted.
    OrphanDeleted,
    /// A claim got a volume.
    Dispatched,
    /// A claim waits for a volume to be ready.
    WaitingForVolume,
    /// The claim names a pool that does not exist.
    PoolNotFound,
    /// The claim's namespace may not use the pool.
    NamespaceNotAllowed,
    /// The claim asks for more than the pool's volumes hold.
    RequestTooLarge,
    /// The claim names no pool, or asks for a mode that the pool cannot give.
    InvalidClaim,
    /// The pool keeps no volumes in the zone of the node that was chosen for the pod.
    ZoneNotInPool,
    /// A released volume is ready again.
    Recycled,
    /// A released volume was kept.
    Retained,
    /// A released volume that pods had written could not be made as its source again, and is deleted.
    NotRecycled,
    /// The volumes of the pool do not follow a source.
    SourceNotLive,
    /// No agent publishes the source at the moment.
    SourceNotPublished,
    /// A path operation is under way.
    OperationRunning,
    /// A path operation has done what it should on all volumes.
    OperationComplete,
    /// The source could not do the path operation.
    OperationRefused,
    /// Not every volume had a path operation in time.
    OperationTimedOut,
    /// Volumes were compared with the source, and are not as it is.
    VolumesDiffer,
}

impl Reason {
    /// The spelling in conditions, events and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsWanted => "AsWanted",
            Self::PoolReady => "PoolReady",
            Self::Deleting => "Deleting",
            Self::DeletionDenied => "DeletionDenied",
            Self::ClaimsRemain => "ClaimsRemain",
            Self::Paused => "Paused",
            Self::Active => "Active",
            Self::SourceNotFound => "SourceNotFound",
            Self::SourceNotShared => "SourceNotShared",
            Self::SourceNotUsable => "SourceNotUsable",
            Self::SourceNotBound => "SourceNotBound",
            Self::SourceNotEbs => "SourceNotEbs",
            Self::SourceChanged => "SourceChanged",
            Self::SizeBelowSource => "SizeBelowSource",
            Self::ZoneHasNoNode => "ZoneHasNoNode",
            Self::SnapshotPending => "SnapshotPending",
            Self::SnapshotFailed => "SnapshotFailed",
            Self::InvalidSchedule => "InvalidSchedule",
            Self::Filling => "Filling",
            Self::Shrinking => "Shrinking",
            Self::Replacing => "Replacing",
            Self::Refreshing => "Refreshing",
            Self::RefreshFailed => "RefreshFailed",
            Self::RefreshStarted => "RefreshStarted",
            Self::Refreshed => "Refreshed",
            Self::RefreshStopped => "RefreshStopped",
            Self::Ec2Failed => "Ec2Failed",
            Self::AgentFailed => "AgentFailed",
            Self::SourceStarting => "SourceStarting",
            Self::SourceInUse => "SourceInUse",
            Self::NoNodeForSource => "NoNodeForSource",
            Self::SourceFailed => "SourceFailed",
            Self::NotMounted => "NotMounted",
            Self::SourceAssigned => "SourceAssigned",
            Self::SourcePublished => "SourcePublished",
            Self::SourceCompared => "SourceCompared",
            Self::DriftFound => "DriftFound",
            Self::CatchingUp => "CatchingUp",
            Self::CopyFailed => "CopyFailed",
            Self::SnapshotCreated => "SnapshotCreated",
            Self::SnapshotDeleted => "SnapshotDeleted",
            Self::VolumeCreated => "VolumeCreated",
            Self::VolumeFailed => "VolumeFailed",
            Self::VolumeModified => "VolumeModified",
            Self::Ec2Unreadable => "Ec2Unreadable",
            Self::VolumeDeleted => "VolumeDeleted",
            Self::Adopted => "Adopted",
            Self::OrphanDeleted => "OrphanDeleted",
            Self::Dispatched => "Dispatched",
            Self::WaitingForVolume => "WaitingForVolume",
            Self::PoolNotFound => "PoolNotFound",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::RequestTooLarge => "RequestTooLarge",
            Self::InvalidClaim => "InvalidClaim",
            Self::ZoneNotInPool => "ZoneNotInPool",
            Self::Recycled => "Recycled",
            Self::Retained => "Retained",
            Self::NotRecycled => "NotRecycled",
            Self::SourceNotLive => "SourceNotLive",
            Self::SourceNotPublished => "SourceNotPublished",
            Self::OperationRunning => "OperationRunning",
            Self::OperationComplete => "OperationComplete",
            Self::OperationRefused => "OperationRefused",
            Self::OperationTimedOut => "OperationTimedOut",
            Self::VolumesDiffer => "VolumesDiffer",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
