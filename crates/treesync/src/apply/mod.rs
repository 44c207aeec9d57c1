//! One copy: recover it, stage what is new, write the intent, publish, mark. Crash-safe at every instruction.
//!
//! Everything blocks; one owner a copy, kept by a lock on the copy. See ARCHITECTURE.md for the two phases.

mod contents;
mod copy;
mod error;
mod hidden;
mod observer;
mod plan;
mod publish;
mod stage;

pub use contents::{ContentError, Contents};
pub use copy::{Applied, Copy, CopyOptions};
pub use error::{CopyError, Problem};
pub use hidden::{Intent, IntentError, Marker, MarkerState, read_marker};
pub use observer::{Observer, Step};
