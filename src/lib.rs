//! volume-dispatcher keeps pools of filled, identical EBS volumes ready for pods: see ARCHITECTURE.md for the map.

pub mod admin;
pub mod agent;
pub mod api;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod domain;
pub mod ec2;
pub mod explain;
pub mod k8s;
pub mod metrics;
pub mod plan;
pub mod shutdown;
pub mod telemetry;
pub mod yaml;
