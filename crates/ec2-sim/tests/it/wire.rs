//! The wire as EC2 clients see it: raw requests to a server in this process, without a data plane.

use crate::http::{Answer, call, request};
use ec2_sim::{Options, Server};

/// A simulator, and the folder it works on.
struct Simulator {
    server: Server,
    folder: tempfile::TempDir,
}

impl Simulator {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(Options::for_tests(folder.path())).await.unwrap();
        Self { server, folder }
    }

    async fn call(&self, action: &'static str, rest: impl Into<String>) -> Answer {
        let (address, rest) = (self.server.addr(), rest.into());
        tokio::task::spawn_blocking(move || call(address, action, &rest)).await.unwrap()
    }

    /// The error code of a call; `ok` for one that succeeds.
    async fn code(&self, action: &'static str, rest: impl Into<String>) -> (u16, String) {
        let answer = self.call(action, rest).await;
        let code = answer.texts("Code").into_iter().next();
        (answer.status, code.unwrap_or_else(|| "ok".to_owned()))
    }

    async fn instance(&self) -> String {
        let answer = self.call("RunInstances", "MinCount=1&MaxCount=1&InstanceType=m7i.large").await;
        assert_eq!(answer.text("name"), "pending");
        answer.text("instanceId")
    }

    async fn volume(&self) -> String {
        let answer = self.call("CreateVolume", "Size=1&AvailabilityZone=us-east-1a&VolumeType=gp3").await;
        assert_eq!(answer.text("status"), "creating");
        answer.text("volumeId")
    }
}

