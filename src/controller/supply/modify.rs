//! Carries out changes of volumes in place: type and speed, size, tags.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tracing::{info, warn};

use crate::api::pool_volume::ModificationStatus;
use crate::api::{CloudStatus, PoolVolume, VolumePool};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::parse;
use crate::controller::volume_write::{edit_spec, store_cloud};
use crate::domain::cloud::Tags;
use crate::domain::{GiB, ObjectKey, Reason, VolumeId};
use crate::ec2::{Ec2, ModifyVolume};
use crate::k8s::write::Outcome;
use crate::plan::{PoolSeen, VolumeChange};

/// Stores when it was asked for, then asks. Whoever comes after sees the time and waits for EC2 to show the change.
pub(super) async fn modify_volume<E: Ec2>(
    context: &Context<E>,
    pool: &VolumePool,
    (seen, key, id): (&PoolSeen, &ObjectKey, &VolumeId),
    change: &VolumeChange,
) -> Result<Outcome, Error> {
    let judged = seen.volumes.iter().find(|judged| judged.key == *key).map(|judged| judged.resource_version.as_str());
    let unchanged = context.stores.volume(key).filter(|volume| volume.resource_version().as_deref() == judged);
    let Some(volume) = unchanged else { return Ok(Outcome::Stale) };
    let requested = ModificationStatus { requested_time: Time(context.clock.now()), state: None, error: None };
    let noted = CloudStatus { modification: Some(requested), ..cloud_of(&volume) };
    if store_cloud(context, &volume, noted).await? == Outcome::Stale {
        return Ok(Outcome::Stale);
    }
    let request = ModifyVolume {
        size_gib: change.size.0,
        volume_type: change.settings.volume_type.clone(),
        iops: change.settings.iops,
        throughput: change.settings.throughput,
    };
    context.ec2.modify_volume(id, &request).await?;
    let becomes = describe(change);
    info!(pool = %parse::key_of(pool), volume_id = %id, becomes, "asked for a change of a volume");
    let message = format!("asked for a change of volume {id} of {} to {becomes}", key.name);
    context.say(&Context::<E>::reference(pool), false, Reason::VolumeModified, &message).await;
    Ok(Outcome::Done)
}

fn describe(change: &VolumeChange) -> String {
    let settings = &change.settings;
    let iops = settings.iops.map(|iops| format!(", {iops} IOPS")).unwrap_or_default();
    let throughput = settings.throughput.map(|throughput| format!(", {throughput} MiB/s")).unwrap_or_default();
    format!("{}, {}{iops}{throughput}", change.size, settings.volume_type)
}

/// Stores that EC2 refused the change: it is tried again after a wait, and not taken for one that is under way.
pub(super) async fn modification_refused<E: Ec2>(context: &Context<E>, key: &ObjectKey, words: String) {
    let Some(volume) = context.stores.volume(key) else { return };
    let refused = ModificationStatus { requested_time: Time(context.clock.now()), state: None, error: Some(words) };
    if let Err(error) = store_cloud(context, &volume, CloudStatus { modification: Some(refused), ..cloud_of(&volume) }).await {
        warn!(volume = %key, %error, "the refusal was not stored");
    }
}

/// Sets tags; those that it does not name stay.
pub(super) async fn tag_volume<E: Ec2>(context: &Context<E>, key: &ObjectKey, id: &VolumeId, tags: &Tags) -> Result<Outcome, Error> {
    context.ec2.tag(id.as_str(), tags).await?;
    info!(volume = %key, volume_id = %id, "tagged a volume");
    Ok(Outcome::Done)
}

/// Writes the size that a volume has grown to, so that larger claims can have it.
pub(super) async fn record_size<E: Ec2>(context: &Context<E>, key: &ObjectKey, judged: &str, size: GiB) -> Result<Outcome, Error> {
    let recorded = edit_spec(context, key, Some(judged), |spec| spec.size_gib = size.0).await?;
    info!(volume = %key, %size, "a volume has grown");
    Ok(recorded)
}

fn cloud_of(volume: &PoolVolume) -> CloudStatus {
    volume.status.as_ref().and_then(|status| status.cloud.clone()).unwrap_or_default()
}
