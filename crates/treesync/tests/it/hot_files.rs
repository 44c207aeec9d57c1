//! A large file that is written to all the time: its copy is never torn, and follows where the source can be cloned.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use treesync::apply::{Copy, CopyOptions};
use treesync::publish::{PublishOptions, Publisher};
use treesync::tree::Root;

use crate::keeper::{Keeper, LONG};
use crate::oracle::ground::{Ground, Kind};
use crate::stage::is_root_or_skipped;
use crate::stage::source::assert_equal;

/// More than travels inside a batch, and more than is hashed between two writes.
const SIZE_BYTES: usize = 4 << 20;
/// Versions of the file that the copy must have had.
const VERSIONS: usize = 5;

/// A version of the file: its number, everywhere.
fn version(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(SIZE_BYTES / 8)
}

/// The number of the version that a file has; none when it has parts of two.
fn version_in(path: &Path) -> Option<u64> {
    let bytes = fs::read(path).unwrap();
    let (numbers, rest) = bytes.as_chunks::<8>();
    let first = numbers.first()?;
    (bytes.len() == SIZE_BYTES && rest.is_empty() && numbers.iter().all(|number| number == first)).then(|| u64::from_le_bytes(*first))
}

/// Writes whole versions, each by one call, until it is told to rest.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    written: Arc<AtomicU64>,
}

impl Writer {
    fn start(path: PathBuf) -> Self {
        let (is_over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (is_over.clone(), written.clone());
        let thread = std::thread::spawn(move || {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            for number in 1_u64.. {
                file.write_all_at(&version(number), 0).unwrap();
                count.store(number, Ordering::SeqCst);
                if told.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self { is_over, thread, written }
    }

    /// The last version.
    fn rest(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.written.load(Ordering::SeqCst)
    }
}

/// A source with the file, published, and a copy of it that follows.
struct World {
    keeper: Keeper,
    publisher: Arc<Publisher>,
    ground: Ground,
}

impl World {
    fn new(kind: Kind) -> Self {
        let ground = Ground::new(kind, 1024);
        for directory in ["source", "copy"] {
            fs::create_dir(ground.path().join(directory)).unwrap();
        }
        fs::write(ground.path().join("source/hot"), version(0)).unwrap();
        let mut options = PublishOptions { audit_interval: Duration::ZERO, ..PublishOptions::default() };
        // Else a file that stays open is looked at each 5 s.
        options.feed.windows.kept_open = Duration::from_millis(50);
        let publisher = Arc::new(Publisher::start(&ground.path().join("source"), options).unwrap());
        let position = publisher.settle().unwrap();
        let copy = Copy::open(Root::open(&ground.path().join("copy")).unwrap(), CopyOptions::default()).unwrap();
        let mut keeper = Keeper::new(copy, publisher.clone());
        keeper.follow(position);
        Self { keeper, publisher, ground }
    }

    /// Takes one step, if there is one; the version that the copy has then.
    fn look(&mut self) -> u64 {
        if let Some(step) = self.keeper.hear(Duration::from_millis(20)) {
            self.keeper.take(&step);
        }
        version_in(&self.ground.path().join("copy/hot")).expect("the copy is torn")
    }

    fn assert_converges(mut self, last: u64) {
        let position = self.publisher.settle().unwrap();
        self.keeper.follow(position);
        assert_eq!(version_in(&self.ground.path().join("copy/hot")), Some(last));
        let root = |name: &str| Root::open(&self.ground.path().join(name)).unwrap();
        assert_equal(&root("source"), &root("copy"));
    }
}

#[test]
fn a_large_file_that_never_rests_is_copied_from_still_images_on_xfs() {
    if !is_root_or_skipped("a_large_file_that_never_rests_is_copied_from_still_images_on_xfs") {
        return;
    }
    let mut world = World::new(Kind::Xfs);
    let writer = Writer::start(world.ground.path().join("source/hot"));
    let begun = Instant::now();
    let mut seen = BTreeSet::new();
    while seen.len() < VERSIONS {
        seen.insert(world.look());
        assert!(begun.elapsed() < LONG, "the copy has had {seen:?} of {} versions", writer.written.load(Ordering::SeqCst));
    }
    let last = writer.rest();
    assert!(last > seen.len() as u64, "{last} versions");
    eprintln!("{last} versions in {:?}, of which the copy had {seen:?}", begun.elapsed());
    world.assert_converges(last);
}

#[test]
fn a_large_file_that_never_rests_waits_and_is_named_where_there_are_no_clones() {
    if !is_root_or_skipped("a_large_file_that_never_rests_waits_and_is_named_where_there_are_no_clones") {
        return;
    }
    let mut world = World::new(Kind::Ext4);
    let writer = Writer::start(world.ground.path().join("source/hot"));
    let begun = Instant::now();
    while world.publisher.status().hot < 3 {
        world.look();
        assert!(begun.elapsed() < LONG, "{:?}", world.publisher.status());
    }
    let status = world.publisher.status();
    let error = status.last_error.expect("why the copy is behind");
    assert!(error.starts_with("hot changed in each of 3 readings, and ext4 gave no clone"), "{error}");
    let last = writer.rest();
    world.assert_converges(last);
}

#[test]
fn an_image_of_a_file_leaves_nothing_in_the_source() {
    if !is_root_or_skipped("an_image_of_a_file_leaves_nothing_in_the_source") {
        return;
    }
    let mut world = World::new(Kind::Xfs);
    let hidden = world.ground.path().join("source/.treesync");
    let names = || fs::read_dir(&hidden).unwrap().map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>();
    let before = names();
    let writer = Writer::start(world.ground.path().join("source/hot"));
    let begun = Instant::now();
    while world.look() == 0 {
        assert!(begun.elapsed() < LONG);
    }
    writer.rest();
    assert_eq!(names(), before);
    // The images are files of our own: nobody is told of them, and they cause no reading that causes images.
    let at_rest = world.publisher.settle().unwrap();
    assert_eq!(world.publisher.settle().unwrap(), at_rest);
}
