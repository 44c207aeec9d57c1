//! Reads operations, their pools and the volumes of these into the input of the plan. Memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::api::keys::LABEL_NODE;
use crate::api::volume_pool::SyncMode;
use crate::api::{PathOperation, PoolVolume, Role, SyncState, SyncStatus, VolumePool};
use crate::controller::context::Context;
use crate::controller::parse::key_of;
use crate::controller::parse_sync::sync_seen;
use crate::domain::{NodeName, ObjectKey, Phase, SyncPosition, Uid};
use crate::plan::OperationsSeen;
use crate::plan::operations::{CopySeen, DoneAtSource, OperatedPool, OperationSeen, PoolContent};

use super::status::report;

/// Everything that operations depend on.
pub(super) fn everything<E>(context: &Context<E>) -> OperationsSeen {
    let stores = &context.stores;
    let operations: Vec<OperationSeen> = stores.operations.state().iter().map(|operation| seen(operation)).collect();
    let named: BTreeSet<&ObjectKey> = operations.iter().map(|operation| &operation.pool).collect();
    let mut volumes: BTreeMap<ObjectKey, Vec<Arc<PoolVolume>>> = BTreeMap::new();
    if !named.is_empty() {
        for volume in stores.volumes.state() {
            let pool = ObjectKey::new(volume.namespace().unwrap_or_default(), volume.spec.pool_ref.name.as_str());
            if named.contains(&pool) {
                volumes.entry(pool).or_default().push(volume);
            }
        }
    }
    let pool = |key: &ObjectKey| {
        let pool = stores.pools.get(&ObjectRef::new(&key.name).within(&key.namespace))?;
        Some((key.clone(), operated(&pool, volumes.get(key).map(Vec::as_slice).unwrap_or_default())))
    };
    let pools = named.into_iter().filter_map(pool).collect();
    OperationsSeen { operations, pools }
}

fn seen(operation: &PathOperation) -> OperationSeen {
    let (spec, key) = (&operation.spec, key_of(operation));
    let status = operation.status.as_ref();
    OperationSeen {
        uid: Uid::new(operation.uid().unwrap_or_default()),
        resource_version: operation.resource_version().unwrap_or_default(),
        deleting: operation.metadata.deletion_timestamp.is_some(),
        pool: ObjectKey::new(key.namespace.as_str(), spec.pool_ref.name.as_str()),
        key,
        operation: spec.operation,
        path: spec.path.clone(),
        verify: spec.verify,
        dry_run: spec.dry_run,
        timeout: duration(&spec.timeout),
        ttl: duration(&spec.ttl_after_finished),
        node: operation.labels().get(LABEL_NODE).map(|node| NodeName::new(node.as_str())),
        told: status.and_then(report),
        at_source: status.and_then(|status| status.source.as_ref()).map(|done| DoneAtSource {
            result: match &done.error {
                Some(error) => Err(error.clone()),
                None => Ok(SyncPosition { source: done.source.clone(), epoch: done.epoch, generation: done.generation }),
            },
            paths: done.paths_total,
        }),
    }
}

/// The length of `1h30m`; the schema has checked its form. What is longer than we can count is the longest that we can.
fn duration(text: &str) -> SignedDuration {
    let (mut seconds, mut number) = (0_i64, 0_i64);
    for character in text.chars() {
        let unit = match character {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            digit => {
                number = number.saturating_mul(10).saturating_add(i64::from(digit.to_digit(10).unwrap_or(0)));
                continue;
            }
        };
        seconds = seconds.saturating_add(number.saturating_mul(unit));
        number = 0;
    }
    SignedDuration::from_secs(seconds)
}

fn operated(pool: &VolumePool, volumes: &[Arc<PoolVolume>]) -> OperatedPool {
    let own = volumes.iter().filter(|volume| Some(&volume.spec.pool_ref.uid) == pool.metadata.uid.as_ref());
    let (sources, copies): (Vec<_>, Vec<_>) = own.partition(|volume| volume.spec.role == Role::Source);
    OperatedPool {
        content: match pool.spec.sync.mode {
            _ if pool.spec.source.snapshot_id.is_some() => PoolContent::Fixed,
            SyncMode::Live => PoolContent::Live,
            SyncMode::None => PoolContent::Still,
        },
        paused: pool.spec.paused,
        deleting: pool.metadata.deletion_timestamp.is_some(),
        publisher: publisher(sources.first().map(|source| &***source)),
        copies: copies.into_iter().map(|volume| copy(volume)).collect(),
    }
}

