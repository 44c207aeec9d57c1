//! Carries out what the collector decided, each effect after a look of its own where it could do harm.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{ListParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use crate::api::keys::ANNOTATION_ADOPTS;
use crate::api::{PoolVolume, VolumePool};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::supply::{View, pool_volume};
use crate::domain::{ObjectKey, Reason, Uid, VolumeId};
use crate::ec2::Ec2;
use crate::k8s::write::{Outcome, outcome};
use crate::plan::strays::StrayAction;
use crate::plan::{NewVolume, StrayProof, prove_stray};

use super::observe;

/// One effect; says whether it changed anything.
pub(super) async fn one<E: Ec2>(context: &Context<E>, action: &StrayAction) -> Result<bool, Error> {
    match action {
        StrayAction::AdoptVolume { .. } => adopt(context, action).await,
        StrayAction::TagVolume { volume, tags } => Ok(context.ec2.tag(volume.as_str(), tags).await.map(|()| true)?),
        StrayAction::TagSnapshot { snapshot, tags } => Ok(context.ec2.tag(snapshot.as_str(), tags).await.map(|()| true)?),
        StrayAction::DeleteVolume { pool, volume, since } => delete(context, pool, volume, *since).await,
    }
}

/// Makes the object. It names its EBS volume from the start, so that no other is asked for.
async fn adopt<E: Ec2>(context: &Context<E>, action: &StrayAction) -> Result<bool, Error> {
    let StrayAction::AdoptVolume { pool, pool_uid, slot, volume, zone, size, origin, retired } = action else { return Ok(false) };
    let owner = context.stores.pools.get(&ObjectRef::new(&pool.name).within(&pool.namespace));
    let Some(owner) = owner.filter(|owner| owner.uid().as_deref() == Some(pool_uid.as_str())) else { return Ok(false) };
    let new = NewVolume { slot: *slot, attempt: 0, zone: zone.clone(), size: *size, origin: origin.clone(), content: None };
    let mut object = pool_volume(&owner, &new);
    object.spec.retired = *retired;
    object.annotations_mut().insert(ANNOTATION_ADOPTS.to_owned(), volume.to_string());
    let made = outcome(context.volumes(&pool.namespace).create(&PostParams::default(), &object).await)? == Outcome::Done;
    if made {
        let message = format!("took the volume {volume} back as {}; its object was lost", object.name_any());
        context.say(&Context::<E>::reference(&owner), false, Reason::Adopted, &message).await;
    }
    Ok(made)
}

/// Looks again, at the API server and at EC2 themselves, and deletes only with the proof of that look.
async fn delete<E: Ec2>(context: &Context<E>, key: &ObjectKey, id: &VolumeId, since: jiff::Timestamp) -> Result<bool, Error> {
    let everything = ListParams::default();
    let Some(pool) = context.pools(&key.namespace).get_opt(&key.name).await? else { return Ok(false) };
    let pools = Api::<VolumePool>::all(context.client.clone()).list(&everything).await?;
    let volumes = Api::<PoolVolume>::all(context.client.clone()).list(&everything).await?;
    let pvs = Api::<PersistentVolume>::all(context.client.clone()).list(&everything).await?;
    let arcs = |volumes: Vec<PoolVolume>| volumes.into_iter().map(Arc::new).collect();
    let pvs: Vec<Arc<PersistentVolume>> = pvs.items.into_iter().map(Arc::new).collect();
    let view = View::new(pools.items.into_iter().map(Arc::new).collect(), arcs(volumes.items), &[], &[]).with_handles(&pvs);
    let live_objects: BTreeSet<Uid> = view.all_volumes().filter_map(|volume| volume.uid()).map(Uid::new).collect();
    let fresh = StrayProof {
        cluster: context.cluster.clone(),
        pool: key.clone(),
        facts: observe::facts(&pool),
        since,
        now: context.clock.now(),
        live_objects,
        named_volumes: observe::named(&view),
    };
    let Some(cloud) = context.ec2.volumes_by_id(std::slice::from_ref(id)).await?.pop() else { return Ok(false) };
    let Some(proof) = prove_stray(&fresh, &cloud) else { return Ok(false) };
    context.ec2.delete_volume(proof.id()).await?;
    let message = format!("deleted volume {id}, which no object knew");
    context.say(&Context::<E>::reference(&pool), false, Reason::OrphanDeleted, &message).await;
    Ok(true)
}
