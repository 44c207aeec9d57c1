//! What the object of a source says to agents. Pure.

use std::time::Duration;

use kube::ResourceExt;

use super::gate::Promise;
use super::wanted::SourceSeen;
use crate::api::{PoolVolume, Role, SyncState, SyncStatus};
use crate::domain::ObjectKey;

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
    })
}

fn why_not(volume: &PoolVolume, sync: Option<&SyncStatus>) -> String {
    let name = volume.name_any();
    let Some(node) = &volume.spec.node_name else { return format!("the PoolVolume {name} has no node") };
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
