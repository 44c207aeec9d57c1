//! Says which names of a source may have changed: fanotify, or why the kernel refuses it.
//!
//! Events are hints. What is true is read from the source afterwards, so an event too many does no harm, and events that
//! were lost mean that everything is compared.

mod coalesce;
mod fanotify;
mod identity;
mod kernel;
mod parse;

pub use coalesce::{Coalescer, Dirty, Due, Windows, Writer};
pub use fanotify::{Feed, FeedOptions, Refused};
pub use identity::identity_of;
pub use parse::{Event, ParseError, parse};
