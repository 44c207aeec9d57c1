//! The public contract: the custom resources of `volumedispatcher.io/v1alpha1` and every key that we write on objects.

pub mod keys;
pub mod path_operation;
pub mod pool_node;
pub mod pool_volume;
pub mod snapshots;
pub mod sync;
mod sync_spec;
pub mod volume_pool;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

pub use path_operation::{PathOperation, PathOperationSpec, PathOperationStatus};
pub use pool_node::{PoolNode, PoolNodeSpec, PoolNodeStatus};
pub use pool_volume::{CloudStatus, Content, NodeStatus, PoolVolume, PoolVolumeSpec, PoolVolumeStatus, RefreshSpec};
pub use sync::{CheckpointStatus, PublishSpec, Role, SyncState, SyncStatus, VerifiedStatus, VerifyLevel, VerifySpec};
pub use volume_pool::{VolumePool, VolumePoolSpec, VolumePoolStatus};

/// All resource definitions, each with the file name under which `crds/` keeps it.
pub fn definitions() -> Vec<(&'static str, Value)> {
    let all = [
        ("volumepools.yaml", VolumePool::crd()),
        ("poolvolumes.yaml", PoolVolume::crd()),
        ("poolnodes.yaml", PoolNode::crd()),
        ("pathoperations.yaml", PathOperation::crd()),
    ];
    all.map(|(file, definition)| (file, tidied(&definition))).into()
}

/// A definition as the API server likes it: it warns of number formats that it does not know, such as `uint32`.
fn tidied(definition: &CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(definition).expect("a definition has string keys only");
    drop_unsigned_formats(&mut value);
    join_lines(&mut value);
    value
}

/// Descriptions without the line breaks of the source: `kubectl explain` breaks lines itself.
fn join_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
            }
            fields.values_mut().for_each(join_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(join_lines),
        _ => {}
    }
}

fn drop_unsigned_formats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_unsigned_formats);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unsigned_formats),
        _ => {}
    }
}
