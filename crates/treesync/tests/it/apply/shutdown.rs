//! The filesystem is shut down at any step, or at any moment, as by a crash of the machine.

use super::scene::{Scene, options};
use crate::stage::Tree;
use crate::stage::images::{Image, ImageKind, Shutdown, shut_down};
use crate::stage::source::{NoContents, batch};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use treesync::apply::{Copy, CopyOptions, Observer, Step};

/// Steps that one batch of the scene has at least.
const STEPS: u64 = 88;
/// The same when all is staged ahead.
const STEPS_ALL_AHEAD: u64 = 60;
/// Crashes of ext4 and of XFS: 500 together with a scene of all kinds of operations.
const LEAST_TRIALS: [usize; 2] = [330, 170];

/// Shuts the filesystem down before the n-th step, or a while after it.
struct CrashAt {
    mount: PathBuf,
    how: Shutdown,
    step: u64,
    later: Duration,
    seen: AtomicU64,
    is_done: Arc<Mutex<bool>>,
}

impl CrashAt {
    fn crash(mount: &std::path::Path, how: Shutdown, is_done: &Mutex<bool>) {
        // Held until it is done, so that the mount is not busy afterwards.
        let mut is_done = is_done.lock().unwrap();
        if !std::mem::replace(&mut *is_done, true) {
            shut_down(mount, how);
        }
    }
}

impl Observer for CrashAt {
    fn before(&self, _: Step) -> std::io::Result<()> {
        if self.seen.fetch_add(1, Ordering::SeqCst) != self.step {
            return Ok(());
        }
        if self.later.is_zero() {
            Self::crash(&self.mount, self.how, &self.is_done);
            return Ok(());
        }
        let (mount, how, later, is_done) = (self.mount.clone(), self.how, self.later, Arc::clone(&self.is_done));
        std::thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < later {
                std::hint::spin_loop();
            }
            Self::crash(&mount, how, &is_done);
        });
        Ok(())
    }
}

/// One crash, and what is found after the next boot. Whether the apply came through.
fn trial(image: &Image, scene: &Scene, how: Shutdown, step: u64, later: Duration) -> bool {
    let is_done = Arc::new(Mutex::new(false));
    let crash = CrashAt { mount: image.path(), how, step, later, seen: AtomicU64::new(0), is_done: Arc::clone(&is_done) };
    let crash = Arc::new(crash);
    // Every third apply has its files written by `syncfs`, as it does with many of them.
    let watched = options(Some(crash.clone()));
    let syncfs_from_files = if step.is_multiple_of(3) { 1 } else { watched.syncfs_from_files };
    let mut copy = Copy::open(image.root(), CopyOptions { syncfs_from_files, ..watched }).unwrap();
    let before = copy.position().unwrap().generation;
    let applied = scene.apply(&mut copy).and_then(|_| copy.make_durable()).and_then(|()| copy.empty_trash(usize::MAX));
    drop(copy);
    CrashAt::crash(&image.path(), how, &is_done);
    image.remount();
    scene.assert_no_torn_file(&image.path());
    let copy = Copy::open(image.root(), options(None)).unwrap();
    let after = copy.position().expect("a position after recovery").generation;
    drop(copy);
    // Else it failed for what the crash before has left, and proves nothing.
    assert!(crash.seen.load(Ordering::SeqCst) > step, "step {step} was never reached: {applied:?}");
    let context = format!("{how:?} at step {step} + {later:?}: from {before} to {after}");
    assert!(after == before || after == before + 1, "{context}");
    assert!(applied.is_err() || after == before + 1, "what was durable is lost: {context}");
    eprint!("\r{context}        ");
    scene.assert_at(&image.root(), after);
    after > before
}

