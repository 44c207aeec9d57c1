//! Quotas of the account.

use ec2_sim::world::{Action, CreateSnapshot, CreateVolume, Profile, Quotas, Rules};

use crate::account::{Account, gp3};

fn account(profile: Profile, quotas: Quotas) -> Account {
    let mut account = Account::new(profile);
    account.world.set_rules(Rules { quotas, throttling: false, ..Rules::of(profile) });
    account
}

#[test]
fn storage_counts_by_type_and_comes_back_with_a_deletion() {
    let mut account = account(Profile::Instant, Quotas { storage_tib: 1, ..Quotas::default() });
    let volume = account.create(gp3(1_000)).unwrap();
    account.pass(1);
    assert_eq!(account.code(Action::CreateVolume(gp3(25))), "VolumeLimitExceeded");
    let other = CreateVolume { volume_type: Some("gp2".to_owned()), ..gp3(25) };
    assert_eq!(account.code(Action::CreateVolume(other)), "ok");
    account.call(Action::DeleteVolume(volume)).unwrap();
    assert_eq!(account.code(Action::CreateVolume(gp3(25))), "ok");
}

#[test]
fn provisioned_operations_have_a_quota() {
    let mut account = account(Profile::Instant, Quotas { io2_iops: 10_000, ..Quotas::default() });
    let io2 = |iops| CreateVolume { volume_type: Some("io2".to_owned()), iops: Some(iops), ..gp3(100) };
    assert_eq!(account.code(Action::CreateVolume(io2(9_000))), "ok");
    assert_eq!(account.code(Action::CreateVolume(io2(1_001))), "MaxIOPSLimitExceeded");
    assert_eq!(account.code(Action::CreateVolume(io2(1_000))), "ok");
}

#[test]
fn snapshots_have_a_quota_in_all_and_one_of_pending_ones() {
    let snapshot = |id: &str| Action::CreateSnapshot(CreateSnapshot { volume_id: id.to_owned(), ..CreateSnapshot::default() });
    let mut account = account(Profile::Aws, Quotas { snapshots: 3, pending_snapshots: 2, ..Quotas::default() });
    let volumes: Vec<String> = (0..4).map(|_| account.volume()).collect();
    assert_eq!(account.code(snapshot(&volumes[0])), "ok");
    assert_eq!(account.code(snapshot(&volumes[1])), "ok");
    assert_eq!(account.code(snapshot(&volumes[2])), "PendingSnapshotLimitExceeded");
    account.pass(3_600_000);
    assert_eq!(account.code(snapshot(&volumes[2])), "ok");
    assert_eq!(account.code(snapshot(&volumes[3])), "SnapshotLimitExceeded");
}

#[test]
fn provisioned_initialization_rates_have_a_sum() {
    let mut account = account(Profile::Aws, Quotas { initialization_mib_s: 500, ..Quotas::default() });
    let volume = account.volume();
    let snapshot_id = Some(account.snapshot(&volume));
    account.pass(3_600_000);
    let restore = |rate| CreateVolume { size_gib: Some(100), snapshot_id: snapshot_id.clone(), initialization_rate: Some(rate), ..gp3(1) };
    assert_eq!(account.code(Action::CreateVolume(restore(300))), "ok");
    assert_eq!(account.code(Action::CreateVolume(restore(300))), "VolumeLimitExceeded");
    assert_eq!(account.code(Action::CreateVolume(restore(200))), "ok");
    account.pass(3_600_000);
    assert_eq!(account.code(Action::CreateVolume(restore(300))), "ok");
}
