//! The AWS account of the stage, used through the real SDK as any administrator would.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ec2::types::{Filter, InstanceType, Placement, ResourceType, Snapshot, Tag, TagSpecification, Volume, VolumeState};

use crate::wait;

/// The keys that the stage's pods get too; the simulator takes any.
pub const ACCESS_KEY_ID: &str = "demo";
/// See [`ACCESS_KEY_ID`].
pub const SECRET_ACCESS_KEY: &str = "demo-secret";
/// The region of the stage.
pub const REGION: &str = "us-east-1";

/// A client of the simulated EC2.
#[derive(Clone, Debug)]
pub struct Account {
    client: Client,
}

impl Account {
    /// A client for the endpoint.
    pub fn new(endpoint_url: &str) -> Self {
        let credentials =
            Credentials::builder().access_key_id(ACCESS_KEY_ID).secret_access_key(SECRET_ACCESS_KEY).provider_name("stage").build();
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(credentials)
            .endpoint_url(endpoint_url)
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Starts an instance and returns its id.
    pub async fn run_instance(&self, name: &str, zone: &str) -> Result<String> {
        let tags = TagSpecification::builder().resource_type(ResourceType::Instance).tags(tag("Name", name)).build();
        let started = self
            .client
            .run_instances()
            .image_id("ami-00000000000000000")
            .instance_type(InstanceType::M7iLarge)
            .min_count(1)
            .max_count(1)
            .placement(Placement::builder().availability_zone(zone).build())
            .tag_specifications(tags)
            .send()
            .await?;
        let id = started.instances().first().and_then(|instance| instance.instance_id()).context("RunInstances gave no instance")?;
        let ids = [id.to_owned()];
        wait::until("the instance runs", Duration::from_secs(30), async || {
            let answer = self.client.describe_instances().set_instance_ids(Some(ids.to_vec())).send().await?;
            let state = answer.reservations().first().and_then(|one| one.instances().first()?.state()?.name().cloned());
            Ok((state == Some(aws_sdk_ec2::types::InstanceStateName::Running)).then_some(()))
        })
        .await?;
        Ok(id.to_owned())
    }

    /// Ends an instance for ever and waits until EC2 says so.
    pub async fn terminate(&self, instance: &str) -> Result<()> {
        self.client.terminate_instances().instance_ids(instance).send().await?;
        let ids = [instance.to_owned()];
        wait::until("the instance is terminated", Duration::from_secs(30), async || {
            let answer = self.client.describe_instances().set_instance_ids(Some(ids.to_vec())).send().await?;
            let state = answer.reservations().first().and_then(|one| one.instances().first()?.state()?.name().cloned());
            Ok((state == Some(aws_sdk_ec2::types::InstanceStateName::Terminated)).then_some(()))
        })
        .await
    }

    /// Makes an empty volume and returns its id when it is available.
    pub async fn create_volume(&self, name: &str, zone: &str, size_gib: i32) -> Result<String> {
        let tags = TagSpecification::builder().resource_type(ResourceType::Volume).tags(tag("Name", name)).build();
        let made = self.client.create_volume().availability_zone(zone).size(size_gib).tag_specifications(tags).send().await?;
        let id = made.volume_id().context("CreateVolume gave no volume")?.to_owned();
        self.wait_for_volume(&id, &VolumeState::Available).await?;
        Ok(id)
    }

    /// Attaches a volume and waits until EC2 says so.
    pub async fn attach(&self, volume: &str, instance: &str) -> Result<()> {
        self.client.attach_volume().volume_id(volume).instance_id(instance).device("/dev/xvdb").send().await?;
        wait::until("the volume is attached", Duration::from_secs(30), async || {
            let found = self.volume(volume).await?;
            let attached = found.attachments().iter().any(|one| one.state() == Some(&aws_sdk_ec2::types::VolumeAttachmentState::Attached));
            Ok(attached.then_some(()))
        })
        .await
    }

    /// Detaches a volume and waits until it is available.
    pub async fn detach(&self, volume: &str) -> Result<()> {
        self.client.detach_volume().volume_id(volume).send().await?;
        self.wait_for_volume(volume, &VolumeState::Available).await
    }

    /// Deletes a volume.
    pub async fn delete_volume(&self, volume: &str) -> Result<()> {
        self.client.delete_volume().volume_id(volume).send().await?;
        Ok(())
    }

    /// Sets a tag.
    pub async fn tag(&self, resource: &str, key: &str, value: &str) -> Result<()> {
        self.client.create_tags().resources(resource).tags(tag(key, value)).send().await?;
        Ok(())
    }

    /// All volumes but `except`.
    pub async fn volumes_except(&self, except: &str) -> Result<Vec<Volume>> {
        let answer = self.client.describe_volumes().send().await?;
        let others = answer.volumes().iter().filter(|volume| volume.volume_id() != Some(except));
        Ok(others.cloned().collect())
    }

    /// The snapshots of a volume.
    pub async fn snapshots_of(&self, volume: &str) -> Result<Vec<Snapshot>> {
        let filter = Filter::builder().name("volume-id").values(volume).build();
        Ok(self.client.describe_snapshots().filters(filter).send().await?.snapshots().to_vec())
    }

    /// How many snapshots there are.
    pub async fn snapshot_count(&self) -> Result<usize> {
        Ok(self.client.describe_snapshots().owner_ids("self").send().await?.snapshots().len())
    }

    async fn volume(&self, id: &str) -> Result<Volume> {
        let answer = self.client.describe_volumes().volume_ids(id).send().await?;
        answer.volumes().first().cloned().with_context(|| format!("EC2 does not list {id}"))
    }

    async fn wait_for_volume(&self, id: &str, state: &VolumeState) -> Result<()> {
        wait::until(&format!("{id} is {state}"), Duration::from_secs(30), async || {
            Ok((self.volume(id).await?.state() == Some(state)).then_some(()))
        })
        .await
    }

    /// Fails when a volume has two attachments.
    pub async fn check_attachments(&self) -> Result<()> {
        for volume in self.volumes_except("").await? {
            let number = volume.attachments().len();
            ensure!(number <= 1, "{} has {number} attachments", volume.volume_id().unwrap_or_default());
        }
        Ok(())
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}
