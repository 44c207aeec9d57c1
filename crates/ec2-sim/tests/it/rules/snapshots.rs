//! `CreateSnapshots`, `CopySnapshot` and the locks of snapshots.

use ec2_sim::world::{Action, CopySnapshot, CreateSnapshot, CreateSnapshots, LockSnapshot, Profile, Reply, Snapshot};

use super::by_id;
use crate::account::{Account, attach};

fn set_of(instance: &str) -> CreateSnapshots {
    CreateSnapshots { instance_id: instance.to_owned(), ..CreateSnapshots::default() }
}

fn taken(account: &mut Account, request: CreateSnapshots) -> Vec<Snapshot> {
    match account.call(Action::CreateSnapshots(request)).unwrap() {
        Reply::SnapshotSet(snapshots) => snapshots,
        other => panic!("{other:?}"),
    }
}

fn instance_with_volumes(account: &mut Account, count: u8) -> (String, Vec<String>) {
    let instance = account.instance("us-east-1a", "m7i.large");
    let volumes: Vec<String> = (0..count).map(|_| account.volume()).collect();
    for (number, volume) in (b'f'..).zip(&volumes) {
        account.call(attach(volume, &instance, &format!("/dev/sd{}", char::from(number)))).unwrap();
    }
    account.pass(120_000);
    (instance, volumes)
}

#[test]
fn a_set_has_one_snapshot_of_each_volume_and_completes_together() {
    let mut account = Account::new(Profile::Aws);
    let (instance, volumes) = instance_with_volumes(&mut account, 3);
    let snapshots = taken(&mut account, set_of(&instance));
    let mut of: Vec<&String> = snapshots.iter().map(|s| &s.volume_id).collect();
    of.sort();
    assert_eq!(of, volumes.iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    loop {
        account.pass(1_000);
        let complete = snapshots.iter().filter(|s| account.world.snapshots()[&s.id].status() == "completed").count();
        assert!(complete == 0 || complete == 3, "{complete} of 3 are complete");
        if complete == 3 {
            break;
        }
    }
}

#[test]
fn volumes_can_be_left_out_of_a_set_when_they_are_attached() {
    let mut account = Account::new(Profile::Instant);
    let (instance, volumes) = instance_with_volumes(&mut account, 2);
    let other = account.volume();
    let without = |id: &String| CreateSnapshots { exclude_volumes: vec![id.clone()], ..set_of(&instance) };
    assert_eq!(account.code(Action::CreateSnapshots(without(&other))), "InvalidParameterValue");
    let snapshots = taken(&mut account, without(&volumes[0]));
    assert_eq!(snapshots.iter().map(|s| &s.volume_id).collect::<Vec<_>>(), [&volumes[1]]);
    let none = CreateSnapshots { exclude_volumes: volumes.clone(), ..set_of(&instance) };
    assert_eq!(account.code(Action::CreateSnapshots(none)), "InvalidParameterCombination");
}

#[test]
fn a_set_is_refused_as_a_whole_when_one_volume_is_too_early() {
    let mut account = Account::new(Profile::Instant);
    let (instance, volumes) = instance_with_volumes(&mut account, 2);
    let one = CreateSnapshot { volume_id: volumes[1].clone(), ..CreateSnapshot::default() };
    account.call(Action::CreateSnapshot(one)).unwrap();
    assert_eq!(account.code(Action::CreateSnapshots(set_of(&instance))), "SnapshotCreationPerVolumeRateExceeded");
    assert_eq!(account.world.snapshots().len(), 1);
}

#[test]
fn a_snapshot_is_copied_within_its_region_when_it_is_complete() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    let source = account.snapshot(&volume);
    let from =
        |region: &str| CopySnapshot { source_region: region.to_owned(), source_snapshot_id: source.clone(), ..CopySnapshot::default() };
    assert_eq!(account.code(Action::CopySnapshot(from("us-east-1"))), "IncorrectState");
    account.pass(1_000);
    assert_eq!(account.code(Action::CopySnapshot(from("mars-1"))), "InvalidParameterValue");
    assert_eq!(account.code(Action::CopySnapshot(from("eu-west-1"))), "UnsupportedOperation");
    let odd = CopySnapshot { completion_minutes: Some(16), ..from("us-east-1") };
    assert_eq!(account.code(Action::CopySnapshot(odd)), "InvalidParameterValue");
    let Reply::CopiedSnapshot(copied) = account.call(Action::CopySnapshot(from("us-east-1"))).unwrap() else { panic!() };
    account.call(Action::DeleteSnapshot(source)).unwrap();
    account.pass(1_000);
    assert_eq!(account.world.snapshots()[&copied.id].status(), "completed", "the source may go meanwhile");
    assert_eq!(account.world.snapshots().len(), 1);
}

fn lock(snapshot: &str, mode: &str, days: i64) -> LockSnapshot {
    LockSnapshot { snapshot_id: snapshot.to_owned(), mode: mode.to_owned(), duration_days: Some(days), ..LockSnapshot::default() }
}

