//! The contract of each EC2 verb on volumes, kept by the real adapter on the real wire.

use volume_dispatcher::domain::{AttachmentState, GiB, VolumeId, VolumeState};
use volume_dispatcher::ec2::{Class, CreateVolume, Ec2};

use crate::simulator::{Simulator, ZONE, request, tag};

const DEVICE: &str = "/dev/xvdba";

#[tokio::test]
async fn the_same_token_gives_the_same_volume() {
    let sim = Simulator::start().await;
    let request = request("token-1", &sim.snapshot().await);
    let first = sim.ec2.create_volume(&request).await.unwrap();
    let second = sim.ec2.create_volume(&request).await.unwrap();
    assert_eq!(first.id, second.id);
    let other = CreateVolume { client_token: "token-2".to_owned(), ..request.clone() };
    assert_ne!(sim.ec2.create_volume(&other).await.unwrap().id, first.id);
    assert_eq!(sim.ec2.volumes_by_tag("made-by", "contract").await.unwrap().len(), 2);
    let changed = CreateVolume { size_gib: 2, ..request };
    assert_eq!(sim.ec2.create_volume(&changed).await.unwrap_err().class(), Class::TokenBurnt);
}

#[tokio::test]
async fn a_volume_is_made_as_it_was_asked_for() {
    let sim = Simulator::start().await;
    let snapshot = sim.snapshot().await;
    let request = CreateVolume { size_gib: 10, iops: Some(4000), throughput: Some(250), encrypted: Some(true), ..request("t", &snapshot) };
    let made = sim.ec2.create_volume(&request).await.unwrap();
    let seen = sim.seen(&made.id).await;
    assert_eq!((seen.size, seen.zone.as_str(), seen.snapshot.as_ref()), (GiB(10), ZONE, Some(&snapshot)));
    assert_eq!((seen.tags, made.tags), (request.tags.clone(), request.tags));
    assert_eq!(seen.state, VolumeState::Available);
}

#[tokio::test]
async fn volumes_are_found_by_their_tag_and_by_nothing_else() {
    let sim = Simulator::start().await;
    let snapshot = sim.snapshot().await;
    for (token, value) in [("1", "mine"), ("2", "mine"), ("3", "theirs")] {
        let request = CreateVolume { tags: tag("owner", value), ..request(token, &snapshot) };
        sim.ec2.create_volume(&request).await.unwrap();
    }
    assert_eq!(sim.ec2.volumes_by_tag("owner", "mine").await.unwrap().len(), 2);
    assert_eq!(sim.ec2.volumes_by_tag("owner", "nobody").await.unwrap(), []);
    assert_eq!(sim.ec2.volumes_by_tag("made-by", "mine").await.unwrap(), []);
}

#[tokio::test]
async fn a_volume_is_attached_detached_and_deleted() {
    let sim = Simulator::start().await;
    let (volume, instance) = (sim.volume().await, sim.instance("m7i.large").await);
    assert!(sim.seen(&volume).await.is_free());

    sim.ec2.attach_volume(&volume, &instance, DEVICE).await.unwrap();
    let seen = sim.seen(&volume).await;
    let [attachment] = seen.attachments.as_slice() else { panic!("{seen:?}") };
    assert_eq!((&attachment.instance, attachment.device.as_str(), attachment.state), (&instance, DEVICE, AttachmentState::Attached));
    assert_eq!((seen.state, seen.is_free()), (VolumeState::InUse, false));
    let of_instance = sim.ec2.volumes_of_instance(&instance).await.unwrap();
    assert_eq!(of_instance.iter().map(|volume| &volume.id).collect::<Vec<_>>(), [&volume]);
    assert_eq!(sim.ec2.delete_volume(&volume).await.unwrap_err().class(), Class::Conflict, "it is attached");

    sim.ec2.detach_volume(&volume, &instance).await.unwrap();
    assert!(sim.seen(&volume).await.is_free());
    assert_eq!(sim.ec2.volumes_of_instance(&instance).await.unwrap(), []);

    sim.ec2.delete_volume(&volume).await.unwrap();
    assert_eq!(sim.ec2.volumes_by_id(&[volume]).await.unwrap(), []);
}

