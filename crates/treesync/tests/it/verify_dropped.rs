//! A comparison that nobody waits for any more lets go of the copy, which may be about to be unmounted.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use treesync::apply::CopyOptions;
use treesync::session::Verifier;
use treesync::verify::Level;
use treesync::wire::{Address, Client};

use crate::still::Still;
use crate::wire::Served;

/// A hole that takes minutes to hash, and no room.
const LARGE_BYTES: u64 = 1 << 40;
/// Far less than that takes, and far more than a block does.
const SOON: Duration = Duration::from_secs(20);

/// Whether this process has something open there.
fn is_open(at: &Path) -> bool {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    // Those that are closed meanwhile lead nowhere.
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok()).any(|opened| opened.starts_with(at))
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "{what}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_that_is_dropped_in_a_large_file_closes_the_copy_soon() {
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (folder.path().join("source"), folder.path().join("copy"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&copy).unwrap();
    let large = copy.join("large");
    fs::File::create(&large).unwrap().set_len(LARGE_BYTES).unwrap();
    let served = Served::start(Still(source), Address::Unix(folder.path().join("socket")), None).await;
    let client = Client::connect(&served.address, None).await.unwrap();
    let verifier = Verifier { directory: copy.clone(), options: CopyOptions::default(), level: Level::Content, progress: None };
    let (sender, _findings) = mpsc::unbounded_channel();
    let comparing = tokio::spawn(async move { verifier.run(&client, false, sender).await });
    wait_until(|| is_open(&large), "the file is not read");
    comparing.abort();
    assert!(comparing.await.unwrap_err().is_cancelled());
    wait_until(|| !is_open(&copy), "the copy is still open");
}
