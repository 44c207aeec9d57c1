//! What becomes of a ready volume that falls behind: it stays, is refreshed on a node, or is replaced from a newer snapshot.
//!
//! A refresh costs an attachment, a detachment, and what changed at the source. A replacement costs a new volume, the loading of all
//! its blocks, and a deletion; and it is only as new as the snapshot. So a volume is refreshed, but for two cases: when its position
//! cannot be compared with that of the source, the refresh would read all of it, which EC2 does better from a snapshot whose
//! position can; and when a refresh has failed.

use jiff::Timestamp;

use crate::domain::SyncPosition;

use super::super::age;
use super::super::observation::{PoolSeen, VolumeSeen};
use super::super::snapshots::{Stock, position_of};
use super::{ContentSeen, RefreshWanted};

/// What becomes of a ready volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Course {
    /// It is new enough.
    Stay,
    /// A node brings it up to the source.
    Refresh,
    /// Another is made from the newest snapshot.
    Replace,
}

/// How far a volume is behind its source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Behind {
    /// It has all that the source is known to have.
    Nothing,
    /// It lacks so many sync generations.
    By(u64),
    /// Their positions cannot be compared: all of it has to be.
    Unknown,
}

impl Behind {
    pub(super) fn of(own: Option<&SyncPosition>, source: &SyncPosition) -> Self {
        match own {
            Some(own) if own.is_at_least(source) => Self::Nothing,
            Some(own) if is_comparable(own, source) => Self::By(source.generation.saturating_sub(own.generation)),
            _ => Self::Unknown,
        }
    }

    fn is_past(self, limits: &RefreshWanted, last_had_all: Option<Timestamp>, now: Timestamp) -> bool {
        let is_too_old = |longest| last_had_all.is_none_or(|time| age(now, time) > longest);
        let lacks_too_many = |most| match self {
            Self::Nothing => false,
            Self::By(lacking) => lacking > most,
            Self::Unknown => true,
        };
        self != Self::Nothing && (limits.max_age.is_some_and(is_too_old) || limits.max_generations.is_some_and(lacks_too_many))
    }
}

/// Whether the difference of two positions is that of their sync generations.
fn is_comparable(own: &SyncPosition, other: &SyncPosition) -> bool {
    (&own.source, own.epoch) == (&other.source, other.epoch)
}

/// Decides for one ready volume.
pub(in super::super) fn course(seen: &PoolSeen, stock: &Stock, volume: &VolumeSeen, now: Timestamp) -> Course {
    let content = content(seen, volume);
    let is_outdated = is_older(stock, volume, &content, seen.pool.snapshots.allowed_lag);
    let replaced = if is_outdated { Course::Replace } else { Course::Stay };
    let Some(source) = seen.published_position() else { return replaced };
    let behind = Behind::of(content.position.as_ref(), source);
    if behind == Behind::Nothing {
        return Course::Stay;
    }
    let Some(limits) = &seen.pool.refresh else { return replaced };
    if !is_outdated && !behind.is_past(limits, content.time, now) {
        return Course::Stay;
    }
    let has_failed = volume.refresh.as_ref().is_some_and(|last| last.failures > 0);
    let saves_a_comparison =
        behind == Behind::Unknown && stock.newest_position.as_ref().is_some_and(|newest| is_comparable(newest, source));
    let is_cheaper = has_failed || saves_a_comparison;
    if is_cheaper && is_older(stock, volume, &content, 0) { Course::Replace } else { Course::Refresh }
}

/// Whether the newest snapshot is newer than the content of a volume, by more generations than are allowed.
fn is_older(stock: &Stock, volume: &VolumeSeen, content: &ContentSeen, allowed: u64) -> bool {
    let has_all_of = |newest: &SyncPosition| content.position.as_ref().is_some_and(|own| own.is_at_least(newest));
    let is_behind = stock.newest.as_ref().is_some_and(|newest| volume.origin.generation.saturating_add(allowed) < newest.generation);
    is_behind && !stock.newest_position.as_ref().is_some_and(has_all_of)
}

/// What a volume has: what was noted, else what its snapshot has, as long as that is there.
pub(super) fn content(seen: &PoolSeen, volume: &VolumeSeen) -> ContentSeen {
    volume.content.clone().unwrap_or_else(|| {
        let origin = seen.snapshots.iter().find(|snapshot| snapshot.id == volume.origin.snapshot);
        ContentSeen { position: origin.and_then(position_of), time: origin.and_then(|snapshot| snapshot.started) }
    })
}