#[tokio::test]
async fn states_between_are_seen_as_they_are() {
    let sim = Simulator::start().await;
    let (volume, instance) = (sim.volume().await, sim.instance("m7i.large").await);
    let snapshot = sim.snapshot().await;
    let sim = sim.restart(ec2_sim::world::Profile::Aws).await;
    let made = sim.ec2.create_volume(&request("slow", &snapshot)).await.unwrap();
    assert_eq!(made.state, VolumeState::Creating);
    assert!(!sim.seen(&made.id).await.is_free());
    sim.ec2.attach_volume(&volume, &instance, DEVICE).await.unwrap();
    let seen = sim.seen(&volume).await;
    assert_eq!((seen.state, seen.attachments[0].state), (VolumeState::InUse, AttachmentState::Attaching));
    assert_eq!(sim.ec2.initialized_percent(std::slice::from_ref(&made.id)).await.unwrap().get(&made.id), Some(&0));
}

#[tokio::test]
async fn a_second_attach_is_refused_as_a_conflict() {
    let sim = Simulator::start().await;
    let volume = sim.volume().await;
    let (first, second) = (sim.instance("m7i.large").await, sim.instance("m7i.large").await);
    sim.ec2.attach_volume(&volume, &first, DEVICE).await.unwrap();
    for instance in [&first, &second] {
        let error = sim.ec2.attach_volume(&volume, instance, "/dev/xvdbb").await.unwrap_err();
        assert_eq!(error.class(), Class::Conflict, "{error}");
    }
    assert_eq!(sim.seen(&volume).await.attachments[0].instance, first);
}

#[tokio::test]
async fn a_taken_device_name_is_a_conflict() {
    let sim = Simulator::start().await;
    let instance = sim.instance("m7i.large").await;
    let (first, second) = (sim.volume().await, sim.volume().await);
    sim.ec2.attach_volume(&first, &instance, DEVICE).await.unwrap();
    let error = sim.ec2.attach_volume(&second, &instance, DEVICE).await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict, "{error}");
    sim.ec2.attach_volume(&second, &instance, "/dev/xvdbb").await.unwrap();
}

#[tokio::test]
async fn deleting_a_volume_that_is_gone_is_done() {
    let sim = Simulator::start().await;
    let volume = sim.volume().await;
    for _ in 0..2 {
        sim.ec2.delete_volume(&volume).await.unwrap();
    }
    sim.ec2.delete_volume(&VolumeId::new("vol-0123456789abcdef0")).await.unwrap();
}

#[tokio::test]
async fn detaching_a_volume_that_is_detached_or_gone_is_done() {
    let sim = Simulator::start().await;
    let (volume, instance) = (sim.volume().await, sim.instance("m7i.large").await);
    sim.ec2.detach_volume(&volume, &instance).await.unwrap();
    let other = sim.instance("m7i.large").await;
    sim.ec2.attach_volume(&volume, &other, DEVICE).await.unwrap();
    sim.ec2.detach_volume(&volume, &instance).await.unwrap();
    assert!(!sim.seen(&volume).await.is_free(), "another instance has it, and keeps it");
    sim.ec2.detach_volume(&VolumeId::new("vol-0123456789abcdef0"), &instance).await.unwrap();
}

#[tokio::test]
async fn unknown_volumes_are_left_out() {
    let sim = Simulator::start().await;
    let volume = sim.volume().await;
    let found = sim.ec2.volumes_by_id(&["vol-0123456789abcdef0".into(), volume.clone()]).await.unwrap();
    assert_eq!(found.into_iter().map(|volume| volume.id).collect::<Vec<_>>(), [volume]);
    assert_eq!(sim.ec2.volumes_by_id(&[]).await.unwrap(), []);
}
