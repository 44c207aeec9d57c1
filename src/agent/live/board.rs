//! What is known at this moment of all sources and copies of this node: written by those who hear of it, read by the gate
//! and by the reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::watch;
use treesync::model::Position;

use super::progress::{Heard, Link, Progress};
use super::wanted::{Kept, SourceSeen};
use crate::api::{CheckpointStatus, PoolVolume, VerifiedStatus};
use crate::domain::{ObjectKey, VolumeId};

/// How a source that is published here is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Publishing {
    /// None until it could be started.
    pub(super) position: Option<Position>,
    /// Whether it is being compared with its index.
    pub(super) is_scanning: bool,
    /// Where it is served; none while it is not.
    pub(super) address: Option<String>,
    /// Why it cannot be published.
    pub(super) error: Option<String>,
}

/// Answers to orders, by the volume that was ordered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Answers {
    pub(super) checkpoint: Option<CheckpointStatus>,
    pub(super) verified: Option<VerifiedStatus>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) kept: BTreeMap<VolumeId, Kept>,
    pub(super) sources: BTreeMap<ObjectKey, SourceSeen>,
    pub(super) links: BTreeMap<ObjectKey, Link>,
    pub(super) copies: BTreeMap<VolumeId, Progress>,
    pub(super) publishing: BTreeMap<ObjectKey, Publishing>,
    pub(super) answers: BTreeMap<VolumeId, Answers>,
    /// Copies that somebody else works on at the moment; no session has them.
    pub(super) withheld: BTreeSet<VolumeId>,
    /// Whether the process ends, so that nothing is begun.
    pub(super) is_stopping: bool,
}

impl State {
    /// Forgets a volume that is not kept any more.
    pub(super) fn forget(&mut self, volume: &VolumeId) {
        self.kept.remove(volume);
        self.copies.remove(volume);
        self.answers.remove(volume);
    }

    /// Whether a volume is kept for this object: the source of one pool may be a volume of another.
    pub(super) fn keeps(&self, id: &VolumeId, object: &PoolVolume) -> bool {
        let key = ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any());
        self.kept.get(id).is_some_and(|kept| kept.object == key)
    }

    /// Something is heard of the source of a pool, for all of its copies.
    pub(super) fn hear_of_source(&mut self, pool: &ObjectKey, heard: &Heard) {
        for (id, _) in self.kept.iter().filter(|(_, kept)| kept.pool == *pool && !kept.is_source) {
            self.copies.entry(id.clone()).or_default().hear(heard.clone());
        }
    }

    /// Volumes that sessions and publishers may have.
    pub(super) fn available(&self) -> BTreeMap<VolumeId, Kept> {
        self.kept.iter().filter(|(id, _)| !self.withheld.contains(*id)).map(|(id, kept)| (id.clone(), kept.clone())).collect()
    }

    /// The link of a pool's copies to their source.
    pub(super) fn link(&self, pool: &ObjectKey) -> Link {
        match (self.links.get(pool), self.sources.get(pool)) {
            (Some(link @ (Link::Connected | Link::Broken(_))), _) => link.clone(),
            (_, Some(source)) if source.published.is_none() => Link::Unpublished(source.why_not.clone()),
            (link, _) => link.cloned().unwrap_or_default(),
        }
    }
}

/// Between two looks whether nobody works on a volume any more.
const IN_USE: Duration = Duration::from_millis(20);

/// The board; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    state: Arc<watch::Sender<State>>,
    /// Volumes that somebody works on in [`Board::work_on`].
    in_use: Arc<Mutex<BTreeSet<VolumeId>>>,
}

impl Board {
    /// Changes something, and wakes who reads.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    /// A session tells of a copy. What comes after the copy was let go is of no use.
    pub(super) fn hear(&self, volume: &VolumeId, heard: Heard) {
        self.state.send_if_modified(|state| {
            let is_kept = state.kept.contains_key(volume);
            if is_kept {
                state.copies.entry(volume.clone()).or_default().hear(heard);
            }
            is_kept
        });
    }

