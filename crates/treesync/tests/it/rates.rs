//! Rates hold for every byte of a source, by whatever call it is taken. Time is simulated: it passes when somebody sleeps.

use crate::wire::Served;
use std::fs;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use treesync::model::{ContentHash, TreePath, Wanted};
use treesync::publish::{Clock, DetectionWish, Limit, PublishOptions, Publisher, Step};
use treesync::wire::{Address, Client, Piece};

const RATE: u64 = 100_000;
/// More than travels with a batch.
const LARGE_BYTES: u64 = 400_000;
/// So little travels with it.
const SMALL_BYTES: u64 = 10_000;
const SMALL_FILES: u64 = 5;
/// A burst of one second is free.
const LARGE_TAKES: Duration = Duration::from_secs((LARGE_BYTES - RATE) / RATE);
const LARGE_AGAIN_TAKES: Duration = Duration::from_secs(LARGE_BYTES / RATE);

#[derive(Default)]
struct Simulated(Mutex<Duration>);

impl Clock for Simulated {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

struct Source {
    folder: TempDir,
    clock: Arc<Simulated>,
    publisher: Arc<Publisher>,
}

impl Source {
    fn new(subscriber: Option<u64>, all: Option<u64>) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("large"), bytes()).unwrap();
        let clock = Arc::new(Simulated::default());
        let options = PublishOptions {
            detection: DetectionWish::Poll,
            poll_interval: Duration::from_hours(1),
            subscriber_rate_bytes_per_second: subscriber,
            rate_bytes_per_second: all,
            clock: clock.clone(),
            ..PublishOptions::default()
        };
        let publisher = Arc::new(Publisher::start(&tree, options).unwrap());
        publisher.settle().unwrap();
        Self { folder, clock, publisher }
    }

    /// How long something takes.
    fn time(&self, work: impl FnOnce()) -> Duration {
        let before = self.clock.now();
        work();
        self.clock.now().saturating_sub(before)
    }

    fn read(&self, limit: &Limit) -> Duration {
        self.time(|| {
            let mut read = Vec::new();
            self.publisher.read_within(limit, &wanted()).unwrap().unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes());
        })
    }

    async fn read_by(&self, client: &Client) -> Duration {
        let before = self.clock.now();
        let mut reading = client.read(vec![wanted()]).await.unwrap();
        let mut read = 0;
        while let Some(piece) = reading.next().await.unwrap() {
            let Piece::Bytes { bytes, .. } = piece else { panic!("the file is there") };
            read += bytes.len() as u64;
        }
        assert_eq!(read, LARGE_BYTES);
        self.clock.now().saturating_sub(before)
    }
}

fn bytes() -> Vec<u8> {
    (0..LARGE_BYTES).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect()
}

fn wanted() -> Wanted {
    Wanted::whole(TreePath::parse("large").unwrap(), LARGE_BYTES, ContentHash::of(&bytes()))
}

/// A nanosecond of each wait is rounded.
#[track_caller]
fn assert_about(took: Duration, expected: Duration) {
    assert!(took.abs_diff(expected) < Duration::from_millis(1), "took {took:?} instead of {expected:?}");
}

#[test]
fn bytes_that_are_read_count_for_their_subscriber_alone() {
    let source = Source::new(Some(RATE), None);
    let (one, other) = (source.publisher.limit(), source.publisher.limit());
    assert_about(source.read(&one), LARGE_TAKES);
    assert_about(source.read(&one), LARGE_AGAIN_TAKES);
    assert_about(source.read(&other), LARGE_TAKES);
}

#[test]
fn changes_and_bytes_that_are_read_count_together() {
    let source = Source::new(Some(RATE), None);
    let limit = source.publisher.limit();
    let mut subscription = source.publisher.subscribe_within(&limit, Some(source.publisher.position())).unwrap();
    assert!(matches!(subscription.next(Duration::from_mins(1)).unwrap(), Some(Step::InSync(_))));
    let small = usize::try_from(SMALL_BYTES).unwrap();
    for number in 0..SMALL_FILES {
        fs::write(source.folder.path().join(format!("tree/small-{number}")), vec![7; small]).unwrap();
    }
    source.publisher.rescan().unwrap();
    let mut told = 0_u64;
    while told < SMALL_FILES {
        let Some(Step::Batch(batch)) = subscription.next(Duration::from_mins(1)).unwrap() else { continue };
        told += batch.puts.iter().filter(|put| put.inline.is_some()).count() as u64;
    }
    let expected = LARGE_TAKES + Duration::from_millis(SMALL_FILES * SMALL_BYTES * 1000 / RATE);
    let took = source.read(&limit);
    // The batch has names and times as well.
    assert!(took >= expected && took < expected + Duration::from_millis(50), "took {took:?} instead of {expected:?}");
}

#[test]
fn what_all_subscribers_read_counts_for_all() {
    let source = Source::new(None, Some(RATE));
    assert_about(source.read(&source.publisher.limit()), LARGE_TAKES);
    assert_about(source.read(&source.publisher.limit()), LARGE_AGAIN_TAKES);
}

#[tokio::test]
async fn the_calls_of_a_connection_are_those_of_one_subscriber() {
    let source = Source::new(Some(RATE), None);
    let address = Address::Unix(source.folder.path().join("socket"));
    let served = Served::start(source.publisher.clone(), address, None).await;
    let one = Client::connect(&served.address, None).await.unwrap();
    assert_about(source.read_by(&one).await, LARGE_TAKES);
    assert_about(source.read_by(&one.clone()).await, LARGE_AGAIN_TAKES);
    let other = Client::connect(&served.address, None).await.unwrap();
    assert_about(source.read_by(&other).await, LARGE_TAKES);
    served.stop().await;
}
