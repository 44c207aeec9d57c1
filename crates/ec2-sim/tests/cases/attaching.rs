//! Attachments that never end, names that hang, devices that change places.

use ec2_sim::world::fault::Fault;
use ec2_sim::world::{Effect, Profile};

use crate::account::{Account, DEVICE, HOUR_MS, SECOND_MS, attach, calls, detach};

/// Kubernetes #36450, aws-ebs-csi-driver #1801.
#[test]
fn an_attachment_can_stay_in_attaching_for_hours_until_it_is_detached() {
    let mut account = Account::new(Profile::Aws);
    let (instance, other, volume) = (account.machine(), account.machine(), account.volume());
    account.inject(Fault::AttachmentSticks { calls: calls("AttachVolume"), times: Some(1) });
    account.call(attach(&volume, &instance, DEVICE)).unwrap();
    for _ in 0..10 {
        account.pass(HOUR_MS);
        assert_eq!(account.attachment(&volume), Some("attaching"));
        assert_eq!(account.code(attach(&volume, &other, DEVICE)), "VolumeInUse", "a stuck attachment is one all the same");
    }
    account.call(detach(&volume, false)).unwrap();
    account.pass(HOUR_MS);
    assert_eq!(account.status(&volume), "available");
    account.call(attach(&volume, &other, "/dev/xvdbb")).unwrap();
    account.pass(HOUR_MS);
    assert_eq!(account.attachment(&volume), Some("attached"));
    account.assert_in_order();
}

#[test]
fn a_device_name_is_taken_from_the_call_on_and_until_the_device_is_really_gone() {
    let mut account = Account::new(Profile::Aws);
    let (instance, first, second) = (account.machine(), account.volume(), account.volume());
    account.call(attach(&first, &instance, DEVICE)).unwrap();
    for spelling in [DEVICE, "xvdba"] {
        assert_eq!(account.code(attach(&second, &instance, spelling)), "InvalidParameterValue", "{spelling} while attaching");
    }
    account.pass(60 * SECOND_MS);
    assert_eq!(account.code(attach(&second, &instance, DEVICE)), "InvalidParameterValue", "while attached");
    account.call(detach(&first, false)).unwrap();
    assert_eq!(account.code(attach(&second, &instance, DEVICE)), "InvalidParameterValue", "while detaching");
    account.pass(60 * SECOND_MS);
    assert_eq!(account.code(attach(&second, &instance, DEVICE)), "ok");
}

/// Kubernetes #31891: the guest still holds the name of a device that was taken from it.
#[test]
fn a_name_that_the_guest_still_holds_after_a_forced_detach_hangs_the_next_attachment() {
    let mut account = Account::new(Profile::Aws);
    let instance = account.machine();
    let (first, second) = (account.attached(&instance, DEVICE), account.volume());
    account.call(detach(&first, false)).unwrap();
    let busy = device_owed(&account.wait(60 * SECOND_MS));
    account.world.busy(&busy);
    assert_eq!(account.attachment(&first), Some("busy"));
    account.call(detach(&first, true)).unwrap();
    account.pass(60 * SECOND_MS);
    assert_eq!(account.status(&first), "available");

    account.call(attach(&second, &instance, DEVICE)).unwrap();
    account.pass(HOUR_MS);
    assert_eq!(account.attachment(&second), Some("attaching"), "it is accepted, and nothing comes of it");
    account.call(detach(&second, false)).unwrap();
    account.pass(60 * SECOND_MS);
    account.call(attach(&second, &instance, "/dev/xvdbb")).unwrap();
    account.pass(60 * SECOND_MS);
    assert_eq!(account.attachment(&second), Some("attached"), "another name works");
}

/// aws-ebs-csi-driver #1224, kubernetes #29324: neither name nor number says which volume a device is.
#[test]
fn the_kernels_number_of_a_device_goes_to_the_next_volume_and_has_nothing_to_do_with_the_name() {
    let mut account = Account::new(Profile::Instant);
    let instance = account.machine();
    let (first, second) = (account.attached(&instance, DEVICE), account.attached(&instance, "/dev/xvdbb"));
    let index = |account: &Account, volume: &str| account.world.volumes()[volume].attachment.as_ref().unwrap().nvme_index;
    assert_eq!((index(&account, &first), index(&account, &second)), (1, 2));
    account.call(detach(&first, false)).unwrap();
    account.pass(SECOND_MS);
    let third = account.attached(&instance, "/dev/xvdbz");
    assert_eq!(index(&account, &third), 1, "a link that was left behind now leads to another volume");
    account.assert_in_order();
}

fn device_owed(effects: &[Effect]) -> Effect {
    let found = effects.iter().find(|effect| matches!(effect, Effect::DetachDevice { .. }));
    found.unwrap_or_else(|| panic!("no device is to be taken away: {effects:?}")).clone()
}
