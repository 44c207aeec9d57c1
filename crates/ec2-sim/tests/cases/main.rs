//! What EC2 has been seen to do to software that manages volumes, one test for each behaviour, and random accounts.
//!
//! Every behaviour here has broken somebody: the reports are those of the EBS CSI driver, of Kubernetes and of
//! AWS's own guides. A client that is tried on the simulator meets all of them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

/// An account with a clock that only the test moves.
mod account;
/// Attachments that never end, names that hang, devices that change places.
mod attaching;
/// Devices in use, lost instances, force.
mod detaching;
/// Somebody else deletes, detaches, retags.
mod foreign;
/// How many volumes an instance holds, and who else uses its slots.
mod limits;
/// Answers that are lost, and what is there all the same.
mod lost_answers;
/// Any calls with any faults: the account stays in order, and a seed gives one trace.
mod random;
/// Reads that go backwards, ids that are not there yet.
mod stale_reads;
/// Rate limits, shared by everybody in the account.
mod throttling;
/// Client tokens: found again, refused, burnt.
mod tokens;
