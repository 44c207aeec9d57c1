//! What the object of a source says to agents. Pure.

use std::time::Duration;

use kube::ResourceExt;

use super::gate::Promise;
use super::wanted::SourceSeen;
use crate::api::{PoolVolume, Role, SyncState, SyncStatus};
use crate::domain::{ObjectKey, SyncPosition};

/// The pool of a volume.
pub(super) fn pool_of(volume: &PoolVolume) -> ObjectKey {
    ObjectKey::new(volume.namespace().unwrap_or_default(), volume.spec.pool_ref.name.as_str())
}

/// Reads the object of a source; none of anything else, or of one that is on its way out.
pub(super) fn seen(volume: &PoolVolume) -> Option<SourceSeen> {
    let publish = volume.spec.publish.as_ref().filter(|_| volume.spec.role == Role::Source)?;
    if volume.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let side = volume.status.as_ref().and_then(|status| status.node.as_ref());
    let sync = side.and_then(|side| side.sync.as_ref());
    let address =
        sync.filter(|sync| matches!(sync.state, SyncState::Publishing | SyncState::Scanning)).and_then(|sync| sync.address.clone());
    Some(SourceSeen {
        exclude: publish.exclude.clone(),
        preserve_on_copies: publish.preserve_on_copies.clone(),
        bandwidth_bytes_per_second: publish.bandwidth_bytes_per_second,
        promise: Promise { max_staleness: Duration::from_millis(publish.max_staleness_milliseconds), serves_alone: publish.serves_alone },
        published: side.map(|side| side.name.clone()).zip(address),
        why_not: why_not(volume, sync),
        rests_at: rests_at(volume, sync),
    })
}

/// The last position of a source that no pod has had since, as the agent said that let it go. Who publishes it next takes the
/// node's place, and the controller forgets it as soon as somebody else has the volume.
fn rests_at(volume: &PoolVolume, sync: Option<&SyncStatus>) -> Option<SyncPosition> {
    let sync = sync.filter(|sync| sync.state == SyncState::NotMounted && !sync.source.is_empty() && volume.spec.node_name.is_none())?;
    Some(SyncPosition { source: sync.source.clone(), epoch: sync.epoch, generation: sync.generation })
}

fn why_not(volume: &PoolVolume, sync: Option<&SyncStatus>) -> String {
    let name = volume.name_any();
    let driver = volume.spec.publish.as_ref().and_then(|publish| publish.attached_by.as_ref());
    let node = match (&volume.spec.node_name, driver) {
        (Some(node), _) => node,
        (None, Some(driver)) => return format!("{driver} attaches it, and no node publishes it before a pod mounts it there"),
        (None, None) => return format!("the PoolVolume {name} has no node"),
    };
    let side = volume.status.as_ref().and_then(|status| status.node.as_ref());
    let error = sync.and_then(|sync| sync.error.as_ref()).or_else(|| side.and_then(|side| side.error.as_ref()));
    error.map_or_else(|| format!("node {node} is about to publish the PoolVolume {name}"), |error| format!("node {node} says: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{NodeStatus, PoolVolumeStatus, PublishSpec};

    fn source(state: SyncState, address: Option<&str>) -> PoolVolume {
        let spec = serde_json::json!({"poolRef": {"name": "web", "uid": "u"}, "role": "Source", "zone": "a", "slot": 0, "sizeGiB": 1, "nodeName": "node1"});
        let mut volume = PoolVolume::new("web-source", serde_json::from_value(spec).expect("a spec"));
        volume.metadata.namespace = Some("shop".to_owned());
        volume.spec.publish = Some(PublishSpec { max_staleness_milliseconds: 5000, ..PublishSpec::default() });
        let sync = SyncStatus { state, address: address.map(str::to_owned), ..SyncStatus::default() };
        let node = NodeStatus { name: "node1".to_owned(), sync: Some(sync), ..NodeStatus::default() };
        volume.status = Some(PoolVolumeStatus { node: Some(node), ..PoolVolumeStatus::default() });
        volume
    }

    #[test]
    fn a_source_is_published_where_its_agent_says_so() {
        let volume = source(SyncState::Publishing, Some("10.0.0.1:8082"));
        assert_eq!(pool_of(&volume), ObjectKey::new("shop", "web"));
        let seen = seen(&volume).expect("a source");
        assert_eq!(seen.published, Some(("node1".to_owned(), "10.0.0.1:8082".to_owned())));
        assert_eq!(seen.promise.max_staleness, Duration::from_secs(5));
    }

    #[test]
    fn a_source_that_is_not_published_says_why() {
        let mut volume = source(SyncState::Failed, Some("10.0.0.1:8082"));
        assert_eq!(seen(&volume).expect("a source").published, None);
        volume.spec.node_name = None;
        assert!(seen(&volume).expect("a source").why_not.contains("web-source has no node"));
    }

    #[test]
    fn a_source_that_nobody_has_rests_at_the_last_words_of_its_agent() {
        let mut volume = source(SyncState::NotMounted, None);
        let publish = volume.spec.publish.as_mut().expect("it is a source");
        publish.attached_by = Some("ebs.csi.aws.com".to_owned());
        let sync = volume.status.as_mut().and_then(|status| status.node.as_mut()?.sync.as_mut()).expect("its last words");
        (sync.source, sync.epoch, sync.generation) = ("src".to_owned(), 2, 7);
        assert_eq!(seen(&volume).expect("a source").rests_at, None, "it is on its way to a node");
        volume.spec.node_name = None;
        let found = seen(&volume).expect("a source");
        assert_eq!(found.rests_at, Some(SyncPosition { source: "src".to_owned(), epoch: 2, generation: 7 }));
        assert_eq!(found.published, None);
        assert!(found.why_not.contains("ebs.csi.aws.com") && found.why_not.contains("before a pod mounts it"), "{}", found.why_not);
        volume.status.as_mut().and_then(|status| status.node.as_mut()?.sync.as_mut()).expect("its last words").source.clear();
        assert_eq!(seen(&volume).expect("a source").rests_at, None, "it was cut short");
    }

    #[test]
    fn a_copy_and_a_source_on_its_way_out_are_no_sources() {
        let mut volume = source(SyncState::Publishing, None);
        volume.spec.role = Role::Copy;
        assert_eq!(seen(&volume), None);
        volume.spec.role = Role::Source;
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH);
        volume.metadata.deletion_timestamp = Some(time);
        assert_eq!(seen(&volume), None);
    }
}