fn lock_state(account: &mut Account, snapshot: &str) -> &'static str {
    let now = account.now;
    match account.call(Action::DescribeLockedSnapshots(by_id(snapshot))).unwrap() {
        Reply::LockedSnapshots(page) => page.items.first().map_or("none", |(_, lock)| lock.state(now)),
        other => panic!("{other:?}"),
    }
}

const DAY_MS: i64 = 24 * 3_600_000;

#[test]
fn a_locked_snapshot_is_not_deleted_until_the_lock_expires() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let snapshot = account.snapshot(&volume);
    account.pass(1);
    account.call(Action::LockSnapshot(lock(&snapshot, "governance", 2))).unwrap();
    account.pass(2 * DAY_MS - 1);
    assert_eq!(account.code(Action::DeleteSnapshot(snapshot.clone())), "SnapshotLocked");
    assert_eq!(lock_state(&mut account, &snapshot), "governance");
    account.pass(1);
    assert_eq!(lock_state(&mut account, &snapshot), "expired");
    assert_eq!(account.code(Action::DeleteSnapshot(snapshot)), "ok");
}

#[test]
fn a_lock_in_governance_mode_can_be_taken_off() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let snapshot = account.snapshot(&volume);
    account.pass(1);
    assert_eq!(account.code(Action::UnlockSnapshot(snapshot.clone())), "IncorrectState");
    account.call(Action::LockSnapshot(lock(&snapshot, "governance", 100))).unwrap();
    account.call(Action::LockSnapshot(lock(&snapshot, "governance", 1))).unwrap();
    account.call(Action::UnlockSnapshot(snapshot.clone())).unwrap();
    assert_eq!(lock_state(&mut account, &snapshot), "none");
    assert_eq!(account.code(Action::DeleteSnapshot(snapshot)), "ok");
}

#[test]
fn a_lock_in_compliance_mode_only_grows_after_its_cooling_off_period() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let snapshot = account.snapshot(&volume);
    account.pass(1);
    let cooling = LockSnapshot { cool_off_hours: Some(3), ..lock(&snapshot, "compliance", 10) };
    account.call(Action::LockSnapshot(cooling.clone())).unwrap();
    assert_eq!(lock_state(&mut account, &snapshot), "compliance-cooloff");
    account.pass(3 * 3_600_000);
    assert_eq!(lock_state(&mut account, &snapshot), "compliance");
    assert_eq!(account.code(Action::UnlockSnapshot(snapshot.clone())), "OperationNotPermitted");
    assert_eq!(account.code(Action::LockSnapshot(lock(&snapshot, "governance", 20))), "OperationNotPermitted");
    assert_eq!(account.code(Action::LockSnapshot(lock(&snapshot, "compliance", 1))), "OperationNotPermitted");
    assert_eq!(account.code(Action::LockSnapshot(cooling)), "InvalidParameterCombination");
    assert_eq!(account.code(Action::LockSnapshot(lock(&snapshot, "compliance", 20))), "ok");
}

#[test]
fn a_lock_that_makes_no_sense_is_refused_with_its_code() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let snapshot = account.snapshot(&volume);
    account.pass(1);
    let good = lock(&snapshot, "governance", 1);
    let table = [
        (LockSnapshot { mode: "tight".to_owned(), ..good.clone() }, "InvalidParameterValue"),
        (LockSnapshot { duration_days: None, ..good.clone() }, "MissingParameter"),
        (LockSnapshot { duration_days: Some(0), ..good.clone() }, "InvalidParameterValue"),
        (LockSnapshot { duration_days: Some(36_501), ..good.clone() }, "InvalidParameterValue"),
        (LockSnapshot { cool_off_hours: Some(1), ..good.clone() }, "InvalidParameterCombination"),
        (LockSnapshot { mode: "compliance".to_owned(), cool_off_hours: Some(73), ..good.clone() }, "InvalidParameterValue"),
        (LockSnapshot { expires: Some("2030-01-01T00:00:00Z".to_owned()), ..good.clone() }, "InvalidParameterCombination"),
        (LockSnapshot { expires: Some("soon".to_owned()), duration_days: None, ..good.clone() }, "InvalidParameterValue"),
        (LockSnapshot { expires: Some("2026-01-01T12:00:00Z".to_owned()), duration_days: None, ..good.clone() }, "InvalidParameterValue"),
        (LockSnapshot { snapshot_id: "snap-0123456789abcdef0".to_owned(), ..good.clone() }, "InvalidSnapshot.NotFound"),
        (LockSnapshot { expires: Some("2030-01-01T00:00:00Z".to_owned()), duration_days: None, ..good }, "ok"),
    ];
    for (request, expected) in table {
        let shown = format!("{request:?}");
        assert_eq!(account.code(Action::LockSnapshot(request)), expected, "{shown}");
    }
}
