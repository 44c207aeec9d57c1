//! The same seed and the same calls give the same trace, and latencies are spread as they should.

use std::fmt::Write as _;

use ec2_sim::World;
use ec2_sim::world::{Action, Call, Consistency, CreateSnapshot, Describe, Profile, Rules, Settings};
use jiff::{SignedDuration, Timestamp};

use super::{copy_of, grow};
use crate::account::{Account, attach, gp3};

/// A few hundred calls, with everything that is drawn at random; the answers as text.
fn trace(seed: u64) -> String {
    let mut world = World::new(Settings { region: "us-east-1".to_owned(), profile: Profile::Aws, seed });
    let consistency = Consistency { ids_ms: 2_000, lists_ms: 4_000 };
    world.set_rules(Rules { consistency, ..Rules::of(Profile::Aws) });
    let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut text = String::new();
    for step in 0..300_usize {
        now += SignedDuration::from_millis(700);
        let ids: Vec<String> = world.volumes().keys().cloned().collect();
        let some = ids.get(step % ids.len().max(1)).cloned().unwrap_or_default();
        let instance = world.instances().keys().next().cloned().unwrap_or_default();
        let action = match step % 8 {
            0 | 1 => Action::CreateVolume(gp3(1)),
            2 => Action::CopyVolumes(copy_of(&some)),
            3 => Action::CreateSnapshot(CreateSnapshot { volume_id: some, ..CreateSnapshot::default() }),
            4 if instance.is_empty() => {
                Action::RunInstances(ec2_sim::world::RunInstances { min_count: 1, max_count: 1, ..Default::default() })
            }
            4 => attach(&some, &instance, "/dev/sdf"),
            5 => Action::ModifyVolume(grow(&some, 2)),
            6 => Action::DescribeVolumes(Describe::default()),
            _ => Action::DeleteVolume(some),
        };
        writeln!(text, "{:?}", world.apply(now, &Call::from(action))).unwrap();
        world.settle(now);
    }
    text + &serde_json::to_string(&world).unwrap()
}

#[test]
fn one_seed_gives_one_trace_byte_for_byte_and_another_seed_another() {
    let first = trace(7);
    assert!(first.contains("NotFound") && first.contains("attaching") || first.contains("Attaching"), "the trace has something in it");
    assert_eq!(first, trace(7));
    assert_ne!(first, trace(8));
}

#[test]
fn a_world_that_was_stored_goes_on_as_one_that_was_not() {
    let mut account = Account::new(Profile::Aws);
    account.volume();
    let stored: World = serde_json::from_str(&serde_json::to_string(&account.world).unwrap()).unwrap();
    let mut other = Account { world: stored, now: account.now };
    for account in [&mut account, &mut other] {
        account.create(gp3(1)).unwrap();
        account.pass(2_000);
        account.create(gp3(1)).unwrap();
    }
    assert_eq!(account.world, other.world);
}

#[test]
fn the_times_of_the_profile_aws_have_the_median_and_the_tail_that_were_measured() {
    let mut account = Account::new(Profile::Aws);
    account.world.set_rules(Rules { throttling: false, ..Rules::of(Profile::Aws) });
    let made: Vec<String> = (0..1_000).map(|_| account.create(gp3(1)).unwrap()).collect();
    let mut within = |millis: i64| {
        account.now = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_millis(millis);
        account.world.settle(account.now);
        made.iter().filter(|id| account.status(id) == "available").count()
    };
    let (median, tail, all) = (within(1_500), within(4_000), within(60_000));
    assert!((450..550).contains(&median), "{median} of 1000 within 1.5 s");
    assert!((975..1_000).contains(&tail), "{tail} of 1000 within 4 s");
    assert_eq!(all, 1_000);
}
