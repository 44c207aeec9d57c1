//! Reads claims, classes, PersistentVolumes and agents into the input of the demand plan. Memory only.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use crate::api::keys::{
    ANNOTATION_SELECTED_NODE, ANNOTATION_VOLUME, ATTRIBUTE_POOL_VOLUME, GROUP, LABEL_ZONE, PARAMETER_POOL, PARAMETER_VOLUME, VOLUME_COPY,
    VOLUME_SOURCE,
};
use crate::controller::context::Context;
use crate::controller::parse::{key_of, offer, volume_seen};
use crate::domain::{GiB, NodeName, ObjectKey, Uid, VolumeId, Zone};
use crate::plan::{ClaimSeen, DemandSeen, PvSeen};

/// The class of a claim, when it is one of ours.
type Classes = BTreeMap<String, Arc<StorageClass>>;

/// Everything that dispatch and release depend on.
pub(super) fn everything<E>(context: &Context<E>) -> DemandSeen {
    let stores = &context.stores;
    let is_ours = |class: &Arc<StorageClass>| class.provisioner == GROUP;
    let classes: Classes = stores.classes.state().into_iter().filter(is_ours).map(|class| (class.name_any(), class)).collect();
    let claims = stores.claims.state();
    let ours: Vec<(&Arc<PersistentVolumeClaim>, &Arc<StorageClass>)> =
        claims.iter().filter_map(|claim| Some((claim, class_of(claim, &classes)?))).collect();
    let waiting = ours.iter().filter(|(claim, _)| is_waiting(claim)).map(|(claim, class)| claim_seen(claim, class));
    let zone_of = |node: &Arc<k8s_openapi::api::core::v1::Node>| {
        let zone = node.labels().get(LABEL_ZONE)?;
        Some((NodeName::new(node.name_any()), Zone::new(zone.as_str())))
    };
    DemandSeen {
        claims: waiting.collect(),
        live_claims: ours.iter().filter_map(|(claim, _)| claim.uid()).collect(),
        offers: stores.pools.state().iter().map(|pool| (key_of(&**pool), offer(pool))).collect(),
        volumes: stores.volumes.state().iter().map(|volume| volume_seen(volume, None, None)).collect(),
        pvs: stores.pvs.state().iter().filter_map(|pv| pv_seen(pv)).collect(),
        node_zones: stores.nodes.state().iter().filter_map(zone_of).collect(),
        requests: requests(context),
        now: context.clock.now(),
    }
}

fn requests<E>(context: &Context<E>) -> BTreeMap<VolumeId, NodeName> {
    let of_node = |node: &Arc<crate::api::PoolNode>| {
        let name = NodeName::new(node.name_any());
        let requested = node.status.as_ref().map(|status| status.requested.clone()).unwrap_or_default();
        requested.into_iter().map(move |id| (VolumeId::new(id), name.clone()))
    };
    context.stores.pool_nodes.state().iter().flat_map(of_node).collect()
}

fn class_of<'a>(claim: &PersistentVolumeClaim, classes: &'a Classes) -> Option<&'a Arc<StorageClass>> {
    classes.get(claim.spec.as_ref()?.storage_class_name.as_ref()?)
}

fn is_waiting(claim: &PersistentVolumeClaim) -> bool {
    let unbound = claim.spec.as_ref().is_some_and(|spec| spec.volume_name.as_deref().unwrap_or_default().is_empty());
    unbound && claim.metadata.deletion_timestamp.is_none()
}

fn claim_seen(claim: &PersistentVolumeClaim, class: &StorageClass) -> ClaimSeen {
    ClaimSeen {
        key: key_of(claim),
        uid: Uid::new(claim.uid().unwrap_or_default()),
        pool: check_modes(claim).and(check_volume(claim, class)).and(requested(claim)).and_then(|_| pool_of(claim, class)),
        requested: requested(claim).unwrap_or(GiB(0)),
        wants_source: wants_source(claim, class),
        waits_for_node: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
        selected_node: claim.annotations().get(ANNOTATION_SELECTED_NODE).map(|node| NodeName::new(node.as_str())),
    }
}

