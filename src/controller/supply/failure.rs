//! What becomes of an effect that failed: it is shown where the user looks, and stored where the plan needs it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tracing::warn;

use crate::api::keys::MANAGER_CONTROLLER;
use crate::api::{CloudStatus, PoolVolume, VolumePool, VolumePoolStatus};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::parse;
use crate::controller::volume_write::store_cloud;
use crate::domain::Reason;
use crate::ec2::{Class, Ec2};
use crate::k8s::write::{apply_status, delete_exactly};
use crate::plan::{Action, VISIBILITY};

use super::modify::modification_refused;

/// Makes a failure visible where the user looks: on the volume it is about, and as an event of the pool.
pub(super) async fn failed<E: Ec2>(context: &Context<E>, pool: &VolumePool, action: &Action, error: &Error) {
    let reason = if matches!(action, Action::CreateVolume(_)) { Reason::VolumeFailed } else { Reason::Ec2Failed };
    context.say(&Context::<E>::reference(pool), true, reason, &error.lasting()).await;
    if let Action::ModifyVolume { key, .. } = action {
        return modification_refused(context, key, error.lasting()).await;
    }
    if let (Action::DeleteVolume { .. } | Action::DeleteSnapshot(_), Error::Ec2(refusal)) = (action, error)
        && refusal.class() == Class::Denied
    {
        return denied(context, pool, action).await;
    }
    let Action::CreateVolume(request) = action else { return };
    let Some(volume) = context.stores.volume(&request.key) else { return };
    let stored = volume.status.as_ref().and_then(|status| status.cloud.clone()).unwrap_or_default();
    if is_burnt(error, &volume, context.clock.now()) {
        let api = context.volumes(&request.key.namespace);
        if let Err(error) = delete_exactly(&api, &request.key.name, request.uid.as_str(), None).await {
            warn!(volume = %request.key, %error, "the object with the burnt token was not deleted");
        }
        return;
    }
    let cloud = CloudStatus { error: Some(error.lasting()), ..stored };
    if let Err(error) = store_cloud(context, &volume, cloud).await {
        warn!(volume = %request.key, %error, "the failure was not stored");
    }
}

/// Whether EC2 will never give a volume for this object's token or snapshot, and shows none that it gave before: one
/// object is one attempt, so a new object must take its place.
fn is_burnt(error: &Error, volume: &PoolVolume, now: Timestamp) -> bool {
    let made = volume.metadata.creation_timestamp.as_ref();
    let is_settled = made.is_some_and(|time| now.duration_since(time.0) >= VISIBILITY);
    matches!(error, Error::Ec2(error) if matches!(error.class(), Class::TokenBurnt | Class::NotFound)) && is_settled
}

/// Stores since when EC2 denies a deletion: what it denies for long is let go, so that a pool can always be deleted.
async fn denied<E: Ec2>(context: &Context<E>, pool: &VolumePool, action: &Action) {
    let now = Some(Time(context.clock.now()));
    let stored = if let Action::DeleteVolume { key, .. } = action {
        let Some(volume) = context.stores.volume(key) else { return };
        let cloud = volume.status.as_ref().and_then(|status| status.cloud.clone()).unwrap_or_default();
        if cloud.denied_since.is_some() {
            return;
        }
        store_cloud(context, &volume, CloudStatus { denied_since: now, ..cloud }).await
    } else {
        let status = pool.status.clone().unwrap_or_default();
        if status.denied_since.is_some() || pool.metadata.deletion_timestamp.is_none() {
            return;
        }
        let api = context.pools(&pool.namespace().unwrap_or_default());
        let status = VolumePoolStatus { denied_since: now, ..status };
        apply_status(&api, MANAGER_CONTROLLER, pool, &status).await.map_err(Error::from)
    };
    if let Err(error) = stored {
        warn!(pool = %parse::key_of(pool), %error, "the denial was not stored");
    }
}
