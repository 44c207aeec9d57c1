//! What a client that asks again finds: tokens, and what has none.

use ec2_sim::Profile;
use ec2_sim_sdk_tests::{Simulator, code};

use crate::account::Account as _;

#[tokio::test]
async fn a_repeated_token_finds_the_volume_and_other_parameters_are_refused() {
    let simulator = Simulator::start().await;
    let request = || simulator.gp3().client_token("once");
    let first = request().send().await.unwrap().volume_id;
    assert_eq!(request().send().await.unwrap().volume_id, first);
    assert_eq!(code(request().size(2).send().await), "IdempotentParameterMismatch");
    assert_eq!(simulator.ec2.describe_volumes().send().await.unwrap().volumes().len(), 1);
}

#[tokio::test]
async fn a_token_is_remembered_over_a_restart_and_after_the_volume_is_gone() {
    let simulator = Simulator::start().await;
    let first = simulator.gp3().client_token("once").send().await.unwrap().volume_id.unwrap();
    let simulator = simulator.restart(Profile::Instant).await;
    let again = simulator.gp3().client_token("once").send().await.unwrap().volume_id.unwrap();
    assert_eq!(again, first);
    simulator.ec2.delete_volume().volume_id(first).send().await.unwrap();
    assert_eq!(code(simulator.gp3().client_token("once").send().await), "IdempotentParameterMismatch");
}

#[tokio::test]
async fn a_launch_with_a_token_launches_once() {
    let simulator = Simulator::start().await;
    let launch = || simulator.ec2.run_instances().min_count(1).max_count(1).client_token("once");
    let first = launch().send().await.unwrap().instances()[0].instance_id.clone();
    assert_eq!(launch().send().await.unwrap().instances()[0].instance_id, first);
}
