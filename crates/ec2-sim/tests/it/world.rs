//! The account as a state machine: which calls are refused, and what time does.

use ec2_sim::world::{Action, Attachment, CreateSnapshot, CreateVolume, Describe, Effect, Profile};
use jiff::SignedDuration;

use crate::account::{Account, attach, detach, gp3};

#[test]
fn a_volume_that_ec2_would_not_create_is_refused_with_its_code() {
    let of = |volume_type: &str, size: i64| CreateVolume { volume_type: Some(volume_type.to_owned()), ..gp3(size) };
    let table = [
        ("ok", gp3(1)),
        ("ok", CreateVolume { volume_type: None, ..gp3(1) }),
        ("MissingParameter", CreateVolume { size_gib: None, ..gp3(1) }),
        ("MissingParameter", CreateVolume { zone: None, ..gp3(1) }),
        ("InvalidParameterValue", CreateVolume { zone: Some("us-east-1z".to_owned()), ..gp3(1) }),
        ("ok", CreateVolume { zone: None, zone_id: Some("use1-az2".to_owned()), ..gp3(1) }),
        ("InvalidParameterCombination", CreateVolume { zone_id: Some("use1-az1".to_owned()), ..gp3(1) }),
        ("InvalidParameterValue", of("gp9", 1)),
        ("InvalidParameterValue", gp3(0)),
        ("InvalidParameterValue", gp3(-1)),
        ("InvalidParameterValue", gp3(65_537)),
        ("InvalidParameterValue", of("gp2", 16_385)),
        ("InvalidParameterValue", of("st1", 124)),
        ("MissingParameter", of("io2", 4)),
        ("InvalidParameterCombination", CreateVolume { iops: Some(300), ..of("gp2", 100) }),
        ("InvalidParameterValue", CreateVolume { iops: Some(2_999), ..gp3(100) }),
        ("InvalidParameterValue", CreateVolume { iops: Some(6_000), ..gp3(10) }),
        ("ok", CreateVolume { iops: Some(3_000), ..gp3(1) }),
        ("InvalidParameterCombination", CreateVolume { throughput: Some(200), ..of("gp2", 100) }),
        ("InvalidParameterValue", CreateVolume { throughput: Some(9_999), ..gp3(100) }),
        ("InvalidParameterValue", CreateVolume { throughput: Some(1_000), ..gp3(100) }),
        ("InvalidParameterDependency", CreateVolume { kms_key_id: Some("k".to_owned()), ..gp3(1) }),
        ("InvalidParameterCombination", CreateVolume { initialization_rate: Some(100), ..gp3(1) }),
        ("InvalidParameterValue", CreateVolume { snapshot_id: Some("image".to_owned()), ..gp3(1) }),
        ("InvalidSnapshot.NotFound", CreateVolume { snapshot_id: Some("snap-0123456789abcdef0".to_owned()), ..gp3(1) }),
    ];
    let mut account = Account::new(Profile::Fast);
    for (expected, request) in table {
        let shown = format!("{request:?}");
        assert_eq!(account.code(Action::CreateVolume(request)), expected, "{shown}");
    }
}

#[test]
fn a_snapshot_can_be_restored_only_when_completed_and_not_into_less() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.create(gp3(8)).unwrap();
    account.pass(1_000);
    let snapshot = account.snapshot(&volume);
    let restore = |size_gib| CreateVolume { size_gib, snapshot_id: Some(snapshot.clone()), ..gp3(1) };
    assert_eq!(account.code(Action::CreateVolume(restore(None))), "IncorrectState");
    account.pass(1_000);
    assert_eq!(account.code(Action::CreateVolume(restore(Some(7)))), "InvalidParameterValue");
    let restored = account.create(restore(None)).unwrap();
    assert_eq!(account.world.volumes()[&restored].size_gib, 8);
}

#[test]
fn a_repeated_token_finds_the_same_volume_and_other_parameters_are_refused() {
    let mut account = Account::new(Profile::Fast);
    let with_token = |size| CreateVolume { client_token: Some("t".to_owned()), ..gp3(size) };
    let first = account.create(with_token(1)).unwrap();
    account.pass(1_000);
    assert_eq!(account.create(with_token(1)).unwrap(), first);
    assert_eq!(account.world.volumes().len(), 1);
    assert_eq!(account.code(Action::CreateVolume(with_token(2))), "IdempotentParameterMismatch");
    account.call(Action::DeleteVolume(first)).unwrap();
    account.pass(1_000);
    assert_eq!(account.code(Action::CreateVolume(with_token(1))), "IdempotentParameterMismatch");
    account.pass(13 * 3_600_000);
    assert_eq!(account.code(Action::CreateVolume(with_token(1))), "ok");
}

