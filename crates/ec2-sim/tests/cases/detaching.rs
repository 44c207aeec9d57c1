//! Devices in use, lost instances, force.

use ec2_sim::world::fault::Fault;
use ec2_sim::world::{Action, Describe, Effect, Profile, Reply};

use crate::account::{Account, DEVICE, HOUR_MS, SECOND_MS, attach, detach};

/// Kubernetes #53692, #37854, #32881.
#[test]
fn a_volume_whose_device_is_in_use_is_busy_for_as_long_as_it_is() {
    let mut account = Account::new(Profile::Fast);
    let (instance, other) = (account.machine(), account.machine());
    let volume = account.attached(&instance, DEVICE);
    account.call(detach(&volume, false)).unwrap();
    for _ in 0..5 {
        let owed = account.wait(HOUR_MS);
        let [effect @ Effect::DetachDevice { force: false, .. }] = owed.as_slice() else { panic!("{owed:?}") };
        account.world.busy(effect);
        assert_eq!((account.status(&volume), account.attachment(&volume)), ("in-use", Some("busy")));
        assert_eq!(mapping(&mut account, &instance), ["detaching"], "an instance's view has no busy");
        assert_eq!(account.code(attach(&volume, &other, DEVICE)), "VolumeInUse", "not even a new claim gets it");
        assert_eq!(account.code(Action::DeleteVolume(volume.clone())), "VolumeInUse");
        assert_eq!(account.code(detach(&volume, false)), "ok", "to ask again is no error, and helps nothing");
    }
    account.pass(HOUR_MS);
    assert_eq!(account.status(&volume), "available", "the last user has gone");
}

#[test]
fn once_asked_to_detach_a_volume_never_becomes_attached_again_by_itself() {
    let mut account = Account::new(Profile::Aws);
    let (instance, volume) = (account.machine(), account.volume());
    account.call(attach(&volume, &instance, DEVICE)).unwrap();
    account.call(detach(&volume, false)).unwrap();
    for _ in 0..60 {
        account.pass(SECOND_MS);
        assert_ne!(account.attachment(&volume), Some("attached"));
    }
    assert_eq!(account.status(&volume), "available");
}

/// aws-ebs-csi-driver #542, #1107, #1665: `DeleteOnTermination` is false for what `AttachVolume` attached.
#[test]
fn an_instance_that_dies_gives_its_volumes_back_in_its_own_time() {
    let mut account = Account::new(Profile::Aws);
    let (instance, other) = (account.machine(), account.machine());
    let volume = account.attached(&instance, DEVICE);
    account.inject(Fault::InstanceDies { instance_id: instance.clone() });
    assert_eq!((account.status(&volume), state(&mut account, &instance)), ("in-use", "shutting-down"));
    assert_eq!(account.code(attach(&volume, &other, DEVICE)), "VolumeInUse");
    account.pass(HOUR_MS / 2);
    assert_eq!((account.status(&volume), state(&mut account, &instance)), ("available", "terminated"));
    assert_eq!(account.code(attach(&volume, &instance, DEVICE)), "IncorrectInstanceState");
    assert_eq!(account.code(attach(&volume, &other, DEVICE)), "ok");
    account.pass(HOUR_MS);
    let gone = Action::DescribeInstances(Describe { ids: vec![instance], ..Describe::default() });
    assert_eq!(account.code(gone), "InvalidInstanceID.NotFound", "about an hour later nobody knows it any more");
}

#[test]
fn an_instance_that_stops_keeps_its_volumes_and_has_them_when_it_returns() {
    let mut account = Account::new(Profile::Aws);
    let (instance, other) = (account.machine(), account.machine());
    let volume = account.attached(&instance, DEVICE);
    account.inject(Fault::InstanceStops { instance_id: instance.clone() });
    account.pass(24 * HOUR_MS);
    assert_eq!((account.attachment(&volume), state(&mut account, &instance)), (Some("attached"), "stopped"));
    assert_eq!(account.code(attach(&volume, &other, DEVICE)), "VolumeInUse");
    account.inject(Fault::InstanceReturns { instance_id: instance.clone() });
    account.pass(HOUR_MS);
    assert_eq!((account.attachment(&volume), state(&mut account, &instance)), (Some("attached"), "running"));
}

/// Silence is no proof of death: EC2 does not detach from an instance that runs.
#[test]
fn a_running_instance_keeps_a_volume_that_it_uses_until_force_takes_it() {
    let mut account = Account::new(Profile::Fast);
    let (instance, other) = (account.machine(), account.machine());
    let volume = account.attached(&instance, DEVICE);
    account.call(detach(&volume, false)).unwrap();
    let owed = account.wait(HOUR_MS);
    account.world.busy(&owed[0]);
    account.call(detach(&volume, true)).unwrap();
    let owed = account.wait(SECOND_MS);
    let [effect @ Effect::DetachDevice { force: true, .. }] = owed.as_slice() else { panic!("{owed:?}") };
    assert_eq!(account.code(attach(&volume, &other, DEVICE)), "VolumeInUse", "not before the users are cut off");
    account.world.confirm(effect);
    account.wait(SECOND_MS);
    assert_eq!(account.code(attach(&volume, &other, DEVICE)), "ok");
    account.assert_in_order();
}

/// A volume errors out in the EBS CSI driver when it has more than one attachment; here it never has.
#[test]
fn whoever_asks_a_volume_has_one_attachment_at_most() {
    let mut account = Account::new(Profile::Aws);
    let machines: Vec<String> = (0..3).map(|_| account.machine()).collect();
    let volume = account.volume();
    let mut holder = None;
    for round in 0..30 {
        let asking = &machines[round % 3];
        let answer = account.code(attach(&volume, asking, DEVICE));
        assert_eq!(answer == "ok", holder.is_none(), "{asking} was answered {answer} while {holder:?} had it");
        holder = holder.or_else(|| Some(asking.clone()));
        account.assert_in_order();
        if round % 7 == 6 {
            account.call(detach(&volume, false)).unwrap();
            account.pass(10 * 60 * SECOND_MS);
            holder = None;
        }
    }
}

fn state(account: &mut Account, instance: &str) -> &'static str {
    let request = Describe { ids: vec![instance.to_owned()], ..Describe::default() };
    let Reply::Instances(page) = account.call(Action::DescribeInstances(request)).unwrap() else { panic!("no instances") };
    page.items[0].instance.phase.state().1
}

fn mapping(account: &mut Account, instance: &str) -> Vec<&'static str> {
    let request = Describe { ids: vec![instance.to_owned()], ..Describe::default() };
    let Reply::Instances(page) = account.call(Action::DescribeInstances(request)).unwrap() else { panic!("no instances") };
    page.items[0].volumes.iter().filter_map(|volume| Some(volume.attachment.as_ref()?.mapping_status())).collect()
}
