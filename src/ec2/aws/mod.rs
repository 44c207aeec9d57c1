//! The port on aws-sdk-ec2: the only place that names a type of the SDK.

mod convert;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::Credentials;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_sdk_ec2::types::{Filter, Reservation, ResourceType, Tag, TagSpecification};

use crate::domain::cloud::Tags;
use crate::domain::{CloudSnapshot, CloudVolume, InstanceId, SnapshotId, VolumeId};

use super::pacing::Gate;
use super::{Class, CreateVolume, Ec2, Error, ModificationShown, ModifyVolume};
use convert::{snapshot, volume};

/// Ids in one filter. Source: EC2 API reference, `Filter`: at most 200 values.
const IDS_PER_FILTER: usize = 200;
/// Items in one page. Source: EC2 API reference, DescribeVolumes `MaxResults`: 5 to 1000; 500 as recommended there.
const PAGE_SIZE: i32 = 500;
/// The longest that one attempt of a call may take; the SDK sets no limit itself.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a call is made at most. The SDK's own retries are off: they would pass no gate, and repeat what must not be.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt, doubled before the third.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// EC2 of one account and region, with the credentials of the environment. Each call passes the gate.
#[derive(Clone, Debug)]
pub struct Aws {
    client: Client,
    gate: Gate,
}

impl Aws {
    /// Reads credentials, region and endpoint as every AWS tool does; arguments win over the environment.
    pub async fn connect(region: Option<String>, endpoint_url: Option<String>, gate: Gate) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(RetryConfig::disabled()).timeout_config(timeouts());
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some(url) = endpoint_url {
            loader = loader.endpoint_url(url);
        }
        Self { client: Client::new(&loader.load().await), gate }
    }

    /// Talks to a simulator, with credentials that open nothing else. Reads neither environment nor files.
    pub fn for_simulator(region: &str, endpoint_url: &str, gate: Gate) -> Self {
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts())
            .region(Region::new(region.to_owned()))
            .endpoint_url(endpoint_url)
            .credentials_provider(Credentials::new("simulator", "simulator", None, None, "simulator"));
        Self { client: Client::from_conf(config.build()), gate }
    }

    /// Makes a call that may be repeated: when nothing is known of its outcome, and reads also when the account calls too often.
    async fn call<T, E, F>(&self, action: &'static str, object: impl fmt::Display, send: impl Fn() -> F) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let mut attempt = 1;
        loop {
            let error = match self.call_once(action, &object, send()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let is_slowed_read = error.is_rate_refusal() && action.starts_with("Describe");
            if attempt >= ATTEMPTS || !(is_slowed_read || error.class() == Class::Transient) {
                return Err(error);
            }
            tokio::time::sleep(FIRST_PAUSE * attempt).await;
            attempt += 1;
        }
    }

    /// Makes a call that must not be repeated, since EC2 would do it twice.
    async fn call_once<T, E, F>(&self, action: &'static str, object: impl fmt::Display, sent: F) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        self.gate.pass(action).await.map_err(|error| Error { object: object.to_string(), ..error })?;
        let answer = sent.await.map_err(|error| failed(action, object, &error));
        self.gate.learn(action, answer.as_ref().err());
        answer
    }

    async fn volumes(&self, object: &str, filter: Filter) -> Result<Vec<CloudVolume>, Error> {
        let first = self.client.describe_volumes().filters(filter).max_results(PAGE_SIZE);
        let (mut volumes, mut next) = (Vec::new(), None);
        loop {
            let page = self.call("DescribeVolumes", object, || first.clone().set_next_token(next.clone()).send()).await?;
            volumes.extend(page.volumes().iter().filter_map(volume));
            next = page.next_token;
            if next.as_ref().is_none_or(String::is_empty) {
                return Ok(volumes);
            }
        }
    }

    async fn snapshots(&self, object: &str, filter: Filter) -> Result<Vec<CloudSnapshot>, Error> {
        let first = self.client.describe_snapshots().filters(filter).max_results(PAGE_SIZE);
        let (mut snapshots, mut next) = (Vec::new(), None);
        loop {
            let page = self.call("DescribeSnapshots", object, || first.clone().set_next_token(next.clone()).send()).await?;
            snapshots.extend(page.snapshots().iter().filter_map(snapshot));
            next = page.next_token;
            if next.as_ref().is_none_or(String::is_empty) {
                return Ok(snapshots);
            }
        }
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_timeout(ATTEMPT_TIMEOUT).build()
}

fn filter(name: impl Into<String>, values: impl IntoIterator<Item = String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

fn tagged(resource: ResourceType, tags: &Tags) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder().resource_type(resource).set_tags(Some(tags.collect())).build()
}

fn failed<E>(action: &'static str, object: impl fmt::Display, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    let (code, message) = match error.as_service_error() {
        Some(service) => (service.code().unwrap_or("Unknown").to_owned(), service.message().unwrap_or("no message").to_owned()),
        None => ("Unreachable".to_owned(), DisplayErrorContext(error).to_string()),
    };
    Error { action, object: object.to_string(), code, message, request_id }
}

