//! Fast snapshot restore: states, credits, and the volumes made with them.

use ec2_sim::world::{Action, CreateVolume, Describe, FastSnapshotRestores, Profile, Reply};

use super::filtered;
use crate::account::{Account, gp3};

fn of(snapshot: &str, zones: &[&str]) -> FastSnapshotRestores {
    FastSnapshotRestores {
        snapshot_ids: vec![snapshot.to_owned()],
        zones: zones.iter().map(|&zone| zone.to_owned()).collect(),
        ..FastSnapshotRestores::default()
    }
}

fn states(account: &mut Account, describe: Describe) -> Vec<(String, &'static str)> {
    match account.call(Action::DescribeFastSnapshotRestores(describe)).unwrap() {
        Reply::FastRestores(page) => page.items.into_iter().map(|item| (item.zone, item.state.name())).collect(),
        other => panic!("{other:?}"),
    }
}

fn snapshot_of(account: &mut Account, size_gib: i64) -> String {
    let volume = account.create(gp3(size_gib)).unwrap();
    account.pass(60_000);
    let snapshot = account.snapshot(&volume);
    account.pass(3_600_000);
    snapshot
}

/// Whether a volume restored from the snapshot now has all its blocks at once.
fn restores_fast(account: &mut Account, snapshot: &str, zone: &str) -> bool {
    let request = CreateVolume { size_gib: None, snapshot_id: Some(snapshot.to_owned()), zone: Some(zone.to_owned()), ..gp3(1) };
    let id = account.create(request).unwrap();
    account.world.volumes()[&id].fast_restored
}

#[test]
fn fast_restore_goes_through_its_states_in_each_zone() {
    let mut account = Account::new(Profile::Aws);
    let snapshot = snapshot_of(&mut account, 100);
    account.call(Action::EnableFastSnapshotRestores(of(&snapshot, &["us-east-1a", "us-east-1b"]))).unwrap();
    assert_eq!(states(&mut account, Describe::default()).len(), 2);
    let mut seen = Vec::new();
    for _ in 0..20 {
        let (_, state) = states(&mut account, filtered("availability-zone", "us-east-1a"))[0].clone();
        seen.push(state);
        account.pass(30_000);
    }
    seen.dedup();
    assert_eq!(seen, ["enabling", "optimizing", "enabled"]);
    account.call(Action::DisableFastSnapshotRestores(of(&snapshot, &["us-east-1a"]))).unwrap();
    let found: Vec<&str> = states(&mut account, Describe::default()).into_iter().map(|(_, state)| state).collect();
    assert_eq!(found, ["disabling", "enabled"]);
    account.pass(600_000);
    let found = states(&mut account, filtered("state", "disabled"));
    assert_eq!(found, [("us-east-1a".to_owned(), "disabled")]);
}

#[test]
fn credits_come_with_the_hours_and_are_used_up_by_volumes() {
    let mut account = Account::new(Profile::Aws);
    // 1024 / 512 = 2 credits an hour, and at most 2.
    let snapshot = snapshot_of(&mut account, 512);
    account.call(Action::EnableFastSnapshotRestores(of(&snapshot, &["us-east-1a"]))).unwrap();
    assert!(!restores_fast(&mut account, &snapshot, "us-east-1a"), "it is not enabled yet");
    account.pass(3_600_000);
    assert_eq!(states(&mut account, Describe::default())[0].1, "enabled");
    account.pass(10 * 3_600_000);
    let fast: Vec<bool> = (0..3).map(|_| restores_fast(&mut account, &snapshot, "us-east-1a")).collect();
    assert_eq!(fast, [true, true, false]);
    assert!(!restores_fast(&mut account, &snapshot, "us-east-1b"), "another zone has none");
    account.pass(1_800_000);
    assert!(restores_fast(&mut account, &snapshot, "us-east-1a"));
}

#[test]
fn a_rate_that_is_asked_for_goes_before_fast_restore() {
    let mut account = Account::new(Profile::Instant);
    let snapshot = snapshot_of(&mut account, 8);
    account.call(Action::EnableFastSnapshotRestores(of(&snapshot, &["us-east-1a"]))).unwrap();
    assert!(restores_fast(&mut account, &snapshot, "us-east-1a"));
    let request = CreateVolume { size_gib: None, snapshot_id: Some(snapshot), initialization_rate: Some(100), ..gp3(1) };
    let id = account.create(request).unwrap();
    assert!(!account.world.volumes()[&id].fast_restored);
}

#[test]
fn a_switch_that_fails_says_so_for_its_snapshot_and_zone_alone() {
    let mut account = Account::new(Profile::Instant);
    let snapshots: Vec<String> = (0..6).map(|_| snapshot_of(&mut account, 1)).collect();
    let mut switch = |action: Action| match account.call(action).unwrap() {
        Reply::FastRestoreChanges(done, refused) => (done.len(), refused.into_iter().map(|r| r.error.code).collect::<Vec<_>>()),
        other => panic!("{other:?}"),
    };
    let five = FastSnapshotRestores { snapshot_ids: snapshots[..5].to_vec(), ..of("", &["us-east-1a"]) };
    assert_eq!(switch(Action::EnableFastSnapshotRestores(five)), (5, Vec::new()));
    let more = of(&snapshots[0], &["us-east-1a", "us-east-1b"]);
    assert_eq!(switch(Action::EnableFastSnapshotRestores(more)), (1, vec!["FastSnapshotRestoreAlreadyEnabled"]));
    let sixth = of(&snapshots[5], &["us-east-1a"]);
    assert_eq!(switch(Action::EnableFastSnapshotRestores(sixth.clone())), (0, vec!["FastSnapshotRestoreLimitExceeded"]));
    assert_eq!(switch(Action::DisableFastSnapshotRestores(sixth)), (0, vec!["FastSnapshotRestoreNotEnabled"]));
    let unknown = of("snap-0123456789abcdef0", &["us-east-1a"]);
    assert_eq!(switch(Action::EnableFastSnapshotRestores(unknown)), (0, vec!["InvalidSnapshot.NotFound"]));
}
