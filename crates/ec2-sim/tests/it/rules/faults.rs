//! Faults in the world: what each does, to which calls, and how often.

use ec2_sim::world::fault::{Calls, Delivery, Failure, Fault, Retag};
use ec2_sim::world::{Action, Attachment, Bucket, Call, CreateVolume, Describe, Profile, Reply};
use jiff::SignedDuration;

use super::{by_id, grow};
use crate::account::{Account, attach, detach, gp3};

fn of(action: &str) -> Calls {
    Calls { action: Some(action.to_owned()), resource: None }
}

fn inject(account: &mut Account, fault: Fault) -> u64 {
    account.world.inject(account.now, fault).unwrap()
}

#[test]
fn an_error_is_given_as_often_as_it_says_and_to_the_calls_it_names() {
    let mut account = Account::new(Profile::Instant);
    let (one, other) = (account.volume(), account.volume());
    let calls = Calls { action: Some("Delete*".to_owned()), resource: Some(one.clone()) };
    inject(&mut account, Fault::Error { calls, times: Some(2), code: "InternalError".to_owned(), message: None });
    assert_eq!(account.code(Action::DeleteVolume(other)), "ok");
    assert_eq!(account.code(Action::DescribeVolumes(by_id(&one))), "ok");
    for expected in ["InternalError", "InternalError", "ok"] {
        assert_eq!(account.code(Action::DeleteVolume(one.clone())), expected);
    }
    assert_eq!(account.world.faults(), []);
}

#[test]
fn a_fault_can_be_taken_back() {
    let mut account = Account::new(Profile::Instant);
    let id = inject(&mut account, Fault::Error { calls: Calls::default(), times: None, code: "Unavailable".to_owned(), message: None });
    assert_eq!(account.code(Action::CreateVolume(gp3(1))), "Unavailable");
    assert!(account.world.withdraw(id));
    assert!(!account.world.withdraw(id));
    assert_eq!(account.code(Action::CreateVolume(gp3(1))), "ok");
}

#[test]
fn a_fault_that_can_never_happen_is_refused_and_says_why() {
    let mut account = Account::new(Profile::Instant);
    let table = [
        (Fault::ReplyLost { calls: of("CreateVolumes"), times: None }, "calls.action"),
        (Fault::ReplyLost { calls: Calls::default(), times: Some(0) }, "times"),
        (Fault::Error { calls: Calls::default(), times: None, code: "<b>".to_owned(), message: None }, "code"),
        (Fault::Throttle { action: "Create*".to_owned(), bucket: Bucket::new(1, 1) }, "action"),
        (Fault::ForeignDelete { resource_id: "i-0123456789abcdef0".to_owned() }, "resource_id"),
        (Fault::InstanceDies { instance_id: "i-0123456789abcdef0".to_owned() }, "i-0123456789abcdef0"),
        (Fault::VolumeLost { volume_id: "disk".to_owned() }, "disk"),
    ];
    for (fault, named) in table {
        let error = account.world.inject(account.now, fault).unwrap_err();
        assert!(error.message.contains(named), "{error}");
    }
    assert_eq!(account.world.faults(), []);
}

#[test]
fn what_happens_on_the_way_is_told_once_for_each_request() {
    let mut account = Account::new(Profile::Instant);
    inject(&mut account, Fault::ReplyLost { calls: of("CreateVolume"), times: Some(1) });
    inject(&mut account, Fault::RequestDuplicated { calls: of("CreateVolume"), times: Some(1) });
    inject(&mut account, Fault::RequestDelayed { calls: of("CreateVolume"), times: Some(1), millis: 70 });
    inject(&mut account, Fault::ReplyDelayed { calls: of("*"), times: Some(2), millis: 30 });
    let create = Call::from(Action::CreateVolume(gp3(1)));
    let describe = Call::from(Action::DescribeVolumes(Describe::default()));
    let all = Delivery { request_delay_ms: 70, copies: 2, reply_delay_ms: 30, reply_lost: true };
    assert_eq!(account.world.deliver(&create), all);
    assert_eq!(account.world.deliver(&describe), Delivery { reply_delay_ms: 30, ..Delivery::default() });
    assert_eq!(account.world.deliver(&create), Delivery::default());
}

#[test]
fn a_lost_reply_after_success_is_found_again_by_the_token() {
    let mut account = Account::new(Profile::Instant);
    inject(&mut account, Fault::ReplyLost { calls: of("CreateVolume"), times: Some(1) });
    let call = Call::from(Action::CreateVolume(CreateVolume { client_token: Some("t".to_owned()), ..gp3(1) }));
    let mut send = || {
        let delivery = account.world.deliver(&call);
        let reply = account.world.apply(account.now, &call).unwrap();
        (!delivery.reply_lost).then_some(reply)
    };
    assert_eq!(send(), None);
    let Some(Reply::Volume(volume)) = send() else { panic!("the second reply comes") };
    assert_eq!(account.world.volumes().keys().collect::<Vec<_>>(), [&volume.id]);
}

#[test]
fn a_stuck_attachment_stays_until_it_is_detached() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    inject(&mut account, Fault::AttachmentSticks { calls: Calls::default(), times: Some(1) });
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(3_600_000);
    assert_eq!(account.world.volumes()[&volume].attachment.as_ref().map(Attachment::status), Some("attaching"));
    account.call(detach(&volume, None)).unwrap();
    account.pass(1_000);
    assert_eq!(account.status(&volume), "available");
    account.call(attach(&volume, &instance, "/dev/sdg")).unwrap();
    account.pass(1_000);
    assert_eq!(account.world.volumes()[&volume].attachment.as_ref().map(Attachment::status), Some("attached"));
}