#[tokio::test]
async fn an_answer_has_the_namespace_and_a_request_id() {
    let simulator = Simulator::start().await;
    let answer = simulator.call("DescribeVolumes", "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("<DescribeVolumesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"), "{}", answer.body);
    assert!(answer.head.contains(&answer.text("requestId")), "{}", answer.head);
    assert!(answer.head.contains("text/xml"), "{}", answer.head);
}

#[tokio::test]
async fn an_error_has_the_shape_and_the_status_of_ec2() {
    let simulator = Simulator::start().await;
    let answer = simulator.call("DescribeVolumes", "VolumeId.1=vol-0123456789abcdef0").await;
    assert_eq!(answer.status, 400);
    let start = "<Response><Errors><Error><Code>InvalidVolume.NotFound</Code><Message>The volume 'vol-0123456789abcdef0' does not exist.";
    let plain = answer.body.replace("&apos;", "'");
    assert!(plain.contains(start), "{plain}");
    assert!(plain.ends_with("</RequestID></Response>"), "{plain}");
}

#[tokio::test]
async fn requests_that_ec2_would_not_read_are_refused() {
    let simulator = Simulator::start().await;
    let table = [
        ("DescribeVpcs", "", (400, "InvalidAction")),
        ("CreateVolume", "Size=big&AvailabilityZone=us-east-1a", (400, "InvalidParameterValue")),
        ("CreateVolume", "Size=1&AvailabilityZone=us-east-1a&DryRun=true", (412, "DryRunOperation")),
        ("CreateVolume", "Size=1&AvailabilityZone=us-east-1a&Sise=2", (400, "UnknownParameter")),
        ("CreateVolume", "Size=1&AvailabilityZone=us-east-1a&MultiAttachEnabled=true", (400, "UnsupportedOperation")),
        ("AttachVolume", "InstanceId=i-0123456789abcdef0&Device=/dev/sdf", (400, "MissingParameter")),
        ("DescribeVolumes", "Filter.1.Name=colour&Filter.1.Value.1=red", (400, "InvalidParameterValue")),
        ("DescribeVolumes", "NextToken=nonsense", (400, "InvalidPaginationToken")),
        ("RunInstances", "MaxCount=1", (400, "MissingParameter")),
    ];
    for (action, rest, (status, code)) in table {
        assert_eq!(simulator.code(action, rest).await, (status, code.to_owned()), "{action} {rest}");
    }
}

#[tokio::test]
async fn every_call_honours_dry_run() {
    let simulator = Simulator::start().await;
    let (instance, volume) = (simulator.instance().await, simulator.volume().await);
    let other = simulator.volume().await;
    simulator.call("AttachVolume", format!("VolumeId={other}&InstanceId={instance}&Device=/dev/sdg")).await;
    let snapshot = simulator.call("CreateSnapshot", format!("VolumeId={other}")).await.text("snapshotId");
    let table = [
        ("RunInstances", "MinCount=1&MaxCount=1".to_owned()),
        ("DescribeInstances", String::new()),
        ("TerminateInstances", format!("InstanceId.1={instance}")),
        ("StopInstances", format!("InstanceId.1={instance}")),
        ("StartInstances", format!("InstanceId.1={instance}")),
        ("DescribeInstanceTypes", String::new()),
        ("CreateVolume", "Size=1&AvailabilityZone=us-east-1a".to_owned()),
        ("DescribeVolumes", String::new()),
        ("DescribeVolumeStatus", String::new()),
        ("AttachVolume", format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/sdf")),
        ("DetachVolume", format!("VolumeId={other}")),
        ("DeleteVolume", format!("VolumeId={volume}")),
        ("CreateSnapshot", format!("VolumeId={volume}")),
        ("DescribeSnapshots", String::new()),
        ("DeleteSnapshot", format!("SnapshotId={snapshot}")),
        ("CreateTags", format!("ResourceId.1={volume}&Tag.1.Key=a&Tag.1.Value=b")),
        ("DeleteTags", format!("ResourceId.1={volume}")),
        ("DescribeTags", String::new()),
        ("DescribeAvailabilityZones", String::new()),
        ("DescribeRegions", String::new()),
    ];
    for (action, rest) in table {
        let found = simulator.code(action, format!("{rest}&DryRun=true")).await;
        assert_eq!(found, (412, "DryRunOperation".to_owned()), "{action}");
    }
    assert_eq!(simulator.call("DescribeInstances", "").await.text("blockDeviceMapping").matches("<volumeId>").count(), 1);
}

#[tokio::test]
async fn a_volume_lives_from_creation_to_deletion() {
    let simulator = Simulator::start().await;
    let (instance, volume) = (simulator.instance().await, simulator.volume().await);
    let attached = simulator.call("AttachVolume", format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/xvdba")).await;
    assert_eq!(attached.text("status"), "attaching");
    let described = simulator.call("DescribeVolumes", format!("VolumeId.1={volume}")).await;
    assert_eq!(described.texts("status"), ["in-use", "attached"]);
    assert_eq!(described.text("device"), "/dev/xvdba");
    let (_, code) = simulator.code("AttachVolume", format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/xvdbb")).await;
    assert_eq!(code, "VolumeInUse");
    let mapping = simulator.call("DescribeInstances", format!("InstanceId.1={instance}")).await.text("blockDeviceMapping");
    assert!(mapping.contains(&volume) && mapping.contains("<deviceName>/dev/xvdba</deviceName>"), "{mapping}");
    let detached = simulator.call("DetachVolume", format!("VolumeId={volume}&InstanceId={instance}")).await;
    assert_eq!(detached.text("status"), "detaching");
    assert_eq!(simulator.call("DeleteVolume", format!("VolumeId={volume}")).await.text("return"), "true");
    assert_eq!(simulator.code("DescribeVolumes", format!("VolumeId.1={volume}")).await.1, "InvalidVolume.NotFound");
}

#[tokio::test]
async fn a_snapshot_is_taken_and_restored() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    let tags = "TagSpecification.1.ResourceType=snapshot&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=x%26y";
    let taken = simulator.call("CreateSnapshot", format!("VolumeId={volume}&Description=first&{tags}")).await;
    assert_eq!((taken.text("status"), taken.text("value")), ("pending".to_owned(), "x&amp;y".to_owned()));
    assert_eq!(simulator.code("CreateSnapshot", format!("VolumeId={volume}")).await.1, "SnapshotCreationPerVolumeRateExceeded");
    let found = simulator.call("DescribeSnapshots", "Owner.1=self&Filter.1.Name=tag:a&Filter.1.Value.1=x*").await;
    assert_eq!((found.text("status"), found.text("progress")), ("completed".to_owned(), "100%".to_owned()));
    let id = found.text("snapshotId");
    let restored = simulator.call("CreateVolume", format!("SnapshotId={id}&AvailabilityZone=us-east-1b")).await;
    assert_eq!((restored.text("size"), restored.text("snapshotId")), ("1".to_owned(), id));
    let status = simulator.call("DescribeVolumeStatus", format!("VolumeId.1={}", restored.text("volumeId"))).await;
    assert_eq!((status.text("progress"), status.text("initializationType")), ("100".to_owned(), "default".to_owned()));
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let simulator = Simulator::start().await;
    for _ in 0..12 {
        simulator.volume().await;
    }
    let mut ids = Vec::new();
    let mut token = String::new();
    loop {
        let answer = simulator.call("DescribeVolumes", format!("MaxResults=5&NextToken={token}")).await;
        ids.extend(answer.texts("volumeId"));
        match answer.texts("nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    let mut distinct = ids.clone();
    distinct.dedup();
    assert_eq!((ids.len(), distinct.len()), (12, 12));
    let (status, code) = simulator.code("DescribeVolumes", format!("MaxResults=5&VolumeId.1={}", ids[0])).await;
    assert_eq!((status, code.as_str()), (400, "InvalidParameterCombination"));
}

#[tokio::test]
async fn instance_types_say_how_many_volumes_they_hold() {
    let simulator = Simulator::start().await;
    for (name, slots, limit) in [("m7i.large", "32", "dedicated"), ("m5.large", "28", "shared")] {
        let answer = simulator.call("DescribeInstanceTypes", format!("InstanceType.1={name}")).await;
        assert_eq!(answer.texts("maximumEbsAttachments"), [slots]);
        assert_eq!(answer.text("attachmentLimitType"), limit);
    }
    assert_eq!(simulator.code("DescribeInstanceTypes", "InstanceType.1=z9.huge").await.1, "InvalidInstanceType");
}

#[tokio::test]
async fn the_region_has_three_zones() {
    let simulator = Simulator::start().await;
    let answer = simulator.call("DescribeAvailabilityZones", "").await;
    assert_eq!(answer.texts("zoneName"), ["us-east-1a", "us-east-1b", "us-east-1c"]);
    let answer = simulator.call("DescribeRegions", "RegionName.1=us-east-1").await;
    assert_eq!(answer.texts("regionName"), ["us-east-1"]);
}

#[tokio::test]
async fn the_admin_path_shows_state_and_calls() {
    let simulator = Simulator::start().await;
    let volume = simulator.volume().await;
    simulator.code("DescribeVpcs", "").await;
    let address = simulator.server.addr();
    let get = |path: &'static str| tokio::task::spawn_blocking(move || request(address, "GET", path, ""));
    assert_eq!(get("/_sim/health").await.unwrap().body, "{\"status\":\"ok\"}");
    let state: serde_json::Value = serde_json::from_str(&get("/_sim/state").await.unwrap().body).unwrap();
    assert_eq!(state["volumes"][0]["id"], volume.as_str());
    assert_eq!(state["volumes"][0]["status"], "available");
    assert_eq!(state["calls"]["CreateVolume"]["ok"], 1);
    assert_eq!(state["calls"]["DescribeVpcs"]["refused"], 1);
}

#[tokio::test]
async fn the_account_survives_a_restart() {
    let simulator = Simulator::start().await;
    let instance = simulator.instance().await;
    let create = "Size=1&AvailabilityZone=us-east-1a&ClientToken=once";
    let volume = simulator.call("CreateVolume", create).await.text("volumeId");
    simulator.call("AttachVolume", format!("VolumeId={volume}&InstanceId={instance}&Device=/dev/sdf")).await;
    let Simulator { server, folder } = simulator;
    server.shutdown().await.unwrap();
    let server = Server::start(Options::for_tests(folder.path())).await.unwrap();
    let simulator = Simulator { server, folder };
    let described = simulator.call("DescribeVolumes", format!("VolumeId.1={volume}")).await;
    assert_eq!(described.texts("status"), ["in-use", "attached"]);
    assert_eq!(simulator.call("CreateVolume", create).await.text("volumeId"), volume);
    let audit = ec2_sim::audit_folder(simulator.folder.path()).unwrap().unwrap();
    assert!(audit.is_clean(), "{audit}");
}

#[tokio::test]
async fn a_folder_serves_one_simulator_at_a_time() {
    let simulator = Simulator::start().await;
    let second = Server::start(Options::for_tests(simulator.folder.path())).await;
    assert!(matches!(second, Err(ec2_sim::Error::InUse(_))));
}

#[tokio::test]
async fn every_action_of_the_table_is_understood_on_the_wire() {
    let simulator = Simulator::start().await;
    for spec in ec2_sim::world::ACTIONS {
        let (_, code) = simulator.code(spec.name, "DryRun=true").await;
        assert_ne!(code, "InvalidAction", "{}", spec.name);
        assert_ne!(code, "InternalError", "{}", spec.name);
        assert_ne!(code, "ok", "{} did something in a dry run", spec.name);
    }
}
