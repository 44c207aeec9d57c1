//! Refusals that depend on keys, zones, generations of instances and the size of a request; the HTTP status of codes.

use ec2_sim::world::fault::{Calls, Fault};
use ec2_sim::world::{Action, CreateVolume, Describe, Filter, MissingType, Profile, Reply, Rules};

use super::{by_id, copy_of};
use crate::account::{Account, attach, gp3};

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

#[test]
fn what_a_revoked_key_encrypts_cannot_be_used() {
    let mut account = Account::new(Profile::Instant);
    let instance = account.instance("us-east-1a", "m7i.large");
    let volume = account.create(CreateVolume { encrypted: Some(true), kms_key_id: Some(KEY.to_owned()), ..gp3(1) }).unwrap();
    account.pass(1);
    let snapshot_id = Some(account.snapshot(&volume));
    account.pass(1);
    account.world.set_rules(Rules { revoked_keys: vec![KEY.to_owned()], ..Rules::of(Profile::Instant) });
    let restore = CreateVolume { snapshot_id, ..gp3(1) };
    for action in [attach(&volume, &instance, "/dev/sdf"), Action::CopyVolumes(copy_of(&volume)), Action::CreateVolume(restore)] {
        assert_eq!(account.code(action), "CustomerKeyHasBeenRevoked");
    }
    assert_eq!(account.code(Action::DeleteVolume(volume)), "ok");
}

#[test]
fn a_zone_may_lack_a_volume_type() {
    let mut account = Account::new(Profile::Instant);
    let missing = MissingType { zone: "us-east-1b".to_owned(), volume_type: "gp3".to_owned() };
    account.world.set_rules(Rules { missing_types: vec![missing], ..Rules::of(Profile::Instant) });
    let there = CreateVolume { zone: Some("us-east-1b".to_owned()), ..gp3(1) };
    assert_eq!(account.code(Action::CreateVolume(there.clone())), "VolumeTypeNotAvailableInZone");
    assert_eq!(account.code(Action::CreateVolume(CreateVolume { volume_type: None, ..there })), "ok");
    assert_eq!(account.code(Action::CreateVolume(gp3(1))), "ok");
}

#[test]
fn an_instance_of_the_first_generation_takes_no_encrypted_volume() {
    let mut account = Account::new(Profile::Instant);
    let instance = account.instance("us-east-1a", "m1.small");
    let encrypted = account.create(CreateVolume { encrypted: Some(true), ..gp3(1) }).unwrap();
    let plain = account.volume();
    assert_eq!(account.code(attach(&encrypted, &instance, "/dev/sdf")), "EncryptedVolumesNotSupported");
    assert_eq!(account.code(attach(&plain, &instance, "/dev/sdf")), "ok");
}

#[test]
fn a_call_has_two_hundred_filter_values_of_255_characters() {
    let mut account = Account::new(Profile::Instant);
    let ask = |values: Vec<String>| {
        let filter = |values: Vec<String>| Filter { name: "volume-id".to_owned(), values };
        let (one, other) = values.split_at(values.len() / 2 + 1);
        let filters = [one, other].into_iter().filter(|v| !v.is_empty()).map(|v| filter(v.to_vec())).collect();
        Action::DescribeVolumes(Describe { filters, ..Describe::default() })
    };
    let values = |n: usize| (0..n).map(|n| format!("vol-{n:017x}")).collect::<Vec<_>>();
    assert_eq!(account.code(ask(values(200))), "ok");
    assert_eq!(account.code(ask(values(201))), "FilterLimitExceeded");
    assert_eq!(account.code(ask(vec!["v".repeat(255)])), "ok");
    assert_eq!(account.code(ask(vec!["v".repeat(256)])), "FilterLimitExceeded");
}

#[test]
fn initialization_progress_is_up_to_five_minutes_late() {
    let mut account = Account::new(Profile::Aws);
    let volume = account.create(gp3(60)).unwrap();
    account.pass(60_000);
    let snapshot_id = Some(account.snapshot(&volume));
    account.pass(3_600_000);
    let restored = account.create(CreateVolume { snapshot_id, initialization_rate: Some(100), size_gib: None, ..gp3(1) }).unwrap();
    let mut shown = Vec::new();
    for _ in 0..40 {
        account.pass(30_000);
        let Reply::VolumeStatuses(page, seen_at) = account.call(Action::DescribeVolumeStatus(by_id(&restored))).unwrap() else { panic!() };
        let (seen, real) =
            (page.items[0].initialization_percent(seen_at).unwrap(), page.items[0].initialization_percent(account.now).unwrap());
        assert!(seen <= real, "{seen} of {real}");
        assert!(account.now.as_second() - seen_at.as_second() < 300);
        shown.push(seen);
    }
    assert_eq!(shown.last(), Some(&100));
    shown.dedup();
    assert!(shown.len() <= 6, "it moves every five minutes only: {shown:?}");
}

#[test]
fn codes_have_the_http_status_of_ec2() {
    let table = [
        ("InternalError", 500),
        ("InsufficientVolumeCapacity", 500),
        ("RequestLimitExceeded", 503),
        ("Unavailable", 503),
        ("UnauthorizedOperation", 403),
        ("AuthFailure", 401),
        ("DryRunOperation", 412),
        ("ConcurrentTagAccess", 400),
        ("IncorrectState", 400),
    ];
    for (code, status) in table {
        let mut account = Account::new(Profile::Instant);
        let fault = Fault::Error { calls: Calls::default(), times: Some(1), code: code.to_owned(), message: None };
        account.world.inject(account.now, fault).unwrap();
        let error = account.call(Action::CreateVolume(gp3(1))).unwrap_err();
        assert_eq!((error.code, error.http_status()), (code, status));
    }
}
