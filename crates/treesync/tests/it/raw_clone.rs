//! A copy that is a raw clone of its source, as one from a snapshot of the source's volume is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps};
use tokio::sync::mpsc;
use treesync::apply::{Copy, CopyOptions, Observer, Step};
use treesync::publish::{PublishOptions, Publisher};
use treesync::session::{Notice, Session, copy_at};
use treesync::tree::Root;
use treesync::wire::Address;

use crate::rsync;
use crate::stage::images::{Image, ImageKind, Shutdown, shut_down};
use crate::wire::Served;

const LONG: Duration = Duration::from_mins(2);
const IMAGE_MIB: u64 = 32;

struct StopAt(Step);

impl Observer for StopAt {
    fn before(&self, step: Step) -> std::io::Result<()> {
        if step == self.0 { Err(std::io::Error::other("enough")) } else { Ok(()) }
    }
}

/// Renames the hidden directory of a copy before the index is removed from it, and puts a link to another in its place.
struct LinkInstead {
    copy: PathBuf,
    elsewhere: PathBuf,
}

impl Observer for LinkInstead {
    fn before(&self, step: Step) -> std::io::Result<()> {
        if step == Step::RemoveIndex {
            let hidden = self.copy.join(".treesync");
            fs::rename(&hidden, self.copy.join("renamed"))?;
            std::os::unix::fs::symlink(&self.elsewhere, hidden)?;
        }
        Ok(())
    }
}

/// Writes other bytes under the same size and time.
fn falsify(path: &Path) {
    let size = fs::metadata(path).unwrap().len();
    let stat = rustix::fs::stat(path).unwrap();
    fs::write(path, vec![b'?'; usize::try_from(size).unwrap()]).unwrap();
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
    fs::File::open(path).unwrap().sync_all().unwrap();
}

struct World {
    folder: tempfile::TempDir,
    source: Image,
    publisher: Arc<Publisher>,
    served: Served,
}

impl World {
    /// A source with a checkpoint, and a file from after it.
    async fn new(test: &str) -> Option<Self> {
        if !rsync::is_there_or_skipped(test) {
            return None;
        }
        let source = Image::new(ImageKind::Ext4, IMAGE_MIB, &[])?;
        let at = |path: &str| source.path().join(path);
        fs::create_dir_all(at("dir/below")).unwrap();
        for path in ["old", "gone", "dir/file", "dir/below/other"] {
            fs::write(at(path), format!("bytes of {path}")).unwrap();
        }
        fs::hard_link(at("old"), at("dir/linked")).unwrap();
        fs::write(at("large"), vec![7; 500_000]).unwrap();
        let publisher = Arc::new(Publisher::start(&source.path(), PublishOptions::default()).unwrap());
        publisher.checkpoint().unwrap();
        fs::write(at("late"), "bytes of late").unwrap();
        publisher.settle().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let served = Served::start(publisher.clone(), Address::Unix(folder.path().join("socket")), None).await;
        Some(Self { folder, source, publisher, served })
    }

    /// Changes of each kind.
    fn move_on(&self) {
        let at = |path: &str| self.source.path().join(path);
        fs::remove_file(at("gone")).unwrap();
        fs::rename(at("dir"), at("moved")).unwrap();
        fs::write(at("new"), "bytes of new").unwrap();
        fs::write(at("moved/file"), "changed").unwrap();
        fs::hard_link(at("large"), at("moved/large")).unwrap();
        self.publisher.settle().unwrap();
    }

    /// Follows until it is in sync; or gives what went wrong first.
    async fn sync(&self, copy: PathBuf, options: CopyOptions) -> Result<(), String> {
        let (sender, mut notices) = mpsc::unbounded_channel();
        let settings = self.served.followed_by(vec![("copy".to_owned(), copy_at(copy, options))], self.folder.path());
        let session = Session::start(settings, sender).unwrap();
        let end = loop {
            match tokio::time::timeout(LONG, notices.recv()).await.expect("in time").expect("told") {
                Notice::InSync { .. } => break Ok(()),
                notice @ Notice::Behind { .. } => break Err(format!("{notice:?}")),
                _ => {}
            }
        };
        session.stop().await.unwrap();
        end
    }
}

fn accepting() -> CopyOptions {
    CopyOptions { accept_clone: true, ..CopyOptions::default() }
}

fn index_of(tree: &Path) -> PathBuf {
    tree.join(".treesync/index")
}

