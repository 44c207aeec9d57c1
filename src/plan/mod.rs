//! Pure decisions: what was seen goes in, what to do and why not goes out. No clock, no I/O, no `Result`.
//!
//! Supply (`supply`) keeps the promised number of volumes ready; its steps run in the order in which they
//! are listed in [`supply`], because a step may only count on what earlier steps have settled. Demand
//! (`dispatch`, `release`) gives ready volumes to claims and takes them back.

pub mod action;
mod capacity;
mod deletion;
pub mod demand;
mod dispatch;
mod findings;
pub mod live;
mod modification;
pub mod observation;
pub mod operations;
mod recall;
mod refresh;
mod rehearsal;
mod release;
pub mod report;
mod restore;
mod safety;
mod snapshots;
mod source;
pub mod strays;
#[cfg(test)]
mod tests;
mod volumes;
mod writer;

use jiff::{SignedDuration, Timestamp};

pub use action::{Action, DeletionProof, NewVolume, SnapshotContent, VolumeChange, VolumeRequest};
pub use demand::{ClaimSeen, DemandAction, DemandSeen, Offer, PvSeen, demand};
pub use live::{AgentSeen, CheckpointSeen, NewSource, PublishWanted, SourceObject, SyncSeen, VerifiedSeen};
pub use observation::{
    ClaimFault, FreeSpan, Modification, NodeSide, Origin, PoolSeen, PoolWanted, Recorded, SnapshotsWanted, Source, SourceLoad, SourceSeen,
    TemplateWanted, VolumeSeen,
};
pub use operations::{OperationAction, OperationsSeen, operations};
pub use refresh::{ContentSeen, RefreshEnd, RefreshSeen, RefreshWanted};
pub use rehearsal::{Rehearsal, rehearse};
pub use release::pv_name;
pub use report::{Condition, Finding, Report, VolumeReport};
pub use safety::{StrayProof, VISIBILITY, prove_stray};
pub use snapshots::{generation_of, position_of};

/// What to do for one pool, and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Effects in the order in which they must be started. At most one EC2 write a volume.
    pub actions: Vec<Action>,
    /// What is published whether or not anything is done.
    pub report: Report,
}

/// Decides the next step for one pool: deletion, source, snapshots, each volume's own life,
/// capacity, the volume of the source, what is refreshed, then changes in place.
pub fn supply(seen: &PoolSeen, now: Timestamp) -> Plan {
    let mut actions = Vec::new();
    let lives = volumes::plan(seen, now, &mut actions);
    if seen.pool.deleting {
        let finding = deletion::plan(seen, &lives, now, &mut actions);
        let source_volume = live::leave(seen, &mut actions);
        return Plan { actions, report: Report { source_volume, ..report::of_deletion(seen, lives, finding) } };
    }
    let source = source::judge(seen);
    let stock = snapshots::plan(seen, &source, &lives, now, &mut actions);
    let zones = capacity::plan(seen, &source, &lives, (&stock, now), &mut actions);
    let source_volume = live::plan(seen, &source, &mut actions);
    refresh::plan(seen, (&stock, &zones), &lives, now, &mut actions);
    modification::plan(seen, &source, &lives, now, &mut actions);
    let report = Report { source_volume, ..report::of(seen, now, lives, source, (stock, zones)) };
    if seen.pool.paused {
        actions.retain(|action| !action.writes_to_ec2());
    }
    deletion::guard(seen, &mut actions);
    Plan { actions, report }
}

/// How long ago `then` was; zero when clocks disagree.
fn age(now: Timestamp, then: Timestamp) -> SignedDuration {
    now.duration_since(then).max(SignedDuration::ZERO)
}
