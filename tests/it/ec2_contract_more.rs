//! The contract of the EC2 verbs on snapshots, limits, pages and errors.

use std::collections::BTreeSet;

use ec2_sim::world::Profile;
use volume_dispatcher::domain::tags::TAG_GENERATION;
use volume_dispatcher::domain::{CloudVolume, InstanceId, ModificationState, SnapshotId, SnapshotState, VolumeId};
use volume_dispatcher::ec2::pacing::{Gate, Limits};
use volume_dispatcher::ec2::{Class, Ec2, ModifyVolume};
use volume_dispatcher::plan::generation_of;

use crate::simulator::{Simulator, request, tag};

#[tokio::test]
async fn a_snapshot_carries_its_tags_and_generation_until_it_is_deleted() {
    let sim = Simulator::start().await;
    let volume = sim.empty_volume().await;
    let made = sim.ec2.create_snapshot(&volume, &tag(TAG_GENERATION, "7")).await.unwrap();
    assert_eq!((generation_of(&made), &made.volume), (7, &volume));
    let found = sim.ec2.snapshots_by_tag(TAG_GENERATION, "7").await.unwrap();
    let [seen] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&seen.id, seen.state, seen.progress_percent), (&made.id, SnapshotState::Completed, 100));
    assert_eq!((generation_of(seen), seen.started.is_some(), seen.size.0), (7, true, 1));
    assert_eq!(sim.ec2.snapshots_by_tag(TAG_GENERATION, "8").await.unwrap(), []);

    sim.ec2.delete_snapshot(&made.id).await.unwrap();
    sim.ec2.delete_snapshot(&made.id).await.unwrap();
    assert_eq!(sim.ec2.snapshots_by_id(&[made.id]).await.unwrap(), []);
}

#[tokio::test]
async fn a_pending_snapshot_is_seen_as_pending_and_cannot_be_used() {
    let sim = Simulator::start().await;
    let volume = sim.empty_volume().await;
    let sim = sim.restart(Profile::Aws).await;
    let made = sim.ec2.create_snapshot(&volume, &tag("owner", "mine")).await.unwrap();
    let seen = sim.snapshot_seen(&made.id).await;
    assert_eq!((seen.state, seen.progress_percent < 100), (SnapshotState::Pending, true));
    let error = sim.ec2.create_volume(&request("early", &made.id)).await.unwrap_err();
    assert_eq!(error.class(), Class::WrongState, "{error}");
}

#[tokio::test]
async fn unknown_snapshots_are_left_out() {
    let sim = Simulator::start().await;
    let snapshot = sim.snapshot().await;
    let found = sim.ec2.snapshots_by_id(&["snap-0123456789abcdef0".into(), snapshot.clone()]).await.unwrap();
    assert_eq!(found.into_iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [snapshot]);
}

#[tokio::test]
async fn the_attach_limit_leaves_room_for_the_network_interface() {
    let sim = Simulator::start().await;
    for (instance_type, limit) in [("m7i.large", 32), ("m7i.48xlarge", 128), ("m5.large", 27)] {
        let instance = sim.instance(instance_type).await;
        assert_eq!(sim.ec2.attach_limit(&instance).await.unwrap(), limit, "{instance_type}");
    }
    sim.ec2.attach_limit(&InstanceId::new("i-0123456789abcdef0")).await.unwrap_err();
}

#[tokio::test]
async fn a_volume_beyond_the_attach_limit_is_refused_for_capacity() {
    let sim = Simulator::start().await;
    let instance = sim.instance("m5.large").await;
    let limit = sim.ec2.attach_limit(&instance).await.unwrap();
    for number in 0..limit {
        let device = format!("/dev/xvdb{}", char::from(b'a' + u8::try_from(number % 26).unwrap()));
        let device = if number < 26 { device } else { "/dev/xvdca".to_owned() };
        sim.ec2.attach_volume(&sim.empty_volume().await, &instance, &device).await.unwrap();
    }
    let error = sim.ec2.attach_volume(&sim.empty_volume().await, &instance, "/dev/xvdcz").await.unwrap_err();
    assert_eq!(error.class(), Class::Capacity, "{error}");
}

#[tokio::test]
async fn a_filled_volume_is_a_hundred_percent_initialized_and_an_empty_one_has_no_figure() {
    let sim = Simulator::start().await;
    let volumes = [sim.volume().await, sim.empty_volume().await];
    let percents = sim.ec2.initialized_percent(&volumes).await.unwrap();
    assert_eq!(percents.into_iter().collect::<Vec<_>>(), [(volumes[0].clone(), 100)]);
}

