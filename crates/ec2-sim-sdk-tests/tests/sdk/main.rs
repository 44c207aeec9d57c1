//! The contract suite of the simulator over AWS's SDK for Rust, in one program so that the SDK links once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

/// Signatures and policies.
mod access;
/// The calls that most tests begin with.
mod account;
/// Modifications, copies, sets, locks, fast restores.
mod calls;
/// Error codes and their HTTP status.
mod errors;
/// The SDK's paginators.
mod pages;
/// What becomes of a lost answer, a throttled call, a repeated token.
mod retries;
/// The states in between, and their order.
mod states;
/// The SDK's waiters.
mod waiters;