    /// Looks at it.
    pub(super) fn read(&self) -> watch::Ref<'_, State> {
        self.state.borrow()
    }

    /// For who waits for changes.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Returns once a volume is not kept any more. Cancel safe.
    pub(super) async fn forgotten(&self, volume: &VolumeId) {
        // It fails when the board is gone, which this one is not.
        drop(self.watch().wait_for(|state| !state.kept.contains_key(volume)).await);
    }

    /// Works on a volume if it is kept, one at a time for each. Blocks on its disk, and holds up nobody but who waits in
    /// [`Board::unused`].
    pub(super) fn work_on(&self, volume: &VolumeId, work: impl FnOnce(&Kept)) {
        if !self.in_use().insert(volume.clone()) {
            return;
        }
        let _note = InUse(self, volume);
        // Looked for after the note: who forgets the volume later than that sees the note.
        let kept = self.read().kept.get(volume).cloned();
        if let Some(kept) = kept {
            work(&kept);
        }
    }

    /// Waits until nobody works on a volume. When it is forgotten before, nobody will.
    pub(super) async fn unused(&self, volume: &VolumeId) {
        while self.in_use().contains(volume) {
            tokio::time::sleep(IN_USE).await;
        }
    }

    fn in_use(&self) -> MutexGuard<'_, BTreeSet<VolumeId>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Taken back when the work ends, however that is.
struct InUse<'a>(&'a Board, &'a VolumeId);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        self.0.in_use().remove(self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::super::gate::Promise;
    use super::*;

    fn pool() -> ObjectKey {
        ObjectKey::new("shop", "web")
    }

    fn state(link: Option<Link>, published: bool) -> State {
        let source = SourceSeen {
            exclude: Vec::new(),
            preserve_on_copies: Vec::new(),
            bandwidth_bytes_per_second: None,
            promise: Promise { max_staleness: Duration::from_secs(5), serves_alone: false },
            published: published.then(|| ("node1".to_owned(), "10.0.0.1:8082".to_owned())),
            why_not: "it is being attached".to_owned(),
            rests_at: None,
        };
        let links = link.map(|link| (pool(), link)).into_iter().collect();
        State { links, sources: BTreeMap::from([(pool(), source)]), ..State::default() }
    }

    #[test]
    fn a_source_that_is_not_published_is_said_to_be_so_until_a_connection_says_otherwise() {
        assert_eq!(state(None, false).link(&pool()), Link::Unpublished("it is being attached".to_owned()));
        assert_eq!(state(Some(Link::Connected), false).link(&pool()), Link::Connected);
        assert_eq!(state(None, true).link(&pool()), Link::Untried);
        assert_eq!(state(Some(Link::Broken("gone".to_owned())), true).link(&pool()), Link::Broken("gone".to_owned()));
    }

    #[test]
    fn what_is_heard_of_a_copy_that_was_let_go_is_dropped() {
        let board = Board::default();
        board.hear(&"vol-1".into(), Heard::Failed("late".to_owned()));
        assert!(board.read().copies.is_empty());
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_who_lets_its_volume_go_and_nobody_else() {
        let (board, id) = (Board::default(), VolumeId::from("vol-1"));
        let kept = Kept {
            object: ObjectKey::new("shop", "web-1"),
            pool: pool(),
            pool_uid: "u".to_owned(),
            is_source: false,
            path: "/v".into(),
            device_number: None,
        };
        board.change(|state| drop(state.kept.insert(id.clone(), kept)));
        let (disk, hangs) = std::sync::mpsc::channel::<()>();
        let (told, begun) = std::sync::mpsc::channel();
        let (own, volume) = (board.clone(), id.clone());
        let writer = std::thread::spawn(move || {
            own.work_on(&volume, |_| {
                told.send(()).expect("somebody waits");
                hangs.recv().expect_err("the disk answers");
            });
        });
        begun.recv().expect("it begins");
        assert!(board.forgotten(&id).now_or_never().is_none());
        board.change(|state| state.forget(&id));
        assert!(board.forgotten(&id).now_or_never().is_some());
        assert!(board.unused(&id).now_or_never().is_none(), "the volume would be unmounted while it is written");
        assert!(board.unused(&"vol-2".into()).now_or_never().is_some());
        drop(disk);
        writer.join().expect("it ends");
        board.unused(&id).await;
        board.work_on(&id, |_| panic!("it was let go"));
    }
}
