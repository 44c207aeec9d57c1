//! Client tokens: repeated, with other parameters, burnt, and at a quota.

use ec2_sim::world::fault::{Calls, Failure, Fault};
use ec2_sim::world::{Action, CopyVolumes, CreateVolume, Profile, Quotas, Rules};

use super::{copy, copy_of};
use crate::account::{Account, gp3};

fn with_token(size_gib: i64) -> CreateVolume {
    CreateVolume { client_token: Some("slot-7".to_owned()), ..gp3(size_gib) }
}

#[test]
fn a_token_is_burnt_for_half_a_day_when_its_volume_fails_later() {
    for failure in [Failure::Error, Failure::Vanish] {
        let mut account = Account::new(Profile::Fast);
        account.world.inject(account.now, Fault::VolumeFails { calls: Calls::default(), times: Some(1), failure }).unwrap();
        let first = account.create(with_token(1)).unwrap();
        assert_eq!(account.status(&first), "creating", "the call itself succeeds");
        account.pass(1_000);
        assert_eq!(account.status(&first), if failure == Failure::Error { "error" } else { "gone" });
        assert_eq!(account.code(Action::CreateVolume(with_token(1))), "IdempotentParameterMismatch");
        if failure == Failure::Error {
            account.call(Action::DeleteVolume(first)).unwrap();
        }
        account.pass(12 * 3_600_000 - 10_000);
        assert_eq!(account.code(Action::CreateVolume(with_token(1))), "IdempotentParameterMismatch");
        account.pass(13 * 3_600_000);
        assert_eq!(account.code(Action::CreateVolume(with_token(1))), "ok");
    }
}

#[test]
fn a_key_that_is_none_lets_the_volume_vanish_after_the_answer() {
    let mut account = Account::new(Profile::Fast);
    let request = CreateVolume { encrypted: Some(true), kms_key_id: Some("no-such-key".to_owned()), ..with_token(1) };
    let volume = account.create(request.clone()).unwrap();
    account.pass(1_000);
    assert_eq!(account.status(&volume), "gone");
    assert_eq!(account.code(Action::CreateVolume(request)), "IdempotentParameterMismatch");
}

#[test]
fn a_repeated_call_at_the_quota_is_refused_although_its_volume_exists() {
    let mut account = Account::new(Profile::Instant);
    let quotas = Quotas { storage_tib: 1, ..Quotas::default() };
    account.world.set_rules(Rules { quotas, ..Rules::of(Profile::Instant) });
    let first = account.create(with_token(600)).unwrap();
    assert_eq!(account.code(Action::CreateVolume(with_token(600))), "VolumeLimitExceeded");
    assert_eq!(account.world.volumes().keys().collect::<Vec<_>>(), [&first]);
}

#[test]
fn a_copy_is_found_again_by_its_token() {
    let mut account = Account::new(Profile::Aws);
    let source = account.volume();
    let request = CopyVolumes { client_token: Some("t".to_owned()), ..copy_of(&source) };
    let first = copy(&mut account, request.clone());
    assert_eq!(copy(&mut account, request.clone()).id, first.id, "although a second copy would be refused");
    let larger = CopyVolumes { size_gib: Some(9), ..request };
    assert_eq!(account.code(Action::CopyVolumes(larger)), "IdempotentParameterMismatch");
}

#[test]
fn a_token_is_known_to_one_action_only_and_has_a_length() {
    let mut account = Account::new(Profile::Instant);
    let source = account.create(CreateVolume { client_token: Some("t".to_owned()), ..gp3(1) }).unwrap();
    account.pass(1);
    let request = CopyVolumes { client_token: Some("t".to_owned()), ..copy_of(&source) };
    assert_ne!(copy(&mut account, request).id, source);
    let long = CreateVolume { client_token: Some("t".repeat(65)), ..gp3(1) };
    assert_eq!(account.code(Action::CreateVolume(long)), "InvalidParameterValue");
}
