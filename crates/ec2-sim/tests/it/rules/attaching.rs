//! Attachment limits with network interfaces, waiting for a slot, names that the guest still holds.

use ec2_sim::world::{Action, Attachment, Effect, OverLimit, Profile, Reply, Rules, RunInstances};

use crate::account::{Account, attach, detach};

fn instance_with(account: &mut Account, instance_type: &str, interfaces: u32) -> String {
    let request = RunInstances {
        min_count: 1,
        max_count: 1,
        zone: Some("us-east-1a".to_owned()),
        instance_type: Some(instance_type.to_owned()),
        interfaces,
        ..RunInstances::default()
    };
    let Reply::Reservation(placed) = account.call(Action::RunInstances(request)).unwrap() else { panic!() };
    account.pass(1);
    placed[0].instance.id.clone()
}

fn device(number: usize) -> String {
    let letter = |n: usize| char::from(b'a' + u8::try_from(n % 26).unwrap());
    format!("/dev/xvd{}{}", letter(1 + number / 26), letter(number))
}

fn status(account: &Account, volume: &str) -> &'static str {
    account.world.volumes()[volume].attachment.as_ref().map_or("none", Attachment::status)
}

/// Attaches new volumes until one is refused, and returns how many there are.
fn fill(account: &mut Account, instance: &str) -> (usize, &'static str) {
    for number in 0.. {
        let volume = account.volume();
        let code = account.code(attach(&volume, instance, &device(number)));
        if code != "ok" {
            return (number, code);
        }
    }
    unreachable!()
}

#[test]
fn network_interfaces_take_slots_of_the_types_that_share_them() {
    let table = [("m5.xlarge", 1, 27), ("m5.xlarge", 3, 25), ("m7i.xlarge", 3, 32)];
    for (instance_type, interfaces, most) in table {
        let mut account = Account::new(Profile::Instant);
        let instance = instance_with(&mut account, instance_type, interfaces);
        assert_eq!(fill(&mut account, &instance), (most, "AttachmentLimitExceeded"), "{instance_type} with {interfaces}");
    }
}

#[test]
fn an_attachment_over_the_limit_can_wait_for_a_slot_instead() {
    let mut account = Account::new(Profile::Fast);
    account.world.set_rules(Rules { over_limit: OverLimit::Wait, ..Rules::of(Profile::Fast) });
    let instance = account.instance("us-east-1a", "m5.large");
    let volumes: Vec<String> = (0..29).map(|_| account.volume()).collect();
    for (number, volume) in volumes.iter().enumerate() {
        account.call(attach(volume, &instance, &device(number))).unwrap();
        account.pass(1);
    }
    account.pass(3_600_000);
    let waiting = [&volumes[27], &volumes[28]];
    assert_eq!(status(&account, &volumes[26]), "attached");
    assert_eq!(waiting.map(|id| status(&account, id)), ["attaching"; 2], "silently, for as long as it takes");
    account.call(detach(&volumes[3], None)).unwrap();
    account.pass(1_000);
    account.pass(1_000);
    assert_eq!(waiting.map(|id| status(&account, id)), ["attached", "attaching"], "the oldest goes first");
    account.call(detach(&volumes[28], None)).unwrap();
    account.pass(1_000);
    assert_eq!(account.status(&volumes[28]), "available", "who waits can give up");
}

#[test]
fn a_name_that_the_guest_still_holds_hangs_the_next_attachment() {
    let mut account = Account::new(Profile::Fast);
    let (instance, first, second) = (account.instance("us-east-1a", "m7i.large"), account.volume(), account.volume());
    account.call(attach(&first, &instance, "/dev/sdf")).unwrap();
    account.pass(1_000);
    account.call(detach(&first, None)).unwrap();
    let owed = account.world.advance(account.now);
    account.world.busy(&owed[0]);
    let force = ec2_sim::world::DetachVolume { volume_id: first.clone(), force: true, ..Default::default() };
    account.call(Action::DetachVolume(force)).unwrap();
    account.pass(1_000);
    assert_eq!(account.status(&first), "available");
    account.call(attach(&second, &instance, "/dev/sdf")).unwrap();
    account.pass(3_600_000);
    assert_eq!(status(&account, &second), "attaching");
    account.call(detach(&second, None)).unwrap();
    account.pass(1_000);
    account.call(attach(&second, &instance, "/dev/sdg")).unwrap();
    account.pass(1_000);
    assert_eq!(status(&account, &second), "attached", "another name works");
}

#[test]
fn a_second_detach_with_force_is_added_to_the_first() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(1_000);
    account.call(detach(&volume, None)).unwrap();
    let force = ec2_sim::world::DetachVolume { volume_id: volume.clone(), force: true, ..Default::default() };
    account.call(Action::DetachVolume(force)).unwrap();
    let owed = account.world.advance(account.now);
    assert!(matches!(owed[..], [Effect::DetachDevice { force: true, .. }]), "{owed:?}");
}
