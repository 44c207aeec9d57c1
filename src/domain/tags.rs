//! Keys of the EC2 tags by which we find, prove and share resources.

/// The cluster that owns the resource.
pub const TAG_CLUSTER: &str = "volumedispatcher.io/cluster";
/// `<namespace>/<name>` of the pool, for people.
pub const TAG_POOL: &str = "volumedispatcher.io/pool";
/// The UID of the pool, for proof of ownership.
pub const TAG_POOL_UID: &str = "volumedispatcher.io/pool-uid";
/// The UID of the PoolVolume, by which a volume is found again after a lost reply.
pub const TAG_VOLUME_UID: &str = "volumedispatcher.io/pool-volume-uid";
/// The generation of the content.
pub const TAG_GENERATION: &str = "volumedispatcher.io/generation";
/// On a snapshot: the state of a live source that it holds at least, `<source>.<epoch>.<sync generation>`.
pub const TAG_POSITION: &str = "volumedispatcher.io/position";
/// On a source: `<namespace>/<pool>` or `*`, the consent of its owner to be copied.
pub const TAG_SOURCE: &str = "volumedispatcher.io/source";
/// The name that the EC2 console shows.
pub const TAG_NAME: &str = "Name";
