//! The states in between, which a client that looks too early sees: nothing is done at once.

use aws_sdk_ec2::types::{AttachmentStatus, SnapshotState, VolumeAttachmentState, VolumeState};
use ec2_sim::Profile;
use ec2_sim_sdk_tests::{Simulator, code};

use crate::account::{Account as _, DEVICE};

/// A simulator on which everything takes as long as on AWS, with what was made before that.
async fn slow(volumes: usize) -> (Simulator, String, Vec<String>) {
    let quick = Simulator::start().await;
    let instance = quick.instance("m7i.large").await;
    let mut made = Vec::new();
    for _ in 0..volumes {
        made.push(quick.volume().await);
    }
    (quick.restart(Profile::Aws).await, instance, made)
}

#[tokio::test]
async fn a_new_volume_is_creating_and_can_be_neither_attached_nor_snapshotted_nor_deleted() {
    let (simulator, instance, _) = slow(0).await;
    let volume = simulator.volume().await;
    assert_eq!(simulator.seen(&volume).await.state(), Some(&VolumeState::Creating));
    assert_eq!(code(simulator.attach(&volume, &instance).send().await), "IncorrectState");
    assert_eq!(code(simulator.ec2.create_snapshot().volume_id(&volume).send().await), "IncorrectState");
    assert_eq!(code(simulator.ec2.delete_volume().volume_id(&volume).send().await), "IncorrectState");
}

#[tokio::test]
async fn a_volume_is_in_use_while_it_is_attaching_and_while_it_is_detaching() {
    let (simulator, instance, volumes) = slow(1).await;
    let [volume] = volumes.as_slice() else { panic!("{volumes:?}") };
    let answer = simulator.attach(volume, &instance).send().await.unwrap();
    assert_eq!(answer.state(), Some(&VolumeAttachmentState::Attaching));
    let seen = simulator.seen(volume).await;
    assert_eq!((seen.state(), seen.attachments()[0].state()), (Some(&VolumeState::InUse), Some(&VolumeAttachmentState::Attaching)));
    let answer = simulator.ec2.detach_volume().volume_id(volume).send().await.unwrap();
    assert_eq!(answer.state(), Some(&VolumeAttachmentState::Detaching));
    let seen = simulator.seen(volume).await;
    assert_eq!((seen.state(), seen.attachments()[0].state()), (Some(&VolumeState::InUse), Some(&VolumeAttachmentState::Detaching)));
}

#[tokio::test]
async fn the_instance_tells_of_an_attachment_too() {
    let (simulator, instance, volumes) = slow(1).await;
    simulator.attach(&volumes[0], &instance).send().await.unwrap();
    let described = simulator.ec2.describe_instances().instance_ids(&instance).send().await.unwrap();
    let mappings = described.reservations()[0].instances()[0].block_device_mappings();
    let mapping = mappings.iter().find(|mapping| mapping.device_name() == Some(DEVICE)).unwrap();
    let ebs = mapping.ebs().unwrap();
    assert_eq!((ebs.volume_id(), ebs.status()), (Some(volumes[0].as_str()), Some(&AttachmentStatus::Attaching)));
}

#[tokio::test]
async fn a_pending_snapshot_restores_nothing() {
    let (simulator, _, volumes) = slow(1).await;
    let taken = simulator.ec2.create_snapshot().volume_id(&volumes[0]).send().await.unwrap();
    assert_eq!(taken.state(), Some(&SnapshotState::Pending));
    let snapshot = taken.snapshot_id.unwrap();
    assert_ne!(simulator.snapshot_seen(&snapshot).await.progress(), Some("100%"));
    assert_eq!(code(simulator.gp3().snapshot_id(snapshot).send().await), "IncorrectState");
}

#[tokio::test]
async fn an_instance_that_is_pending_takes_no_volume() {
    let (simulator, _, volumes) = slow(1).await;
    let instance = simulator.instance("m7i.large").await;
    assert_eq!(code(simulator.attach(&volumes[0], &instance).send().await), "IncorrectInstanceState");
}

#[tokio::test]
async fn a_restored_volume_is_available_long_before_it_is_initialized() {
    let quick = Simulator::start().await;
    let snapshot = quick.snapshot().await;
    let simulator = quick.restart(Profile::Aws).await;
    let volume = simulator.gp3().snapshot_id(snapshot).send().await.unwrap().volume_id.unwrap();
    let status = simulator.ec2.describe_volume_status().volume_ids(&volume).send().await.unwrap();
    let details = status.volume_statuses()[0].initialization_status_details().unwrap();
    assert!(details.progress().unwrap() < 100, "{details:?}");
}
