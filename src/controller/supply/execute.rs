//! Carries out what the plan says: one match over the closed set of effects, each harmless when done twice.

use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tracing::{debug, info, warn};

use crate::api::keys::{FINALIZER, LABEL_POOL};
use crate::api::pool_volume::{Origin as ApiOrigin, PoolRef};
use crate::api::{CloudStatus, PoolVolume, PoolVolumeSpec, Role, VolumePool};
use crate::controller::backoff::Backoff;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::parse;
use crate::controller::parse_sync::content_noted;
use crate::controller::refresh;
use crate::controller::volume_write::{edit_spec, note_cloud, store_cloud};
use crate::domain::cloud::Tags;
use crate::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_NAME, TAG_POOL, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{ObjectKey, Reason, VolumeId};
use crate::ec2::{Ec2, create_volume_request};
use crate::k8s::write::{Outcome, delete_exactly, outcome};
use crate::plan::{Action, NewVolume, PoolSeen, VolumeRequest};

use super::failure::failed;
use super::modify::{modify_volume, record_size, tag_volume};
use super::{snapshot, source_object};

/// Effects of one pool that are under way at the same time: enough to use up a burst within seconds, few enough that an
/// account whose rate others use up refuses only these.
const CONCURRENCY: usize = 10;

/// How long an effect that only a later sweep shows is not asked for again: the pause between two sweeps while something
/// moves, and the time that a sweep takes, several times over.
const SEEN_LATE: Duration = Duration::from_secs(2);

/// Starts the effects in order, a few at a time; one that fails waits for itself only. Says whether anything was changed.
pub(super) async fn all<E: Ec2>(context: &Context<E>, backoff: &Backoff, pool: &VolumePool, seen: &PoolSeen, actions: Vec<Action>) -> bool {
    let effects = futures::stream::iter(actions).map(|action| carry_out(context, backoff, pool, seen, action));
    effects.buffer_unordered(CONCURRENCY).fold(false, async |any, changed| any || changed).await
}

async fn carry_out<E: Ec2>(context: &Context<E>, backoff: &Backoff, pool: &VolumePool, seen: &PoolSeen, action: Action) -> bool {
    let (name, object) = (action.name(), label(&action, seen));
    let result = one(context, pool, seen, &action).await;
    if result.is_ok() && is_seen_late(&action) {
        backoff.rest(&object, Instant::now(), SEEN_LATE);
    }
    match result {
        Ok(Outcome::Done) => {
            if !is_seen_late(&action) {
                backoff.succeeded(&object);
            }
            context.metrics.count(name, "done");
            return true;
        }
        Ok(Outcome::Stale) => context.metrics.count(name, "stale"),
        // The gate has learnt it and slows all such calls down; the object itself has done nothing wrong.
        Err(Error::Ec2(error)) if error.is_rate_refusal() => {
            context.metrics.count(name, "throttled");
            debug!(pool = %seen.pool.key, action = name, %error, "the account calls too often; tried again when its rate allows");
        }
        Err(error) => {
            let wait = backoff.failed(&object, Instant::now());
            context.metrics.count(name, "failed");
            warn!(pool = %seen.pool.key, action = name, %error, retry_in_seconds = wait.as_secs(), "failed and is tried again");
            failed(context, pool, &action, &error).await;
        }
    }
    false
}

/// Whether only a later sweep shows what the effect has done: no object says that it was asked for.
fn is_seen_late(action: &Action) -> bool {
    matches!(action, Action::DeleteSnapshot(_) | Action::DeleteVolume { .. } | Action::TagVolume { .. })
}

/// What an effect waits under after it has failed.
pub(super) fn label(action: &Action, seen: &PoolSeen) -> String {
    format!("{} {}", action.name(), object_of(action, seen))
}

