//! What a client that asks again finds: tokens, and what has none.

use aws_sdk_ec2::types::{Volume, VolumeState};
use ec2_sim::Profile;
use ec2_sim_sdk_tests::{Simulator, code, status_and_code};

use crate::account::{Account as _, ZONE, filter};

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

#[tokio::test]
async fn a_lost_answer_is_made_good_by_a_second_attempt_with_the_same_token() {
    let simulator = Simulator::start().await;
    simulator.inject(r#"{"fault": "reply-lost", "calls": {"action": "CreateVolume"}, "times": 1}"#).await;
    // The SDK makes a token by itself and repeats it with the call.
    let made = simulator.patient().create_volume().size(1).availability_zone(ZONE).send().await.unwrap();
    let there = simulator.ec2.describe_volumes().send().await.unwrap();
    assert_eq!(there.volumes().iter().map(Volume::volume_id).collect::<Vec<_>>(), [made.volume_id()]);
}

#[tokio::test]
async fn a_lost_answer_without_a_second_attempt_leaves_a_volume_that_a_describe_finds() {
    let simulator = Simulator::start().await;
    simulator.inject(r#"{"fault": "reply-lost", "calls": {"action": "CreateVolume"}, "times": 1}"#).await;
    let lost = simulator.gp3().send().await.unwrap_err();
    assert!(lost.as_service_error().is_none(), "{lost:?}");
    assert_eq!(simulator.ec2.describe_volumes().send().await.unwrap().volumes().len(), 1);
}

#[tokio::test]
async fn a_second_attempt_at_a_snapshot_is_refused_although_the_first_made_one() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    simulator.inject(r#"{"fault": "reply-lost", "calls": {"action": "CreateSnapshot"}, "times": 1}"#).await;
    let again = simulator.patient().create_snapshot().volume_id(&volume).send().await;
    assert_eq!(code(again), "SnapshotCreationPerVolumeRateExceeded");
    let found = simulator.ec2.describe_snapshots().owner_ids("self").filters(filter("volume-id", &volume)).send().await.unwrap();
    assert_eq!(found.snapshots().len(), 1, "only a search tells that there is one");
}

#[tokio::test]
async fn throttling_and_errors_of_the_service_pass_for_a_client_that_tries_again() {
    let simulator = Simulator::start().await;
    for (expected, status) in [("RequestLimitExceeded", 503), ("InternalError", 500), ("Unavailable", 503)] {
        let fault = format!(r#"{{"fault": "error", "calls": {{"action": "DescribeVolumes"}}, "times": 1, "code": "{expected}"}}"#);
        simulator.inject(&fault).await;
        assert_eq!(status_and_code(simulator.ec2.describe_volumes().send().await), (status, expected.to_owned()));
        simulator.inject(&fault).await;
        assert_eq!(code(simulator.patient().describe_volumes().send().await), "ok", "{expected}");
    }
}

#[tokio::test]
async fn an_empty_bucket_refuses_with_503_until_it_fills_again() {
    let simulator = Simulator::start().await;
    simulator.inject(r#"{"fault": "throttle", "action": "CreateVolume", "bucket": {"size": 2, "refill_per_second": 1}}"#).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(code(simulator.gp3().send().await));
    }
    assert_eq!(answers, ["ok", "ok", "RequestLimitExceeded"]);
    simulator.pass(60).await;
    assert_eq!(code(simulator.gp3().send().await), "ok");
}

#[tokio::test]
async fn a_volume_that_fails_after_the_answer_burns_its_token() {
    let simulator = Simulator::start().await;
    simulator.inject(r#"{"fault": "volume-fails", "calls": {"action": "CreateVolume"}, "times": 1, "failure": "error"}"#).await;
    let request = || simulator.gp3().client_token("slot-1");
    let volume = request().send().await.unwrap().volume_id.unwrap();
    assert_eq!(simulator.seen(&volume).await.state(), Some(&VolumeState::Error));
    assert_eq!(code(request().send().await), "IdempotentParameterMismatch");
    assert_eq!(code(simulator.gp3().client_token("slot-1-again").send().await), "ok");
}

#[tokio::test]
async fn describes_that_disagree_are_told_apart_by_nothing_but_time() {
    let simulator = Simulator::start().await;
    simulator.inject(r#"{"fault": "stale-reads", "calls": {"action": "DescribeVolumes"}, "millis": 5000, "every": 2}"#).await;
    simulator.pass(60).await;
    simulator.volume().await;
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(simulator.ec2.describe_volumes().send().await.unwrap().volumes().len());
    }
    assert_eq!(counts, [0, 1, 0, 1]);
    simulator.pass(60).await;
    assert_eq!(simulator.ec2.describe_volumes().send().await.unwrap().volumes().len(), 1, "stale, but old enough");
}