fn unexpected(action: &'static str, object: impl fmt::Display) -> Error {
    let message = "the answer lacks the object".to_owned();
    Error { action, object: object.to_string(), code: "InternalError".to_owned(), message, request_id: None }
}

/// What is gone counts as done.
fn done_when(result: Result<(), Error>, classes: &[Class]) -> Result<(), Error> {
    result.or_else(|error| if classes.contains(&error.class()) { Ok(()) } else { Err(error) })
}

fn as_i32(number: Option<u32>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

impl Ec2 for Aws {
    async fn volumes_by_tag(&self, key: &str, value: &str) -> Result<Vec<CloudVolume>, Error> {
        self.volumes(value, filter(format!("tag:{key}"), [value.to_owned()])).await
    }

    async fn volumes_by_id(&self, ids: &[VolumeId]) -> Result<Vec<CloudVolume>, Error> {
        let mut found = Vec::new();
        for chunk in ids.chunks(IDS_PER_FILTER) {
            let ids = chunk.iter().map(ToString::to_string);
            found.extend(self.volumes("by id", filter("volume-id", ids)).await?);
        }
        Ok(found)
    }

    async fn volumes_of_instance(&self, instance: &InstanceId) -> Result<Vec<CloudVolume>, Error> {
        self.volumes(instance.as_str(), filter("attachment.instance-id", [instance.to_string()])).await
    }

    async fn initialized_percent(&self, ids: &[VolumeId]) -> Result<BTreeMap<VolumeId, u8>, Error> {
        let mut percents = BTreeMap::new();
        for chunk in ids.chunks(IDS_PER_FILTER) {
            let ids = chunk.iter().map(ToString::to_string).collect();
            let question = self.client.describe_volume_status().set_volume_ids(Some(ids));
            match self.call("DescribeVolumeStatus", "by id", || question.clone().send()).await {
                Ok(answer) => percents.extend(answer.volume_statuses().iter().filter_map(convert::initialized)),
                // One volume that was deleted in between must not hide all others: the next look leaves it out.
                Err(error) if error.class() == Class::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(percents)
    }

    async fn snapshots_by_tag(&self, key: &str, value: &str) -> Result<Vec<CloudSnapshot>, Error> {
        self.snapshots(value, filter(format!("tag:{key}"), [value.to_owned()])).await
    }

    async fn snapshots_by_id(&self, ids: &[SnapshotId]) -> Result<Vec<CloudSnapshot>, Error> {
        let mut found = Vec::new();
        for chunk in ids.chunks(IDS_PER_FILTER) {
            let ids = chunk.iter().map(ToString::to_string);
            found.extend(self.snapshots("by id", filter("snapshot-id", ids)).await?);
        }
        Ok(found)
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<CloudVolume, Error> {
        let call = self
            .client
            .create_volume()
            .client_token(&request.client_token)
            .availability_zone(&request.zone)
            .snapshot_id(&request.snapshot)
            .set_size(as_i32(Some(request.size_gib)))
            .volume_type(request.volume_type.as_str().into())
            .set_iops(as_i32(request.iops))
            .set_throughput(as_i32(request.throughput))
            .set_encrypted(request.encrypted)
            .set_kms_key_id(request.kms_key_id.clone())
            .set_volume_initialization_rate(as_i32(request.initialization_rate))
            .tag_specifications(tagged(ResourceType::Volume, &request.tags));
        let made = self.call("CreateVolume", &request.snapshot, || call.clone().send()).await?;
        convert::created(made).ok_or_else(|| unexpected("CreateVolume", &request.snapshot))
    }

    async fn modify_volume(&self, id: &VolumeId, change: &ModifyVolume) -> Result<(), Error> {
        let call = self
            .client
            .modify_volume()
            .volume_id(id.as_str())
            .set_size(as_i32(Some(change.size_gib)))
            .volume_type(change.volume_type.as_str().into())
            .set_iops(as_i32(change.iops))
            .set_throughput(as_i32(change.throughput));
        self.call_once("ModifyVolume", id, call.send()).await.map(drop)
    }

    async fn modifications(&self, ids: &[VolumeId]) -> Result<BTreeMap<VolumeId, ModificationShown>, Error> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(IDS_PER_FILTER) {
            let of_volumes = filter("volume-id", chunk.iter().map(ToString::to_string));
            let first = self.client.describe_volumes_modifications().filters(of_volumes).max_results(PAGE_SIZE);
            let mut next = None;
            loop {
                let page = self.call("DescribeVolumesModifications", "by id", || first.clone().set_next_token(next.clone()).send()).await?;
                found.extend(page.volumes_modifications().iter().filter_map(convert::modification));
                next = page.next_token;
                if next.as_ref().is_none_or(String::is_empty) {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), Error> {
        let call = self.client.delete_volume().volume_id(id.as_str());
        let result = self.call("DeleteVolume", id, || call.clone().send()).await;
        done_when(result.map(drop), &[Class::NotFound])
    }

    async fn create_snapshot(&self, volume: &VolumeId, tags: &Tags) -> Result<CloudSnapshot, Error> {
        let call = self.client.create_snapshot().volume_id(volume.as_str()).tag_specifications(tagged(ResourceType::Snapshot, tags));
        let made = self.call_once("CreateSnapshot", volume, call.send()).await?;
        convert::snapshot_created(made).ok_or_else(|| unexpected("CreateSnapshot", volume))
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Error> {
        let call = self.client.delete_snapshot().snapshot_id(id.as_str());
        let result = self.call("DeleteSnapshot", id, || call.clone().send()).await;
        done_when(result.map(drop), &[Class::NotFound])
    }

    async fn tag(&self, resource: &str, tags: &Tags) -> Result<(), Error> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let call = self.client.create_tags().resources(resource).set_tags(Some(tags.collect()));
        self.call("CreateTags", resource, || call.clone().send()).await.map(drop)
    }

    async fn attach_volume(&self, id: &VolumeId, instance: &InstanceId, device: &str) -> Result<(), Error> {
        let call = self.client.attach_volume().volume_id(id.as_str()).instance_id(instance.as_str()).device(device);
        self.call("AttachVolume", id, || call.clone().send()).await.map(drop)
    }

    async fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> Result<bool, Error> {
        let call = self.client.detach_volume().volume_id(id.as_str()).instance_id(instance.as_str());
        match self.call("DetachVolume", id, || call.clone().send()).await {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.class(), Class::NotFound | Class::WrongState) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn attach_limit(&self, instance: &InstanceId) -> Result<u32, Error> {
        let question = self.client.describe_instances().filters(filter("instance-id", [instance.to_string()]));
        let answer = self.call("DescribeInstances", instance, || question.clone().send()).await?;
        let found = answer.reservations().iter().flat_map(Reservation::instances).next();
        let kind = found.and_then(|instance| instance.instance_type()).ok_or_else(|| unexpected("DescribeInstances", instance))?;
        let question = self.client.describe_instance_types().instance_types(kind.clone());
        let answer = self.call("DescribeInstanceTypes", kind.as_str(), || question.clone().send()).await?;
        convert::attach_limit(&answer).ok_or_else(|| unexpected("DescribeInstanceTypes", kind.as_str()))
    }
}
