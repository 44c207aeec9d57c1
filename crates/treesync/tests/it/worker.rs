//! Copies that break in ways that no copy on a disk does when it is asked to: the session notices, and goes on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use treesync::model::{Batch, ManifestPart, Position};
use treesync::publish::Step;
use treesync::session::{Fault, Notice, Open, Replica, Session, SharedContents};
use treesync::wire::Address;

use crate::scripted::{Scripted, at, batch};
use crate::wire::Served;

const LONG: Duration = Duration::from_mins(1);

/// Where a copy panics, the first time that it comes there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Open,
    Apply,
    MakeDurable,
    Drifted,
    Tidy,
}

/// A copy that panics once, or that forgets what it is given once.
#[derive(Clone)]
struct Broken {
    panics_in: Option<Place>,
    is_forgetful: bool,
    count: Arc<AtomicU32>,
    position: Arc<Mutex<Option<Position>>>,
}

impl Broken {
    fn at(generation: u64) -> Self {
        Self { panics_in: None, is_forgetful: false, count: Arc::default(), position: Arc::new(Mutex::new(Some(at(generation)))) }
    }

    fn is_first_time(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) == 0
    }

    fn come_to(&self, place: Place) {
        assert!(self.panics_in != Some(place) || !self.is_first_time(), "the defect in {place:?}");
    }

    fn open(&self) -> Open {
        let copy = self.clone();
        Box::new(move || {
            copy.come_to(Place::Open);
            Ok(Box::new(copy.clone()))
        })
    }
}

impl Replica for Broken {
    fn position(&self) -> Option<Position> {
        *self.position.lock().unwrap()
    }

    fn apply(&mut self, batch: &Batch, _: &SharedContents) -> Result<(), Fault> {
        self.come_to(Place::Apply);
        if !self.is_forgetful || !self.is_first_time() {
            *self.position.lock().unwrap() = Some(at(batch.to));
        }
        Ok(())
    }

    fn reconcile(&mut self, part: &ManifestPart, _: &SharedContents) -> Result<(), Fault> {
        *self.position.lock().unwrap() = Some(part.position);
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), Fault> {
        self.come_to(Place::MakeDurable);
        Ok(())
    }

    fn drifted(&mut self) -> Option<(Vec<treesync::model::TreePath>, u64)> {
        self.come_to(Place::Drifted);
        None
    }

    fn tidy(&mut self) -> bool {
        self.come_to(Place::Tidy);
        false
    }
}

/// Follows a source that goes from generation 1 to 2; what is told until all are wanted.
async fn told(copies: &[&Broken], mut is_wanted: impl FnMut(&Notice) -> bool) -> Vec<Notice> {
    let source = Scripted::default();
    source.step(Step::Batch(Arc::new(batch(1, Vec::new()))));
    source.step(Step::InSync(at(2)));
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(source, Address::Unix(folder.path().join("socket")), None).await;
    let (sender, mut notices) = mpsc::unbounded_channel();
    let copies = (0..).zip(copies).map(|(number, copy): (u32, _)| (format!("copy-{number}"), copy.open())).collect();
    let session = Session::start(served.followed_by(copies, folder.path()), sender).unwrap();
    let mut told = Vec::new();
    loop {
        let notice = tokio::time::timeout(LONG, notices.recv()).await.unwrap_or_else(|_| panic!("told in vain: {told:?}")).unwrap();
        told.push(notice);
        if is_wanted(&told[told.len() - 1]) {
            break;
        }
    }
    session.stop().await.unwrap();
    told
}

fn problem_of<'t>(told: &'t [Notice], wanted: &str) -> Option<&'t str> {
    told.iter().find_map(|notice| match notice {
        Notice::Behind { copy, problem, .. } if copy == wanted => Some(problem.as_str()),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_thread_panics_is_told_opened_anew_and_the_others_follow() {
    for place in [Place::Open, Place::Apply, Place::MakeDurable, Place::Drifted, Place::Tidy] {
        let (good, bad) = (Broken::at(1), Broken { panics_in: Some(place), ..Broken::at(1) });
        let mut in_sync = BTreeSet::new();
        let told = told(&[&good, &bad], |notice| {
            match notice {
                Notice::InSync { copy, position } if position.generation == 2 => drop(in_sync.insert(copy.clone())),
                // It was in sync before it broke.
                Notice::Behind { copy, .. } => drop(in_sync.remove(copy)),
                _ => {}
            }
            in_sync.len() == 2 && bad.count.load(Ordering::Relaxed) > 0
        })
        .await;
        if place != Place::Tidy {
            let problem = problem_of(&told, "copy-1").unwrap_or_else(|| panic!("{place:?}: {told:?}"));
            assert!(problem.contains(&format!("the defect in {place:?}")), "{problem}");
        }
        assert_eq!(problem_of(&told, "copy-0"), None, "{place:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_in_sync_only_where_it_is_and_else_it_asks_anew() {
    let copy = Broken { is_forgetful: true, ..Broken::at(1) };
    let told = told(&[&copy], |notice| matches!(notice, Notice::InSync { .. })).await;
    let problem = problem_of(&told, "copy-0").unwrap_or_else(|| panic!("it was not there, and was in sync: {told:?}"));
    assert!(problem.contains("generation 2") && problem.contains("generation 1"), "{problem}");
    assert_eq!(copy.position(), Some(at(2)), "it is there now");
}
