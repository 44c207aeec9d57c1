//! Carries out what the demand plan says: one match over the closed set, each effect guarded and repeatable.

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
    PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::info;

use crate::api::keys::{
    ANNOTATION_PROVISIONED_BY, ANNOTATION_SELECTED_NODE, ATTRIBUTE_POOL_VOLUME, FINALIZER_RELEASE, GROUP, LABEL_NODE, LABEL_ZONE,
};
use crate::api::{Role, VerifySpec};
use crate::controller::context::{Context, Part};
use crate::controller::error::Error;
use crate::controller::refresh;
use crate::controller::supply::pool_volume;
use crate::controller::volume_write::edit_spec;
use crate::domain::{Access, ClaimRef, GiB, NodeName, ObjectKey, Reason, VerifyLevel, VolumeId, Zone};
use crate::k8s::write::{Outcome, delete_exactly, outcome};
use crate::plan::{DemandAction, NewVolume, RefreshEnd, pv_name};

/// Carries out one effect.
pub(super) async fn one<E>(context: &Context<E>, action: &DemandAction) -> Result<Outcome, Error> {
    match action {
        DemandAction::Reserve { volume, resource_version, claim, node } => {
            reserve(context, volume, resource_version, claim, node.as_ref()).await
        }
        DemandAction::CreateForClaim { .. } => create_for_claim(context, action).await,
        DemandAction::CreatePv { .. } => create_pv(context, action).await,
        DemandAction::Assign { volume, resource_version, node } => {
            info!(volume = %volume, %node, "moves to another node");
            edit_spec(context, volume, Some(resource_version), |spec| spec.node_name = Some(node.to_string())).await
        }
        DemandAction::Unassign { volume, resource_version } => {
            edit_spec(context, volume, Some(resource_version), |spec| spec.node_name = None).await
        }
        DemandAction::CutRefresh { volume, resource_version, why } => {
            refresh::end(context, (volume, resource_version), &RefreshEnd::Stopped(why.clone())).await
        }
        DemandAction::Free { volume, resource_version, unless_pv, retire } => {
            free(context, volume, resource_version, unless_pv.as_deref(), *retire).await
        }
        DemandAction::Restore { volume, resource_version, id } => {
            let order = VerifySpec { id: id.clone(), level: VerifyLevel::Content, repair: true };
            info!(volume = %volume, "was released and is made as its source again");
            edit_spec(context, volume, Some(resource_version), |spec| spec.verify = Some(order)).await
        }
        DemandAction::Restored { volume, resource_version, claim_uid, mended } => {
            info!(volume = %volume, mended, "is as its source again");
            edit_spec(context, volume, Some(resource_version), |spec| {
                (spec.node_name, spec.verify) = (None, None);
                spec.restored_after = Some(claim_uid.clone());
            })
            .await
        }
        DemandAction::GiveUp { volume, resource_version, why } => give_up(context, volume, resource_version, why).await,
        DemandAction::Discard { volume, uid } => {
            Ok(delete_exactly(&context.volumes(&volume.namespace), &volume.name, uid.as_str(), None).await?)
        }
        DemandAction::DeletePv(name) => delete_pv(context, name).await,
        DemandAction::Reschedule(claim) => reschedule(context, claim).await,
        DemandAction::Tell { claim, uid, reason, message } => {
            let reference = Context::<E>::claim_reference(claim, uid.as_str());
            context.say(&reference, *reason != Reason::WaitingForVolume, *reason, message).await;
            Ok(Outcome::Done)
        }
    }
}

/// Name of the effect and of its object, for metrics and back-off.
pub(super) fn label(action: &DemandAction) -> (&'static str, String) {
    match action {
        DemandAction::Reserve { volume, .. } => ("Reserve", volume.to_string()),
        DemandAction::CreateForClaim { pool, slot, .. } => ("CreateForClaim", format!("{pool}-{slot}")),
        DemandAction::CreatePv { volume, .. } => ("CreatePv", volume.to_string()),
        DemandAction::Assign { volume, .. } => ("Assign", volume.to_string()),
        DemandAction::Unassign { volume, .. } => ("Unassign", volume.to_string()),
        DemandAction::CutRefresh { volume, .. } => ("CutRefresh", volume.to_string()),
        DemandAction::Free { volume, .. } => ("Free", volume.to_string()),
        DemandAction::Restore { volume, .. } => ("Restore", volume.to_string()),
        DemandAction::Restored { volume, .. } => ("Restored", volume.to_string()),
        DemandAction::GiveUp { volume, .. } => ("GiveUp", volume.to_string()),
        DemandAction::Discard { volume, .. } => ("Discard", volume.to_string()),
        DemandAction::DeletePv(name) => ("DeletePv", name.clone()),
        DemandAction::Reschedule(claim) => ("Reschedule", claim.to_string()),
        DemandAction::Tell { claim, .. } => ("Tell", claim.to_string()),
    }
}

