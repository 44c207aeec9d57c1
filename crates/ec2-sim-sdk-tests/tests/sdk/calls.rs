//! Modifications, copies, sets, locks, fast restores, as the SDK reads them.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, CopyTagsFromSource, FastSnapshotRestoreStateCode, InstanceSpecification, LockMode, LockState,
    VolumeAttributeName, VolumeModificationState, VolumeType,
};
use ec2_sim::Profile;
use ec2_sim_sdk_tests::{Simulator, code};

use crate::account::{Account as _, ZONE, tag};

#[tokio::test]
async fn a_modification_goes_through_its_states_and_the_volume_grows() {
    let quick = Simulator::start().await;
    let volume = quick.volume().await;
    let simulator = quick.restart(Profile::Aws).await;
    let asked = simulator.ec2.modify_volume().volume_id(&volume).size(4).send().await.unwrap().volume_modification.unwrap();
    assert_eq!((asked.modification_state(), asked.target_size()), (Some(&VolumeModificationState::Modifying), Some(4)));
    assert_eq!(code(simulator.ec2.modify_volume().volume_id(&volume).size(8).send().await), "IncorrectModificationState");
    simulator.pass(7_200 * 24).await;
    let seen = simulator.ec2.describe_volumes_modifications().volume_ids(&volume).send().await.unwrap();
    let seen = &seen.volumes_modifications()[0];
    assert_eq!((seen.modification_state(), seen.progress()), (Some(&VolumeModificationState::Completed), Some(100)));
    assert_eq!(simulator.seen(&volume).await.size(), Some(4));
    assert_eq!(code(simulator.ec2.modify_volume().volume_id(&volume).size(3).send().await), "InvalidParameterValue");
}

#[tokio::test]
async fn a_source_is_copied_one_copy_at_a_time_until_that_is_initialized() {
    let quick = Simulator::start().await;
    let source = quick.volume().await;
    let simulator = quick.restart(Profile::Aws).await;
    let copy = || simulator.ec2.copy_volumes().source_volume_id(&source).client_token("copy-1");
    let made = copy().send().await.unwrap().volumes.unwrap().remove(0);
    assert_eq!((made.source_volume_id(), made.volume_type()), (Some(source.as_str()), Some(&VolumeType::Gp2)), "gp2 is the API's default");
    assert_eq!(copy().send().await.unwrap().volumes()[0].volume_id(), made.volume_id(), "a token finds the copy");
    assert_eq!(code(copy().size(9).send().await), "IdempotentParameterMismatch");
    assert_eq!(code(copy().client_token("copy-2").send().await), "ConcurrentCopyVolumeLimitExceeded");
    simulator.pass(3_600).await;
    assert_eq!(code(copy().client_token("copy-2").send().await), "ok");
}

#[tokio::test]
async fn a_set_of_snapshots_is_of_each_volume_with_its_tags() {
    let simulator = Simulator::start().await;
    let (instance, first, second) = (simulator.instance("m7i.large").await, simulator.volume().await, simulator.volume().await);
    simulator.attach(&first, &instance).send().await.unwrap();
    simulator.attach(&second, &instance).device("/dev/xvdbb").send().await.unwrap();
    simulator.ec2.create_tags().resources(&first).tags(tag("role", "log")).send().await.unwrap();
    let of = InstanceSpecification::builder().instance_id(&instance).build();
    let taken = simulator.ec2.create_snapshots().instance_specification(of).copy_tags_from_source(CopyTagsFromSource::Volume);
    let taken = taken.send().await.unwrap().snapshots.unwrap();
    let mut volumes: Vec<_> = taken.iter().filter_map(|one| Some((one.volume_id()?, one.tags().len()))).collect();
    volumes.sort_by_key(|(_, tags)| *tags);
    assert_eq!(volumes, [(second.as_str(), 0), (first.as_str(), 1)]);
}

#[tokio::test]
async fn a_copied_snapshot_outlives_its_source() {
    let simulator = Simulator::start().await;
    let source = simulator.snapshot().await;
    let copy = simulator.ec2.copy_snapshot().source_region("us-east-1").source_snapshot_id(&source).send().await.unwrap();
    simulator.ec2.delete_snapshot().snapshot_id(source).send().await.unwrap();
    assert_eq!(code(simulator.gp3().snapshot_id(copy.snapshot_id.unwrap()).send().await), "ok");
}

#[tokio::test]
async fn a_locked_snapshot_cannot_be_deleted_until_it_is_unlocked() {
    let simulator = Simulator::start().await;
    let snapshot = simulator.snapshot().await;
    let ec2 = &simulator.ec2;
    let locked = ec2.lock_snapshot().snapshot_id(&snapshot).lock_mode(LockMode::Governance).lock_duration(1).send().await.unwrap();
    assert_eq!(locked.lock_state(), Some(&LockState::Governance));
    assert_eq!(ec2.describe_locked_snapshots().send().await.unwrap().snapshots()[0].snapshot_id(), Some(snapshot.as_str()));
    assert_ne!(code(ec2.delete_snapshot().snapshot_id(&snapshot).send().await), "ok");
    ec2.unlock_snapshot().snapshot_id(&snapshot).send().await.unwrap();
    assert_eq!(code(ec2.delete_snapshot().snapshot_id(&snapshot).send().await), "ok");
}

#[tokio::test]
async fn a_fast_restore_makes_volumes_that_are_initialized_at_once() {
    let simulator = Simulator::start().await;
    let snapshot = simulator.snapshot().await;
    let enabled = simulator.ec2.enable_fast_snapshot_restores().source_snapshot_ids(&snapshot).availability_zones(ZONE);
    let enabled = enabled.send().await.unwrap();
    assert_eq!(enabled.successful()[0].state(), Some(&FastSnapshotRestoreStateCode::Enabling));
    let simulator = simulator.restart(Profile::Aws).await;
    let restore = async |zone: &str| simulator.gp3().snapshot_id(&snapshot).availability_zone(zone).send().await.unwrap();
    let (fast, slow) = (restore(ZONE).await, restore("us-east-1b").await);
    assert_eq!((fast.fast_restored(), fast.attachments.clone()), (None, None), "CreateVolume does not tell");
    let fast = simulator.seen(fast.volume_id().unwrap()).await;
    let slow = simulator.seen(slow.volume_id().unwrap()).await;
    assert_eq!((fast.fast_restored(), slow.fast_restored()), (Some(true), None));
}

#[tokio::test]
async fn an_attribute_of_a_volume_is_told() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    let told =
        simulator.ec2.describe_volume_attribute().volume_id(&volume).attribute(VolumeAttributeName::AutoEnableIo).send().await.unwrap();
    assert_eq!((told.volume_id(), told.auto_enable_io().and_then(AttributeBooleanValue::value)), (Some(volume.as_str()), Some(false)));
}
