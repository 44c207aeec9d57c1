//! Calls with the parameters that most tests want, on a simulator.

use aws_sdk_ec2::operation::attach_volume::builders::AttachVolumeFluentBuilder;
use aws_sdk_ec2::operation::create_volume::builders::CreateVolumeFluentBuilder;
use aws_sdk_ec2::types::{Filter, InstanceType, Placement, ResourceType, Snapshot, Tag, TagSpecification, Volume, VolumeType};
use ec2_sim_sdk_tests::Simulator;

pub(crate) const ZONE: &str = "us-east-1a";
pub(crate) const DEVICE: &str = "/dev/xvdba";
/// Ids of the right form that nothing has.
pub(crate) const NO_VOLUME: &str = "vol-0123456789abcdef0";
pub(crate) const NO_SNAPSHOT: &str = "snap-0123456789abcdef0";
pub(crate) const NO_INSTANCE: &str = "i-0123456789abcdef0";

/// What a test does to an account in a word.
pub(crate) trait Account {
    /// A gp3 volume of 1 GiB, not yet sent.
    fn gp3(&self) -> CreateVolumeFluentBuilder;
    /// A volume, whatever its state.
    async fn volume(&self) -> String;
    /// A snapshot of a volume of its own, whatever its state.
    async fn snapshot(&self) -> String;
    /// An instance of this type in the first zone, whatever its state.
    async fn instance(&self, kind: &str) -> String;
    /// An attachment, not yet sent.
    fn attach(&self, volume: &str, instance: &str) -> AttachVolumeFluentBuilder;
    /// The volume as DescribeVolumes shows it.
    async fn seen(&self, volume: &str) -> Volume;
    /// The snapshot as DescribeSnapshots shows it.
    async fn snapshot_seen(&self, snapshot: &str) -> Snapshot;
}

impl Account for Simulator {
    fn gp3(&self) -> CreateVolumeFluentBuilder {
        self.ec2.create_volume().size(1).volume_type(VolumeType::Gp3).availability_zone(ZONE)
    }

    async fn volume(&self) -> String {
        self.gp3().send().await.unwrap().volume_id.unwrap()
    }

    async fn snapshot(&self) -> String {
        let volume = self.volume().await;
        self.ec2.create_snapshot().volume_id(volume).send().await.unwrap().snapshot_id.unwrap()
    }

    async fn instance(&self, kind: &str) -> String {
        let placement = Placement::builder().availability_zone(ZONE).build();
        let launch = self.ec2.run_instances().min_count(1).max_count(1).instance_type(InstanceType::from(kind)).placement(placement);
        launch.send().await.unwrap().instances.unwrap().remove(0).instance_id.unwrap()
    }

    fn attach(&self, volume: &str, instance: &str) -> AttachVolumeFluentBuilder {
        self.ec2.attach_volume().volume_id(volume).instance_id(instance).device(DEVICE)
    }

    async fn seen(&self, volume: &str) -> Volume {
        self.ec2.describe_volumes().volume_ids(volume).send().await.unwrap().volumes.unwrap().remove(0)
    }

    async fn snapshot_seen(&self, snapshot: &str) -> Snapshot {
        self.ec2.describe_snapshots().snapshot_ids(snapshot).send().await.unwrap().snapshots.unwrap().remove(0)
    }
}

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

pub(crate) fn tagged(kind: ResourceType, key: &str, value: &str) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).tags(tag(key, value)).build()
}

pub(crate) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}