async fn reserve<E>(
    context: &Context<E>,
    volume: &ObjectKey,
    judged: &str,
    claim: &ClaimRef,
    node: Option<&NodeName>,
) -> Result<Outcome, Error> {
    let outcome = edit_spec(context, volume, Some(judged), |spec| {
        spec.claim_ref = Some(claim.clone());
        spec.node_name = node.map(ToString::to_string);
        // The claim has it now, and its agent keeps it in step for that.
        spec.refresh = None;
    })
    .await?;
    if outcome == Outcome::Done {
        let claim_key = ObjectKey::new(&claim.namespace, &claim.name);
        let place = node.map(|node| format!(" on node {node}")).unwrap_or_default();
        info!(claim = %claim_key, volume = %volume, "dispatched");
        let is_source = context.stores.volume(volume).is_some_and(|seen| seen.spec.role == Role::Source);
        let what = if is_source { "source" } else { "ready volume" };
        let message = format!("got the {what} {}{place}", volume.name);
        context.say(&Context::<E>::claim_reference(&claim_key, &claim.uid), false, Reason::Dispatched, &message).await;
    }
    Ok(outcome)
}

async fn create_for_claim<E>(context: &Context<E>, action: &DemandAction) -> Result<Outcome, Error> {
    let DemandAction::CreateForClaim { pool, pool_uid, slot, zone, size, origin, content, claim, node } = action else {
        return Ok(Outcome::Stale);
    };
    let owner = context.stores.pools.get(&ObjectRef::new(&pool.name).within(&pool.namespace));
    let Some(owner) = owner.filter(|owner| owner.uid().as_deref() == Some(pool_uid.as_str())) else {
        return Ok(Outcome::Stale);
    };
    let new = NewVolume { slot: *slot, attempt: 0, zone: zone.clone(), size: *size, origin: origin.clone(), content: content.clone() };
    let mut volume = pool_volume(&owner, &new);
    volume.spec.claim_ref = Some(claim.clone());
    volume.spec.node_name = node.as_ref().map(ToString::to_string);
    if let Some(node) = node {
        volume.labels_mut().insert(LABEL_NODE.to_owned(), node.to_string());
    }
    info!(claim = %format!("{}/{}", claim.namespace, claim.name), volume = %volume.name_any(), "made for a claim, since none was ready");
    Ok(outcome(context.volumes(&pool.namespace).create(&PostParams::default(), &volume).await)?)
}

async fn free<E>(context: &Context<E>, volume: &ObjectKey, judged: &str, unless_pv: Option<&str>, retire: bool) -> Result<Outcome, Error> {
    if let Some(name) = unless_pv {
        let pvs: Api<PersistentVolume> = Api::all(context.client.clone());
        if pvs.get_opt(name).await?.is_some() {
            return Ok(Outcome::Stale);
        }
    }
    let freed = edit_spec(context, volume, Some(judged), |spec| {
        (spec.claim_ref, spec.verify, spec.restored_after) = (None, None, None);
        spec.retired |= retire;
    })
    .await?;
    if freed == Outcome::Done {
        info!(volume = %volume, retire, "released");
        tell_release(context, volume, retire).await;
    }
    Ok(freed)
}

/// Takes a volume off its node that is not as its source, and says why on the pool.
async fn give_up<E>(context: &Context<E>, key: &ObjectKey, judged: &str, why: &str) -> Result<Outcome, Error> {
    let Some(volume) = context.stores.volume(key) else { return Ok(Outcome::Stale) };
    let outcome = edit_spec(context, key, Some(judged), |spec| (spec.node_name, spec.verify) = (None, None)).await?;
    let pool = context.stores.pools.get(&ObjectRef::new(&volume.spec.pool_ref.name).within(&key.namespace));
    if let (Outcome::Done, Some(pool)) = (outcome, pool) {
        let message = format!("{} was released, and is deleted instead of being claimed again: {why}", key.name);
        let part = Part::Object(Box::new(volume.object_ref(&())));
        context.say_of(&Context::<E>::reference(&pool), part, (true, Reason::NotRecycled), &message).await;
    }
    Ok(outcome)
}

/// Says on the pool what became of a released volume; one that is being deleted has its own event.
async fn tell_release<E>(context: &Context<E>, key: &ObjectKey, retire: bool) {
    let Some(volume) = context.stores.volume(key).filter(|volume| volume.metadata.deletion_timestamp.is_none()) else { return };
    let pool = context.stores.pools.get(&ObjectRef::new(&volume.spec.pool_ref.name).within(&key.namespace));
    let Some(pool) = pool else { return };
    if volume.spec.role == Role::Source {
        // It was never the pool's to hand out, and stays where it is.
        return;
    }
    let (reason, message) = if retire {
        (Reason::Retained, format!("{} was released and is kept; delete the PoolVolume to delete its EBS volume", key.name))
    } else {
        (Reason::Recycled, format!("{} was released and is ready again", key.name))
    };
    let part = Part::Object(Box::new(volume.object_ref(&())));
    context.say_of(&Context::<E>::reference(&pool), part, (false, reason), &message).await;
}

