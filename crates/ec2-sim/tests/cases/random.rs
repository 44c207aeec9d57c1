//! Any calls with any faults, at any times: the account stays in order, and a seed gives one trace, byte for byte.
//!
//! `EC2_SIM_SEED` begins with another seed, and `EC2_SIM_CASES` runs more of them.

mod dice;
mod steps;

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use ec2_sim::world::{AttachmentPhase, Profile, VolumePhase, World};

use crate::account::{Account, HOUR_MS};
use dice::Dice;

/// Seeds of a run, and steps of each.
const CASES: u64 = 60;
const STEPS: u32 = 150;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// The seeds of this run; each is told before it is used, so that a failure can be run again.
fn seeds() -> impl Iterator<Item = u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("EC2_SIM_SEED").unwrap_or(now.as_secs());
    let cases = number("EC2_SIM_CASES").unwrap_or(CASES);
    (0..cases).map(move |case| {
        let seed = first.wrapping_add(case);
        eprintln!("again with EC2_SIM_SEED={seed} EC2_SIM_CASES=1");
        seed
    })
}

/// One life of an account. Returns everything that was asked, answered, done and held.
fn live(seed: u64, mut look: impl FnMut(&Account)) -> String {
    let mut dice = Dice::new(seed);
    let profile = [Profile::Instant, Profile::Fast, Profile::Aws][dice.below(3)];
    let mut account = Account::new(profile).with(|rules| {
        rules.consistency.ids_ms = u64::from(dice.chance(3)) * 2_000;
        rules.consistency.lists_ms = u64::from(dice.chance(3)) * 2_000;
    });
    let mut trace = String::new();
    for _ in 0..STEPS {
        let told = steps::step(&mut account, &mut dice);
        writeln!(trace, "{} {told}", account.now).unwrap();
        look(&account);
    }
    account.world.withdraw_all();
    account.pass(100 * HOUR_MS);
    look(&account);
    writeln!(trace, "{}", serde_json::to_string(&account.world).unwrap()).unwrap();
    trace
}

#[test]
fn whatever_is_called_and_whatever_goes_wrong_the_account_stays_in_order() {
    for seed in seeds() {
        live(seed, |account| {
            account.assert_in_order();
            assert_consistent(&account.world);
        });
    }
}

#[test]
fn one_seed_gives_one_trace_byte_for_byte() {
    for seed in seeds().take(20) {
        let (first, second) = (live(seed, |_| ()), live(seed, |_| ()));
        let differing = first.lines().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differing, None, "with the seed {seed}");
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn two_seeds_give_two_traces() {
    assert_ne!(live(1, |_| ()), live(2, |_| ()));
}

/// A life that is stored and read again half-way goes on as if nothing had happened.
#[test]
fn an_account_that_was_stored_and_read_again_is_the_same() {
    for seed in seeds().take(20) {
        let mut steps = 0;
        live(seed, |account| {
            steps += 1;
            if steps % 10 != 0 {
                return;
            }
            let text = serde_json::to_string(&account.world).unwrap();
            let again: World = serde_json::from_str(&text).unwrap();
            assert_eq!(again, account.world);
            assert_eq!(serde_json::to_string(&again).unwrap(), text);
        });
    }
}

/// What holds of every volume whatever happened to it.
fn assert_consistent(world: &World) {
    for volume in world.volumes().values() {
        let attached = volume.attachment.is_some();
        match volume.phase {
            VolumePhase::Creating { .. } | VolumePhase::Deleting { .. } => assert!(!attached, "{volume:?}"),
            VolumePhase::Available => assert_eq!(volume.status() == "in-use", attached, "{volume:?}"),
            VolumePhase::Error => {}
        }
        let Some(attachment) = &volume.attachment else { continue };
        assert!(world.instances().contains_key(&attachment.instance_id), "{volume:?} is attached to nothing");
        if let AttachmentPhase::Detaching { gone_at, .. } = attachment.phase {
            assert!(gone_at >= attachment.attached, "{volume:?}");
        }
    }
    for count in world.calls().values() {
        assert!(count.throttled <= count.refused, "{count:?}");
    }
}