/// The node that publishes the source, or why none does.
fn publisher(source: Option<&PoolVolume>) -> Result<NodeName, String> {
    let source = source.ok_or("there is no PoolVolume for it yet")?;
    if source.metadata.deletion_timestamp.is_some() {
        return Err(format!("{} is being deleted", source.name_any()));
    }
    let is_foreign = source.spec.publish.as_ref().is_some_and(|publish| publish.attached_by.is_some());
    let nowhere = if is_foreign { "is published by no node before a pod has the source mounted" } else { "is on no node" };
    let node = source.spec.node_name.as_deref().ok_or_else(|| format!("{} {nowhere}", source.name_any()))?;
    let side = source.status.as_ref().and_then(|status| status.node.as_ref()).filter(|side| side.name == node);
    match side.and_then(|side| side.sync.as_ref()) {
        Some(SyncStatus { state: SyncState::Publishing, .. }) => Ok(NodeName::new(node)),
        sync => {
            let error = sync.and_then(|sync| sync.error.clone()).or_else(|| side.and_then(|side| side.error.clone()));
            let state = sync.map_or_else(|| "waits for its agent".to_owned(), |sync| format!("is {:?}", sync.state));
            let why = error.map_or_else(String::new, |error| format!(": {error}"));
            Err(format!("{} on node {node} {state}{why}", source.name_any()))
        }
    }
}

fn copy(volume: &PoolVolume) -> CopySeen {
    let status = volume.status.as_ref();
    let side = status.and_then(|status| status.node.as_ref());
    let sync = side.and_then(|side| side.sync.as_ref()).map(sync_seen);
    // One that is being refreshed is seen by no pod, and has what was done when it is claimed.
    let is_out_of_use = matches!(status.and_then(|status| status.phase), Some(Phase::Failed | Phase::Refreshing));
    CopySeen {
        key: key_of(volume),
        resource_version: volume.resource_version().unwrap_or_default(),
        is_of_use: !volume.spec.retired && !is_out_of_use && volume.metadata.deletion_timestamp.is_none(),
        mounted_on: side.filter(|side| side.mounted).map(|side| NodeName::new(side.name.as_str())),
        position: sync.as_ref().and_then(|sync| sync.position.clone()),
        error: sync.as_ref().and_then(|sync| sync.error.clone()).or_else(|| side.and_then(|side| side.error.clone())),
        ordered: volume.spec.verify.as_ref().map(|order| order.id.clone()),
        verified: sync.and_then(|sync| sync.verified),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_they_are_written() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d", 86_400), ("2m3s4m", 363), ("0s", 0)] {
            assert_eq!(duration(text), SignedDuration::from_secs(seconds), "{text}");
        }
        assert_eq!(duration("99999999999999999999h"), SignedDuration::from_secs(i64::MAX));
    }

    fn source(change: serde_json::Value) -> PoolVolume {
        let mut object = serde_json::json!({
            "apiVersion": "volumedispatcher.io/v1alpha1", "kind": "PoolVolume", "metadata": {"name": "web-source"},
            "spec": {"poolRef": {"name": "web", "uid": "u"}, "role": "Source", "zone": "a", "slot": 0, "sizeGiB": 1, "nodeName": "node1"},
            "status": {"node": {"name": "node1", "instanceID": "i-1", "attached": true, "mounted": true, "sync": {"state": "Publishing"}}},
        });
        json_patch(&mut object, change);
        serde_json::from_value(object).expect("a volume")
    }

    fn json_patch(object: &mut serde_json::Value, change: serde_json::Value) {
        match change {
            serde_json::Value::Object(fields) => fields.into_iter().for_each(|(name, value)| json_patch(&mut object[name], value)),
            value => *object = value,
        }
    }

    #[test]
    fn a_source_is_published_only_by_the_node_that_shall() {
        use serde_json::json;
        assert_eq!(publisher(Some(&source(json!({})))), Ok(NodeName::new("node1")));
        let cases = [
            (None, "no PoolVolume"),
            (Some(source(json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))), "being deleted"),
            (Some(source(json!({"spec": {"nodeName": null}}))), "on no node"),
            (
                Some(source(
                    json!({"spec": {"nodeName": null, "publish": {"maxStalenessMilliseconds": 1, "attachedBy": "ebs.csi.aws.com"}}}),
                )),
                "before a pod has the source mounted",
            ),
            (Some(source(json!({"spec": {"nodeName": "node2"}}))), "node2 waits for its agent"),
            (Some(source(json!({"status": {"node": {"sync": {"state": "Scanning"}}}}))), "is Scanning"),
            (Some(source(json!({"status": {"node": {"sync": {"state": "Failed", "error": "no room"}}}}))), "is Failed: no room"),
        ];
        for (source, words) in cases {
            let why = publisher(source.as_ref()).expect_err("it is not published");
            assert!(why.contains(words), "{why:?} lacks {words:?}");
        }
    }
}