#[test]
fn an_attachment_goes_through_its_states_in_order() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    assert_eq!(account.code(attach(&volume, &instance, "/dev/sdf")), "ok");
    let states = |account: &Account| {
        let found = &account.world.volumes()[&volume];
        (found.status(), found.attachment.as_ref().map(Attachment::status))
    };
    assert_eq!(states(&account), ("in-use", Some("attaching")));
    account.pass(149);
    assert_eq!(states(&account), ("in-use", Some("attaching")));
    account.pass(1);
    assert_eq!(states(&account), ("in-use", Some("attached")));
    assert_eq!(account.code(detach(&volume, None)), "ok");
    assert_eq!(states(&account), ("in-use", Some("detaching")));
    account.pass(150);
    assert_eq!(states(&account), ("available", None));
}

#[test]
fn a_second_attach_is_refused_even_to_the_same_instance() {
    let mut account = Account::new(Profile::Fast);
    let (a, b) = (account.instance("us-east-1a", "m7i.large"), account.instance("us-east-1a", "m7i.large"));
    let volume = account.volume();
    account.call(attach(&volume, &a, "/dev/sdf")).unwrap();
    for _ in 0..2 {
        assert_eq!(account.code(attach(&volume, &a, "/dev/sdf")), "VolumeInUse");
        assert_eq!(account.code(attach(&volume, &b, "/dev/sdf")), "VolumeInUse");
        assert_eq!(account.code(Action::DeleteVolume(volume.clone())), "VolumeInUse");
        account.pass(1_000);
    }
}

#[test]
fn wrong_attachments_are_refused_with_their_codes() {
    let mut account = Account::new(Profile::Fast);
    let (near, far) = (account.instance("us-east-1a", "m7i.large"), account.instance("us-east-1b", "m7i.large"));
    let (volume, other) = (account.volume(), account.volume());
    account.call(attach(&other, &near, "/dev/sdg")).unwrap();
    let fresh = account.create(gp3(1)).unwrap();
    let none = "vol-0123456789abcdef0";
    let table = [
        (attach(&volume, &far, "/dev/sdf"), "InvalidVolume.ZoneMismatch"),
        (attach(&volume, &near, "/dev/sdg"), "InvalidParameterValue"),
        (attach(&volume, &near, "sdg"), "InvalidParameterValue"),
        (attach(&volume, &near, "/dev/xvda"), "InvalidParameterValue"),
        (attach(&volume, &near, "/dev/nvme1n1"), "InvalidParameterValue"),
        (attach(&fresh, &near, "/dev/sdf"), "IncorrectState"),
        (attach(none, &near, "/dev/sdf"), "InvalidVolume.NotFound"),
        (attach("vol-1", &near, "/dev/sdf"), "InvalidVolumeID.Malformed"),
        (attach(&volume, "i-0123456789abcdef0", "/dev/sdf"), "InvalidInstanceID.NotFound"),
        (attach(&volume, "node", "/dev/sdf"), "InvalidInstanceID.Malformed"),
        (detach(&volume, None), "IncorrectState"),
        (detach(&other, Some(&far)), "InvalidAttachment.NotFound"),
        (detach(none, None), "InvalidVolume.NotFound"),
        (attach(&volume, &near, "/dev/sdf"), "ok"),
    ];
    for (action, expected) in table {
        let shown = format!("{action:?}");
        assert_eq!(account.code(action), expected, "{shown}");
    }
}

#[test]
fn an_instance_holds_as_many_volumes_as_its_type_allows() {
    for (instance_type, most) in [("m7i.large", 32), ("m5.large", 27)] {
        let mut account = Account::new(Profile::Instant);
        let instance = account.instance("us-east-1a", instance_type);
        for n in 0..=most {
            let volume = account.volume();
            let letters = ["b", "c"][n / 26];
            let device = format!("/dev/xvd{letters}{}", char::from(b'a' + u8::try_from(n % 26).unwrap()));
            let expected = if n < most { "ok" } else { "AttachmentLimitExceeded" };
            assert_eq!(account.code(attach(&volume, &instance, &device)), expected, "{instance_type} {n}");
        }
    }
}

#[test]
fn a_device_number_is_used_again_after_a_detach() {
    let mut account = Account::new(Profile::Instant);
    let instance = account.instance("us-east-1a", "m7i.large");
    let volumes: Vec<String> = (0..3).map(|_| account.volume()).collect();
    for (volume, device) in volumes.iter().zip(["/dev/sdf", "/dev/sdg", "/dev/sdh"]) {
        account.call(attach(volume, &instance, device)).unwrap();
    }
    account.pass(1);
    account.call(detach(&volumes[1], Some(&instance))).unwrap();
    account.pass(1);
    let next = account.volume();
    account.call(attach(&next, &instance, "/dev/sdz")).unwrap();
    let index = |id: &str| account.world.volumes()[id].attachment.as_ref().unwrap().nvme_index;
    assert_eq!([index(&volumes[0]), index(&next), index(&volumes[2])], [1, 2, 3]);
}

