//! Readers of a copy see each file whole, as it was or as it is, while batches are applied.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use treesync::apply::{Copy, CopyOptions};
use treesync::index::LARGE_FILE_BYTES;
use treesync::model::ContentHash;
use treesync::publish::{PublishOptions, Publisher};
use treesync::tree::Root;

use crate::disk::{Disk, Format};
use crate::keeper::{Keeper, LONG};

/// Batches that are applied under the eyes of the readers.
const ROUNDS: u64 = 60;
const READERS: usize = 2;
/// One of each size and two more: a small filesystem holds them, with those that they replace.
const FILES: u64 = 5;
const DIGEST_BYTES: usize = 32;
/// Small enough to travel with a batch, asked for by path, and large enough to be changed by blocks.
const SIZES: [u64; 3] = [20_000, 400_000, LARGE_FILE_BYTES + 100_000];

/// Bytes that say themselves whether they belong together: a digest, and what it is of.
fn self_describing(file: u64, round: u64) -> Vec<u8> {
    let length = usize::try_from(SIZES[usize::try_from(file % 3).unwrap()]).unwrap();
    // Most of a large file is the same in all rounds, as when a part of it is written.
    let mut bytes = vec![u8::try_from(file).unwrap(); length];
    for at in [0, length / 2, length - 8] {
        bytes[at..at + 8].copy_from_slice(&round.to_le_bytes());
    }
    [&ContentHash::of(&bytes).0[..], &bytes].concat()
}

/// Changes all files: some in place, some by another in their place. The publisher looks when it is asked to, so that it
/// never meets a half.
fn change(source: &Path, round: u64) {
    // What is in the directory moves with it, under the readers' feet.
    let directory = source.join(format!("d{}", round % 2));
    if round > 0 {
        fs::rename(source.join(format!("d{}", (round + 1) % 2)), &directory).unwrap();
    }
    for file in 0..FILES {
        let (at, bytes) = (directory.join(file.to_string()), self_describing(file, round));
        if (file + round).is_multiple_of(2) {
            let fresh = source.join("fresh");
            fs::write(&fresh, bytes).unwrap();
            fs::rename(fresh, at).unwrap();
        } else {
            File::options().write(true).create(true).truncate(false).open(at).unwrap().write_all_at(&bytes, 0).unwrap();
        }
    }
}

/// Reads the file in small pieces, so that a change can come between two of them. False when it is not there.
fn read_whole(at: &Path) -> bool {
    let Ok(mut file) = File::open(at) else { return false };
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        match file.read(&mut piece).unwrap() {
            0 => break,
            length => bytes.write_all(&piece[..length]).unwrap(),
        }
    }
    let (digest, content) = bytes.split_at_checked(DIGEST_BYTES).unwrap_or_else(|| panic!("{} has {} bytes", at.display(), bytes.len()));
    assert_eq!(digest, &ContentHash::of(content).0, "{} is torn or mixed", at.display());
    true
}

/// Until it is told to end. How many files it read.
fn read_on(copy: &Path, is_over: &AtomicBool) -> u64 {
    let mut read = 0;
    while !is_over.load(Ordering::Relaxed) {
        for (directory, file) in ["d0", "d1"].into_iter().flat_map(|directory| (0..FILES).map(move |file| (directory, file))) {
            read += u64::from(read_whole(&copy.join(directory).join(file.to_string())));
        }
    }
    read
}

fn read_while_batches_are_applied(format: Format) {
    let Some(disk) = Disk::new(format, "readers see whole files") else { return };
    let (source, copy) = (disk.path().join("source"), disk.path().join("copy"));
    for path in [&source, &copy] {
        fs::create_dir(path).unwrap();
    }
    fs::create_dir(source.join("d0")).unwrap();
    change(&source, 0);
    let mut options = PublishOptions::default();
    options.feed.windows.quiet = LONG;
    options.feed.windows.longest = LONG;
    let publisher = Arc::new(Publisher::start(&source, options).unwrap());
    let mut keeper = Keeper::new(Copy::open(Root::open(&copy).unwrap(), CopyOptions::default()).unwrap(), publisher.clone());
    keeper.follow(publisher.settle().unwrap());
    let is_over = AtomicBool::new(false);
    let read: u64 = std::thread::scope(|scope| {
        let readers = [(); READERS].map(|()| scope.spawn(|| read_on(&copy, &is_over)));
        let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=ROUNDS {
                change(&source, round);
                keeper.follow(publisher.settle().unwrap());
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        let read = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        applied.unwrap();
        read
    });
    eprintln!("{format:?}: {read} files read while {ROUNDS} batches were applied");
    assert!(read > ROUNDS, "readers were at work: {read}");
    assert!(fs::read(copy.join("d0/2")).unwrap() == self_describing(2, ROUNDS), "the last batch is there");
}

#[test]
fn readers_of_a_copy_on_ext4_see_whole_files_while_batches_are_applied() {
    read_while_batches_are_applied(Format::Ext4);
}

#[test]
fn readers_of_a_copy_on_xfs_see_whole_files_while_batches_are_applied() {
    read_while_batches_are_applied(Format::Xfs);
}
