//! Client tokens: found again, refused, burnt.

use ec2_sim::world::fault::{Failure, Fault};
use ec2_sim::world::{Action, CreateVolume, Profile};

use crate::account::{Account, HOUR_MS, SECOND_MS, calls, gp3};

fn with_token(size_gib: i64) -> CreateVolume {
    CreateVolume { client_token: Some("slot-1".to_owned()), size_gib: Some(size_gib), ..gp3() }
}

fn create(size_gib: i64) -> Action {
    Action::CreateVolume(with_token(size_gib))
}

/// aws-ebs-csi-driver #1428, #1916, #2512, PR #2075.
#[test]
fn the_token_of_a_volume_that_failed_after_the_answer_is_burnt_for_twelve_hours() {
    for failure in [Failure::Error, Failure::Vanish] {
        let mut account = Account::new(Profile::Aws);
        account.inject(Fault::VolumeFails { calls: calls("CreateVolume"), times: Some(1), failure });
        let volume = account.create(with_token(1)).unwrap();
        account.pass(60 * SECOND_MS);
        assert_eq!(account.status(&volume), if failure == Failure::Error { "error" } else { "gone" });
        assert_eq!(account.code(create(1)), "IdempotentParameterMismatch", "the same request, {failure:?}");
        if failure == Failure::Error {
            account.call(Action::DeleteVolume(volume)).unwrap();
        }
        account.pass(11 * HOUR_MS);
        assert_eq!(account.code(create(1)), "IdempotentParameterMismatch", "eleven hours later, {failure:?}");
        account.pass(2 * HOUR_MS);
        assert_eq!(account.code(create(1)), "ok", "thirteen hours later, {failure:?}");
    }
}

/// aws-ebs-csi-driver #3010: a key that nobody has is found out after the answer.
#[test]
fn a_volume_with_a_key_that_is_none_is_accepted_and_then_gone() {
    let mut account = Account::new(Profile::Fast);
    let request = CreateVolume { encrypted: Some(true), kms_key_id: Some("no-key".to_owned()), ..gp3() };
    let volume = account.create(request).unwrap();
    assert_eq!(account.status(&volume), "creating");
    account.pass(60 * SECOND_MS);
    assert_eq!(account.status(&volume), "gone");
}

#[test]
fn a_token_with_other_parameters_is_refused_whatever_became_of_the_first_call() {
    let mut account = Account::new(Profile::Fast);
    let first = account.create(with_token(1)).unwrap();
    assert_eq!(account.code(create(2)), "IdempotentParameterMismatch");
    account.pass(SECOND_MS);
    assert_eq!(account.create(with_token(1)).unwrap(), first, "and the right ones still find it");
    assert_eq!(account.world.volumes().len(), 1);
}

/// aws-ebs-csi-driver #1951: the quota is looked at before the token.
#[test]
fn at_the_quota_a_repeated_call_is_refused_although_its_volume_exists() {
    let mut account = Account::new(Profile::Fast).with(|rules| rules.quotas.storage_tib = 1);
    let volume = account.create(with_token(1_024)).unwrap();
    account.pass(SECOND_MS);
    assert_eq!(account.code(create(1_024)), "VolumeLimitExceeded");
    assert_eq!(account.status(&volume), "available", "it is there, and only a describe tells");
}

#[test]
fn a_refused_call_leaves_its_token_unused() {
    let mut account = Account::new(Profile::Fast);
    account.inject(Fault::NoCapacity { zone: None, volume_type: None, times: Some(1) });
    assert_eq!(account.code(create(1)), "InsufficientVolumeCapacity");
    assert_eq!(account.code(create(2)), "ok", "other parameters are fine: nothing was made with it");
}