#[test]
fn snapshots_and_modifications_fail_later_too() {
    let mut account = Account::new(Profile::Fast);
    let volume = account.volume();
    inject(&mut account, Fault::SnapshotFails { calls: Calls::default(), times: Some(1) });
    inject(&mut account, Fault::ModificationFails { calls: Calls::default(), times: Some(1) });
    let snapshot = account.snapshot(&volume);
    account.call(Action::ModifyVolume(grow(&volume, 9))).unwrap();
    account.pass(1_000);
    assert_eq!(account.world.snapshots()[&snapshot].status(), "error");
    let volume = &account.world.volumes()[&volume];
    assert_eq!((volume.modification.as_ref().unwrap().state(), volume.size_gib), ("failed", 1));
}

#[test]
fn a_zone_without_room_refuses_volumes_of_a_type() {
    let mut account = Account::new(Profile::Instant);
    let (zone, volume_type) = (Some("us-east-1a".to_owned()), Some("gp3".to_owned()));
    inject(&mut account, Fault::NoCapacity { zone, volume_type, times: Some(1) });
    let elsewhere = CreateVolume { zone: None, zone_id: Some("use1-az2".to_owned()), ..gp3(1) };
    assert_eq!(account.code(Action::CreateVolume(elsewhere)), "ok");
    assert_eq!(account.code(Action::CreateVolume(CreateVolume { volume_type: None, ..gp3(1) })), "ok");
    let error = account.call(Action::CreateVolume(gp3(1))).unwrap_err();
    assert_eq!((error.code, error.http_status()), ("InsufficientVolumeCapacity", 500));
    assert_eq!(account.code(Action::CreateVolume(gp3(1))), "ok");
}

#[test]
fn an_instance_dies_stops_and_comes_back_at_the_time_it_was_told() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    let at = |millis| account.now + SignedDuration::from_millis(millis);
    let times = [at(10_000), at(20_000), at(30_000)];
    let name = instance.clone();
    let faults = [
        Fault::InstanceStops { instance_id: name.clone() },
        Fault::InstanceReturns { instance_id: name.clone() },
        Fault::InstanceDies { instance_id: name },
    ];
    for (at, fault) in times.into_iter().zip(faults) {
        account.world.schedule(at, fault).unwrap();
    }
    let mut states = Vec::new();
    for _ in 0..40 {
        account.pass(1_000);
        states.push(account.world.instances()[&instance].phase.state().1);
    }
    states.dedup();
    assert_eq!(states, ["running", "stopping", "stopped", "pending", "running", "shutting-down", "terminated"]);
    assert_eq!(account.status(&volume), "available");
    assert_eq!(account.world.missed_faults(), Vec::<String>::new());
}

#[test]
fn a_scheduled_fault_that_cannot_happen_is_told() {
    let mut account = Account::new(Profile::Instant);
    let fault = Fault::ForeignDelete { resource_id: "vol-0123456789abcdef0".to_owned() };
    account.world.schedule(account.now + SignedDuration::from_secs(1), fault).unwrap();
    account.pass(2_000);
    let missed = account.world.missed_faults();
    assert!(missed.len() == 1 && missed[0].contains("InvalidVolume.NotFound"), "{missed:?}");
}

#[test]
fn a_foreign_actor_deletes_detaches_and_changes_tags() {
    let mut account = Account::new(Profile::Fast);
    let instance = account.instance("us-east-1a", "m7i.large");
    let volumes: Vec<String> = (0..2).map(|_| account.volume()).collect();
    for (volume, device) in volumes.iter().zip(["/dev/sdf", "/dev/sdg"]) {
        account.call(attach(volume, &instance, device)).unwrap();
    }
    account.pass(1_000);
    inject(&mut account, Fault::ForeignDetach { volume_id: volumes[0].clone(), force: false });
    inject(&mut account, Fault::ForeignDelete { resource_id: volumes[1].clone() });
    let tags = vec![Retag { key: "owner".to_owned(), value: Some("they".to_owned()) }];
    inject(&mut account, Fault::ForeignRetag { resource_id: volumes[0].clone(), tags });
    account.pass(1_000);
    assert_eq!((account.status(&volumes[0]), account.status(&volumes[1])), ("available", "gone"));
    assert_eq!(account.world.volumes()[&volumes[0]].tags["owner"], "they");
    let tags = vec![Retag { key: "owner".to_owned(), value: None }];
    inject(&mut account, Fault::ForeignRetag { resource_id: volumes[0].clone(), tags });
    assert!(account.world.volumes()[&volumes[0]].tags.is_empty());
}

#[test]
fn a_lost_volume_shows_error_and_can_only_be_let_go() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(1_000);
    inject(&mut account, Fault::VolumeLost { volume_id: volume.clone() });
    assert_eq!(account.status(&volume), "error");
    assert_eq!(account.code(Action::DeleteVolume(volume.clone())), "VolumeInUse");
    account.call(detach(&volume, None)).unwrap();
    account.pass(1_000);
    assert_eq!(account.code(attach(&volume, &instance, "/dev/sdf")), "IncorrectState");
    assert_eq!(account.code(Action::DeleteVolume(volume)), "ok");
}

#[test]
fn a_dry_run_uses_up_no_fault_that_fails_later() {
    let mut account = Account::new(Profile::Instant);
    inject(&mut account, Fault::VolumeFails { calls: Calls::default(), times: Some(1), failure: Failure::Error });
    let call = Call { action: Action::CreateVolume(gp3(1)), dry_run: true };
    assert_eq!(account.world.apply(account.now, &call).unwrap_err().code, "DryRunOperation");
    let volume = account.volume();
    assert_eq!(account.status(&volume), "error");
}
