//! Builders of live pools whose ready volumes are refreshed.

use jiff::SignedDuration;

use crate::domain::tags::TAG_POSITION;
use crate::domain::{CloudSnapshot, Phase, SyncPosition, SyncState, VolumeState};
use crate::plan::{ContentSeen, NodeSide, PoolSeen, RefreshSeen, RefreshWanted, SyncSeen};

use super::build::{NOW, PoolBuild, VolumeBuild, at, snapshot, volume};
use super::live::{on, sync, with_object};

/// Where the source is.
pub(super) const SOURCE: u64 = 1000;
/// How many sync generations a ready volume may lack.
pub(super) const MOST: u64 = 10;

/// A place in the history of the source.
pub(super) fn position(generation: u64) -> SyncPosition {
    SyncPosition { source: "source".to_owned(), epoch: 1, generation }
}

/// A place in an earlier history.
pub(super) fn elsewhere() -> SyncPosition {
    SyncPosition { epoch: 0, ..position(SOURCE) }
}

pub(super) fn limits(max_generations: Option<u64>, max_age: Option<SignedDuration>) -> RefreshWanted {
    RefreshWanted { max_age, max_generations }
}

/// A pool whose source is published on `node-a` at [`SOURCE`], and whose volumes may lack [`MOST`] sync generations. `node-d` has the
/// most room in zone `a`, `node-b` is in `b`. As many are wanted as there are.
pub(super) fn refreshed(volumes: impl IntoIterator<Item = VolumeBuild>) -> PoolBuild {
    let published = with_object(|object| {
        on("node-a", SyncState::Publishing)(object);
        let sync = object.volume.node.as_mut().and_then(|side| side.sync.as_mut());
        sync.expect("it is published").position = Some(position(SOURCE));
    });
    let built = published.but(|seen| {
        seen.volumes.clear();
        seen.pool.refresh = Some(limits(Some(MOST), None));
    });
    built.with(volumes).but(|seen| seen.pool.replicas = u32::try_from(seen.volumes.len()).unwrap())
}

/// A ready volume that had all that the source had at that sync generation, a minute ago.
pub(super) fn at_generation(name: &str, generation: u64) -> VolumeBuild {
    volume(name).ready().but(|volume| volume.content = Some(ContentSeen { position: Some(position(generation)), time: Some(at(NOW - 60)) }))
}

/// One that lacks too much.
pub(super) fn stale(name: &str) -> VolumeBuild {
    at_generation(name, 500)
}

/// One that lacks nothing.
pub(super) fn current(name: &str) -> VolumeBuild {
    at_generation(name, SOURCE)
}

/// One whose refresh on `node-d` began so many seconds ago; its agent has not begun.
pub(super) fn refreshing(name: &str, seconds: i64) -> VolumeBuild {
    stale(name).phase(Phase::Refreshing).but(|volume| {
        volume.node_name = Some("node-d".into());
        volume.refresh = Some(last_refresh(seconds, None, 0));
    })
}

/// A refresh on `node-d` that began, and perhaps ended, so many seconds ago.
pub(super) fn last_refresh(began: i64, ended: Option<i64>, failures: u32) -> RefreshSeen {
    RefreshSeen {
        node: "node-d".into(),
        started: at(NOW - began),
        target: position(SOURCE),
        failures,
        ended: ended.map(|ended| at(NOW - ended)),
        error: (failures > 0).then(|| "it was slow".to_owned()),
    }
}

/// Its agent has it mounted, follows, and is so far.
pub(super) fn following(built: VolumeBuild, state: SyncState, position: SyncPosition) -> VolumeBuild {
    built.but(|volume| {
        let sync = SyncSeen { position: Some(position), ..sync(state) };
        let node = volume.node_name.as_ref().expect("it has a node").to_string();
        volume.node = Some(NodeSide { node, attached: true, mounted: true, sync: Some(sync), ..NodeSide::default() });
        volume.cloud.as_mut().expect("EC2 has it").state = VolumeState::InUse;
    })
}

/// A completed snapshot that holds a position.
pub(super) fn snapshot_at(generation: u64, position: &SyncPosition) -> CloudSnapshot {
    let mut snapshot = snapshot(generation);
    snapshot.tags.insert(TAG_POSITION.to_owned(), position.to_string());
    snapshot
}

/// Every agent has room for so many volumes.
pub(super) fn room(places: u32) -> impl FnOnce(&mut PoolSeen) {
    move |seen| seen.agents.values_mut().for_each(|agent| agent.free_slots = places)
}
