//! What keeps a world going: tables and their index, time, effects owed, and reports of the data plane.

mod advance;
pub(in crate::world) mod changes;
mod confirm;
pub(in crate::world) mod effect;
pub(in crate::world) mod index;
pub(in crate::world) mod table;
pub(in crate::world) mod tokens;
