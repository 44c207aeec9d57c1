//! What changes while a publisher compares its whole source: what was seen last is what copies have in the end.

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};
use crate::keeper::LONG;
use crate::stage::{is_root_or_skipped, path};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use treesync::model::Rules;
use treesync::publish::{EngineObserver, EngineStep, Phase, PublishOptions, Publisher};
use treesync::tree::Root;

/// So many that a comparison takes at least three slices, each of 2,048 names.
const OTHERS: usize = 5_000;
/// And so many after them: an engine takes one message after each slice, and is woken by what it is told before it is asked.
const MORE: usize = 8_000;

type Deed = Box<dyn FnOnce() + Send>;

/// Does something before steps of a publisher, if there is something left to do, and notes which steps there were.
#[derive(Default)]
struct BeforeSteps {
    deeds: Mutex<Vec<(EngineStep, Deed)>>,
    steps: Mutex<Vec<EngineStep>>,
}

impl BeforeSteps {
    /// The deeds of the next steps of a kind, in their order.
    fn set(&self, step: EngineStep, deeds: Vec<Deed>) {
        *self.deeds.lock().unwrap() = deeds.into_iter().rev().map(|deed| (step, deed)).collect();
    }

    fn is_used_up(&self) -> bool {
        self.deeds.lock().unwrap().is_empty()
    }
}

impl EngineObserver for BeforeSteps {
    fn before(&self, step: EngineStep) {
        self.steps.lock().unwrap().push(step);
        let due = self.deeds.lock().unwrap().pop_if(|(awaited, _)| *awaited == step);
        if let Some((_, deed)) = due {
            deed();
        }
    }
}

struct World {
    source: TempDir,
    observer: Arc<BeforeSteps>,
}

impl World {
    /// None, loudly, where the kernel does not tell of changes.
    fn new(test: &str) -> Option<Self> {
        if !is_root_or_skipped(test) {
            return None;
        }
        let source = tempfile::tempdir_in("/dev/shm").unwrap();
        for (directory, count) in [("m", OTHERS), ("n", MORE)] {
            fs::create_dir(source.path().join(directory)).unwrap();
            for number in 0..count {
                fs::write(source.path().join(format!("{directory}/f{number:04}")), "").unwrap();
            }
        }
        Some(Self { source, observer: Arc::default() })
    }

    fn path(&self) -> &Path {
        self.source.path()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Nothing is due until it is asked for.
    fn publish(&self) -> Publisher {
        let mut options = PublishOptions { observer: self.observer.clone(), ..PublishOptions::default() };
        options.feed.windows.quiet = LONG;
        options.feed.windows.longest = LONG;
        Publisher::start(self.path(), options).unwrap()
    }

    /// The same when the source is compared to its end.
    fn publish_compared(&self) -> Publisher {
        let publisher = self.publish();
        publisher.settle().unwrap();
        publisher
    }

    /// The next comparison tells when its second slice is about to begin, and waits.
    fn hold_second_slice(&self) -> (Receiver<()>, Sender<()>) {
        let ((enters, is_entered), (release, is_released)) = (channel(), channel());
        let hold = move || {
            enters.send(()).unwrap();
            is_released.recv().unwrap();
        };
        self.observer.set(EngineStep::Compare, vec![deed(|| {}), deed(hold)]);
        (is_entered, release)
    }

    /// The deeds are done before the slices of a comparison, and what they changed is taken in between the slices.
    fn rescan(&self, publisher: &Publisher, deeds: Vec<Deed>) {
        self.observer.set(EngineStep::Compare, deeds);
        publisher.rescan().unwrap();
        assert!(self.observer.is_used_up(), "the comparison had fewer slices than there is to do");
    }

    /// Asks something of a publisher whose comparison is held, so that it is met between two slices.
    fn between_slices(&self, publisher: &Arc<Publisher>, release: &Sender<()>, ask: impl FnOnce(&Publisher) + Send + 'static) {
        let (asks, is_asked) = channel();
        let theirs = publisher.clone();
        let held_at = self.observer.steps.lock().unwrap().len();
        let asking = std::thread::spawn(move || {
            asks.send(rustix::thread::gettid()).unwrap();
            ask(&theirs);
        });
        let asker = is_asked.recv().unwrap();
        // It asked when it waits for the answer.
        while !is_waiting(asker) {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        asking.join().unwrap();
        // The answer comes before the next slice.
        while !self.has_compared_after_a_read_since(held_at) {
            let is_through = publisher.status().phase == Phase::Following;
            assert!(
                !is_through || self.has_compared_after_a_read_since(held_at),
                "it was not met between two slices: {:?}",
                self.observer.steps.lock().unwrap()
            );
            std::thread::yield_now();
        }
    }

    fn has_compared_after_a_read_since(&self, held_at: usize) -> bool {
        let steps = &self.observer.steps.lock().unwrap()[held_at..];
        let read = steps.iter().position(|step| *step == EngineStep::Read);
        read.is_some_and(|read| steps[read..].contains(&EngineStep::Compare))
    }

    fn assert_followed(&self, follower: &mut Follower, publisher: &Publisher, when: &str) {
        follower.settle(publisher);
        assert_same(&follower.copy.tree, &truth(&Root::open(self.path()).unwrap(), &Rules::default()), when);
    }
}

/// The state of a thread follows its name, which is in parentheses (proc(5)).
fn is_waiting(thread: rustix::thread::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero())).unwrap();
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
}