fn crash_at_every_step(kind: ImageKind, size_mib: u64, scene: &Scene, steps: u64) -> usize {
    let Some(image) = Image::new(kind, size_mib, &[]) else { return usize::MAX };
    let mut copy = Copy::open(image.root(), options(None)).unwrap();
    scene.apply(&mut copy).unwrap();
    copy.make_durable().unwrap();
    drop(copy);
    let mut came_through = Vec::new();
    // A step for each kind of crash; those between two steps at moments that drift through the batch.
    for step in 0..steps {
        let how = if step % 2 == 0 { Shutdown::DropJournal } else { Shutdown::FlushJournal };
        let other = if step % 2 == 0 { Shutdown::FlushJournal } else { Shutdown::DropJournal };
        came_through.push(trial(&image, scene, how, step, Duration::ZERO));
        came_through.push(trial(&image, scene, other, step, Duration::from_micros(1 + step * 37 % 900)));
        // A crash of XFS takes longest to come back from.
        if kind == ImageKind::Ext4 {
            came_through.push(trial(&image, scene, how, step, Duration::from_micros(1 + step * 501 % 4000)));
            came_through.push(trial(&image, scene, other, step, Duration::from_micros(1 + step * 809 % 4000)));
        }
    }
    let (trials, through) = (came_through.len(), came_through.iter().filter(|came_through| **came_through).count());
    eprintln!("\n{trials} crashes of {kind:?}, {through} applies came through");
    assert!(through > 2 && through < trials, "crashes come before and after an apply is durable: {through} of {trials}");
    trials
}

#[test]
fn a_crash_of_ext4_at_any_step_leaves_a_whole_copy_and_an_honest_marker() {
    assert!(crash_at_every_step(ImageKind::Ext4, 64, &Scene::new(), STEPS) >= LEAST_TRIALS[0]);
}

#[test]
fn a_crash_of_xfs_at_any_step_leaves_a_whole_copy_and_an_honest_marker() {
    assert!(crash_at_every_step(ImageKind::Xfs, 300, &Scene::new(), STEPS) >= LEAST_TRIALS[1]);
}

/// Then only the intent is made durable before files are published.
#[test]
fn a_crash_of_ext4_with_all_files_staged_ahead_leaves_a_whole_copy_and_an_honest_marker() {
    crash_at_every_step(ImageKind::Ext4, 64, &Scene::all_ahead(), STEPS_ALL_AHEAD);
}

#[test]
fn a_crash_of_xfs_with_all_files_staged_ahead_leaves_a_whole_copy_and_an_honest_marker() {
    crash_at_every_step(ImageKind::Xfs, 300, &Scene::all_ahead(), STEPS_ALL_AHEAD);
}

/// The bytes of a file that nobody synced are in the page cache alone, and a comparison reads them there.
#[test]
fn bytes_that_a_comparison_found_equal_outlive_a_crash_after_the_repair() {
    for (kind, size_mib) in [(ImageKind::Ext4, 64), (ImageKind::Xfs, 300)] {
        let Some(image) = Image::new(kind, size_mib, &[]) else { return };
        let source = Tree::new();
        let time = std::fs::metadata(source.write("same", "the same bytes")).unwrap().modified().unwrap();
        std::fs::write(image.path().join("same"), "the same bytes").unwrap();
        std::fs::File::options().write(true).open(image.path().join("same")).unwrap().set_modified(time).unwrap();
        let mut copy = Copy::open(image.root(), CopyOptions { adopt: true, ..options(None) }).unwrap();
        let found = batch(0, 7).put(&source, "same").with(|put| put.content_generation = 0).put(&source, "").build();
        copy.repair(&found, &NoContents).unwrap();
        copy.make_durable().unwrap();
        drop(copy);
        shut_down(&image.path(), Shutdown::DropJournal);
        image.remount();
        let copy = Copy::open(image.root(), options(None)).unwrap();
        assert_eq!(copy.position().unwrap().generation, 7, "{kind:?}");
        drop(copy);
        assert_eq!(std::fs::read(image.path().join("same")).unwrap(), b"the same bytes", "{kind:?}");
    }
}

#[test]
fn only_an_ext_filesystem_with_a_journal_is_counted_on_to_keep_the_order_of_changes() {
    for (made_with, keeps_order) in [(&[][..], true), (&["-O", "^has_journal"][..], false)] {
        let Some(image) = Image::new(ImageKind::Ext4, 64, made_with) else { return };
        let filesystem = image.root().filesystem();
        assert_eq!(filesystem.keeps_order(), keeps_order, "{filesystem} made with {made_with:?}");
        let scene = Scene::new();
        let mut copy = Copy::open(image.root(), options(None)).unwrap();
        scene.apply(&mut copy).and_then(|_| scene.apply(&mut copy)).and_then(|_| copy.make_durable()).unwrap();
        scene.assert_at(&image.root(), 2);
    }
}
