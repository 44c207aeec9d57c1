//! What can happen to a pool from outside.

use proptest::prelude::*;

/// Something that happens to a pool from outside.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Scale(u32),
    Claim(u8),
    DeleteClaim(usize),
    LoseVolume(usize),
    DeleteObject(usize),
    FailVolumes(u32),
    FailSnapshots(u32),
    LagReads(u32),
    /// A snapshot is due each minute from now on.
    Snapshot,
    Grow(u32),
    Speed(u32),
    Encrypt(bool),
    Pause(bool),
    Pass(u32),
    /// A pass whose decisions are made on what was seen one pass before.
    StalePass,
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..5u32).prop_map(Event::Scale),
        4 => (0..4u8).prop_map(Event::Claim),
        3 => (0..8usize).prop_map(Event::DeleteClaim),
        1 => (0..8usize).prop_map(Event::LoseVolume),
        1 => (0..8usize).prop_map(Event::DeleteObject),
        1 => (1..3u32).prop_map(Event::FailVolumes),
        1 => (1..3u32).prop_map(Event::FailSnapshots),
        1 => (1..3u32).prop_map(Event::LagReads),
        1 => Just(Event::Snapshot),
        1 => (11..13u32).prop_map(Event::Grow),
        1 => (3000..3003u32).prop_map(Event::Speed),
        1 => any::<bool>().prop_map(Event::Encrypt),
        1 => any::<bool>().prop_map(Event::Pause),
        6 => (1..6u32).prop_map(Event::Pass),
        2 => Just(Event::StalePass),
    ]
}
