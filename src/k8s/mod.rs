//! Kubernetes plumbing that knows nothing of pools: leadership, watches, guarded writes.

pub mod certificates;
pub mod fence;
pub mod lease;
pub mod watch;
pub mod write;
