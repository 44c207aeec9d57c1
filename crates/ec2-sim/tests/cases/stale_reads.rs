//! Reads that go backwards, ids that are not there yet. EC2 Developer Guide, "Eventual consistency in the Amazon EC2 API".

use ec2_sim::world::fault::Fault;
use ec2_sim::world::{Action, Consistency, Profile};

use crate::account::{Account, SECOND_MS, attach, calls, describe, filter, gp3, tagged};

const WINDOW_MS: i64 = 5_000;

fn late() -> Account {
    Account::new(Profile::Instant).with(|rules| rules.consistency = Consistency { ids_ms: 5_000, lists_ms: 5_000 })
}

/// sous-chefs/aws #77.
#[test]
fn a_new_volume_may_be_unknown_for_a_while_and_is_known_after_the_window() {
    let mut account = late();
    account.pass(SECOND_MS);
    let mut missed = 0;
    for _ in 0..20 {
        let volume = account.create(gp3()).unwrap();
        account.pass(SECOND_MS);
        missed += u32::from(account.code(describe(&[&volume])) == "InvalidVolume.NotFound");
        account.pass(WINDOW_MS);
        assert_eq!(account.code(describe(&[&volume])), "ok", "not found for longer than the window");
    }
    assert!(missed > 0, "every new volume was found after a second");
}

/// Kubernetes #77389, PR #85675: an answer may be older than the one before it.
#[test]
fn a_volume_may_be_seen_attached_and_then_not_attached() {
    let mut account = late();
    let instance = account.machine();
    let mut backwards = 0;
    for number in 0..20 {
        let volume = account.volume();
        account.call(attach(&volume, &instance, &format!("/dev/xvdb{}", char::from(b'a' + number)))).unwrap();
        let seen: Vec<bool> = (0..10)
            .map(|_| {
                account.pass(SECOND_MS / 4);
                account.listed(vec![filter("volume-id", &volume), filter("status", "in-use")]).len() == 1
            })
            .collect();
        backwards += usize::from(seen.windows(2).any(|pair| pair == [true, false]));
        account.pass(WINDOW_MS);
        assert_eq!(account.listed(vec![filter("volume-id", &volume), filter("status", "in-use")]).len(), 1);
    }
    assert!(backwards > 0, "no read went backwards");
}

#[test]
fn a_deleted_volume_may_linger_in_a_list_but_not_beyond_the_window() {
    let mut account = late();
    let mut lingered = 0;
    for _ in 0..20 {
        let volume = account.volume();
        account.pass(WINDOW_MS);
        account.call(Action::DeleteVolume(volume.clone())).unwrap();
        account.pass(SECOND_MS);
        lingered += account.listed(vec![filter("volume-id", &volume)]).len();
        account.pass(WINDOW_MS);
        assert_eq!(account.listed(vec![filter("volume-id", &volume)]), [""; 0]);
    }
    assert!(lingered > 0, "no deleted volume was seen again");
}

#[test]
fn a_list_by_tag_may_lack_what_was_just_made_with_that_tag() {
    let mut account = late();
    let mut lacked = 0;
    for number in 0..20 {
        let value = number.to_string();
        let request = ec2_sim::world::CreateVolume { tag_specifications: tagged("volume", "slot", &value), ..gp3() };
        let volume = account.create(request).unwrap();
        account.pass(SECOND_MS);
        lacked += usize::from(account.listed(vec![filter("tag:slot", &value)]).is_empty());
        account.pass(WINDOW_MS);
        assert_eq!(account.listed(vec![filter("tag:slot", &value)]), [volume]);
    }
    assert!(lacked > 0, "every list was up to date");
}

#[test]
fn a_stale_read_on_request_shows_the_account_of_then() {
    let mut account = Account::new(Profile::Instant);
    account.inject(Fault::StaleReads { calls: calls("DescribeVolumes"), times: Some(2), millis: 30_000, every: Some(2) });
    let volume = account.create(gp3()).unwrap();
    account.pass(SECOND_MS);
    let answers: Vec<usize> = (0..4).map(|_| account.listed(vec![filter("volume-id", &volume)]).len()).collect();
    assert_eq!(answers, [0, 1, 0, 1], "every second of the reads is stale, twice");
}
