//! An index whose file rotted, or that says nonsense: the publisher builds it again, and tells what is in the source.

use std::fs;
use std::path::Path;
use treesync::model::Rules;
use treesync::publish::{DetectionWish, PublishError, PublishOptions, Publisher};
use treesync::tree::Root;

use crate::copy_model::assert_same;
use crate::follower::{Follower, truth};

const PAGE_BYTES: usize = 4096;
/// Pages that are damaged, one for each trial.
const TRIALS: usize = 60;

fn publish(source: &Path) -> Result<Publisher, PublishError> {
    Publisher::start(source, PublishOptions { detection: DetectionWish::Poll, ..PublishOptions::default() })
}

/// A source whose index was closed in order, with rows on many pages.
fn source() -> tempfile::TempDir {
    let source = tempfile::tempdir_in("/dev/shm").unwrap();
    for number in 0..600 {
        let directory = source.path().join(format!("directory {}", number % 20));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("file {number}")), number.to_string()).unwrap();
    }
    publish(source.path()).unwrap().checkpoint().unwrap();
    source
}

/// A fresh copy gets exactly what is in the source; the epoch.
#[track_caller]
fn assert_works(source: &Path, context: &str) -> u64 {
    let publisher = publish(source).unwrap_or_else(|error| panic!("{context}: {error}"));
    let position = publisher.settle().unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut fresh = Follower::fresh(&publisher);
    fresh.reach(position);
    assert_same(&fresh.copy.tree, &truth(&Root::open(source).unwrap(), &Rules::default()), context);
    position.epoch
}

#[test]
fn a_page_that_rotted_after_a_clean_close_costs_a_scan_and_nothing_else() {
    let source = source();
    let index = source.path().join(".treesync/index");
    let sound = fs::read(&index).unwrap();
    let origin = fs::read(source.path().join(".treesync/origin.json")).unwrap();
    let pages = sound.len() / PAGE_BYTES;
    assert!(pages > TRIALS);
    let mut rebuilt = 0;
    for trial in 0..TRIALS {
        let (page, offset) = (trial * pages / TRIALS, trial * 997 % (PAGE_BYTES - 16));
        let mut rotten = sound.clone();
        rotten[page * PAGE_BYTES + offset..][..16].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&index, rotten).unwrap();
        fs::write(source.path().join(".treesync/origin.json"), &origin).unwrap();
        rebuilt += usize::from(assert_works(source.path(), &format!("page {page} of {pages} at {offset}")) > 1);
    }
    // Others are free, or cut off by the store as it opens.
    assert!(rebuilt > TRIALS / 10, "{rebuilt} of {TRIALS} were noticed");
}

#[test]
fn an_index_that_says_nonsense_names_itself_and_is_built_again_at_the_next_start() {
    let source = source();
    let index = source.path().join(".treesync/index");
    let rows: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("rows.1");
    let database = redb::Database::open(&index).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut rows = transaction.open_table(rows).unwrap();
        // A name of directory 2 with a row that ends too early.
        rows.insert([&2_u64.to_be_bytes()[..], b"nonsense"].concat().as_slice(), b"x".as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let told = publish(source.path()).and_then(|publisher| publisher.settle()).expect_err("it is nonsense").to_string();
    assert!(told.contains(index.to_str().unwrap()) && told.contains("the next start builds it again"), "{told}");
    assert_eq!(assert_works(source.path(), "the next start"), 2);
    assert_eq!(assert_works(source.path(), "the one after that"), 2, "it is built again once");
}
