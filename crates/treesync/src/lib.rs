//! Keeps many mounted copies of a file tree identical to their source, at the cost of the change.

pub mod apply;
pub mod cli;
pub mod feed;
pub mod hostile;
pub mod index;
pub mod model;
pub mod publish;
pub mod session;
pub mod tree;
pub mod verify;
pub mod wire;
