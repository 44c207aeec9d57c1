//! Rate limits, shared by everybody in the account.

use ec2_sim::world::fault::Fault;
use ec2_sim::world::{Action, Bucket, Describe, Profile};

use crate::account::{Account, DEVICE, SECOND_MS, attach, describe, filter, gp3};

/// How many of these calls, one after the other at the same moment, are answered.
fn burst(account: &mut Account, action: &Action, most: u32) -> u32 {
    let answered = (0..most).take_while(|_| account.code(action.clone()) != "RequestLimitExceeded").count();
    u32::try_from(answered).unwrap()
}

/// EC2 Developer Guide, "Request throttling for the Amazon EC2 API": sizes and refills.
#[test]
fn each_action_has_the_bucket_of_the_guide() {
    let filtered = Action::DescribeVolumes(Describe { filters: vec![filter("status", "available")], ..Describe::default() });
    let unattached = attach("vol-0123456789abcdef0", "i-0123456789abcdef0", DEVICE);
    let table = [
        (Action::CreateVolume(gp3()), 100, 5),
        (unattached, 50, 5),
        (filtered, 100, 20),
        (Action::DescribeVolumes(Describe::default()), 50, 10),
        (Action::DescribeVolumeStatus(Describe::default()), 100, 20),
    ];
    for (action, size, refill) in table {
        let mut account = Account::new(Profile::Aws);
        assert_eq!(burst(&mut account, &action, 500), size, "{action:?}");
        account.pass(SECOND_MS);
        assert_eq!(burst(&mut account, &action, 500), refill, "{action:?} after a second");
    }
}

/// aws-ebs-csi-driver #1148, kubernetes #76079: other tenants eat from the same bucket.
#[test]
fn whoever_calls_empties_the_bucket_for_all_but_only_of_that_action() {
    let mut account = Account::new(Profile::Aws);
    burst(&mut account, &Action::CreateVolume(gp3()), 500);
    assert_eq!(account.code(Action::CreateVolume(gp3())), "RequestLimitExceeded");
    assert_eq!(account.code(Action::DescribeVolumes(Describe::default())), "ok", "another action has its own");
}

#[test]
fn a_throttled_call_changes_nothing_and_is_counted() {
    let mut account = Account::new(Profile::Fast);
    account.inject(Fault::Throttle { action: "CreateVolume".to_owned(), bucket: Bucket::new(2, 1) });
    let answers: Vec<&str> = (0..4).map(|_| account.code(Action::CreateVolume(gp3()))).collect();
    assert_eq!(answers, ["ok", "ok", "RequestLimitExceeded", "RequestLimitExceeded"]);
    assert_eq!(account.world.volumes().len(), 2);
    let count = account.world.calls()["CreateVolume"];
    assert_eq!((count.ok, count.refused, count.throttled), (2, 2, 2));
}

/// aws-ebs-csi-driver PR #2817.
#[test]
fn one_unknown_id_fails_a_batch_while_a_filter_leaves_it_out() {
    let mut account = Account::new(Profile::Instant);
    let (known, unknown) = (account.volume(), "vol-0123456789abcdef0");
    let error = account.call(describe(&[&known, unknown])).unwrap_err();
    assert_eq!(error.code, "InvalidVolume.NotFound");
    assert!(error.message.contains(unknown) && !error.message.contains(&known), "{}", error.message);
    let mut both = filter("volume-id", unknown);
    both.values.push(known.clone());
    assert_eq!(account.listed(vec![both]), [known]);
}
