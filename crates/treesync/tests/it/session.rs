//! A session over a real socket, with a source and copies that do what a test says.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use treesync::model::{Ahead, Batch, ManifestPart, Position, TreePath, Wanted};
use treesync::publish::Step;
use treesync::session::{Fault, FetchError, Notice, Open, Replica, Session, SessionError, Settings, SharedContents};
use treesync::wire::Address;

use crate::scripted::{Scripted, at, batch, file, path, put};
use crate::wire::Served;

const LONG: Duration = Duration::from_mins(2);

/// A copy in memory that survives being opened again.
#[derive(Clone, Default)]
struct Copy(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    position: Option<Position>,
    files: BTreeMap<TreePath, Vec<u8>>,
    opened: u32,
    /// Applications that fail, from the next on.
    failures: u32,
    /// Files of hints.
    ahead: Vec<TreePath>,
    /// When the last of them came.
    staged_at: Option<Instant>,
    /// Told how long after that the copy tidies up, and where it is then.
    tidies: Option<mpsc::UnboundedSender<(Duration, Option<Position>)>>,
}

impl Copy {
    fn at(generation: u64) -> Self {
        let copy = Self::default();
        copy.state().position = Some(at(generation));
        copy
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("not poisoned")
    }

    fn open(&self) -> Open {
        let copy = self.clone();
        Box::new(move || {
            copy.state().opened += 1;
            Ok(Box::new(copy.clone()))
        })
    }

    fn take(&self, puts: &[treesync::model::Put], contents: &SharedContents) -> Result<(), Fault> {
        let wanted = |put: &treesync::model::Put| put.entry.file().map(|(size, content)| Wanted::whole(put.path.clone(), size, content));
        let all: Vec<Wanted> = puts.iter().filter_map(wanted).collect();
        contents.prefetch(all.clone()).map_err(|error| Fault::Failed(error.to_string()))?;
        for wanted in all {
            let mut bytes = Vec::new();
            match contents.open(&wanted) {
                Ok(mut reader) => reader.read_to_end(&mut bytes).map_err(|error| Fault::Failed(error.to_string()))?,
                Err(FetchError::Gone) => return Err(Fault::Gone(wanted.path.to_string())),
                Err(error) => return Err(Fault::Failed(error.to_string())),
            };
            self.state().files.insert(wanted.path, bytes);
        }
        Ok(())
    }
}

impl Replica for Copy {
    fn position(&self) -> Option<Position> {
        self.state().position
    }

    fn apply(&mut self, batch: &Batch, contents: &SharedContents) -> Result<(), Fault> {
        let position = self.position().expect("was reconciled");
        if position.generation >= batch.to {
            return Ok(());
        }
        if position.generation < batch.from {
            return Err(Fault::Failed(format!("a gap: at {}, changes from {}", position.generation, batch.from)));
        }
        if self.state().failures > 0 {
            self.state().failures -= 1;
            return Err(Fault::Failed("no space left on the copy".to_owned()));
        }
        self.take(&batch.puts, contents)?;
        self.state().position = Some(at(batch.to));
        Ok(())
    }

