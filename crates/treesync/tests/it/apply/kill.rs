//! SIGKILL at every step of an apply, and of the recovery after it.

use super::scene::{Scene, options};
use crate::stage::Tree;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use treesync::apply::{Copy, Observer, Step};
use treesync::tree::Root;

/// Kills this process before its n-th step.
struct KillAt {
    step: u64,
    seen: AtomicU64,
}

impl Observer for KillAt {
    fn before(&self, _: Step) -> std::io::Result<()> {
        if self.seen.fetch_add(1, Ordering::Relaxed) == self.step {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        }
        Ok(())
    }
}

const VICTIM: &str = "apply::kill::the_process_that_is_killed";

/// Does nothing unless it is told whom to serve: then it opens the copy, applies one batch, and is killed on the way.
#[test]
fn the_process_that_is_killed() {
    let (Some(folder), Some(step)) = (std::env::var_os("TREESYNC_VICTIM"), std::env::var("TREESYNC_VICTIM_STEP").ok()) else { return };
    let observer = KillAt { step: step.parse().unwrap(), seen: AtomicU64::new(0) };
    let mut copy = Copy::open(Root::open(folder.as_ref()).unwrap(), options(Some(Arc::new(observer)))).unwrap();
    Scene::new().apply(&mut copy).unwrap();
    copy.make_durable().unwrap();
    copy.empty_trash(usize::MAX).unwrap();
}

/// Whether it was killed, rather than done.
fn victim(folder: &Tree, step: u64) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", VICTIM, "--quiet"]).env("TREESYNC_VICTIM", folder.folder()).env("TREESYNC_VICTIM_STEP", step.to_string());
    // What it makes beside the copy it cannot remove when it is killed.
    let beside = tempfile::tempdir().unwrap();
    let status = command.env("TMPDIR", beside.path()).stdout(Stdio::null()).status().unwrap();
    let is_killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    assert!(is_killed || status.success(), "{status}");
    is_killed
}

#[test]
fn a_kill_at_any_step_leaves_a_whole_copy_and_an_honest_marker() {
    let scene = Scene::new();
    let folder = Tree::within_memory();
    assert!(!victim(&folder, u64::MAX), "the first batch");
    let mut trials = 0;
    for step in 0.. {
        let before = Copy::open(folder.root(), options(None)).unwrap().position().unwrap().generation;
        let was_killed = victim(&folder, step);
        scene.assert_no_torn_file(folder.folder());
        // Killed again somewhere in the recovery, then left alone.
        victim(&folder, step * 7 % 60);
        let copy = Copy::open(folder.root(), options(None)).unwrap();
        let after = copy.position().expect("a position after recovery").generation;
        // Two more when the first was killed after it was done, and the second after it was marked.
        assert!((before..=before + 2).contains(&after), "from {before} to {after}, killed at step {step}: {was_killed}");
        scene.assert_at(&folder.root(), after);
        assert!(was_killed || after > before);
        trials += 1;
        if !was_killed {
            break;
        }
    }
    assert!(trials > 80, "every step was a trial: {trials}");
    eprintln!("killed at each of {trials} steps");
}
