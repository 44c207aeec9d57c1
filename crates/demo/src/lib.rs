//! The whole product on one machine: a real Kubernetes, a simulated EC2 with real disks, the image and the chart.
//!
//! `Stage` sets the scene, for the demonstration (`story`) and for the tests on a real cluster. `ControlPlane` is the part of
//! it that needs no pod: quicker to set, and large enough for thousands of volumes.

pub mod account;
mod control_plane;
mod http;
pub mod image;
pub mod live;
mod programs;
pub mod shared_snapshot;
mod source;
mod stage;
pub mod story;
mod table;
pub mod wait;

pub use control_plane::{ControlPlane, ZONE, kubeconfig_of};
pub use source::{Content, DIGEST_COMMAND, Filesystem};
pub use stage::{CLUSTER, NAMESPACE, Report, Script, Stage, TWO_ZONES, WITH_A_SPARE, clear, prepare};