#[tokio::test]
async fn a_raw_clone_becomes_a_copy_and_only_bytes_from_after_its_checkpoint_are_read() {
    let Some(world) = World::new("a_raw_clone_becomes_a_copy").await else { return };
    let clone = world.source.snapshot();
    let at = |path: &str| clone.path().join(path);
    // A crash may leave a file with its new size and time, and without its bytes; but not one from before the checkpoint.
    falsify(&at("late"));
    falsify(&at("dir/below/other"));
    world.move_on();
    world.sync(clone.path(), accepting()).await.unwrap();
    assert_eq!(fs::read_to_string(at("late")).unwrap(), "bytes of late");
    assert!(fs::read_to_string(at("moved/below/other")).unwrap().starts_with("bytes"), "it was moved, so it came anew");
    rsync::assert_equal(&world.source.path(), &clone.path());
    assert!(!index_of(&clone.path()).exists() && !clone.path().join(".treesync/origin.json").exists());
    assert!(!clone.path().join(".treesync/clone").exists());
    fs::write(world.source.path().join("old"), "follows on").unwrap();
    world.publisher.settle().unwrap();
    world.sync(clone.path(), CopyOptions::default()).await.expect("it is a copy like any other");
    rsync::assert_equal(&world.source.path(), &clone.path());
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_a_clone_or_a_copy_and_forgets_nothing_that_is_sure() {
    let Some(world) = World::new("a_crash_while_a_raw_clone_becomes_a_copy").await else { return };
    let before = world.source.snapshot();
    fs::write(world.source.path().join("new"), "bytes of new").unwrap();
    fs::remove_file(world.source.path().join("gone")).unwrap();
    world.publisher.settle().unwrap();
    let steps = [
        Step::MarkClone,
        Step::RemoveIndex,
        Step::Stage(0),
        Step::WriteIntent,
        Step::Sync,
        Step::MarkApplying,
        Step::Operation(0),
        Step::Operation(1),
        Step::MarkDone,
        Step::RemoveIntent,
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let clone = before.snapshot();
        falsify(&clone.path().join("dir/file"));
        let stopped = CopyOptions { observer: Arc::new(StopAt(step)), ..accepting() };
        let told = world.sync(clone.path(), stopped).await.expect_err("stopped");
        assert!(told.contains("enough"), "{step:?}: {told}");
        shut_down(&clone.path(), if number.is_multiple_of(2) { Shutdown::DropJournal } else { Shutdown::FlushJournal });
        clone.remount();
        let falsified = fs::read(clone.path().join("dir/file")).unwrap();
        assert!(falsified.starts_with(b"?"), "{step:?}");
        world.sync(clone.path(), accepting()).await.unwrap_or_else(|told| panic!("{step:?}: {told}"));
        assert_eq!(fs::read(clone.path().join("dir/file")).unwrap(), falsified, "{step:?}: it was read, though it is sure");
        fs::write(clone.path().join("dir/file"), "bytes of dir/file").unwrap();
        let differences = rsync::differences(&world.source.path(), &clone.path(), true);
        assert!(differences.lines().all(|line| line.ends_with(" dir/file")), "{step:?}: {differences}");
        assert!(!index_of(&clone.path()).exists(), "{step:?}");
    }
}

#[tokio::test]
async fn a_source_that_is_followed_and_a_clone_of_another_source_are_left_alone() {
    let Some(world) = World::new("a_source_that_is_followed").await else { return };
    let told = world.sync(world.source.path(), accepting()).await.expect_err("it is the source itself");
    assert!(told.contains("in use"), "{told}");
    let clone = world.source.snapshot();
    let told = world.sync(clone.path(), CopyOptions::default()).await.expect_err("nobody said that it is a clone");
    assert!(told.contains("files that treesync did not put there"), "{told}");
    let Some(other) = World::new("a_clone_of_another_source").await else { return };
    let told = other.sync(clone.path(), accepting()).await.expect_err("another source");
    assert!(told.contains("it is a copy of source"), "{told}");
    assert!(index_of(&clone.path()).exists() && index_of(&world.source.path()).exists());
    let copy = Copy::open(Root::open(&clone.path()).unwrap(), accepting()).unwrap();
    assert_eq!((copy.position(), copy.cloned_at().unwrap().source), (None, world.publisher.position().source));
}

#[tokio::test]
async fn a_link_in_place_of_the_hidden_directory_is_not_followed_when_the_index_is_removed() {
    let Some(world) = World::new("a_link_in_place_of_the_hidden_directory").await else { return };
    let clone = world.source.snapshot();
    let elsewhere = tempfile::tempdir().unwrap();
    let files = ["index", "index.damaged", "origin.new", "origin.json"].map(|name| elsewhere.path().join(name));
    for path in &files {
        fs::write(path, "of somebody else").unwrap();
    }
    let observer = Arc::new(LinkInstead { copy: clone.path(), elsewhere: elsewhere.path().to_owned() });
    let told = world.sync(clone.path(), CopyOptions { observer, ..accepting() }).await.expect_err("it is no directory");
    assert!(told.contains("move it away"), "{told}");
    assert!(files.iter().all(|path| path.exists()));
}
