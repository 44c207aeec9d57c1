//! The whole product on one machine: a real Kubernetes, a simulated EC2 with real disks, the image and the chart.
//!
//! `Stage` sets the scene, for the demonstration (`story`) and for the tests on a real cluster.

pub mod account;
pub mod image;
mod programs;
mod source;
mod stage;
pub mod story;
mod table;
pub mod wait;

pub use source::{Content, DIGEST_COMMAND, Filesystem};
pub use stage::{Report, Script, Stage, clear, prepare};
