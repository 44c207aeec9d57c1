//! The copies of a host follow one source: received once, applied to each, acknowledged.
//!
//! Each copy has a thread. Copies that are at comparable points share a lane, which is one stream; those that have
//! caught up end in one main lane. A copy that fails leaves its lane, is opened again after a wait, and comes back in
//! a lane of its own, so that it never holds up the others; until then it serves what it has.

mod contents;
mod copy;
mod drift;
mod expected;
mod handle;
mod hints;
mod lane;
mod plan;
mod supervisor;
mod turns;
mod verifier;
mod worker;

pub use contents::{FetchError, SharedContents};
pub use copy::{copy_at, watched_copy_at};
pub use handle::{Session, SessionError};
pub use supervisor::{Notice, Settings};
pub use verifier::{Verdict, Verifier, VerifyError};
pub use worker::{Fault, Open, Replica};
