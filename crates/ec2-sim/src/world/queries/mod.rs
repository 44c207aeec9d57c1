//! What describe calls share: filters, pages, tags, zones.

pub(in crate::world) mod filters;
pub(in crate::world) mod pages;
pub(in crate::world) mod tags;
pub(in crate::world) mod zones;