async fn one<E: Ec2>(context: &Context<E>, pool: &VolumePool, seen: &PoolSeen, action: &Action) -> Result<Outcome, Error> {
    match action {
        Action::AddPoolFinalizer => set_finalizers(context, pool, &[FINALIZER]).await,
        Action::RemovePoolFinalizer => remove_pool_finalizer(context, pool).await,
        Action::CreateSnapshot { volume, generation, content } => snapshot::create(context, pool, volume, (*generation, content)).await,
        Action::OrderCheckpoint { key, resource_version, number } => {
            snapshot::order_checkpoint(context, pool, key, resource_version, *number).await
        }
        Action::DeleteSnapshot(proof) => {
            context.ec2.delete_snapshot(proof.id()).await?;
            info!(pool = %seen.pool.key, snapshot_id = %proof.id(), "deleted a snapshot");
            let message = format!("deleted snapshot {}", proof.id());
            context.say(&Context::<E>::reference(pool), false, Reason::SnapshotDeleted, &message).await;
            Ok(Outcome::Done)
        }
        Action::CreatePoolVolume(new) => {
            let volume = pool_volume(pool, new);
            Ok(outcome(context.volumes(&seen.pool.key.namespace).create(&PostParams::default(), &volume).await)?)
        }
        Action::CreateVolume(request) => create_volume(context, pool, request).await,
        Action::ModifyVolume { key, volume, change } => modify_volume(context, pool, (seen, key, volume), change).await,
        Action::TagVolume { key, volume, tags } => tag_volume(context, key, volume, tags).await,
        Action::RecordSize { key, resource_version, size } => record_size(context, key, resource_version, *size).await,
        Action::CreateSourceObject(new) => source_object::create(context, pool, new).await,
        Action::Publish { key, resource_version, publish } => source_object::publish(context, key, resource_version, publish).await,
        Action::AssignSource { key, resource_version, node } => source_object::assign(context, pool, key, resource_version, node).await,
        Action::BeginRefresh { key, resource_version, node, target } => {
            refresh::begin(context, (key, resource_version), node, target).await
        }
        Action::EndRefresh { key, resource_version, end } => refresh::end(context, (key, resource_version), end).await,
        Action::Unassign(key) => edit_spec(context, key, None, |spec| spec.node_name = None).await,
        Action::ForgetNode { key, resource_version } => forget_node_side(context, key, resource_version).await,
        Action::DeletePoolVolume { key, uid, resource_version } => {
            Ok(delete_exactly(&context.volumes(&key.namespace), &key.name, uid.as_str(), Some(resource_version)).await?)
        }
        Action::DeleteVolume { key, proof } => delete_volume(context, pool, key, proof.id()).await,
        Action::RemoveVolumeFinalizer(key) => remove_volume_finalizer(context, pool, key).await,
    }
}

async fn set_finalizers<E: Ec2>(context: &Context<E>, pool: &VolumePool, ours: &[&str]) -> Result<Outcome, Error> {
    let others = pool.finalizers().iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER);
    let all: Vec<&str> = others.chain(ours.iter().copied()).collect();
    let patch = json!({"metadata": {"resourceVersion": pool.resource_version(), "finalizers": all}});
    let api = context.pools(&pool.namespace().unwrap_or_default());
    Ok(outcome(api.patch(&pool.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await)?)
}

/// Asks the API server itself, not the watch, whether the pool still has volumes.
async fn remove_pool_finalizer<E: Ec2>(context: &Context<E>, pool: &VolumePool) -> Result<Outcome, Error> {
    let of_pool = ListParams::default().labels(&format!("{LABEL_POOL}={}", pool.name_any()));
    let left = context.volumes(&pool.namespace().unwrap_or_default()).list(&of_pool).await?;
    let is_ours = |volume: &PoolVolume| Some(&volume.spec.pool_ref.uid) == pool.uid().as_ref();
    if left.items.iter().any(is_ours) {
        return Ok(Outcome::Stale);
    }
    set_finalizers(context, pool, &[]).await
}

/// Stores when it was asked for, then asks with a token made of the object's UID, then stores the id. The first write is
/// a compare-and-swap: who has an old view of the volume asks for nothing.
async fn create_volume<E: Ec2>(context: &Context<E>, pool: &VolumePool, request: &VolumeRequest) -> Result<Outcome, Error> {
    let Some(volume) = context.stores.volume(&request.key) else { return Ok(Outcome::Stale) };
    let mut cloud = volume.status.as_ref().and_then(|status| status.cloud.clone()).unwrap_or_default();
    cloud.requested_time = Some(Time(context.clock.now()));
    let Some(volume) = note_cloud(context, &volume, cloud.clone()).await? else { return Ok(Outcome::Stale) };
    let template = &pool.spec.template;
    let mut call = create_volume_request(request.uid.as_str(), &request.zone, &request.origin.snapshot, request.size);
    template.volume_type.as_str().clone_into(&mut call.volume_type);
    call.iops = template.iops;
    call.throughput = template.throughput;
    call.encrypted = volume.spec.encryption.encrypted;
    call.kms_key_id.clone_from(&volume.spec.encryption.kms_key_id);
    call.initialization_rate = template.initialization_rate;
    call.tags = pool_tags(pool, &context.cluster, request.origin.generation);
    call.tags.insert(TAG_VOLUME_UID.to_owned(), request.uid.to_string());
    call.tags.insert(TAG_NAME.to_owned(), request.key.to_string());
    let made = context.ec2.create_volume(&call).await?;
    info!(pool = %parse::key_of(pool), volume_id = %made.id, zone = %made.zone, "asked for a volume");
    let message = format!("asked for volume {} for {} in {}", made.id, request.key.name, made.zone);
    context.say(&Context::<E>::reference(pool), false, Reason::VolumeCreated, &message).await;
    let made = CloudStatus { volume_id: Some(made.id.to_string()), error: None, ..cloud };
    store_cloud(context, &volume, made).await
}

