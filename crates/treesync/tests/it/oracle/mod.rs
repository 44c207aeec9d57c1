//! Random operations on a real source; after each sequence rsync must find nothing to do on any copy.

pub(crate) mod ground;
mod operation;
mod power_loss;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::rsync;
use crate::stage::is_root_or_skipped;
use ground::Kind;
use operation::{Operation, operation};
use world::World;

/// Sequences in `make test`, over all filesystems. TREESYNC_ORACLE_SEQUENCES asks for more.
const SEQUENCES: u64 = 2_001;
/// After so many sequences, a fresh source: trees stay small, and the start is tried as well.
const SEQUENCES_A_WORLD: u64 = 60;

/// How long a failure is made smaller before it is shown. TREESYNC_ORACLE_SHRINK_SECONDS gives it more.
const SHRINK_SECONDS: u64 = 60;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")))
}

/// The operations of one sequence: the same for the same seed and number.
fn sequence(seed: u64, number: u64) -> Vec<Operation> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let drawn = proptest::collection::vec(operation(), 1..24).new_tree(&mut runner).expect("no filter");
    drawn.current()
}

/// Does sequences on a fresh source, each followed by a judgement. What is wrong, if anything is; and how many
/// operations did something.
fn try_on(world: &mut World, operations: &[Operation], number: u64) -> Result<u64, String> {
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let effective = world.run(operations, number);
        world.judge(number).map(|()| effective)
    }));
    tried.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    })
}

type Sequences = Vec<(u64, Vec<Operation>)>;

fn fails(kind: Kind, is_calm: bool, sequences: &Sequences) -> Option<String> {
    let mut world = World::new(kind, is_calm);
    sequences.iter().find_map(|(number, operations)| try_on(&mut world, operations, *number).err())
}

/// Leaves out what is not needed to fail, in smaller and smaller parts, while there is time.
fn smallest(kind: Kind, is_calm: bool, sequences: Sequences, mut problem: String) -> (Sequences, String) {
    let deadline = Instant::now() + Duration::from_secs(number("TREESYNC_ORACLE_SHRINK_SECONDS", SHRINK_SECONDS));
    let single = |(number, operations): (u64, Vec<Operation>)| operations.into_iter().map(move |operation| (number, operation));
    let mut all: Vec<(u64, Operation)> = sequences.into_iter().flat_map(single).collect();
    let mut part = all.len() / 2;
    while part > 0 {
        let mut at = 0;
        while at < all.len() && Instant::now() < deadline {
            let fewer = [&all[..at], &all[(at + part).min(all.len())..]].concat();
            match fails(kind, is_calm, &together(fewer.clone())) {
                Some(still) => (all, problem) = (fewer, still),
                None => at += part,
            }
        }
        part /= 2;
    }
    (together(all), problem)
}

/// Operations of one sequence follow each other.
fn together(all: Vec<(u64, Operation)>) -> Sequences {
    let mut sequences = Sequences::new();
    for (number, operation) in all {
        match sequences.last_mut() {
            Some((last, operations)) if *last == number => operations.push(operation),
            _ => sequences.push((number, vec![operation])),
        }
    }
    sequences
}

fn shown(sequences: &Sequences) -> String {
    let line = |operation: &Operation| format!("    {operation:?}\n");
    let sequence =
        |(number, operations): &(u64, Vec<Operation>)| format!("  {number}:\n{}", operations.iter().map(line).collect::<String>());
    sequences.iter().map(sequence).collect()
}

/// Runs a share of the sequences on one filesystem.
fn judge(kind: Kind, share: u64) {
    let name = format!("the oracle on {}", format!("{kind:?}").to_lowercase());
    if !is_root_or_skipped(&name) || !rsync::is_there_or_skipped(&name) {
        return;
    }
    let fresh = std::time::UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().into();
    let seed = number("TREESYNC_ORACLE_SEED", fresh);
    let count = number("TREESYNC_ORACLE_SEQUENCES", SEQUENCES) / 3;
    eprintln!("{name}: {count} sequences, TREESYNC_ORACLE_SEED={seed}");
    let begun = Instant::now();
    let mut effective = 0_u64;
    let (mut world, mut done) = (None, Sequences::new());
    for number in (0..count).map(|index| index + share * 1_000_000) {
        if done.len() as u64 == SEQUENCES_A_WORLD {
            done.clear();
            world = None;
        }
        // Most sources are read at set times, so that a failure comes again; others when the feed says so, as in life.
        let is_calm = (number / SEQUENCES_A_WORLD) % 3 != 2;
        let world = world.get_or_insert_with(|| World::new(kind, is_calm));
        let operations = sequence(seed, number);
        done.push((number, operations.clone()));
        match try_on(world, &operations, number) {
            Ok(count) => effective += count,
            Err(problem) => {
                let (sequences, problem) = smallest(kind, is_calm, done, problem);
                panic!("{name}: TREESYNC_ORACLE_SEED={seed}, sequence {number}: after\n{}{problem}", shown(&sequences));
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{name}: {count} sequences with {effective} operations that did something, {seconds:.0} s");
    assert!(effective > count * 2, "operations do something");
}

#[test]
fn copies_equal_their_source_after_any_operations_on_ext4() {
    judge(Kind::Ext4, 0);
}

#[test]
fn copies_equal_their_source_after_any_operations_on_xfs() {
    judge(Kind::Xfs, 1);
}

#[test]
fn copies_equal_their_source_after_any_operations_on_tmpfs() {
    judge(Kind::Tmpfs, 2);
}

/// Beyond the sequences that are counted: not every host has the program that makes this filesystem.
#[test]
fn copies_equal_their_source_after_any_operations_on_btrfs() {
    if std::process::Command::new("mkfs.btrfs").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "the oracle on btrfs needs mkfs.btrfs, and CI must run everything");
        eprintln!("SKIPPED the oracle on btrfs: mkfs.btrfs is not installed (apt-get install btrfs-progs)");
        return;
    }
    judge(Kind::Btrfs, 3);
}
