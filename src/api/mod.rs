//! The public contract: the custom resources of `volumedispatcher.io/v1alpha1` and every key that we write on objects.

pub mod keys;
pub mod pool_node;
pub mod pool_volume;
pub mod volume_pool;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use pool_node::{PoolNode, PoolNodeSpec, PoolNodeStatus};
pub use pool_volume::{CloudStatus, NodeStatus, PoolVolume, PoolVolumeSpec, PoolVolumeStatus};
pub use volume_pool::{VolumePool, VolumePoolSpec, VolumePoolStatus};

/// All resource definitions, each with the file name under which `crds/` keeps it.
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![("volumepools.yaml", VolumePool::crd()), ("poolvolumes.yaml", PoolVolume::crd()), ("poolnodes.yaml", PoolNode::crd())]
}