    fn reconcile(&mut self, part: &ManifestPart, contents: &SharedContents) -> Result<(), Fault> {
        self.take(&part.puts, contents)?;
        if part.is_last_part {
            self.state().position = Some(part.position);
        }
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn stage_ahead(&mut self, ahead: &Ahead, done: usize, _: &dyn Fn() -> bool) -> usize {
        self.state().staged_at = Some(Instant::now());
        self.state().ahead.extend(ahead.puts()[done..].iter().map(|put| put.path.clone()));
        ahead.puts().len()
    }

    fn tidy(&mut self) -> bool {
        let state = self.state();
        if let (Some(staged_at), Some(tidies)) = (state.staged_at, &state.tidies) {
            // The test may have heard enough.
            tidies.send((staged_at.elapsed(), state.position)).ok();
        }
        false
    }
}

struct Running {
    notices: mpsc::UnboundedReceiver<Notice>,
    session: Session,
}

impl Running {
    fn start(address: &Address, copies: &[&Copy]) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let settings = Settings {
            address: address.clone(),
            server_name: None,
            source: String::new(),
            tls: None,
            session: "host".to_owned(),
            copies: copies.iter().enumerate().map(|(index, copy)| (format!("copy-{index}"), copy.open())).collect(),
            spool_directory: std::env::temp_dir(),
            jitter: Box::new(|| 0.0),
        };
        let session = Session::start(settings, sender).expect("started");
        Self { notices, session }
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Notice) -> bool) -> Vec<Notice> {
        let mut seen = Vec::new();
        loop {
            let notice = tokio::time::timeout(LONG, self.notices.recv()).await;
            let Ok(Some(notice)) = notice else { panic!("waited in vain; seen: {seen:?}") };
            seen.push(notice);
            assert!(seen.len() < 1000, "notices without end: {seen:?}");
            if wanted(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }

    async fn wait_for_sync(&mut self, copies: usize, generation: u64) {
        let mut there = std::collections::BTreeSet::new();
        while there.len() < copies {
            let seen = self.wait_for(|notice| matches!(notice, Notice::InSync { position, .. } if position.generation >= generation)).await;
            if let Some(Notice::InSync { copy, .. }) = seen.last() {
                there.insert(copy.clone());
            }
        }
    }

    async fn stop(self) {
        tokio::time::timeout(LONG, self.session.stop()).await.expect("stops in time").expect("ended in order");
    }
}

async fn served(source: Scripted) -> (tempfile::TempDir, Served) {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::start(source, Address::Unix(folder.path().join("socket")), None).await;
    (folder, served)
}

fn manifest(generation: u64, names: &[&str]) -> Step {
    let puts = names.iter().map(|name| put(name, file(b"manifest"))).collect();
    Step::Manifest(ManifestPart { position: at(generation), is_last_part: true, puts })
}

fn hint(generation: u64, name: &str) -> Step {
    let put = treesync::model::Put { inline: Some(b"new".as_slice().into()), ..put(name, file(b"new")) };
    Step::Ahead(Arc::new(Ahead::new(generation, vec![put]).unwrap()))
}

fn change(from: u64, bytes: &[u8]) -> Step {
    Step::Batch(Arc::new(batch(from, vec![put("file", file(bytes))])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_without_a_position_are_compared_and_then_follow() {
    let source = Scripted::default();
    source.hold("a", b"manifest");
    source.step(manifest(5, &["a"]));
    source.step(Step::InSync(at(5)));
    let (_folder, served) = served(source.clone()).await;
    let copies = [Copy::default(), Copy::default()];
    let mut running = Running::start(&served.address, &[&copies[0], &copies[1]]);
    running.wait_for_sync(2, 5).await;
    source.hold("file", b"new");
    source.step(change(5, b"new"));
    source.step(Step::InSync(at(6)));
    running.wait_for_sync(2, 6).await;
    running.stop().await;
    for copy in &copies {
        let state = copy.state();
        assert_eq!(
            (state.position, &state.files[&path("file")][..], &state.files[&path("a")][..]),
            (Some(at(6)), &b"new"[..], &b"manifest"[..])
        );
    }
    assert_eq!(source.opened("a"), 1, "each content is fetched once for all copies of a host");
    assert_eq!(source.opened("file"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_hear_of_files_that_are_likely_to_change_while_they_are_at_that_generation() {
    let source = Scripted::default();
    source.hold("file", b"new");
    source.step(Step::InSync(at(6)));
    source.step(hint(5, "too late"));
    source.step(hint(6, "file"));
    source.step(hint(8, "too early"));
    let (_folder, served) = served(source.clone()).await;
    let copies = [Copy::at(6), Copy::at(6)];
    let mut running = Running::start(&served.address, &[&copies[0], &copies[1]]);
    running.wait_for_sync(2, 6).await;
    let have_staged = async {
        while copies.iter().any(|copy| copy.state().ahead.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, have_staged).await.expect("both stage the file before they are told to change it");
    source.step(change(6, b"new"));
    source.step(Step::InSync(at(7)));
    running.wait_for_sync(2, 7).await;
    running.stop().await;
    for copy in &copies {
        let state = copy.state();
        assert_eq!((&state.ahead[..], state.position, state.opened), (&[path("file")][..], Some(at(7)), 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_keeps_what_it_staged_ahead_as_long_as_a_burst_may_last() {
    let source = Scripted::default();
    source.step(Step::InSync(at(6)));
    source.step(hint(6, "file"));
    let (_folder, served) = served(source.clone()).await;
    let (sender, mut tidies) = mpsc::unbounded_channel();
    let copy = Copy::at(6);
    copy.state().tidies = Some(sender);
    let mut running = Running::start(&served.address, &[&copy]);
    running.wait_for_sync(1, 6).await;
    let (after, position) = tokio::time::timeout(LONG, tidies.recv()).await.expect("it tidies up when no batch comes").unwrap();
    assert!(after > Duration::from_secs(1) && position == Some(at(6)), "it tidied up after {after:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_ahead_skips_what_it_has() {
    let source = Scripted::default();
    source.hold("file", b"new");
    for from in 3..6 {
        source.step(change(from, b"new"));
    }
    source.step(Step::InSync(at(6)));
    let (_folder, served) = served(source.clone()).await;
    let copies = [Copy::at(3), Copy::at(5), Copy::at(6)];
    let mut running = Running::start(&served.address, &[&copies[0], &copies[1], &copies[2]]);
    running.wait_for_sync(3, 6).await;
    running.stop().await;
    assert!(copies.iter().all(|copy| copy.state().position == Some(at(6))));
    assert!(copies.iter().all(|copy| copy.state().opened == 1), "none had to start again");
    assert_eq!(source.asked_since(), [Some(at(3))], "one stream, from the least advanced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_fails_is_told_tried_again_and_does_not_hold_up_the_others() {
    let source = Scripted::default();
    source.hold("file", b"new");
    source.step(change(1, b"new"));
    source.step(Step::InSync(at(2)));
    let (_folder, served) = served(source.clone()).await;
    let (good, bad) = (Copy::at(1), Copy::at(1));
    bad.state().failures = 4;
    let mut running = Running::start(&served.address, &[&good, &bad]);
    let seen = running.wait_for(|notice| matches!(notice, Notice::InSync { copy, .. } if copy == "copy-1")).await;
    let is_good = |notice: &&Notice| matches!(notice, Notice::InSync { copy, .. } if copy == "copy-0");
    assert!(seen.iter().any(|notice| is_good(&notice)), "the good copy was not held up: {seen:?}");
    let problems: Vec<&Notice> = seen.iter().filter(|notice| matches!(notice, Notice::Behind { .. })).collect();
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(matches!(problems[0], Notice::Behind { copy, problem, .. } if copy == "copy-1" && problem.contains("no space left")));
    // Both follow on, whichever lane each is in.
    source.hold("file", b"newer");
    source.step(change(2, b"newer"));
    source.step(Step::InSync(at(3)));
    running.wait_for_sync(2, 3).await;
    running.stop().await;
    assert!([&good, &bad].iter().all(|copy| copy.state().position == Some(at(3))));
    assert_eq!(good.state().opened, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_gone_leave_the_copy_where_it_is_until_newer_ones_come() {
    let source = Scripted::default();
    source.step(change(1, b"old"));
    let (_folder, served) = served(source.clone()).await;
    let copy = Copy::at(1);
    let mut running = Running::start(&served.address, &[&copy]);
    let seen = running.wait_for(|notice| matches!(notice, Notice::Behind { .. })).await;
    assert!(matches!(seen.last(), Some(Notice::Behind { problem, .. }) if problem.contains("no longer has")), "{seen:?}");
    assert_eq!(copy.state().position, Some(at(1)));
    source.forget_steps();
    source.hold("file", b"new");
    source.step(change(1, b"new"));
    source.step(Step::InSync(at(2)));
    running.wait_for_sync(1, 2).await;
    running.stop().await;
    assert_eq!(copy.state().files[&path("file")], b"new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_comes_back_is_followed_again() {
    let source = Scripted::default();
    source.step(Step::InSync(at(1)));
    let (folder, first) = served(source.clone()).await;
    let copy = Copy::at(1);
    let mut running = Running::start(&first.address, &[&copy]);
    running.wait_for_sync(1, 1).await;
    let address = first.address.clone();
    first.stop().await;
    running.wait_for(|notice| matches!(notice, Notice::Disconnected { .. })).await;
    source.forget_steps();
    source.hold("file", b"new");
    source.step(change(1, b"new"));
    source.step(Step::InSync(at(2)));
    let second = Served::start(source, address, None).await;
    running.wait_for_sync(1, 2).await;
    running.stop().await;
    second.stop().await;
    assert_eq!(copy.state().position, Some(at(2)));
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_cannot_be_opened_is_told_by_name_while_others_follow() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    let source = Scripted::default();
    source.step(Step::InSync(at(1)));
    let (_folder, served) = served(source).await;
    let (sender, mut notices) = mpsc::unbounded_channel();
    let bad: Open = Box::new(|| {
        TRIES.fetch_add(1, Ordering::Relaxed);
        Err(Fault::Failed("copy /mnt/b holds files of somebody else".to_owned()))
    });
    let settings = Settings {
        address: served.address.clone(),
        server_name: None,
        source: String::new(),
        tls: None,
        session: "host".to_owned(),
        copies: vec![("good".to_owned(), Copy::at(1).open()), ("bad".to_owned(), bad)],
        spool_directory: std::env::temp_dir(),
        jitter: Box::new(|| 0.0),
    };
    let session = Session::start(settings, sender).expect("started");
    let (mut is_synced, mut is_told) = (false, false);
    while !(is_synced && is_told && TRIES.load(Ordering::Relaxed) > 1) {
        match tokio::time::timeout(LONG, notices.recv()).await.expect("in time").expect("running") {
            Notice::InSync { copy, .. } => is_synced |= copy == "good",
            Notice::Behind { copy, problem, .. } => is_told |= copy == "bad" && problem.contains("somebody else"),
            _ => {}
        }
    }
    session.stop().await.expect("ended in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_come_and_go_while_a_session_runs() {
    let source = Scripted::default();
    source.step(Step::InSync(at(1)));
    let (_folder, served) = served(source.clone()).await;
    let (first, second) = (Copy::at(1), Copy::at(1));
    let mut running = Running::start(&served.address, &[&first]);
    running.wait_for_sync(1, 1).await;
    let taken = running.session.add("copy-0", second.open()).await;
    assert_eq!(taken, Err(SessionError::Taken("copy-0".to_owned())));
    running.session.add("late", second.open()).await.expect("added");
    running.wait_for(|notice| matches!(notice, Notice::InSync { copy, .. } if copy == "late")).await;
    running.session.remove("copy-0").await.expect("removed");
    assert!(Arc::strong_count(&first.0) <= 2, "the copy is closed: the test has it, and what can open it may");
    assert_eq!(running.session.remove("copy-0").await, Err(SessionError::Unknown("copy-0".to_owned())));
    source.hold("file", b"new");
    source.step(change(1, b"new"));
    source.step(Step::InSync(at(2)));
    running.wait_for(|notice| matches!(notice, Notice::InSync { copy, position } if copy == "late" && position.generation == 2)).await;
    running.session.add("copy-0", first.open()).await.expect("comes back");
    running.wait_for(|notice| matches!(notice, Notice::InSync { copy, position } if copy == "copy-0" && position.generation == 2)).await;
    running.stop().await;
    assert_eq!((first.state().position, second.state().position), (Some(at(2)), Some(at(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_does_not_wait_for_a_copy_that_was_removed() {
    let source = Scripted::default();
    source.step(Step::InSync(at(0)));
    let (_folder, served) = served(source.clone()).await;
    let mut running = Running::start(&served.address, &[&Copy::at(0), &Copy::at(0)]);
    running.wait_for_sync(2, 0).await;
    running.session.remove("copy-1").await.expect("removed");
    let client = treesync::wire::Client::connect(&served.address, None).await.expect("connected");
    let names = loop {
        let report = client.status().await.expect("told");
        let names: Vec<String> = report.copies.into_iter().map(|copy| copy.name).collect();
        if names.len() < 2 {
            break names;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(names, ["copy-0"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_redirected_to_another_publisher_and_goes_on_from_where_it_is() {
    let (before, after) = (Scripted::default(), Scripted::default());
    before.step(Step::InSync(at(1)));
    after.hold("file", b"new");
    after.step(change(1, b"new"));
    after.step(Step::InSync(at(2)));
    let ((_one, old), (_two, new)) = (served(before).await, served(after.clone()).await);
    let copy = Copy::at(1);
    let mut running = Running::start(&old.address, &[&copy]);
    running.wait_for_sync(1, 1).await;
    running.session.redirect(new.address.clone(), None).await.expect("redirected");
    running.wait_for_sync(1, 2).await;
    running.stop().await;
    assert_eq!(after.asked_since(), [Some(at(1))], "only the rest is asked for");
    assert_eq!(copy.state().files[&path("file")], b"new");
}
