//! A real Kubernetes on one machine, for tests and demonstrations: etcd, API server, controller manager, scheduler,
//! kube-proxy, and for each node a containerd and a kubelet in a mount namespace of their own, all of it in one
//! network namespace. It needs root on Linux, and touches nothing that is not its own.

mod api;
mod bringup;
mod cgroups;
mod cluster;
mod command;
mod flags;
mod identity;
mod images;
mod layout;
mod lock;
mod mounts;
mod network;
mod packages;
mod pki;
mod power;
mod processes;
mod progress;
mod record;
mod relay;
mod render;
mod spec;
mod startup;
mod teardown;
mod tools;

pub use bringup::{down, remains};
pub use cluster::Cluster;
pub use layout::default_state;
pub use packages::{ensure_packages, ensure_programs};
pub use spec::{Bind, ClusterSpec, MAX_NODES, NodeSpec};
pub use teardown::Logs;
pub use tools::ensure_tools;
