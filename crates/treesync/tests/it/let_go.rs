//! A source that is let go: its filesystem can be unmounted at once, whoever still holds the publisher or is in the middle of a stream.

use crate::copy_model::assert_same;
use crate::disk::{Disk, Format};
use crate::follower::{Follower, truth};
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use treesync::model::{ContentHash, Rules, TreePath, Wanted};
use treesync::publish::{DetectionWish, EngineObserver, EngineStep, PublishOptions, Publisher, Step};
use treesync::tree::Root;
use treesync::wire::{Address, Anybody, Client, Listening, Sources};

const LONG: Duration = Duration::from_mins(1);
/// More than a connection takes from a peer that does not read.
const LARGE_BYTES: usize = 64 * 1024 * 1024;

/// Changes are found when it is asked, and never before.
fn polled() -> PublishOptions {
    PublishOptions { detection: DetectionWish::Poll, poll_interval: Duration::from_hours(1), ..options() }
}

fn options() -> PublishOptions {
    PublishOptions { rules: Rules::default(), ..PublishOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_nothing_does_not_hold_a_source_that_is_let_go() {
    for format in [Format::Xfs, Format::Ext4] {
        let Some(mut disk) = Disk::new(format, "a source that is let go") else { return };
        let large = vec![7; LARGE_BYTES];
        fs::write(disk.path().join("large"), &large).unwrap();
        let publisher = Arc::new(Publisher::start(&disk.path(), options()).unwrap());
        let before = publisher.settle().unwrap();
        let (folder, sources) = (tempfile::tempdir().unwrap(), Sources::default());
        sources.add("web", publisher.clone());
        let address = Address::Unix(folder.path().join("socket"));
        let listening = Listening::bind_sources(sources.clone(), Arc::new(Anybody), address.clone(), None).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listening.serve(async { drop(stopped.await) }));
        let client = Client::connect_named(&address, None, "web", None).await.unwrap();
        let path = TreePath::parse("large").unwrap();
        let size_bytes = LARGE_BYTES as u64;
        let wanted = Wanted { path, size_bytes, content: ContentHash::of(&large), offset_bytes: 0, length_bytes: size_bytes };
        let mut stuck = client.read(vec![wanted]).await.unwrap();
        assert!(stuck.next().await.unwrap().is_some(), "the file is open at the source");
        fs::write(disk.path().join("late"), "written last").unwrap();

        let last = tokio::task::block_in_place(|| publisher.let_go(LONG)).expect("nothing is large");
        assert!(last.generation > before.generation, "what was written last is in it");
        assert!(sources.remove("web"));
        tokio::task::block_in_place(|| disk.unmount());
        assert!(publisher.subscribe(None).unwrap().next(LONG).is_err() && publisher.checkpoint().is_err(), "nothing is opened any more");

        disk.mount();
        let again = Publisher::start(&disk.path(), options()).unwrap();
        assert_eq!((again.status().index, again.position()), ("clean", last));
        assert_eq!(again.settle().unwrap(), last, "the same history goes on");
        drop((again, stuck, client, stop));
        serving.abort();
    }
}

#[test]
fn nothing_is_made_where_another_filesystem_is_mounted_than_the_expected_one() {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = Root::open(source.path()).unwrap().device();
    let Err(error) = Publisher::start(source.path(), PublishOptions { device: Some(device + 1), ..options() }) else {
        panic!("it is another filesystem")
    };
    let text = error.to_string();
    assert!(text.contains(&source.path().display().to_string()) && text.contains("another filesystem, or none, is mounted"), "{text}");
    assert_eq!(fs::read_dir(source.path()).unwrap().count(), 0, "nothing is made there");
    let publisher = Publisher::start(source.path(), PublishOptions { device: Some(device), ..options() }).unwrap();
    publisher.settle().unwrap();
    assert!(source.path().join(".treesync").is_dir());
}

/// Tells when an index is closed in order: everything is committed then.
struct Closes(Mutex<Sender<()>>);

impl EngineObserver for Closes {
    fn before(&self, step: EngineStep) {
        if step == EngineStep::MarkClean {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }
}

#[test]
fn who_follows_is_told_what_came_last() {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(source.path().join("first"), "1").unwrap();
    let (told, is_closing) = channel();
    let observer = Arc::new(Closes(Mutex::new(told)));
    let publisher = Publisher::start(source.path(), PublishOptions { observer, tells_within: LONG, ..polled() }).unwrap();
    let mut steps = publisher.subscribe(None).unwrap();
    while !matches!(steps.next(LONG).unwrap(), Some(Step::InSync(_))) {}
    let following = std::thread::spawn(move || {
        // It is busy with something else until then, and a little longer. The bound is so long that this is never too long.
        is_closing.recv().unwrap();
        (0..1000).for_each(|_| std::thread::yield_now());
        let steps = std::iter::from_fn(|| steps.next(LONG).ok().flatten());
        steps.filter_map(|step| if let Step::Batch(batch) = step { Some(batch.to) } else { None }).last()
    });
    fs::write(source.path().join("last"), "2").unwrap();
    let last = publisher.let_go(LONG).expect("nothing is large");
    assert_eq!(following.join().unwrap(), Some(last.generation));
}

#[test]
fn one_that_cannot_be_read_in_time_is_cut_short_and_compared_at_the_next_start() {
    let Some(mut disk) = Disk::new(Format::Ext4, "a source that is cut short") else { return };
    for number in 0..2000 {
        fs::write(disk.path().join(format!("file-{number}")), format!("{number}")).unwrap();
    }
    // Else the first commit of the index writes them all, and the filesystem is busy until then.
    rustix::fs::syncfs(fs::File::open(disk.path()).unwrap()).unwrap();
    let publisher = Publisher::start(&disk.path(), options()).unwrap();
    assert_eq!(publisher.let_go(Duration::ZERO), None);
    disk.unmount();
    disk.mount();
    let again = Publisher::start(&disk.path(), options()).unwrap();
    let mut follower = Follower::fresh(&again);
    follower.settle(&again);
    assert_same(&follower.copy.tree, &truth(&Root::open(&disk.path()).unwrap(), &Rules::default()), "after it was cut short");
}

/// Once it is told to, has the sync of the source take until somebody gives up waiting for it, or a second.
struct SlowDisk {
    syncing: Mutex<Option<Sender<()>>>,
    is_given_up: Mutex<Receiver<()>>,
}

impl EngineObserver for SlowDisk {
    fn before(&self, step: EngineStep) {
        let syncing = if step == EngineStep::Sync { self.syncing.lock().unwrap().take() } else { None };
        if let Some(syncing) = syncing {
            syncing.send(()).unwrap();
            let _ = self.is_given_up.lock().unwrap().recv_timeout(Duration::from_secs(1));
        }
    }
}

#[test]
fn a_last_sync_that_takes_long_is_waited_for_and_the_position_is_known() {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(source.path().join("first"), "1").unwrap();
    let ((giving_up, has_given_up), (begins, syncing)) = (channel(), channel());
    let disk = Arc::new(SlowDisk { syncing: Mutex::new(None), is_given_up: Mutex::new(has_given_up) });
    let publisher = Publisher::start(source.path(), PublishOptions { observer: disk.clone(), ..polled() }).unwrap();
    publisher.checkpoint().unwrap();
    *disk.syncing.lock().unwrap() = Some(begins);
    fs::write(source.path().join("last"), "2").unwrap();
    let last = std::thread::scope(|scope| {
        let last = scope.spawn(|| publisher.let_go(LONG));
        syncing.recv().unwrap();
        // Whatever time somebody has for it is over: this one must not cut short what the kernel is doing.
        publisher.let_go(Duration::ZERO);
        let _ = giving_up.send(());
        last.join().unwrap()
    });
    let last = last.expect("it was only to be written to the disk");
    drop(publisher);
    let again = Publisher::start(source.path(), polled()).unwrap();
    assert_eq!((again.status().index, again.position()), ("clean", last));
    assert_eq!(again.settle().unwrap(), last, "what was written last is in it");
}
