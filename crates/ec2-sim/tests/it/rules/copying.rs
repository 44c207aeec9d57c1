//! `CopyVolumes`: what a copy is, and how few there can be at a time.

use ec2_sim::world::{Action, CopyVolumes, CreateVolume, Effect, Profile};

use super::{copy, copy_of};
use crate::account::{Account, gp3, tag};

#[test]
fn a_copy_is_in_the_zone_of_its_source_without_its_tags() {
    let mut account = Account::new(Profile::Instant);
    let tags = vec![ec2_sim::world::TagSpecification { resource_type: "volume".to_owned(), tags: vec![tag("owner", "me")] }];
    let request = CreateVolume { zone: Some("us-east-1b".to_owned()), tag_specifications: tags, ..gp3(3) };
    let source = account.create(request).unwrap();
    account.pass(1);
    let made = copy(&mut account, copy_of(&source));
    assert_eq!((made.zone.as_str(), made.size_gib, made.tags.len()), ("us-east-1b", 3, 0));
    assert_eq!(made.source_volume_id.as_deref(), Some(source.as_str()));
    let bare = copy(&mut account, CopyVolumes { volume_type: None, ..copy_of(&source) });
    assert_eq!(bare.volume_type.name(), "gp2", "the default of the API, whatever the source is");
}

#[test]
fn a_source_has_one_copy_at_a_time_until_it_is_initialized() {
    let mut account = Account::new(Profile::Aws);
    let (source, other) = (account.volume(), account.volume());
    let made = copy(&mut account, copy_of(&source));
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&source))), "ConcurrentCopyVolumeLimitExceeded");
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&other))), "ok");
    account.pass(10_000);
    assert_eq!(account.status(&made.id), "available", "a copy is usable long before it is initialized");
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&made.id))), "IncorrectState", "but it cannot be copied itself");
    account.pass(60_000);
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&source))), "ok");
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&made.id))), "ok");
}

#[test]
fn a_region_has_five_copies_in_progress() {
    let mut account = Account::new(Profile::Aws);
    let sources: Vec<String> = (0..6).map(|_| account.create(gp3(100)).unwrap()).collect();
    account.pass(60_000);
    for source in &sources[..5] {
        assert_eq!(account.code(Action::CopyVolumes(copy_of(source))), "ok");
    }
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&sources[5]))), "CopyVolumesLimitExceeded");
    account.pass(6 * 3_600_000);
    assert_eq!(account.code(Action::CopyVolumes(copy_of(&sources[5]))), "ok");
}

#[test]
fn a_copy_that_ec2_would_not_make_is_refused_with_its_code() {
    let mut account = Account::new(Profile::Instant);
    let source = account.create(gp3(8)).unwrap();
    let encrypted = account.create(CreateVolume { encrypted: Some(true), ..gp3(8) }).unwrap();
    account.pass(1);
    let table = [
        (CopyVolumes { size_gib: Some(7), ..copy_of(&source) }, "InvalidParameterValue"),
        (CopyVolumes { iops: Some(3_000), volume_type: None, ..copy_of(&source) }, "InvalidParameterCombination"),
        (CopyVolumes { kms_key_id: Some("alias/k".to_owned()), ..copy_of(&source) }, "InvalidParameterDependency"),
        (CopyVolumes { encrypted: Some(false), ..copy_of(&encrypted) }, "InvalidParameterCombination"),
        (copy_of("vol-0123456789abcdef0"), "InvalidVolume.NotFound"),
        (copy_of("vol-1"), "InvalidVolumeID.Malformed"),
        (copy_of(&encrypted), "ok"),
        (CopyVolumes { size_gib: Some(9), ..copy_of(&source) }, "ok"),
    ];
    for (request, expected) in table {
        let shown = format!("{request:?}");
        assert_eq!(account.code(Action::CopyVolumes(request)), expected, "{shown}");
    }
}

#[test]
fn a_source_that_is_deleted_keeps_its_file_until_the_copy_has_it() {
    let mut account = Account::new(Profile::Instant);
    let source = account.volume();
    let made = copy(&mut account, copy_of(&source));
    account.call(Action::DeleteVolume(source.clone())).unwrap();
    let owed = account.world.advance(account.now);
    assert!(matches!(&owed[..], [Effect::CopyVolume { volume_id, .. }] if *volume_id == made.id), "{owed:?}");
    account.world.confirm(&owed[0]);
    assert_eq!(account.world.advance(account.now), [Effect::DeleteVolume { volume_id: source }]);
}
