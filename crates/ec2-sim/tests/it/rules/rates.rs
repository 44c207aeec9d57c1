//! Rate limits: a token bucket for each action.

use ec2_sim::world::fault::Fault;
use ec2_sim::world::{ACTIONS, Action, ActionSpec, Bucket, Call, Describe, Profile, RunInstances};

use super::{by_id, filtered};
use crate::account::{Account, attach, gp3};

/// How many calls in a row succeed or are refused for another reason than their rate.
fn burst(account: &mut Account, action: &Action) -> u32 {
    (0..2_000).take_while(|_| account.code(action.clone()) != "RequestLimitExceeded").count().try_into().unwrap()
}

#[test]
fn each_action_has_the_bucket_of_the_developer_guide() {
    let none = "vol-0123456789abcdef0";
    let narrow = filtered("status", "available");
    let table = [
        (Action::CreateVolume(gp3(1)), 100),
        (Action::DeleteVolume(none.to_owned()), 100),
        (attach(none, "i-0123456789abcdef0", "/dev/sdf"), 50),
        (Action::DescribeVolumes(narrow.clone()), 100),
        (Action::DescribeVolumes(Describe::default()), 50),
        (Action::DescribeVolumes(by_id(none)), 50),
        (Action::DescribeInstances(Describe { max_results: Some(5), ..Describe::default() }), 100),
        (Action::DescribeVolumeStatus(Describe::default()), 100),
        (Action::RunInstances(RunInstances { min_count: 1, max_count: 1, ..RunInstances::default() }), 5),
    ];
    for (action, size) in table {
        let mut account = Account::new(Profile::Aws);
        assert_eq!(burst(&mut account, &action), size, "{action:?}");
    }
}

#[test]
fn tokens_come_back_at_the_rate_of_the_action() {
    let mut account = Account::new(Profile::Aws);
    let action = Action::CreateVolume(gp3(1));
    burst(&mut account, &action);
    account.pass(1_000);
    assert_eq!(burst(&mut account, &action), 5);
    account.pass(60_000);
    assert_eq!(burst(&mut account, &action), 100, "no more than the bucket holds");
}

#[test]
fn buckets_of_two_actions_do_not_touch_each_other() {
    let mut account = Account::new(Profile::Aws);
    burst(&mut account, &Action::DescribeVolumes(Describe::default()));
    assert_eq!(account.code(Action::DescribeVolumes(filtered("status", "available"))), "ok");
    assert_eq!(account.code(Action::CreateVolume(gp3(1))), "ok");
}

#[test]
fn instances_of_one_launch_take_a_token_each_from_another_bucket() {
    let mut account = Account::new(Profile::Aws);
    let launch = |count| Action::RunInstances(RunInstances { min_count: 1, max_count: count, ..RunInstances::default() });
    assert_eq!(account.code(launch(999)), "ok");
    assert_eq!(account.code(launch(2)), "RequestLimitExceeded");
    assert_eq!(account.code(launch(1)), "ok");
}

#[test]
fn a_refusal_for_the_rate_is_http_503_and_counted() {
    let mut account = Account::new(Profile::Instant);
    let bucket = Bucket::new(1, 0);
    account.world.inject(account.now, Fault::Throttle { action: "CreateVolume".to_owned(), bucket }).unwrap();
    assert_eq!(account.code(Action::CreateVolume(gp3(1))), "ok");
    let error = account.call(Action::CreateVolume(gp3(1))).unwrap_err();
    assert_eq!((error.code, error.http_status()), ("RequestLimitExceeded", 503));
    let count = account.world.calls()["CreateVolume"];
    assert_eq!((count.ok, count.refused, count.throttled), (1, 1, 1));
    assert_eq!(account.world.volumes().len(), 1);
}

#[test]
fn only_the_profile_aws_has_rate_limits() {
    for profile in [Profile::Instant, Profile::Fast] {
        let mut account = Account::new(profile);
        assert_eq!(burst(&mut account, &Action::DescribeVolumes(Describe::default())), 2_000);
    }
}

#[test]
fn every_action_of_the_table_is_one_that_the_world_dispatches() {
    let mut account = Account::new(Profile::Instant);
    let describes = [
        Action::DescribeFastSnapshotRestores(Describe::default()),
        Action::DescribeInstanceTypes(Describe::default()),
        Action::DescribeInstances(Describe::default()),
        Action::DescribeLockedSnapshots(Describe::default()),
        Action::DescribeRegions(Describe::default()),
        Action::DescribeTags(Describe::default()),
        Action::DescribeVolumeStatus(Describe::default()),
        Action::DescribeVolumes(Describe::default()),
        Action::DescribeVolumesModifications(Describe::default()),
    ];
    for action in describes {
        assert_eq!(ActionSpec::find(action.name()), Some(action.spec()));
        let call = Call { action, dry_run: true };
        assert_eq!(account.world.apply(account.now, &call).unwrap_err().code, "DryRunOperation", "{call:?}");
    }
    assert_eq!(ACTIONS.len(), 32);
}
