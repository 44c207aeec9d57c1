//! The tests of the simulator from outside, in one program so that they link once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

mod access;
mod account;
mod admin;
mod devices;
mod faults;
mod folders;
mod http;
mod images;
mod invariants;
mod journal;
mod metadata;
mod queries;
mod rules;
mod signing;
mod state_file;
mod wire;
mod world;
