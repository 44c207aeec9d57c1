//! A source that is let go: its filesystem can be unmounted at once, whoever still holds the publisher or is in the middle of a stream.

use crate::copy_model::assert_same;
use crate::disk::{Disk, Format};
use crate::follower::{Follower, truth};
use std::fs;
use std::sync::mpsc::{Sender, channel};
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
    let polled = PublishOptions { detection: DetectionWish::Poll, poll_interval: Duration::from_hours(1), observer, ..options() };
    let publisher = Publisher::start(source.path(), polled).unwrap();
    let mut steps = publisher.subscribe(None).unwrap();
    while !matches!(steps.next(LONG).unwrap(), Some(Step::InSync(_))) {}
    let following = std::thread::spawn(move || {
        // It is busy with something else until then, and a little longer.
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
    let publisher = Publisher::start(&disk.path(), options()).unwrap();
    assert_eq!(publisher.let_go(Duration::ZERO), None);
    disk.unmount();
    disk.mount();
    let again = Publisher::start(&disk.path(), options()).unwrap();
    let mut follower = Follower::fresh(&again);
    follower.settle(&again);
    assert_same(&follower.copy.tree, &truth(&Root::open(&disk.path()).unwrap(), &Rules::default()), "after it was cut short");
}