/// The size that a claim asks for; the error names the field.
fn requested(claim: &PersistentVolumeClaim) -> Result<GiB, String> {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned());
    let text = requests.unwrap_or_default().0;
    GiB::from_quantity(&text)
        .ok_or_else(|| format!("spec.resources.requests.storage is {text:?}; write it as a number of Gi, such as 20Gi"))
}

/// Which volume of the pool a claim asks for: its own annotation counts before its class.
fn volume_asked<'a>(claim: &'a PersistentVolumeClaim, class: &'a StorageClass) -> Option<&'a str> {
    let of_class = || class.parameters.as_ref().and_then(|parameters| parameters.get(PARAMETER_VOLUME));
    claim.annotations().get(ANNOTATION_VOLUME).or_else(of_class).map(String::as_str)
}

fn wants_source(claim: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    volume_asked(claim, class) == Some(VOLUME_SOURCE)
}

fn check_volume(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<(), String> {
    match volume_asked(claim, class) {
        None | Some(VOLUME_SOURCE | VOLUME_COPY) => Ok(()),
        Some(other) => Err(format!(
            "the annotation {ANNOTATION_VOLUME} of the claim, or the parameter {PARAMETER_VOLUME} of its class, is {other:?}; it must be {VOLUME_COPY} or {VOLUME_SOURCE}"
        )),
    }
}

fn check_modes(claim: &PersistentVolumeClaim) -> Result<(), String> {
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("spec.volumeMode: a volume of a pool holds a filesystem; leave volumeMode out".to_owned());
    }
    let modes = spec.access_modes.unwrap_or_default();
    match modes.iter().find(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod")) {
        Some(mode) => Err(format!(
            "spec.accessModes: an EBS volume is on one node at a time, so {mode} cannot be given; use ReadWriteOnce, each pod gets a volume of its own"
        )),
        None => Ok(()),
    }
}

/// The pool in the claim's own namespace that it names, or the one that its class names.
fn pool_of(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<ObjectKey, String> {
    let parameter = class.parameters.as_ref().and_then(|parameters| parameters.get(PARAMETER_POOL));
    if let Some(text) = parameter {
        let fault =
            || format!("parameters.pool of StorageClass {} is {text:?}; it must be <namespace>/<name> of a VolumePool", class.name_any());
        return ObjectKey::parse(text).ok_or_else(fault);
    }
    let reference = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.clone());
    let Some(reference) = reference else {
        return Err(
            "spec.dataSourceRef is missing; name a VolumePool: {apiGroup: volumedispatcher.io, kind: VolumePool, name: …}".to_owned()
        );
    };
    if reference.kind != "VolumePool" || reference.api_group.as_deref() != Some(GROUP) {
        let group = reference.api_group.unwrap_or_default();
        return Err(format!("spec.dataSourceRef names {group}/{}; this class gives volumes of a {GROUP} VolumePool only", reference.kind));
    }
    let own = claim.namespace().unwrap_or_default();
    match reference.namespace.filter(|namespace| *namespace != own) {
        Some(other) => Err(format!(
            "spec.dataSourceRef.namespace is {other}; a claim names a pool of its own namespace, pools of others are reached through a StorageClass with parameters.pool"
        )),
        None => Ok(ObjectKey::new(own, reference.name)),
    }
}

fn pv_seen(pv: &PersistentVolume) -> Option<PvSeen> {
    let spec = pv.spec.as_ref()?;
    (spec.csi.as_ref()?.driver == GROUP).then_some(())?;
    let phase = pv.status.as_ref().and_then(|status| status.phase.as_deref());
    let claim_uid = spec.claim_ref.as_ref().and_then(|claim| claim.uid.clone());
    Some(PvSeen {
        name: pv.name_any(),
        volume: spec.csi.as_ref()?.volume_attributes.as_ref().and_then(|all| ObjectKey::parse(all.get(ATTRIBUTE_POOL_VOLUME)?)),
        claim_uid: claim_uid.clone().unwrap_or_default(),
        // Without a claim, by the hand of an administrator, only its deletion says that it is done with.
        is_released: matches!(phase, Some("Released" | "Failed")) || claim_uid.is_none() && pv.metadata.deletion_timestamp.is_some(),
        deleting: pv.metadata.deletion_timestamp.is_some(),
        is_retained: spec.persistent_volume_reclaim_policy.as_deref() == Some("Retain"),
    })
}
