//! Error codes as the SDK reads them, with their HTTP status.

use aws_sdk_ec2::types::VolumeType;
use ec2_sim_sdk_tests::{Simulator, code, status_and_code};

use crate::account::{Account as _, DEVICE, NO_INSTANCE, NO_SNAPSHOT, NO_VOLUME, ZONE, filter, tag};

#[tokio::test]
async fn a_volume_that_ec2_would_not_make_is_refused() {
    let simulator = Simulator::start().await;
    let table = [
        ("InvalidParameterValue", simulator.gp3().size(0)),
        ("InvalidParameterValue", simulator.gp3().availability_zone("us-east-1z")),
        ("InvalidParameterValue", simulator.gp3().throughput(9_999)),
        ("InvalidParameterValue", simulator.gp3().iops(i32::MAX)),
        ("InvalidSnapshot.NotFound", simulator.gp3().snapshot_id(NO_SNAPSHOT)),
        ("InvalidParameterCombination", simulator.gp3().volume_initialization_rate(100)),
        ("InvalidParameterDependency", simulator.gp3().kms_key_id("alias/key")),
        ("MissingParameter", simulator.ec2.create_volume().availability_zone(ZONE)),
        ("MissingParameter", simulator.gp3().size(4).volume_type(VolumeType::Io2)),
    ];
    for (expected, request) in table {
        assert_eq!(status_and_code(request.send().await), (400, expected.to_owned()));
    }
    assert_eq!(simulator.ec2.describe_volumes().send().await.unwrap().volumes(), [], "a refused call makes nothing");
}

#[tokio::test]
async fn wrong_attachments_are_refused() {
    let simulator = Simulator::start().await;
    let (instance, volume, other) = (simulator.instance("m7i.large").await, simulator.volume().await, simulator.volume().await);
    let far = simulator.gp3().availability_zone("us-east-1b").send().await.unwrap().volume_id.unwrap();
    simulator.attach(&other, &instance).send().await.unwrap();
    let second = simulator.instance("m7i.large").await;
    let table = [
        ("VolumeInUse", simulator.attach(&other, &instance).device("/dev/xvdbb")),
        ("VolumeInUse", simulator.attach(&other, &second)),
        ("InvalidParameterValue", simulator.attach(&volume, &instance).device(DEVICE)),
        ("InvalidParameterValue", simulator.attach(&volume, &instance).device("nvme1n1")),
        ("InvalidVolume.ZoneMismatch", simulator.attach(&far, &instance).device("/dev/xvdbc")),
        ("InvalidVolume.NotFound", simulator.attach(NO_VOLUME, &instance)),
        ("InvalidInstanceID.NotFound", simulator.attach(&volume, NO_INSTANCE)),
    ];
    for (expected, request) in table {
        assert_eq!(code(request.send().await), expected);
    }
}

#[tokio::test]
async fn wrong_detachments_and_deletions_are_refused() {
    let simulator = Simulator::start().await;
    let (instance, volume, free) = (simulator.instance("m7i.large").await, simulator.volume().await, simulator.volume().await);
    let second = simulator.instance("m7i.large").await;
    simulator.attach(&volume, &instance).send().await.unwrap();
    let ec2 = &simulator.ec2;
    assert_eq!(code(ec2.detach_volume().volume_id(&free).send().await), "IncorrectState");
    assert_eq!(code(ec2.detach_volume().volume_id(&volume).instance_id(second).send().await), "InvalidAttachment.NotFound");
    assert_eq!(code(ec2.detach_volume().volume_id(NO_VOLUME).send().await), "InvalidVolume.NotFound");
    assert_eq!(code(ec2.delete_volume().volume_id(&volume).send().await), "VolumeInUse");
    assert_eq!(code(ec2.delete_volume().volume_id(NO_VOLUME).send().await), "InvalidVolume.NotFound");
    assert_eq!(code(ec2.delete_snapshot().snapshot_id(NO_SNAPSHOT).send().await), "InvalidSnapshot.NotFound");
    assert_eq!(code(ec2.terminate_instances().instance_ids(NO_INSTANCE).send().await), "InvalidInstanceID.NotFound");
}

#[tokio::test]
async fn snapshots_too_fast_or_of_nothing_are_refused() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    let snapshot = |volume: &str| simulator.ec2.create_snapshot().volume_id(volume);
    assert_eq!(code(snapshot(&volume).send().await), "ok");
    assert_eq!(code(snapshot(&volume).send().await), "SnapshotCreationPerVolumeRateExceeded");
    assert_eq!(code(snapshot(NO_VOLUME).send().await), "InvalidVolume.NotFound");
}

#[tokio::test]
async fn ids_filters_and_types_that_mean_nothing_are_refused() {
    let simulator = Simulator::start().await;
    let ec2 = &simulator.ec2;
    assert_eq!(code(ec2.describe_volumes().filters(filter("colour", "red")).send().await), "InvalidParameterValue");
    assert_eq!(code(ec2.describe_volumes().volume_ids("volume-1").send().await), "InvalidParameterValue");
    assert_eq!(code(ec2.describe_instances().instance_ids("node-1").send().await), "InvalidInstanceID.Malformed");
    assert_eq!(code(ec2.describe_instance_types().instance_types("z9.huge".into()).send().await), "InvalidInstanceType");
    assert_eq!(code(ec2.describe_vpcs().send().await), "InvalidAction");
}

#[tokio::test]
async fn one_unknown_id_fails_the_whole_list_and_is_the_only_one_named() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    let both = simulator.ec2.describe_volumes().volume_ids(&volume).volume_ids(NO_VOLUME).send().await;
    let message = both.as_ref().unwrap_err().as_service_error().unwrap().meta().message().unwrap().to_owned();
    assert!(message.contains(NO_VOLUME) && !message.contains(&volume), "{message}");
    assert_eq!(code(both), "InvalidVolume.NotFound");
    let filtered = simulator.ec2.describe_volumes().filters(filter("volume-id", NO_VOLUME)).send().await.unwrap();
    assert_eq!(filtered.volumes(), [], "a filter leaves out what does not exist");
}

#[tokio::test]
async fn tags_beyond_their_rules_are_refused() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    let tags: Vec<_> = (0..50).map(|number| tag(&format!("k{number}"), "")).collect();
    let create = || simulator.ec2.create_tags().resources(&volume);
    assert_eq!(code(create().set_tags(Some(tags)).send().await), "ok");
    assert_eq!(code(create().tags(tag("one-more", "")).send().await), "TagLimitExceeded");
    assert_eq!(code(create().tags(tag("aws:owner", "")).send().await), "InvalidParameterValue");
    assert_eq!(code(create().tags(tag("k0", &"v".repeat(257))).send().await), "InvalidParameterValue");
    assert_eq!(code(create().resources(NO_VOLUME).tags(tag("k1", "new")).send().await), "InvalidVolume.NotFound");
    let seen = simulator.seen(&volume).await;
    assert!(seen.tags().contains(&tag("k1", "")), "a call tags all of its resources or none");
}

#[tokio::test]
async fn a_dry_run_that_would_succeed_changes_nothing() {
    let simulator = Simulator::start().await;
    assert_eq!(status_and_code(simulator.gp3().dry_run(true).send().await), (412, "DryRunOperation".to_owned()));
    assert_eq!(code(simulator.gp3().size(0).dry_run(true).send().await), "InvalidParameterValue");
    assert_eq!(simulator.ec2.describe_volumes().send().await.unwrap().volumes(), []);
}
