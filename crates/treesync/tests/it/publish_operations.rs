//! Restarts, epochs, operators' requests and readers of bytes, on a source in memory that is polled when it is asked.

use crate::copy_model::{CopyModel, assert_same};
use crate::follower::{Follower, truth};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use treesync::index::IndexOptions;
use treesync::model::{ContentHash, Position, RuleOptions, Rules, TreePath, Wanted};
use treesync::publish::{DetectionWish, PublishOptions, Publisher, Step};
use treesync::tree::Root;

fn polled() -> PublishOptions {
    PublishOptions { detection: DetectionWish::Poll, poll_interval: Duration::from_hours(1), ..PublishOptions::default() }
}

struct Source(TempDir);

impl Source {
    fn new(files: &[(&str, &str)]) -> Self {
        let source = Self(tempfile::tempdir_in("/dev/shm").unwrap());
        for (path, bytes) in files {
            source.write(path, bytes);
        }
        source
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let at = self.0.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn publish(&self) -> Publisher {
        Publisher::start(self.path(), polled()).unwrap()
    }

    fn assert_is(&self, copy: &CopyModel) {
        assert_same(&copy.tree, &truth(&Root::open(self.path()).unwrap(), &Rules::default()), "the copy is the source");
    }
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn wanted(file: &str, bytes: &str) -> Wanted {
    Wanted::whole(path(file), bytes.len() as u64, ContentHash::of(bytes.as_bytes()))
}

#[test]
fn after_a_restart_a_copy_gets_only_what_changed() {
    let source = Source::new(&[("a", "a"), ("d/b", "b")]);
    let publisher = source.publish();
    let mut follower = Follower::fresh(&publisher);
    let before = follower.settle(&publisher);
    drop(follower);
    let mut copy = CopyModel { tree: truth(&Root::open(source.path()).unwrap(), &Rules::default()), ..CopyModel::default() };
    (copy.generation, copy.structure_generation) = (before.generation, before.generation);
    drop(publisher);
    source.write("d/c", "new");
    let publisher = source.publish();
    assert_eq!(publisher.status().index, "clean");
    let mut follower = Follower::new(&publisher, Some(before), copy);
    let after = publisher.settle().unwrap();
    follower.reach(after);
    source.assert_is(&follower.copy);
    assert_eq!((follower.manifests, after.generation), (0, before.generation + 1));
    assert_eq!((after.source, after.epoch), (before.source, before.epoch));
}

#[test]
fn one_publisher_follows_a_source() {
    let source = Source::new(&[]);
    let _publisher = source.publish();
    let message = Publisher::start(source.path(), polled()).err().unwrap().to_string();
    assert!(message.contains("in use"), "{message}");
}

#[test]
fn a_damaged_index_is_built_again_in_a_new_epoch() {
    let source = Source::new(&[("a", "a")]);
    let publisher = source.publish();
    let before = publisher.settle().unwrap();
    drop(publisher);
    let index = source.path().join(".treesync/index");
    let whole = fs::read(&index).unwrap();
    let damages: [&[u8]; 4] = [b"", b"nonsense", &whole[..whole.len() / 2], &vec![0xff; whole.len()]];
    for (number, damage) in damages.into_iter().enumerate() {
        fs::write(&index, damage).unwrap();
        let publisher = source.publish();
        let after = publisher.settle().unwrap();
        assert_eq!(publisher.status().index, "rebuilt", "damage {number}");
        assert_eq!((after.source, after.epoch), (before.source, before.epoch + 1 + number as u64));
        let mut follower = Follower::new(&publisher, Some(before), CopyModel::default());
        follower.reach(after);
        assert_eq!(follower.manifests, 1, "a position of an earlier epoch is not trusted");
        source.assert_is(&follower.copy);
    }
}

#[test]
fn a_copy_that_is_ahead_means_that_the_source_is_an_older_state() {
    let source = Source::new(&[("a", "a")]);
    let publisher = source.publish();
    let before = publisher.settle().unwrap();
    let ahead = Position { generation: before.generation + 5, ..before };
    let mut follower = Follower::new(&publisher, Some(ahead), CopyModel { generation: ahead.generation, ..CopyModel::default() });
    let after = follower.reach(Position { epoch: before.epoch + 1, ..before });
    assert_eq!(after, Position { epoch: before.epoch + 1, ..before });
    source.assert_is(&follower.copy);
    let hostile = Position { epoch: u64::MAX, generation: u64::MAX, ..before };
    let mut other = Follower::new(&publisher, Some(hostile), CopyModel::default());
    assert_eq!(other.reach(after), after, "an impossible epoch is answered with a manifest, not believed");
}

#[test]
fn a_clone_of_a_volume_begins_a_new_epoch() {
    let source = Source::new(&[("a", "a")]);
    let named = |volume: &str| {
        let index = IndexOptions { volume: Some(volume.to_owned()), ..IndexOptions::default() };
        let publisher = Publisher::start(source.path(), PublishOptions { index, ..polled() }).unwrap();
        publisher.settle().unwrap()
    };
    let first = named("vol-1");
    assert_eq!(named("vol-1"), first);
    assert_eq!(named("vol-2"), Position { epoch: first.epoch + 1, ..first });
    assert_eq!(named("vol-2"), Position { epoch: first.epoch + 1, ..first });
}

#[test]
fn bytes_are_those_that_the_index_knows_or_gone() {
    let source = Source::new(&[("file", "the bytes"), ("other", "x")]);
    let publisher = source.publish();
    publisher.settle().unwrap();
    let read = |wanted: &Wanted| {
        let mut bytes = String::new();
        publisher.read(wanted).unwrap().map(|mut reader| reader.read_to_string(&mut bytes).map(|_| bytes))
    };
    assert_eq!(read(&wanted("file", "the bytes")).unwrap().unwrap(), "the bytes");
    let part = Wanted { offset_bytes: 4, length_bytes: 3, ..wanted("file", "the bytes") };
    assert_eq!(read(&part).unwrap().unwrap(), "byt");
    assert!(read(&wanted("file", "other bytes")).is_none(), "another digest");
    assert!(read(&wanted("absent", "x")).is_none());
    let beyond = Wanted { offset_bytes: u64::MAX, ..wanted("file", "the bytes") };
    assert!(publisher.read(&beyond).is_err());
    source.write("file", "new bytes");
    assert!(read(&wanted("file", "the bytes")).is_none(), "changed, though nobody has looked yet");
    let mut reader = publisher.read(&wanted("other", "x")).unwrap().unwrap();
    source.write("other", "y");
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "changed while it was read");
}

#[test]
fn a_push_puts_what_did_not_change_and_a_dry_run_does_not() {
    let source = Source::new(&[("d/a", "a"), ("d/b", "b"), ("e", "e")]);
    let publisher = source.publish();
    let mut follower = Follower::fresh(&publisher);
    let before = follower.settle(&publisher);
    let dry = publisher.push(&path("d"), true).unwrap();
    assert_eq!((dry.position, dry.paths), (before, vec![path("d"), path("d/a"), path("d/b")]));
    source.write("d/b", "b2");
    let pushed = publisher.push(&path("d"), false).unwrap();
    assert!(pushed.position.generation > before.generation);
    let mut put = Vec::new();
    while follower.copy.generation < pushed.position.generation {
        if let Step::Batch(batch) = follower.step() {
            put.extend(batch.puts.iter().map(|put| (put.path.clone(), put.inline.clone())));
        }
    }
    assert!(put.contains(&(path("d/a"), Some("a".into()))) && put.contains(&(path("d/b"), Some("b2".into()))), "{put:?}");
    source.assert_is(&follower.copy);
}

#[test]
fn a_delete_removes_at_the_source_and_refuses_what_is_not_safe() {
    let source = Source::new(&[("d/a", "a"), ("d/x/b", "b"), ("e", "e"), ("cache/c", "c")]);
    let rules = Rules::new(RuleOptions { exclude: vec!["cache".to_owned()], ..RuleOptions::default() }).unwrap();
    let publisher = Publisher::start(source.path(), PublishOptions { rules: rules.clone(), ..polled() }).unwrap();
    let mut follower = Follower::fresh(&publisher);
    let before = follower.settle(&publisher);
    for (refused, reason) in [("", "root"), ("absent", "is not in"), ("cache/c", "excluded")] {
        let message = publisher.delete(&path(refused), false).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(publisher.delete(&path("d"), true).unwrap().paths.len(), 4);
    assert_eq!(publisher.position(), before);
    assert!(source.path().join("d/x/b").exists());
    let deleted = publisher.delete(&path("d"), false).unwrap();
    assert!(!source.path().join("d").exists());
    follower.reach(deleted.position);
    assert_same(&follower.copy.tree, &truth(&Root::open(source.path()).unwrap(), &rules), "without what was deleted");
}

#[test]
fn a_delete_is_refused_when_it_would_take_what_does_not_travel() {
    let source = Source::new(&[("d/a", "a"), ("d/x/b", "b"), ("d/cache/c", "c"), ("d/cache/e", "e")]);
    let pipe = source.path().join("d/x/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let rules = Rules::new(RuleOptions { exclude: vec!["cache".to_owned()], ..RuleOptions::default() }).unwrap();
    let publisher = Publisher::start(source.path(), PublishOptions { rules, ..polled() }).unwrap();
    let before = publisher.settle().unwrap();
    for is_dry_run in [true, false] {
        let message = publisher.delete(&path("d"), is_dry_run).unwrap_err().to_string();
        let parts = ["d has 2 paths", "d/cache", "d/x/pipe", "do not travel"];
        assert!(parts.iter().all(|part| message.contains(part)) && !message.contains("d/cache/c"), "{message}");
        assert_eq!(publisher.position(), before);
    }
    assert!(["d/a", "d/x/b", "d/cache/c", "d/cache/e", "d/x/pipe"].iter().all(|kept| source.path().join(kept).exists()));
    for number in 0..50 {
        source.write(&format!("many/{number}/cache"), "x");
    }
    let message = publisher.delete(&path("many"), false).unwrap_err().to_string();
    assert!(message.contains("50 paths") && message.len() < 400, "{message}");
    fs::remove_dir_all(source.path().join("d/cache")).unwrap();
    fs::remove_file(pipe).unwrap();
    assert_eq!(publisher.delete(&path("d"), false).unwrap().paths.len(), 4);
    assert!(!source.path().join("d").exists());
}

#[test]
fn a_checkpoint_is_durable_and_has_everything_before_it() {
    let source = Source::new(&[("a", "a")]);
    let publisher = source.publish();
    publisher.settle().unwrap();
    source.write("b", "b");
    let position = publisher.checkpoint().unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.reach(position);
    source.assert_is(&follower.copy);
    assert_eq!(publisher.status().durable_generation, position.generation);
}

#[test]
fn a_slow_subscriber_leaves_the_ring_and_comes_back_by_catching_up() {
    let source = Source::new(&[]);
    let publisher = Publisher::start(source.path(), PublishOptions { ring_bytes: 4096, ..polled() }).unwrap();
    publisher.settle().unwrap();
    let mut slow = Follower::fresh(&publisher);
    let mut quick = Follower::fresh(&publisher);
    slow.settle(&publisher);
    quick.settle(&publisher);
    for number in 0..40 {
        source.write(&format!("d/{number}"), vec![b'x'; 1000]);
        quick.settle(&publisher);
    }
    assert!(quick.batches >= 40, "each from memory");
    slow.reach(publisher.position());
    assert_eq!((slow.manifests, slow.batches), (1, 1), "one catch-up for all of it");
    source.assert_is(&slow.copy);
    source.assert_is(&quick.copy);
}

#[test]
fn a_rate_slows_a_subscriber_and_not_the_source() {
    let source = Source::new(&[]);
    let options = PublishOptions { subscriber_rate_bytes_per_second: Some(20_000), ..polled() };
    let publisher = Publisher::start(source.path(), options).unwrap();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let started = std::time::Instant::now();
    for number in 0..4 {
        source.write(&number.to_string(), vec![b'x'; 15_000]);
        publisher.settle().unwrap();
    }
    follower.reach(publisher.position());
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1500), "60 kB at 20 kB/s, one second of it free, took {took:?}");
    source.assert_is(&follower.copy);
}

#[test]
fn a_file_that_never_rests_is_sent_as_it_was_at_one_moment() {
    let source = Source::new(&[("hot", "")]);
    let publisher = source.publish();
    publisher.settle().unwrap();
    let at = source.path().join("hot");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = stop.clone();
        move || {
            use std::os::unix::fs::FileExt;
            let file = fs::OpenOptions::new().write(true).open(at).unwrap();
            let mut byte = 0_u8;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                byte = byte.wrapping_add(1);
                file.write_all_at(&[byte; 4096], 0).unwrap();
            }
        }
    });
    let mut follower = Follower::fresh(&publisher);
    for _ in 0..10 {
        // What a batch carries has the digest that it says, whatever the writer does.
        follower.settle(&publisher);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    follower.settle(&publisher);
    source.assert_is(&follower.copy);
}
