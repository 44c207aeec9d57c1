//! Answers that are lost, and what is there all the same; snapshots, which have no token.

use ec2_sim::world::fault::{Delivery, Fault};
use ec2_sim::world::{Action, Call, Consistency, CreateVolume, Profile};

use crate::account::{Account, SECOND_MS, calls, filter, gp3, snapshot, tagged};

/// aws-ebs-csi-driver #754, #771, #918.
#[test]
fn a_creation_whose_answer_is_lost_has_happened_with_its_tags() {
    let mut account = Account::new(Profile::Fast);
    account.inject(Fault::ReplyLost { calls: calls("CreateVolume"), times: Some(1) });
    let request = CreateVolume { tag_specifications: tagged("volume", "owner", "pool-1"), ..gp3() };
    let call = Call::from(Action::CreateVolume(request));
    assert_eq!(account.world.deliver(&call), Delivery { reply_lost: true, ..Delivery::default() });
    account.call(call.action.clone()).unwrap();
    account.pass(SECOND_MS);
    assert_eq!(account.listed(vec![filter("tag:owner", "pool-1")]).len(), 1, "whoever looks by tag finds the leak");
    assert_eq!(account.world.deliver(&call), Delivery::default(), "once, as asked for");
}

#[test]
fn a_request_that_arrives_twice_makes_one_volume_with_a_token_and_two_without() {
    for (token, volumes) in [(Some("slot-1"), 1), (None, 2)] {
        let mut account = Account::new(Profile::Fast);
        account.inject(Fault::RequestDuplicated { calls: calls("CreateVolume"), times: Some(1) });
        let call = Call::from(Action::CreateVolume(CreateVolume { client_token: token.map(str::to_owned), ..gp3() }));
        for _ in 0..account.world.deliver(&call).copies {
            account.call(call.action.clone()).unwrap();
        }
        assert_eq!(account.world.volumes().len(), volumes, "with the token {token:?}");
    }
}

/// kubernetes-csi/external-snapshotter #465, #624.
#[test]
fn a_snapshot_asked_for_again_is_a_second_one_since_there_is_no_token() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    let again = snapshot(&volume, tagged("snapshot", "generation", "7"));
    account.call(again.clone()).unwrap();
    assert_eq!(account.code(again.clone()), "SnapshotCreationPerVolumeRateExceeded", "at once it is refused");
    account.pass(15 * SECOND_MS);
    account.call(again).unwrap();
    assert_eq!(account.snapshots(vec![filter("tag:generation", "7")]).len(), 2, "later there are two of one generation");
}

#[test]
fn a_search_by_tag_after_a_lost_answer_may_miss_the_snapshot_and_find_it_later() {
    let lists = Consistency { ids_ms: 0, lists_ms: 60_000 };
    let mut account = Account::new(Profile::Fast).with(|rules| rules.consistency = lists);
    let mut missed = 0;
    for number in 0..10 {
        let volume = account.volume();
        account.pass(60 * SECOND_MS);
        let generation = number.to_string();
        account.call(snapshot(&volume, tagged("snapshot", "generation", &generation))).unwrap();
        account.pass(20 * SECOND_MS);
        missed += usize::from(account.snapshots(vec![filter("tag:generation", &generation)]).is_empty());
        account.pass(60 * SECOND_MS);
        assert_eq!(account.snapshots(vec![filter("tag:generation", &generation)]).len(), 1);
    }
    assert!(missed > 0, "every search found what was just made");
}

#[test]
fn a_snapshot_that_fails_ends_in_error_and_counts_among_the_pending_ones() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    account.inject(Fault::SnapshotFails { calls: calls("CreateSnapshot"), times: Some(5) });
    for _ in 0..5 {
        account.call(snapshot(&volume, Vec::new())).unwrap();
        account.pass(15 * SECOND_MS);
    }
    assert!(account.world.snapshots().values().all(|one| one.status() == "error"));
    assert_eq!(account.code(snapshot(&volume, Vec::new())), "ConcurrentSnapshotLimitExceeded");
    let failed: Vec<String> = account.world.snapshots().keys().cloned().collect();
    account.call(Action::DeleteSnapshot(failed[0].clone())).unwrap();
    account.pass(SECOND_MS);
    assert_eq!(account.code(snapshot(&volume, Vec::new())), "ok", "each one that is deleted makes room");
}
