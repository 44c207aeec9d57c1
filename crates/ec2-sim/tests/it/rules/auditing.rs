//! What the audit finds, and what it says.

use std::collections::BTreeSet;

use ec2_sim::audit;
use ec2_sim::world::fault::Fault;
use ec2_sim::world::{Action, Bucket, CreateVolume, Profile, TagSpecification};

use crate::account::{Account, attach, gp3, tag};

fn owned(owner: &str) -> CreateVolume {
    let tags = vec![tag("owner", owner)];
    CreateVolume { tag_specifications: vec![TagSpecification { resource_type: "volume".to_owned(), tags }], ..gp3(2) }
}

#[test]
fn an_account_in_order_has_no_violations() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.snapshot(&volume);
    let audit = audit(&account.world);
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(audit.attachments, [[volume, instance, "/dev/sdf".to_owned(), "attaching".to_owned()]]);
}

/// A stored account that somebody has edited, as no call could.
fn edited(account: &Account, edit: impl Fn(&mut serde_json::Value)) -> ec2_sim::World {
    let mut state = serde_json::to_value(&account.world).unwrap();
    edit(&mut state);
    serde_json::from_value(state).unwrap()
}

#[test]
fn each_violation_is_found_and_named() {
    let mut account = Account::new(Profile::Fast);
    let instance = account.instance("us-east-1a", "m7i.large");
    let volumes = [account.volume(), account.volume()];
    for (volume, device) in volumes.iter().zip(["/dev/sdf", "/dev/sdg"]) {
        account.call(attach(volume, &instance, device)).unwrap();
    }
    let volume = &volumes[0];
    let twice = edited(&account, |state| state["volumes"][volume]["attachment"]["device"] = "/dev/sdg".into());
    assert_eq!(audit(&twice).double_attachments.len(), 1);
    let far = edited(&account, |state| state["volumes"][volume]["zone"] = "us-east-1b".into());
    assert_eq!(audit(&far).across_zones.len(), 1);
    let going = edited(&account, |state| {
        state["volumes"][volume]["phase"] = serde_json::json!({"deleting": {"gone_at": "2026-01-01T00:00:00Z"}});
    });
    assert_eq!(audit(&going).deleted_while_referenced.len(), 1);
    let alone = edited(&account, |state| {
        state["instances"].as_object_mut().unwrap().clear();
    });
    assert_eq!(audit(&alone).orphans.len(), 2);
    let sourceless = edited(&account, |state| {
        state["volumes"][volume]["phase"] = serde_json::json!({"creating": {"ready_at": "2026-01-01T00:00:00Z", "filled": false}});
        state["volumes"][volume]["snapshot_id"] = "snap-0123456789abcdef0".into();
    });
    assert_eq!(audit(&sourceless).deleted_while_referenced.len(), 1);
    for world in [twice, far, going, alone, sourceless] {
        assert!(!audit(&world).is_clean());
    }
}

#[test]
fn what_belongs_to_an_owner_that_is_gone_is_listed() {
    let mut account = Account::new(Profile::Instant);
    let kept = account.create(owned("pool-1")).unwrap();
    let left = account.create(owned("pool-2")).unwrap();
    account.volume();
    let existing = BTreeSet::from(["pool-1".to_owned()]);
    let audit = audit(&account.world).by_owner(&account.world, "owner", Some(&existing));
    assert_eq!(audit.owners.keys().collect::<Vec<_>>(), ["", "pool-1", "pool-2"]);
    assert_eq!((audit.owners["pool-2"].gib, audit.ownerless.len()), (2, 1));
    assert!(audit.ownerless[0].contains(&left) && !audit.ownerless[0].contains(&kept));
    assert!(audit.to_string().contains("pool-2: volumes 1 "), "{audit}");
}

#[test]
fn calls_are_counted_with_their_throttled_share_and_their_cost() {
    let mut account = Account::new(Profile::Instant);
    account.world.inject(account.now, Fault::Throttle { action: "CreateVolume".to_owned(), bucket: Bucket::new(3, 0) }).unwrap();
    for _ in 0..4 {
        account.code(Action::CreateVolume(gp3(1)));
    }
    for _ in 0..4 {
        account.code(Action::DeleteVolume("vol-0123456789abcdef0".to_owned()));
    }
    let traffic = audit(&account.world).traffic;
    assert_eq!((traffic.calls, traffic.changes, traffic.refused, traffic.throttled), (8, 3, 5, 1));
    assert_eq!(traffic.throttled_permille, 125);
    // Three creations and four deletions, of which five a second come back.
    assert_eq!(traffic.bucket_ms, 1_400);
    let text = audit(&account.world).to_string();
    assert!(text.contains("throttled:          1 (12.5 %)") && text.contains("1.4 s"), "{text}");
}
