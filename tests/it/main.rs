//! The tests of the product through its public parts, as one binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

/// What the custom resource definitions owe to their users.
mod api_rules;
/// The whole product on a real cluster. Needs root.
mod cluster;
/// The definitions in the repository are those of the code.
mod crds;
/// What the EC2 adapter promises, against a simulator in this process.
mod ec2_contract;
/// What the EC2 adapter promises of errors, snapshots, limits and pages.
mod ec2_contract_more;
/// What would be done for a pool, from its manifest alone.
mod explain;
/// The controller on a real API server, for what needs no pod: thousands of volumes, and everything that can be lost. Needs root.
mod plane;
/// A simulator in this process and an adapter to it.
mod simulator;