#[tokio::test]
async fn an_error_names_the_action_the_object_and_the_request() {
    let sim = Simulator::start().await;
    let instance = sim.instance("m7i.large").await;
    let error = sim.ec2.attach_volume(&"vol-0123456789abcdef0".into(), &instance, "/dev/xvdba").await.unwrap_err();
    assert_eq!((error.action, error.object.as_str(), error.class()), ("AttachVolume", "vol-0123456789abcdef0", Class::NotFound));
    assert_eq!(error.code, "InvalidVolume.NotFound");
    let request_id = error.request_id.clone().unwrap();
    let text = error.to_string();
    assert!(text.starts_with("AttachVolume vol-0123456789abcdef0: InvalidVolume.NotFound: "), "{text}");
    assert!(text.ends_with(&format!(" (request {request_id})")), "{text}");

    let missing = SnapshotId::new("snap-0123456789abcdef0");
    let error = sim.ec2.create_volume(&request("unused", &missing)).await.unwrap_err();
    assert_eq!((error.action, error.object.as_str(), error.class()), ("CreateVolume", missing.as_str(), Class::NotFound));
}

#[tokio::test]
async fn a_region_that_does_not_answer_is_transient() {
    let ec2 = volume_dispatcher::ec2::aws::Aws::for_simulator("us-east-1", "http://127.0.0.1:9", Gate::new(Limits::default()));
    let error = ec2.volumes_by_tag("owner", "mine").await.unwrap_err();
    assert_eq!((error.class(), error.code.as_str(), error.request_id), (Class::Transient, "Unreachable", None));
}

#[tokio::test]
async fn volumes_come_over_as_many_pages_as_there_are() {
    let sim = Simulator::with_volumes(501, "owner", "mine").await;
    let ids = |volumes: Vec<CloudVolume>| volumes.into_iter().map(|volume| volume.id).collect::<BTreeSet<_>>();
    let found = sim.ec2.volumes_by_tag("owner", "mine").await.unwrap();
    assert_eq!(found.len(), 501, "a page has 500");
    let found = ids(found);
    assert_eq!(found.len(), 501, "none is listed twice");
    let asked: Vec<VolumeId> = found.iter().cloned().collect();
    assert_eq!(ids(sim.ec2.volumes_by_id(&asked).await.unwrap()), found, "a filter takes 200 ids");
    assert!(sim.ec2.initialized_percent(&asked).await.unwrap().is_empty(), "volumes that were not filled have no figure");
}

#[tokio::test]
async fn a_volume_is_changed_in_place_once_at_a_time() {
    let sim = Simulator::start().await;
    let volume = sim.volume().await;
    let faster = ModifyVolume { size_gib: 20, volume_type: "gp3".to_owned(), iops: Some(4000), throughput: Some(250) };
    assert_eq!(sim.ec2.modifications(std::slice::from_ref(&volume)).await.unwrap(), [].into(), "it was never changed");
    sim.ec2.modify_volume(&volume, &faster).await.unwrap();
    let seen = sim.seen(&volume).await;
    assert_eq!((seen.size.0, seen.settings.iops, seen.settings.throughput), (20, Some(4000), Some(250)));
    let shown = sim.ec2.modifications(&[volume.clone(), "vol-0123456789abcdef0".into()]).await.unwrap();
    assert!(shown.len() == 1 && shown[&volume].started.is_some(), "{shown:?}");

    let sim = sim.restart(Profile::Aws).await;
    let again = ModifyVolume { iops: Some(5000), ..faster };
    sim.ec2.modify_volume(&volume, &again).await.unwrap();
    let shown = sim.ec2.modifications(std::slice::from_ref(&volume)).await.unwrap();
    assert_eq!(shown[&volume].state, ModificationState::Modifying);
    assert_eq!(sim.ec2.modify_volume(&volume, &again).await.unwrap_err().class(), Class::WrongState);
}

#[tokio::test]
async fn tags_are_added_to_a_volume_and_others_stay() {
    let sim = Simulator::start().await;
    let volume = sim.volume().await;
    for _ in 0..2 {
        sim.ec2.tag(volume.as_str(), &tag("team", "web")).await.unwrap();
    }
    let tags = sim.seen(&volume).await.tags;
    assert_eq!((tags["team"].as_str(), tags["made-by"].as_str()), ("web", "contract"));
}
