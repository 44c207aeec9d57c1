//! Every label, annotation, finalizer and well-known name, in one place; EC2 tags are in `domain::tags`.

/// The API group, and the name of the CSI driver and provisioner.
pub const GROUP: &str = "volumedispatcher.io";

/// Label of a PoolVolume: the name of its pool.
pub const LABEL_POOL: &str = "volumedispatcher.io/pool";
/// Label of a PoolVolume: the node that attaches it, or has not yet let go of it. Agents select by it.
pub const LABEL_NODE: &str = "volumedispatcher.io/node";

/// Label of a PoolVolume that is the source of its pool; every agent watches those.
pub const LABEL_ROLE: &str = "volumedispatcher.io/role";
/// The value of [`LABEL_ROLE`] of a source.
pub const ROLE_SOURCE: &str = "source";

/// Finalizer of VolumePool and PoolVolume: nothing in EC2 is left behind unseen.
pub const FINALIZER: &str = "volumedispatcher.io/cleanup";
/// Finalizer of a PersistentVolume: it stays until its volume is released.
pub const FINALIZER_RELEASE: &str = "volumedispatcher.io/release";

/// Volume attribute of a PersistentVolume: namespace and name of its PoolVolume.
pub const ATTRIBUTE_POOL_VOLUME: &str = "volumedispatcher.io/pool-volume";
/// StorageClass parameter: `<namespace>/<name>` of the pool.
pub const PARAMETER_POOL: &str = "pool";
/// StorageClass parameter: which volume of the pool its claims get, [`VOLUME_COPY`] or [`VOLUME_SOURCE`].
pub const PARAMETER_VOLUME: &str = "volume";
/// Annotation of a claim: the same for this claim alone.
pub const ANNOTATION_VOLUME: &str = "volumedispatcher.io/volume";
/// A claim gets a copy of its own.
pub const VOLUME_COPY: &str = "copy";
/// A claim gets the source itself, to write it.
pub const VOLUME_SOURCE: &str = "source";

/// Annotation of a PoolVolume that was made for an EBS volume which existed before it: the id of that volume.
pub const ANNOTATION_ADOPTS: &str = "volumedispatcher.io/adopts";
/// Annotation of a PathOperation: the user who made it. Who sets it at all must set the own name; the chart's policy
/// refuses any other.
pub const ANNOTATION_REQUESTED_BY: &str = "volumedispatcher.io/requested-by";
/// Annotation by which the scheduler names the node of a waiting claim.
pub const ANNOTATION_SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Annotation that tells the volume controller who deletes a PersistentVolume.
pub const ANNOTATION_PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Label of a node: its zone.
pub const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// Field manager of the controller.
pub const MANAGER_CONTROLLER: &str = "volume-dispatcher-controller";
/// Field manager of the agent.
pub const MANAGER_AGENT: &str = "volume-dispatcher-agent";
