//! Effects on the PoolVolume of a live pool's source.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::PostParams;
use tracing::info;

use crate::api::keys::{LABEL_ROLE, ROLE_SOURCE};
use crate::api::{PoolVolume, Role, VolumePool};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::parse;
use crate::controller::parse_sync::publish_spec;
use crate::controller::volume_write::edit_spec;
use crate::domain::{NodeName, ObjectKey, Reason};
use crate::ec2::Ec2;
use crate::k8s::write::{Outcome, outcome};
use crate::plan::{NewSource, NewVolume, Origin, PublishWanted};

use super::execute::pool_volume;

/// Makes the object. Idempotent by its name.
pub(super) async fn create<E: Ec2>(context: &Context<E>, pool: &VolumePool, new: &NewSource) -> Result<Outcome, Error> {
    let namespace = pool.namespace().unwrap_or_default();
    info!(pool = %parse::key_of(pool), volume_id = %new.volume, "the source is published from now on");
    Ok(outcome(context.volumes(&namespace).create(&PostParams::default(), &source_object(pool, new)).await)?)
}

fn source_object(pool: &VolumePool, new: &NewSource) -> PoolVolume {
    let first = NewVolume { slot: 0, attempt: 0, zone: new.zone.clone(), size: new.size, origin: Origin::none(), content: None };
    let mut volume = pool_volume(pool, &first);
    let labels = volume.metadata.labels.take().unwrap_or_default();
    let role = (LABEL_ROLE.to_owned(), ROLE_SOURCE.to_owned());
    volume.metadata = ObjectMeta { name: Some(name(pool)), labels: Some(labels.into_iter().chain([role]).collect()), ..volume.metadata };
    volume.spec.role = Role::Source;
    volume.spec.publish = Some(publish_spec(&new.publish, None));
    volume
}

/// Its name: no copy has it, since theirs end with a number.
fn name(pool: &VolumePool) -> String {
    format!("{}-source", pool.name_any())
}

/// Tells the agents how it is published; orders stay.
pub(super) async fn publish<E: Ec2>(
    context: &Context<E>,
    key: &ObjectKey,
    judged: &str,
    publish: &PublishWanted,
) -> Result<Outcome, Error> {
    edit_spec(context, key, Some(judged), |spec| spec.publish = Some(publish_spec(publish, spec.publish.as_ref()))).await
}

/// Has the agent of a node attach, mount and publish it.
pub(super) async fn assign<E: Ec2>(
    context: &Context<E>,
    pool: &VolumePool,
    key: &ObjectKey,
    judged: &str,
    node: &NodeName,
) -> Result<Outcome, Error> {
    let assigned = edit_spec(context, key, Some(judged), |spec| spec.node_name = Some(node.to_string())).await?;
    if assigned == Outcome::Done {
        info!(pool = %parse::key_of(pool), %node, "the source goes to a node");
        let message = format!("node {node} is to publish the source");
        context.say(&Context::<E>::reference(pool), false, Reason::SourceAssigned, &message).await;
    }
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_of_a_source_is_told_from_those_of_copies() {
        let spec = serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}, "sync": {"mode": "Live"}});
        let pool = VolumePool::new("web", serde_json::from_value(spec).expect("a spec"));
        let publish = PublishWanted { max_staleness_milliseconds: 5000, ..PublishWanted::default() };
        let new = NewSource { volume: "vol-0123456789abcdef0".into(), zone: "a".into(), size: crate::domain::GiB(3), publish };
        let object = source_object(&pool, &new);
        assert_eq!((object.name_any().as_str(), object.spec.role, object.spec.size_gib), ("web-source", Role::Source, 3));
        assert_eq!(object.labels().get(LABEL_ROLE).map(String::as_str), Some(ROLE_SOURCE));
        assert_eq!(object.labels().len(), 2, "that of the pool stays");
        assert_eq!(object.spec.publish.map(|publish| publish.max_staleness_milliseconds), Some(5000));
    }
}
