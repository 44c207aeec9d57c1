//! The calls on snapshots.

mod create;
mod describe;
mod fast_restore;
mod lock;
