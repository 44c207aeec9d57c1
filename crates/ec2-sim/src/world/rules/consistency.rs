//! Eventual consistency: which moment a call sees of each resource.

use jiff::{SignedDuration, Timestamp};

use super::Consistency;
use crate::world::model::ids::scramble;

/// What one call sees.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::world) struct View {
    /// When the call is made, and how late it may see; none when it sees everything as it is.
    late: Option<Late>,
    /// Whether the call changes something: it may miss a new id, but works on what is.
    writes: bool,
}

#[derive(Debug, Clone, Copy)]
struct Late {
    now: Timestamp,
    windows: Consistency,
    /// Differs from call to call.
    salt: u64,
    /// An age that a fault asks for.
    stale_ms: Option<u64>,
}

impl View {
    /// The view of a call made at `now`. `stale_ms` is the age that a fault asks for.
    pub(in crate::world) fn new(now: Timestamp, windows: Consistency, salt: u64, stale_ms: Option<u64>, writes: bool) -> Self {
        let sharp = windows == Consistency::default() && stale_ms.is_none();
        Self { late: (!sharp).then_some(Late { now, windows, salt, stale_ms }), writes }
    }

    /// Whether anything may be seen late.
    pub(in crate::world) fn is_late(self) -> bool {
        self.late.is_some()
    }

    pub(in crate::world) fn writes(self) -> bool {
        self.writes
    }

    /// The moment at which a call that names ids sees them: one for all of them.
    pub(in crate::world) fn of_ids(self) -> Option<Timestamp> {
        let late = self.late?;
        Some(late.at(late.windows.ids_ms, 0))
    }

    /// The moment at which a list shows this item: each has its own, as from different replicas.
    pub(in crate::world) fn of_item(self, id: &str) -> Option<Timestamp> {
        let late = self.late?;
        // FNV-1a, which is the same on every machine.
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Some(late.at(late.windows.lists_ms, hash))
    }
}

impl Late {
    fn at(self, window_ms: u64, salt: u64) -> Timestamp {
        let lag = self.stale_ms.unwrap_or_else(|| scramble(self.salt, salt) % window_ms.saturating_add(1));
        let lag = SignedDuration::from_millis(i64::try_from(lag).unwrap_or(i64::MAX));
        self.now.checked_sub(lag).unwrap_or(Timestamp::MIN)
    }
}
