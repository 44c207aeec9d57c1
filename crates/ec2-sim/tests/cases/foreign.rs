//! Somebody else deletes, detaches, retags.

use ec2_sim::world::fault::{Fault, Retag};
use ec2_sim::world::{Action, CreateVolume, Profile};

use crate::account::{Account, DEVICE, SECOND_MS, describe, filter, gp3, snapshot, tagged};

#[test]
fn a_volume_that_somebody_deletes_is_gone_even_from_under_an_instance() {
    let mut account = Account::new(Profile::Fast);
    let instance = account.machine();
    let (free, used) = (account.volume(), account.attached(&instance, DEVICE));
    for volume in [&free, &used] {
        account.inject(Fault::ForeignDelete { resource_id: volume.clone() });
        account.pass(60 * SECOND_MS);
        assert_eq!(account.code(describe(&[volume])), "InvalidVolume.NotFound");
        assert_eq!(account.code(Action::DeleteVolume(volume.clone())), "InvalidVolume.NotFound", "whoever comes second is told so");
    }
    account.assert_in_order();
}

#[test]
fn a_volume_that_somebody_detaches_is_available_to_all() {
    let mut account = Account::new(Profile::Fast);
    let instance = account.machine();
    let volume = account.attached(&instance, DEVICE);
    account.inject(Fault::ForeignDetach { volume_id: volume.clone(), force: false });
    account.pass(SECOND_MS);
    assert_eq!(account.status(&volume), "available");
}

#[test]
fn a_volume_that_lost_its_tag_is_found_by_id_alone() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.create(CreateVolume { tag_specifications: tagged("volume", "owner", "pool-1"), ..gp3() }).unwrap();
    let stolen = vec![Retag { key: "owner".to_owned(), value: Some("somebody".to_owned()) }, Retag { key: "none".to_owned(), value: None }];
    account.inject(Fault::ForeignRetag { resource_id: volume.clone(), tags: stolen });
    assert_eq!(account.listed(vec![filter("tag:owner", "pool-1")]), [""; 0]);
    assert_eq!(account.listed(vec![filter("tag:owner", "somebody")]), [volume.as_str()]);
    assert_eq!(account.code(describe(&[&volume])), "ok");
}

#[test]
fn a_volume_whose_hardware_is_lost_shows_error_and_stays_attached() {
    let mut account = Account::new(Profile::Fast);
    let instance = account.machine();
    let volume = account.attached(&instance, DEVICE);
    account.inject(Fault::VolumeLost { volume_id: volume.clone() });
    account.pass(SECOND_MS);
    assert_eq!((account.status(&volume), account.attachment(&volume)), ("error", Some("attached")));
}

#[test]
fn a_snapshot_that_somebody_deletes_restores_nothing_more() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    account.call(snapshot(&volume, Vec::new())).unwrap();
    account.pass(SECOND_MS);
    let taken = account.snapshots(Vec::new()).remove(0);
    account.inject(Fault::ForeignDelete { resource_id: taken.clone() });
    let restore = CreateVolume { snapshot_id: Some(taken), ..gp3() };
    assert_eq!(account.code(Action::CreateVolume(restore)), "InvalidSnapshot.NotFound");
}

#[test]
fn a_fault_on_what_does_not_exist_is_refused_and_changes_nothing() {
    let mut account = Account::new(Profile::Fast);
    let before = account.world.clone();
    let none = "vol-0123456789abcdef0".to_owned();
    let error = account.world.inject(account.now, Fault::ForeignDelete { resource_id: none }).unwrap_err();
    assert_eq!(error.code, "InvalidVolume.NotFound");
    assert_eq!(account.world, before);
}
