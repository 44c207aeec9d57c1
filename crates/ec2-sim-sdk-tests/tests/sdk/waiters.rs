//! The waiters of the SDK, on things that take their time.

use std::time::Duration;

use aws_sdk_ec2::client::Waiters as _;
use ec2_sim::Profile;
use ec2_sim_sdk_tests::Simulator;

use crate::account::{Account as _, NO_SNAPSHOT};

/// More than anything takes in the profile `fast`.
const LONG: Duration = Duration::from_mins(10);

#[tokio::test]
async fn a_volume_is_waited_for_until_available_in_use_and_deleted() {
    let simulator = Simulator::with(Profile::Fast).await;
    let (volume, instance) = (simulator.volume().await, simulator.instance("m7i.large").await);
    simulator.ec2.wait_until_instance_running().instance_ids(&instance).wait(LONG).await.unwrap();
    simulator.ec2.wait_until_volume_available().volume_ids(&volume).wait(LONG).await.unwrap();
    simulator.attach(&volume, &instance).send().await.unwrap();
    simulator.ec2.wait_until_volume_in_use().volume_ids(&volume).wait(LONG).await.unwrap();
    simulator.ec2.detach_volume().volume_id(&volume).send().await.unwrap();
    simulator.ec2.wait_until_volume_available().volume_ids(&volume).wait(LONG).await.unwrap();
    assert_eq!(simulator.seen(&volume).await.attachments(), []);
    simulator.ec2.delete_volume().volume_id(&volume).send().await.unwrap();
    simulator.ec2.wait_until_volume_deleted().volume_ids(&volume).wait(LONG).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_waited_for_until_completed() {
    let simulator = Simulator::with(Profile::Fast).await;
    let volume = simulator.volume().await;
    simulator.ec2.wait_until_volume_available().volume_ids(&volume).wait(LONG).await.unwrap();
    let snapshot = simulator.ec2.create_snapshot().volume_id(volume).send().await.unwrap().snapshot_id.unwrap();
    simulator.ec2.wait_until_snapshot_completed().snapshot_ids(&snapshot).wait(LONG).await.unwrap();
    assert_eq!(simulator.snapshot_seen(&snapshot).await.progress(), Some("100%"));
    let unknown = simulator.ec2.wait_until_snapshot_completed().snapshot_ids(NO_SNAPSHOT).wait(LONG).await;
    assert!(format!("{:?}", unknown.unwrap_err()).contains("InvalidSnapshot.NotFound"), "an error ends the wait");
}

#[tokio::test]
async fn an_instance_is_waited_for_until_it_runs_stops_and_ends() {
    let simulator = Simulator::with(Profile::Fast).await;
    let instance = simulator.instance("m7i.large").await;
    simulator.ec2.wait_until_instance_exists().instance_ids(&instance).wait(LONG).await.unwrap();
    simulator.ec2.wait_until_instance_running().instance_ids(&instance).wait(LONG).await.unwrap();
    simulator.ec2.stop_instances().instance_ids(&instance).send().await.unwrap();
    simulator.ec2.wait_until_instance_stopped().instance_ids(&instance).wait(LONG).await.unwrap();
    simulator.ec2.terminate_instances().instance_ids(&instance).send().await.unwrap();
    simulator.ec2.wait_until_instance_terminated().instance_ids(&instance).wait(LONG).await.unwrap();
}
