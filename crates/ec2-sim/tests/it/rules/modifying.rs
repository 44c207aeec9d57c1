//! `ModifyVolume` and `DescribeVolumesModifications`.

use ec2_sim::world::{Action, CreateVolume, Describe, ModifyVolume, Profile, Reply};

use super::{by_id, filtered, grow};
use crate::account::{Account, attach, gp3};

fn state(account: &mut Account, volume: &str) -> &'static str {
    match account.call(Action::DescribeVolumesModifications(by_id(volume))).unwrap() {
        Reply::Modifications(page) => page.items[0].1.state(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_modification_goes_from_modifying_over_optimizing_to_completed() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    account.call(Action::ModifyVolume(grow(&volume, 5))).unwrap();
    assert_eq!(state(&mut account, &volume), "modifying");
    assert_eq!(account.world.volumes()[&volume].size_gib, 1, "the old size is shown until the new one can be used");
    account.pass(100);
    assert_eq!((state(&mut account, &volume), account.world.volumes()[&volume].size_gib), ("optimizing", 5));
    account.pass(100);
    assert_eq!(state(&mut account, &volume), "completed");
}

#[test]
fn the_size_counts_only_once_the_data_plane_has_it() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    account.call(Action::ModifyVolume(grow(&volume, 5))).unwrap();
    let owed = account.world.advance(account.now);
    assert_eq!(state(&mut account, &volume), "modifying");
    account.world.fail(&owed[0]);
    assert_eq!((state(&mut account, &volume), account.world.volumes()[&volume].size_gib), ("failed", 1));
}

#[test]
fn a_modification_that_ec2_would_not_make_is_refused_with_its_code() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.create(CreateVolume { size_gib: Some(10), ..gp3(10) }).unwrap();
    account.pass(1);
    let change = |change: fn(&mut ModifyVolume)| {
        let mut request = ModifyVolume { volume_id: volume.clone(), ..ModifyVolume::default() };
        change(&mut request);
        Action::ModifyVolume(request)
    };
    let table = [
        (change(|_| {}), "MissingParameter"),
        (change(|r| r.size_gib = Some(9)), "InvalidParameterValue"),
        (change(|r| r.size_gib = Some(10)), "InvalidParameterValue"),
        (change(|r| r.size_gib = Some(65_537)), "InvalidParameterValue"),
        (change(|r| r.volume_type = Some("gp9".to_owned())), "InvalidParameterValue"),
        (change(|r| r.volume_type = Some("standard".to_owned())), "InvalidParameterValue"),
        (change(|r| r.volume_type = Some("st1".to_owned())), "InvalidParameterValue"),
        (change(|r| r.volume_type = Some("io2".to_owned())), "MissingParameter"),
        (change(|r| r.iops = Some(9_000)), "InvalidParameterValue"),
        (change(|r| r.volume_id = "vol-0123456789abcdef0".to_owned()), "InvalidVolume.NotFound"),
        (change(|r| r.size_gib = Some(60 * 1_024)), "VolumeModificationSizeLimitExceeded"),
        (change(|r| r.throughput = Some(250)), "ok"),
    ];
    for (action, expected) in table {
        let shown = format!("{action:?}");
        assert_eq!(account.code(action), expected, "{shown}");
    }
}

#[test]
fn a_volume_is_modified_four_times_in_a_day_and_one_at_a_time() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    for size in 2..=5 {
        assert_eq!(account.code(Action::ModifyVolume(grow(&volume, size))), "ok");
        assert_eq!(account.code(Action::ModifyVolume(grow(&volume, size + 1))), "IncorrectModificationState");
        account.pass(1_000);
    }
    assert_eq!(account.code(Action::ModifyVolume(grow(&volume, 6))), "VolumeModificationRateExceeded");
    account.pass(24 * 3_600_000);
    assert_eq!(account.code(Action::ModifyVolume(grow(&volume, 6))), "ok");
}

#[test]
fn a_volume_cannot_be_attached_while_it_is_modifying() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(Action::ModifyVolume(grow(&volume, 5))).unwrap();
    assert_eq!(account.code(attach(&volume, &instance, "/dev/sdf")), "OperationNotPermitted");
    account.pass(100);
    assert_eq!(account.code(attach(&volume, &instance, "/dev/sdf")), "ok");
}

#[test]
fn a_volume_that_was_never_modified_has_no_modification() {
    let mut account = Account::new(Profile::Instant);
    let (modified, other) = (account.volume(), account.volume());
    account.call(Action::ModifyVolume(grow(&modified, 5))).unwrap();
    account.pass(1);
    assert_eq!(account.code(Action::DescribeVolumesModifications(by_id(&other))), "InvalidVolumeModification.NotFound");
    for describe in [Describe::default(), filtered("target-size", "5"), filtered("modification-state", "completed")] {
        let Reply::Modifications(page) = account.call(Action::DescribeVolumesModifications(describe)).unwrap() else { panic!() };
        assert_eq!(page.items.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&modified]);
    }
}
