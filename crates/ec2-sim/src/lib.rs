//! A simulator of AWS EC2 for work with EBS volumes.
//!
//! It speaks the real wire protocol, so the AWS SDKs, boto3 and the AWS CLI use
//! it unchanged, and it has a real data plane: volumes are files, snapshots are
//! clones, and an attached volume is a block device.
//!
//! [`Server`] runs it inside a test or a program; [`World`] alone is the account
//! as a pure state machine, for tests that own the clock.

mod admin;
mod audit;
pub mod cli;
mod clock;
mod connection;
mod disk;
mod error;
mod iam;
mod imds;
mod import;
mod rule_changes;
mod script;
mod server;
mod shell;
mod sigv4;
mod store;
mod wire;
pub mod world;

pub use audit::{Audit, Owned, Traffic, audit, audit_folder};
pub use error::Error;
pub use server::{Options, Server};
pub use world::{Profile, World};

/// Keeps the example of the README compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
