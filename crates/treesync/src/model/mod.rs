//! What is said of a tree: paths, entries, changes, batches, positions. Values only: no I/O, no clock.

mod ahead;
mod batch;
mod content;
mod encode;
mod entry;
mod manifest;
mod path;
mod position;
mod rules;

pub use ahead::{AHEAD_FILE_MAX_BYTES, Ahead};
pub use batch::{Batch, ChangedBlock, Delta, INLINE_MAX_BYTES, Put, Structural};
pub use content::{ContentHash, Wanted};
pub use encode::{DecodeError, proto};
pub use entry::{Entry, Kind, Mtime, Xattr};
pub use manifest::ManifestPart;
pub use path::{NAME_MAX_BYTES, PATH_MAX_BYTES, PATH_MAX_NAMES, PathError, RESERVED_NAME, TreePath};
pub use position::{Position, SourceId};
pub use rules::{RuleOptions, Rules, RulesError};