async fn create_pv<E>(context: &Context<E>, action: &DemandAction) -> Result<Outcome, Error> {
    let DemandAction::CreatePv { volume, claim, volume_id, zone, size, retain } = action else { return Ok(Outcome::Stale) };
    let claims = &context.stores.claims;
    let Some(pvc) =
        claims.get(&ObjectRef::new(&claim.name).within(&claim.namespace)).filter(|pvc| pvc.uid().as_deref() == Some(&claim.uid))
    else {
        return Ok(Outcome::Stale);
    };
    let options = context.stores.volume(volume).and_then(|held| mount_options(context, &held));
    let pv = persistent_volume(&pvc, claim, volume, volume_id, zone, *size, *retain, options);
    let pvs: Api<PersistentVolume> = Api::all(context.client.clone());
    Ok(outcome(pvs.create(&PostParams::default(), &pv).await)?)
}

fn mount_options<E>(context: &Context<E>, volume: &crate::api::PoolVolume) -> Option<Vec<String>> {
    let pool = ObjectRef::new(&volume.spec.pool_ref.name).within(&volume.namespace()?);
    let options = &context.stores.pools.get(&pool)?.spec.template.mount_options;
    (!options.is_empty()).then(|| options.iter().map(|option| option.as_str().to_owned()).collect())
}

#[expect(clippy::too_many_arguments, reason = "one call site, and each is one field of the object")]
fn persistent_volume(
    pvc: &PersistentVolumeClaim,
    claim: &ClaimRef,
    volume: &ObjectKey,
    volume_id: &VolumeId,
    zone: &Zone,
    size: GiB,
    retain: bool,
    mount_options: Option<Vec<String>>,
) -> PersistentVolume {
    let wanted = pvc.spec.clone().unwrap_or_default();
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(pv_name(&claim.uid)),
            annotations: Some([(ANNOTATION_PROVISIONED_BY.to_owned(), GROUP.to_owned())].into()),
            finalizers: Some(vec![FINALIZER_RELEASE.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: wanted.access_modes,
            capacity: Some([("storage".to_owned(), Quantity(size.to_string()))].into()),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(claim.namespace.clone()),
                name: Some(claim.name.clone()),
                uid: Some(claim.uid.clone()),
                ..ObjectReference::default()
            }),
            csi: Some(CSIPersistentVolumeSource {
                driver: GROUP.to_owned(),
                volume_handle: volume_id.to_string(),
                read_only: Some(claim.access == Access::ReadOnly),
                // Read by the kubelet alone, which sets the group of files only where a type is named.
                fs_type: (claim.access == Access::ReadWrite).then(|| "auto".to_owned()),
                volume_attributes: Some([(ATTRIBUTE_POOL_VOLUME.to_owned(), volume.to_string())].into()),
                ..CSIPersistentVolumeSource::default()
            }),
            mount_options,
            node_affinity: Some(in_zone(zone)),
            persistent_volume_reclaim_policy: Some(if retain { "Retain" } else { "Delete" }.to_owned()),
            storage_class_name: wanted.storage_class_name,
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

fn in_zone(zone: &Zone) -> VolumeNodeAffinity {
    let requirement =
        NodeSelectorRequirement { key: LABEL_ZONE.to_owned(), operator: "In".to_owned(), values: Some(vec![zone.to_string()]) };
    let term = NodeSelectorTerm { match_expressions: Some(vec![requirement]), match_fields: None };
    VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) }
}

/// Deletes the PersistentVolume, then takes our finalizer off it.
async fn delete_pv<E>(context: &Context<E>, name: &str) -> Result<Outcome, Error> {
    let Some(pv) = context.stores.pvs.get(&ObjectRef::new(name)) else { return Ok(Outcome::Stale) };
    let pvs: Api<PersistentVolume> = Api::all(context.client.clone());
    if pv.metadata.deletion_timestamp.is_none() {
        return Ok(delete_exactly(&pvs, name, &pv.uid().unwrap_or_default(), None).await?);
    }
    let others: Vec<&String> = pv.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER_RELEASE).collect();
    if others.len() == pv.finalizers().len() {
        return Ok(Outcome::Done);
    }
    let patch = json!({"metadata": {"resourceVersion": pv.resource_version(), "finalizers": others}});
    Ok(outcome(pvs.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await)?)
}

/// Takes the chosen node off the claim, as the external provisioner does, so that the scheduler chooses again.
async fn reschedule<E>(context: &Context<E>, claim: &ObjectKey) -> Result<Outcome, Error> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &claim.namespace);
    let patch = json!({"metadata": {"annotations": {ANNOTATION_SELECTED_NODE: null}}});
    Ok(outcome(claims.patch(&claim.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?)
}