async fn delete_volume<E: Ec2>(context: &Context<E>, pool: &VolumePool, key: &ObjectKey, id: &VolumeId) -> Result<Outcome, Error> {
    let Some(volume) = context.stores.volume(key) else { return Ok(Outcome::Stale) };
    context.ec2.delete_volume(id).await?;
    info!(pool = %parse::key_of(pool), volume_id = %id, "deleted a volume");
    let message = format!("deleted volume {id} of {}", key.name);
    context.say(&Context::<E>::reference(pool), false, Reason::VolumeDeleted, &message).await;
    let stored = volume.status.as_ref().and_then(|status| status.cloud.clone()).unwrap_or_default();
    let accepted = CloudStatus { volume_id: Some(id.to_string()), state: Some(parse::STATE_DELETING.to_owned()), ..stored };
    store_cloud(context, &volume, accepted).await
}

async fn remove_volume_finalizer<E: Ec2>(context: &Context<E>, pool: &VolumePool, key: &ObjectKey) -> Result<Outcome, Error> {
    let Some(volume) = context.stores.volume(key) else { return Ok(Outcome::Stale) };
    let others: Vec<&String> = volume.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": volume.resource_version(), "finalizers": others}});
    let api = context.volumes(&key.namespace);
    let removed = outcome(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
    let cloud = volume.status.as_ref().and_then(|status| status.cloud.as_ref()).filter(|cloud| cloud.denied_since.is_some());
    if let (Outcome::Done, Some(id)) = (removed, cloud.and_then(|cloud| cloud.volume_id.as_ref())) {
        let message = format!("volume {id} of {} stays in EC2, which denies to delete it; delete it there by hand", key.name);
        context.say(&Context::<E>::reference(pool), true, Reason::DeletionDenied, &message).await;
    }
    Ok(removed)
}

/// Takes the agent's part out of the status, since there is no agent left to do it.
async fn forget_node_side<E: Ec2>(context: &Context<E>, key: &ObjectKey, judged: &str) -> Result<Outcome, Error> {
    let patch = json!({"metadata": {"resourceVersion": judged}, "status": {"node": null}});
    let api = context.volumes(&key.namespace);
    let forgotten = outcome(api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
    info!(volume = %key, "forgot a node that is gone");
    Ok(forgotten)
}

/// The object of a volume: made before EC2 is asked, so that a crash leaves a trace.
pub(in crate::controller) fn pool_volume(pool: &VolumePool, new: &NewVolume) -> PoolVolume {
    let owner = OwnerReference { controller: Some(true), block_owner_deletion: None, ..pool.controller_owner_ref(&()).unwrap_or_default() };
    PoolVolume {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", pool.name_any(), new.slot)),
            namespace: pool.namespace(),
            labels: Some([(LABEL_POOL.to_owned(), pool.name_any())].into()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: PoolVolumeSpec {
            pool_ref: PoolRef { name: pool.name_any(), uid: pool.uid().unwrap_or_default() },
            role: Role::Copy,
            publish: None,
            verify: None,
            zone: new.zone.to_string(),
            slot: new.slot,
            attempt: new.attempt,
            origin: ApiOrigin { snapshot_id: new.origin.snapshot.to_string(), generation: new.origin.generation },
            size_gib: new.size.0,
            encryption: parse::encryption(pool),
            node_name: None,
            claim_ref: None,
            restored_after: None,
            retired: false,
            content: new.content.as_ref().map(content_noted),
            refresh: None,
        },
        status: None,
    }
}

/// Tags that prove whose a resource is. The user's come first, so that they can never stand for ours.
pub(super) fn pool_tags(pool: &VolumePool, cluster: &str, generation: u64) -> Tags {
    let mut tags = pool.spec.template.tags.clone();
    tags.insert(TAG_CLUSTER.to_owned(), cluster.to_owned());
    tags.insert(TAG_POOL.to_owned(), parse::key_of(pool).to_string());
    tags.insert(TAG_POOL_UID.to_owned(), pool.uid().unwrap_or_default());
    tags.insert(TAG_GENERATION.to_owned(), generation.to_string());
    tags
}

fn object_of(action: &Action, seen: &PoolSeen) -> String {
    match action {
        Action::AddPoolFinalizer | Action::RemovePoolFinalizer | Action::CreateSnapshot { .. } | Action::CreateSourceObject(_) => {
            seen.pool.key.to_string()
        }
        Action::DeleteSnapshot(proof) => proof.id().to_string(),
        Action::CreatePoolVolume(new) => format!("{}-{}", seen.pool.key, new.slot),
        Action::CreateVolume(request) => request.key.to_string(),
        Action::Unassign(key)
        | Action::RemoveVolumeFinalizer(key)
        | Action::ForgetNode { key, .. }
        | Action::Publish { key, .. }
        | Action::AssignSource { key, .. }
        | Action::OrderCheckpoint { key, .. }
        | Action::BeginRefresh { key, .. }
        | Action::EndRefresh { key, .. }
        | Action::ModifyVolume { key, .. }
        | Action::TagVolume { key, .. }
        | Action::RecordSize { key, .. }
        | Action::DeletePoolVolume { key, .. }
        | Action::DeleteVolume { key, .. } => key.to_string(),
    }
}
