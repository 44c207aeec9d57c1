//! The table of actions: names, what they touch, whether they change anything, and their rate limits.

use serde::{Deserialize, Serialize};

use crate::world::Kind;

/// A token bucket: how many calls at once, and how many a second after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Tokens it holds when full.
    pub size: u32,
    /// Tokens that come back in a second.
    pub refill_per_second: u32,
}

impl Bucket {
    /// A bucket of this size and refill.
    pub const fn new(size: u32, refill_per_second: u32) -> Self {
        Self { size, refill_per_second }
    }
}

/// What is known of an action before its parameters are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionSpec {
    /// The name on the wire.
    pub name: &'static str,
    /// The resource types whose ARNs a policy can name; empty when only `*` matches.
    ///
    /// Source: Service Authorization Reference, "Actions, resources, and condition keys for Amazon EC2".
    pub resources: &'static [Kind],
    /// The resource types that the call makes, which can be tagged by it.
    pub creates: &'static [Kind],
    /// Whether it changes the account.
    pub mutates: bool,
    /// Requests a second, per account and region.
    ///
    /// Source: EC2 Developer Guide, "Request throttling for the Amazon EC2 API".
    pub bucket: Bucket,
    /// The bucket of a describe without filter and without page size, where it has one of its own.
    pub unfiltered: Option<Bucket>,
    /// The bucket of resources: each instance that the call names or makes takes a token.
    pub per_resource: Option<Bucket>,
}

/// Describe calls with a filter or a page size, and those that have no class of their own.
const READ: Bucket = Bucket::new(100, 20);
/// Describes of everything at once.
const READ_ALL: Bucket = Bucket::new(50, 10);
/// Changing calls that the guide does not list.
const WRITE: Bucket = Bucket::new(50, 5);
/// `CreateVolume`, `DeleteVolume`, `CreateSnapshot`, `CreateSnapshots`, `DeleteSnapshot`.
const WRITE_EBS: Bucket = Bucket::new(100, 5);
/// `CreateTags`, `DeleteTags`.
const TAG: Bucket = Bucket::new(100, 10);
/// `RunInstances`, `StartInstances`.
const LAUNCH: Bucket = Bucket::new(5, 2);

const fn read(name: &'static str) -> ActionSpec {
    ActionSpec { name, resources: &[], creates: &[], mutates: false, bucket: READ, unfiltered: None, per_resource: None }
}

const fn read_of(name: &'static str, resources: &'static [Kind]) -> ActionSpec {
    ActionSpec { resources, ..read(name) }
}

const fn list(name: &'static str) -> ActionSpec {
    ActionSpec { unfiltered: Some(READ_ALL), ..read(name) }
}

const fn write(name: &'static str, resources: &'static [Kind], bucket: Bucket) -> ActionSpec {
    ActionSpec { resources, mutates: true, bucket, ..read(name) }
}

const fn create(name: &'static str, resources: &'static [Kind], creates: &'static [Kind], bucket: Bucket) -> ActionSpec {
    ActionSpec { creates, ..write(name, resources, bucket) }
}

const fn instances(name: &'static str, bucket: Bucket, per_resource: Bucket) -> ActionSpec {
    ActionSpec { per_resource: Some(per_resource), ..write(name, &[Kind::Instance], bucket) }
}

/// Every action there is here, sorted by name.
pub const ACTIONS: &[ActionSpec] = &[
    write("AttachVolume", &[Kind::Instance, Kind::Volume], WRITE),
    create("CopySnapshot", &[Kind::Snapshot], &[Kind::Snapshot], WRITE),
    create("CopyVolumes", &[Kind::Volume], &[Kind::Volume], WRITE),
    create("CreateSnapshot", &[Kind::Snapshot, Kind::Volume], &[Kind::Snapshot], WRITE_EBS),
    create("CreateSnapshots", &[Kind::Instance, Kind::Snapshot, Kind::Volume], &[Kind::Snapshot], WRITE_EBS),
    write("CreateTags", &[Kind::Instance, Kind::Snapshot, Kind::Volume], TAG),
    create("CreateVolume", &[Kind::Snapshot, Kind::Volume], &[Kind::Volume], WRITE_EBS),
    write("DeleteSnapshot", &[Kind::Snapshot], WRITE_EBS),
    write("DeleteTags", &[Kind::Instance, Kind::Snapshot, Kind::Volume], TAG),
    write("DeleteVolume", &[Kind::Volume], WRITE_EBS),
    read("DescribeAvailabilityZones"),
    read("DescribeFastSnapshotRestores"),
    read("DescribeInstanceTypes"),
    list("DescribeInstances"),
    read("DescribeLockedSnapshots"),
    read("DescribeRegions"),
    list("DescribeSnapshots"),
    read("DescribeTags"),
    read_of("DescribeVolumeAttribute", &[Kind::Volume]),
    read("DescribeVolumeStatus"),
    list("DescribeVolumes"),
    read("DescribeVolumesModifications"),
    write("DetachVolume", &[Kind::Instance, Kind::Volume], WRITE),
    write("DisableFastSnapshotRestores", &[Kind::Snapshot], WRITE),
    write("EnableFastSnapshotRestores", &[Kind::Snapshot], WRITE),
    write("LockSnapshot", &[Kind::Snapshot], WRITE),
    write("ModifyVolume", &[Kind::Volume], WRITE),
    ActionSpec { creates: &[Kind::Instance, Kind::Volume], ..instances("RunInstances", LAUNCH, Bucket::new(1_000, 2)) },
    instances("StartInstances", LAUNCH, Bucket::new(1_000, 2)),
    instances("StopInstances", WRITE, Bucket::new(1_000, 20)),
    instances("TerminateInstances", WRITE, Bucket::new(1_000, 20)),
    write("UnlockSnapshot", &[Kind::Snapshot], WRITE),
];

impl ActionSpec {
    /// The action of this name, spelled exactly as on the wire.
    pub fn find(name: &str) -> Option<&'static Self> {
        ACTIONS.binary_search_by(|spec| spec.name.cmp(name)).ok().map(|at| &ACTIONS[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name_and_nothing_else_is() {
        for spec in ACTIONS {
            assert_eq!(ActionSpec::find(spec.name), Some(spec));
        }
        for name in ["", "DescribeVpcs", "createvolume", "ZZZ"] {
            assert_eq!(ActionSpec::find(name), None, "{name}");
        }
    }

    #[test]
    fn only_describes_leave_the_account_alone() {
        for spec in ACTIONS {
            assert_eq!(spec.mutates, !spec.name.starts_with("Describe"), "{}", spec.name);
        }
    }
}
