//! Where a copy is, read from its disk while its source rests and no session tells.

use std::collections::BTreeSet;
use std::path::Path;

use tracing::debug;
use treesync::apply::{MarkerState, read_marker};
use treesync::index::remains;
use treesync::model::Position;
use treesync::tree::Root;

use super::progress::Heard;
use super::scene::Scene;
use super::wanted::Following;
use crate::domain::{ObjectKey, VolumeId};

/// Has those copies read of which nothing was heard, each once. Nothing waits for it.
pub(super) fn look(scene: &Scene, pool: &ObjectKey, following: &Following, looked: &mut BTreeSet<VolumeId>) {
    looked.retain(|id| following.copies.contains_key(id));
    let state = scene.board.read();
    if following.target.is_some() || state.sources.get(pool).is_none_or(|source| source.rests_at.is_none()) {
        looked.clear();
        return;
    }
    let is_unheard = |id: &&VolumeId| state.copies.get(*id).is_none_or(|copy| copy.visible.is_none());
    let news: Vec<VolumeId> = following.copies.keys().filter(is_unheard).filter(|id| looked.insert((*id).clone())).cloned().collect();
    drop(state);
    let leaves_nothing_out = following.exclude.is_empty();
    for id in news {
        let board = scene.board.clone();
        tokio::task::spawn_blocking(move || {
            let mut found = None;
            board.work_on(&id, |kept| found = position_of(&kept.path, leaves_nothing_out));
            debug!(volume_id = %id, position = ?found, "read where a copy is");
            if found.is_some() {
                board.hear(&id, Heard::Opened(found));
            }
        });
    }
}

/// The position of a copy; none when it is between two, or not known. Of a clone that never was a copy, that is where the
/// source was when all before was on its disk. What the pool leaves out is still on it, so that it is no copy where there is such.
fn position_of(copy: &Path, leaves_nothing_out: bool) -> Option<Position> {
    let root = Root::open(copy).ok()?;
    match read_marker(&root).ok()? {
        Some(marker) => (marker.state == MarkerState::Clean).then_some(marker.position),
        None if leaves_nothing_out => remains(&root).ok()?,
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use treesync::publish::{DetectionWish, PublishOptions, Publisher};

    use super::*;

    #[test]
    fn a_clone_of_a_source_that_was_let_go_is_where_that_was() {
        let source = tempfile::tempdir().expect("a folder");
        std::fs::write(source.path().join("page"), "one").expect("the folder is ours");
        let options = PublishOptions { detection: DetectionWish::Poll, ..PublishOptions::default() };
        let publisher = Publisher::start(source.path(), options).expect("it can be published");
        let last = publisher.let_go(std::time::Duration::from_mins(1)).expect("it is small");
        assert_eq!(position_of(source.path(), true), Some(last));
        assert_eq!(position_of(source.path(), false), None, "it may hold what the pool leaves out");
        let nothing = tempfile::tempdir().expect("a folder");
        assert_eq!(position_of(nothing.path(), true), None);
    }
}