fn deed(deed: impl FnOnce() + Send + 'static) -> Deed {
    Box::new(deed)
}

#[test]
fn what_a_comparison_saw_is_not_put_over_what_was_seen_later() {
    let Some(world) = World::new("what_a_comparison_saw_is_not_put_over_what_was_seen_later") else { return };
    for (name, bytes) in [("a-small", &b"old"[..]), ("a-large", &vec![0; 300_000]), ("a-gone", b"there"), ("a-kept/file", b"kept")] {
        fs::create_dir_all(world.at(name).parent().unwrap()).unwrap();
        fs::write(world.at(name), bytes).unwrap();
    }
    let publisher = world.publish();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let manifests = follower.manifests;
    let (first, then) = (world.path().to_owned(), world.path().to_owned());
    let seen_by_the_comparison = move || {
        let at = |name: &str| first.join(name);
        fs::write(at("a-small"), "1").unwrap();
        fs::write(at("a-large"), vec![1; 300_000]).unwrap();
        fs::remove_file(at("a-gone")).unwrap();
        fs::write(at("a-new"), "new").unwrap();
        fs::rename(at("a-kept"), at("a-moved")).unwrap();
        fs::create_dir(at("b-made")).unwrap();
        fs::write(at("b-made/file"), "made").unwrap();
    };
    let seen_later = move || {
        let at = |name: &str| then.join(name);
        fs::write(at("a-small"), "22").unwrap();
        fs::write(at("a-large"), vec![2; 300_001]).unwrap();
        fs::write(at("a-gone"), "here again").unwrap();
        fs::remove_file(at("a-new")).unwrap();
        fs::rename(at("a-moved"), at("a-home")).unwrap();
        fs::write(at("b-made/file"), "made again").unwrap();
        fs::rename(at("b-made"), at("a-made")).unwrap();
    };
    world.rescan(&publisher, vec![deed(seen_by_the_comparison), deed(seen_later)]);
    world.assert_followed(&mut follower, &publisher, "what was last");
    assert_eq!(follower.manifests, manifests, "the rest came as changes");
}

/// What nobody saw while it happened, since no publisher ran, is for the comparison at the start to find.
#[test]
fn what_changed_before_the_start_is_found_in_directories_that_move_while_it_is_compared() {
    let Some(world) = World::new("what_changed_before_the_start_is_found_in_directories_that_move_while_it_is_compared") else { return };
    fs::create_dir_all(world.at("z/deep")).unwrap();
    fs::write(world.at("z/deep/file"), "old").unwrap();
    drop(world.publish_compared());
    fs::write(world.at("z/deep/file"), "changed").unwrap();
    fs::write(world.at("m/f4999"), "changed as well").unwrap();
    let (entered, release) = world.hold_second_slice();
    let publisher = Arc::new(world.publish());
    let mut follower = Follower::fresh(&publisher);
    entered.recv().unwrap();
    // The one is where the comparison is, the other where it is yet to come. Both go to where it was.
    fs::rename(world.at("m"), world.at("a-m")).unwrap();
    fs::rename(world.at("z"), world.at("a-z")).unwrap();
    world.between_slices(&publisher, &release, |publisher| assert!(publisher.settle().is_ok()));
    world.assert_followed(&mut follower, &publisher, "what nobody told of");
}

/// A push commits between two slices as well.
#[test]
fn what_a_comparison_saw_is_not_put_over_what_was_pushed_meanwhile() {
    let Some(world) = World::new("what_a_comparison_saw_is_not_put_over_what_was_pushed_meanwhile") else { return };
    fs::write(world.at("a"), "old").unwrap();
    drop(world.publish_compared());
    fs::write(world.at("a"), "seen by the comparison").unwrap();
    let (entered, release) = world.hold_second_slice();
    let publisher = Arc::new(world.publish());
    let mut follower = Follower::fresh(&publisher);
    entered.recv().unwrap();
    fs::write(world.at("a"), "pushed").unwrap();
    world.between_slices(&publisher, &release, |publisher| drop(publisher.push(&path("a"), false).unwrap()));
    world.assert_followed(&mut follower, &publisher, "what was pushed");
}

/// It is looked for at the end of the comparison, after all that was told of it was taken in.
#[test]
fn a_directory_that_was_away_for_a_moment_is_found_where_the_one_above_it_moved_to() {
    let Some(world) = World::new("a_directory_that_was_away_for_a_moment_is_found_where_the_one_above_it_moved_to") else { return };
    fs::create_dir_all(world.at("a/deep")).unwrap();
    fs::write(world.at("a/deep/file"), "kept").unwrap();
    let publisher = world.publish_compared();
    let mut follower = Follower::fresh(&publisher);
    follower.settle(&publisher);
    let (first, then) = (world.path().to_owned(), world.path().to_owned());
    let away = move || fs::rename(first.join("a/deep"), first.join("z-away")).unwrap();
    let back = move || {
        fs::rename(then.join("z-away"), then.join("a/deep")).unwrap();
        fs::rename(then.join("a"), then.join("z-moved")).unwrap();
    };
    world.rescan(&publisher, vec![deed(away), deed(back)]);
    world.assert_followed(&mut follower, &publisher, "all that is below");
}
