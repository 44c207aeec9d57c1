//! How many volumes an instance holds, and who else uses its slots.

use ec2_sim::world::{OverLimit, Profile};

use crate::account::{Account, SECOND_MS, attach, detach};

/// A name of its own for each attachment.
fn device(number: usize) -> String {
    let letter = |value: usize| char::from(b'a' + u8::try_from(value).unwrap());
    format!("/dev/xvd{}{}", letter(1 + number / 26), letter(number % 26))
}

/// How many volumes this instance takes before the first refusal.
fn room(account: &mut Account, instance: &str) -> usize {
    for number in 0..200 {
        let volume = account.volume();
        match account.code(attach(&volume, instance, &device(number))) {
            "ok" => account.pass(SECOND_MS),
            "AttachmentLimitExceeded" => return number,
            other => panic!("{other}"),
        }
    }
    panic!("{instance} has no limit")
}

/// aws-ebs-csi-driver PR #2749: volumes, network interfaces and instance stores share the slots of older types.
#[test]
fn network_interfaces_take_slots_where_the_type_shares_them() {
    for (kind, interfaces, expected) in [("m5.large", 1, 27), ("m5.large", 3, 25), ("m7i.large", 1, 32), ("m7i.large", 3, 32)] {
        let mut account = Account::new(Profile::Instant);
        let instance = account.instance(kind, interfaces);
        assert_eq!(room(&mut account, &instance), expected, "{kind} with {interfaces} interfaces");
    }
}

#[test]
fn volumes_that_others_attached_take_slots_too_and_a_detached_one_gives_its_own_back() {
    let mut account = Account::new(Profile::Instant);
    let instance = account.instance("m5.large", 1);
    let foreign: Vec<String> = (0..5).map(|number| account.attached(&instance, &format!("/dev/sd{}", char::from(b'f' + number)))).collect();
    assert_eq!(room(&mut account, &instance), 22);
    account.call(detach(&foreign[0], false)).unwrap();
    account.pass(SECOND_MS);
    let volume = account.volume();
    assert_eq!(account.code(attach(&volume, &instance, "/dev/xvdzz")), "ok");
}

/// aws-ebs-csi-driver, docs/faq.md: over the limit EC2 may say nothing and leave the volume in `attaching`.
#[test]
fn over_the_limit_an_attachment_may_wait_in_silence_until_a_slot_is_free() {
    let mut account = Account::new(Profile::Instant).with(|rules| rules.over_limit = OverLimit::Wait);
    let instance = account.instance("m5.large", 1);
    let attached: Vec<String> = (0..27).map(|number| account.attached(&instance, &device(number))).collect();
    let waiting = account.volume();
    assert_eq!(account.code(attach(&waiting, &instance, "/dev/xvdzz")), "ok");
    account.pass(3_600 * SECOND_MS);
    assert_eq!(account.attachment(&waiting), Some("attaching"));
    account.call(detach(&attached[0], false)).unwrap();
    account.pass(SECOND_MS);
    account.pass(SECOND_MS);
    assert_eq!(account.attachment(&waiting), Some("attached"));
    account.assert_in_order();
}