#[test]
fn a_device_in_use_keeps_its_volume_until_it_is_given_up() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(1_000);
    account.call(detach(&volume, None)).unwrap();
    account.now += SignedDuration::from_hours(1);
    let owed = account.world.advance(account.now);
    assert!(matches!(owed[..], [Effect::DetachDevice { force: false, .. }]), "{owed:?}");
    account.world.busy(&owed[0]);
    assert_eq!(account.world.volumes()[&volume].attachment.as_ref().unwrap().status(), "busy");
    assert_eq!(account.status(&volume), "in-use");
    assert_eq!(account.world.advance(account.now), owed, "the effect stays owed");
    account.world.confirm(&owed[0]);
    account.world.advance(account.now);
    assert_eq!(account.status(&volume), "available");
}

#[test]
fn a_terminated_instance_gives_its_volumes_back_and_is_forgotten() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(1_000);
    account.call(Action::TerminateInstances(vec![instance.clone()])).unwrap();
    assert_eq!(account.status(&volume), "in-use");
    account.pass(1_000);
    assert_eq!(account.status(&volume), "available");
    let describe = Describe { ids: vec![instance], ..Describe::default() };
    assert_eq!(account.code(Action::DescribeInstances(describe.clone())), "ok");
    account.pass(3_600_000);
    assert_eq!(account.code(Action::DescribeInstances(describe)), "InvalidInstanceID.NotFound");
}

#[test]
fn instances_stop_and_start_with_their_volumes() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(1_000);
    let ids = vec![instance.clone()];
    account.call(Action::StopInstances(ids.clone())).unwrap();
    assert_eq!(account.code(Action::StartInstances(ids.clone())), "IncorrectInstanceState");
    account.pass(1_000);
    assert_eq!(account.world.instances()[&instance].phase.state().1, "stopped");
    assert_eq!(account.status(&volume), "in-use");
    account.call(Action::StartInstances(ids)).unwrap();
    account.pass(1_000);
    assert_eq!(account.world.instances()[&instance].phase.state().1, "running");
}

#[test]
fn snapshots_of_one_volume_are_limited_in_rate_and_number() {
    let mut account = Account::new(Profile::Aws);
    let (volume, other) = (account.volume(), account.volume());
    let again = |id: &str| Action::CreateSnapshot(CreateSnapshot { volume_id: id.to_owned(), ..CreateSnapshot::default() });
    for _ in 0..5 {
        assert_eq!(account.code(again(&volume)), "ok");
        account.pass(14_999);
        if account.world.snapshots().len() < 5 {
            assert_eq!(account.code(again(&volume)), "SnapshotCreationPerVolumeRateExceeded");
        }
        account.pass(1);
    }
    assert_eq!(account.code(again(&volume)), "ConcurrentSnapshotLimitExceeded");
    assert_eq!(account.code(again(&other)), "ok");
    account.pass(3_600_000);
    assert_eq!(account.code(again(&volume)), "ok");
}

#[test]
fn a_snapshot_progresses_and_completes_only_when_cloned() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    let id = account.snapshot(&volume);
    let percent = |account: &Account| account.world.snapshots()[&id].percent(account.now);
    account.now += SignedDuration::from_millis(150);
    assert_eq!(percent(&account), 50);
    account.now += SignedDuration::from_hours(1);
    let owed = account.world.advance(account.now);
    assert_eq!((account.world.snapshots()[&id].status(), percent(&account)), ("pending", 99));
    account.world.confirm(&owed[0]);
    account.world.advance(account.now);
    assert_eq!((account.world.snapshots()[&id].status(), percent(&account)), ("completed", 100));
}

#[test]
fn a_deleted_snapshot_keeps_its_file_while_a_volume_is_filled_from_it() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let snapshot = account.snapshot(&volume);
    account.pass(1);
    account.create(CreateVolume { snapshot_id: Some(snapshot.clone()), ..gp3(1) }).unwrap();
    account.call(Action::DeleteSnapshot(snapshot.clone())).unwrap();
    assert_eq!(account.code(Action::DeleteSnapshot(snapshot.clone())), "InvalidSnapshot.NotFound");
    let owed = account.world.advance(account.now);
    assert!(matches!(&owed[..], [Effect::FillVolume { .. }]), "{owed:?}");
    account.world.confirm(&owed[0]);
    let owed = account.world.advance(account.now);
    assert_eq!(owed, [Effect::DeleteSnapshot { snapshot_id: snapshot }]);
}

#[test]
fn a_restored_volume_initializes_at_its_provisioned_rate() {
    let mut account = Account::new(Profile::Aws);
    let volume = account.create(gp3(10)).unwrap();
    account.pass(10_000);
    let snapshot_id = Some(account.snapshot(&volume));
    account.pass(3_600_000);
    let request = CreateVolume { snapshot_id, size_gib: None, initialization_rate: Some(300), ..gp3(1) };
    let restored = account.create(request).unwrap();
    account.pass(10_000);
    let percent = |account: &Account| account.world.volumes()[&restored].initialization_percent(account.now);
    assert_eq!(account.status(&restored), "available");
    assert!((5..50).contains(&percent(&account).unwrap()));
    account.pass(35_000);
    assert_eq!(percent(&account), Some(100));
    assert_eq!(account.world.volumes()[&volume].initialization_percent(account.now), None);
}
