//! Eventual consistency: what reads show for a while after a change.

use std::collections::BTreeSet;

use ec2_sim::world::fault::{Calls, Fault};
use ec2_sim::world::{Action, Consistency, CreateTags, Describe, Profile, Reply, Rules};

use super::{by_id, filtered, seen};
use crate::account::{Account, attach, tag};

const WINDOW_MS: u64 = 5_000;

fn account(consistency: Consistency) -> Account {
    let mut account = Account::new(Profile::Instant);
    account.world.set_rules(Rules { consistency, ..Rules::of(Profile::Instant) });
    account
}

fn new_volume(account: &mut Account) -> String {
    let id = account.create(crate::account::gp3(1)).unwrap();
    account.world.settle(account.now);
    id
}

#[test]
fn a_fresh_id_is_not_found_at_times_and_always_once_the_window_is_over() {
    let mut account = account(Consistency { ids_ms: WINDOW_MS, lists_ms: 0 });
    let volume = new_volume(&mut account);
    let mut codes = BTreeSet::new();
    for _ in 0..50 {
        account.pass(90);
        codes.insert(account.code(Action::DescribeVolumes(by_id(&volume))));
    }
    assert_eq!(codes, BTreeSet::from(["InvalidVolume.NotFound", "ok"]));
    account.pass(1_000);
    for _ in 0..50 {
        assert_eq!(account.code(Action::DescribeVolumes(by_id(&volume))), "ok");
    }
}

#[test]
fn a_change_may_not_find_a_fresh_id_either() {
    let mut account = account(Consistency { ids_ms: WINDOW_MS, lists_ms: 0 });
    let volume = new_volume(&mut account);
    let request = CreateTags { resources: vec![volume], tags: vec![tag("a", "b")] };
    let codes: BTreeSet<&str> = (0..50)
        .map(|_| {
            account.pass(90);
            account.code(Action::CreateTags(request.clone()))
        })
        .collect();
    assert_eq!(codes, BTreeSet::from(["InvalidVolume.NotFound", "ok"]));
}

#[test]
fn a_list_lacks_fresh_volumes_and_shows_deleted_ones_for_a_while() {
    let mut account = account(Consistency { ids_ms: 0, lists_ms: WINDOW_MS });
    let volume = new_volume(&mut account);
    assert_eq!(account.code(Action::DescribeVolumes(by_id(&volume))), "ok", "ids have a window of their own");
    let lengths = |account: &mut Account| -> BTreeSet<usize> {
        (0..50)
            .map(|_| {
                account.pass(90);
                seen(account, filtered("volume-type", "gp3")).len()
            })
            .collect()
    };
    assert_eq!(lengths(&mut account), BTreeSet::from([0, 1]));
    account.pass(1_000);
    assert_eq!(lengths(&mut account), BTreeSet::from([1]));
    account.call(Action::DeleteVolume(volume)).unwrap();
    assert_eq!(lengths(&mut account), BTreeSet::from([0, 1]));
    account.pass(1_000);
    assert_eq!(lengths(&mut account), BTreeSet::from([0]));
}

#[test]
fn an_attachment_is_seen_late_on_the_volume_and_on_the_instance() {
    let mut account = account(Consistency { ids_ms: WINDOW_MS, lists_ms: 0 });
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.world.settle(account.now);
    let mut both = BTreeSet::new();
    for _ in 0..200 {
        account.pass(20);
        let Reply::Volumes(volumes) = account.call(Action::DescribeVolumes(by_id(&volume))).unwrap() else { panic!() };
        let Reply::Instances(instances) = account.call(Action::DescribeInstances(by_id(&instance))).unwrap() else { panic!() };
        both.insert((volumes.items[0].attachment.is_some(), !instances.items[0].volumes.is_empty()));
    }
    assert_eq!(both.len(), 4, "the two describes disagree in both directions: {both:?}");
}

#[test]
fn a_search_by_tag_misses_fresh_tags_for_a_while() {
    let mut account = account(Consistency { ids_ms: 0, lists_ms: WINDOW_MS });
    let volume = account.volume();
    account.pass(10_000);
    account.call(Action::CreateTags(CreateTags { resources: vec![volume], tags: vec![tag("pool", "web")] })).unwrap();
    let mut both = BTreeSet::new();
    for _ in 0..50 {
        account.pass(90);
        let found = seen(&mut account, filtered("tag:pool", "web")).len();
        let Reply::Tags(tags) = account.call(Action::DescribeTags(filtered("key", "pool"))).unwrap() else { panic!() };
        both.insert((found, tags.items.len()));
    }
    assert!(both.contains(&(0, 1)) && both.contains(&(1, 0)), "two searches disagree in both directions: {both:?}");
    account.pass(1_000);
    assert_eq!(seen(&mut account, filtered("tag:pool", "web")).len(), 1);
}

#[test]
fn describes_disagree_when_a_fault_says_so() {
    let mut account = Account::new(Profile::Instant);
    let calls = Calls { action: Some("DescribeVolumes".to_owned()), resource: None };
    let fault = Fault::StaleReads { calls, times: Some(2), millis: 60_000, every: Some(2) };
    account.world.inject(account.now, fault).unwrap();
    account.pass(1_000);
    new_volume(&mut account);
    account.pass(1_000);
    let lengths: Vec<usize> = (0..5).map(|_| seen(&mut account, Describe::default()).len()).collect();
    assert_eq!(lengths, [0, 1, 0, 1, 1]);
}

#[test]
fn the_past_is_forgotten_when_nobody_can_look_back_to_it() {
    let mut account = account(Consistency { ids_ms: WINDOW_MS, lists_ms: WINDOW_MS });
    let volume = account.volume();
    account.call(Action::DeleteVolume(volume.clone())).unwrap();
    account.pass(1);
    account.pass(60_000);
    account.world.set_rules(Rules { consistency: Consistency { ids_ms: 3_600_000, lists_ms: 3_600_000 }, ..Rules::of(Profile::Instant) });
    for _ in 0..50 {
        assert_eq!(account.code(Action::DescribeVolumes(by_id(&volume))), "InvalidVolume.NotFound");
    }
}
