//! The account as a state machine: tags, filters, pages, dry runs, and being stored.

use ec2_sim::world::{
    Action, Call, CreateTags, CreateVolume, DeleteTags, Describe, DescribeSnapshots, Effect, Filter, Profile, Reply, Tag, TagSpecification,
    World,
};

use crate::account::{Account, attach, gp3, tag};

#[test]
fn tags_obey_the_rules_of_ec2() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let set = |resource: &str, tags: Vec<Tag>| Action::CreateTags(CreateTags { resources: vec![resource.to_owned()], tags });
    let many = |n: usize| (0..n).map(|i| tag(&format!("k{i}"), "v")).collect::<Vec<_>>();
    let table = [
        (set(&volume, vec![tag("aws:x", "y")]), "InvalidParameterValue"),
        (set(&volume, vec![tag(&"k".repeat(129), "y")]), "InvalidParameterValue"),
        (set(&volume, vec![tag("k", &"v".repeat(257))]), "InvalidParameterValue"),
        (set(&volume, Vec::new()), "MissingParameter"),
        (set("vol-0123456789abcdef0", vec![tag("a", "b")]), "InvalidVolume.NotFound"),
        (set("ami-0123456789abcdef0", vec![tag("a", "b")]), "InvalidID"),
        (set(&volume, many(51)), "TagLimitExceeded"),
        (set(&volume, many(50)), "ok"),
        (set(&volume, vec![tag("one-more", "")]), "TagLimitExceeded"),
        (set(&volume, vec![tag("k0", "changed")]), "ok"),
    ];
    for (action, expected) in table {
        assert_eq!(account.code(action), expected);
    }
    let remove = |key: &str, value: Option<&str>| {
        let tags = vec![(key.to_owned(), value.map(str::to_owned))];
        Action::DeleteTags(DeleteTags { resources: vec![volume.clone()], tags })
    };
    account.call(remove("k0", Some("v"))).unwrap();
    assert!(account.world.volumes()[&volume].tags.contains_key("k0"), "the value differs");
    account.call(remove("k0", None)).unwrap();
    assert!(!account.world.volumes()[&volume].tags.contains_key("k0"));
}

#[test]
fn tags_of_a_new_volume_must_be_for_volumes() {
    let mut account = Account::new(Profile::Instant);
    let with = |resource_type: &str, tags: Vec<Tag>| CreateVolume {
        tag_specifications: vec![TagSpecification { resource_type: resource_type.to_owned(), tags }],
        ..gp3(1)
    };
    assert_eq!(account.code(Action::CreateVolume(with("instance", vec![tag("a", "b")]))), "InvalidParameterValue");
    assert_eq!(account.code(Action::CreateVolume(with("volume", vec![tag("a", "b"), tag("a", "c")]))), "InvalidParameterValue");
    let id = account.create(with("volume", vec![tag("a", "b")])).unwrap();
    assert_eq!(account.world.volumes()[&id].tags["a"], "b");
}

#[test]
fn filters_select_and_unknown_ones_are_refused() {
    let mut account = Account::new(Profile::Instant);
    let instance = account.instance("us-east-1a", "m7i.large");
    let attached = account.volume();
    let free = account.create(CreateVolume { size_gib: Some(7), volume_type: Some("gp2".to_owned()), ..gp3(1) }).unwrap();
    account.pass(1);
    account.call(attach(&attached, &instance, "/dev/sdf")).unwrap();
    account.pass(1);
    let tags = CreateTags { resources: vec![free.clone()], tags: vec![tag("pool", "web-1")] };
    account.call(Action::CreateTags(tags)).unwrap();
    let table = [
        ("status", "in-use", Some(&attached)),
        ("status", "*able", Some(&free)),
        ("attachment.instance-id", instance.as_str(), Some(&attached)),
        ("attachment.status", "attached", Some(&attached)),
        ("size", "7", Some(&free)),
        ("volume-type", "gp?", None),
        ("tag:pool", "web-*", Some(&free)),
        ("tag:pool", "db-*", None),
        ("tag-key", "pool", Some(&free)),
        ("volume-id", free.as_str(), Some(&free)),
    ];
    for (name, value, expected) in table {
        let filters = vec![Filter { name: name.to_owned(), values: vec![value.to_owned()] }];
        let describe = Describe { filters, ..Describe::default() };
        let Reply::Volumes(page) = account.call(Action::DescribeVolumes(describe)).unwrap() else { panic!("no volumes") };
        let found: Vec<&String> = page.items.iter().map(|v| &v.id).collect();
        match expected {
            Some(id) => assert_eq!(found, [id], "{name}={value}"),
            None => assert_ne!(found.len(), 1, "{name}={value}"),
        }
    }
    let filters = vec![Filter { name: "colour".to_owned(), values: vec!["red".to_owned()] }];
    let describe = Describe { filters, ..Describe::default() };
    for action in [
        Action::DescribeVolumes(describe.clone()),
        Action::DescribeInstances(describe.clone()),
        Action::DescribeTags(describe.clone()),
        Action::DescribeSnapshots(DescribeSnapshots { describe, owners: Vec::new() }),
    ] {
        assert_eq!(account.code(action), "InvalidParameterValue");
    }
}

#[test]
fn page_sizes_are_checked_as_ec2_does() {
    let mut account = Account::new(Profile::Instant);
    let volume = account.volume();
    let ask = |ids: &[&str], max_results| {
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        Action::DescribeVolumes(Describe { ids, max_results: Some(max_results), ..Describe::default() })
    };
    assert_eq!(account.code(ask(&[], 4)), "InvalidParameterValue");
    assert_eq!(account.code(ask(&[], 5)), "ok");
    assert_eq!(account.code(ask(&[], 5_000)), "ok");
    assert_eq!(account.code(ask(&[&volume], 5)), "InvalidParameterCombination");
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_happen() {
    let mut account = Account::new(Profile::Instant);
    let volumes = account.world.volumes().clone();
    let mut dry = |request| {
        let call = Call { action: Action::CreateVolume(request), dry_run: true };
        account.world.apply(account.now, &call).unwrap_err()
    };
    assert_eq!((dry(gp3(1)).code, dry(gp3(1)).http_status()), ("DryRunOperation", 412));
    assert_eq!(dry(gp3(0)).code, "InvalidParameterValue");
    assert_eq!(account.world.volumes(), &volumes);
}

#[test]
fn the_state_survives_being_written_down() {
    let mut account = Account::new(Profile::Fast);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.snapshot(&volume);
    let text = serde_json::to_string(&account.world).unwrap();
    assert_eq!(serde_json::from_str::<World>(&text).unwrap(), account.world);
}

#[test]
fn after_a_restart_every_device_is_asked_for_again() {
    let mut account = Account::new(Profile::Instant);
    let (instance, volume) = (account.instance("us-east-1a", "m7i.large"), account.volume());
    account.call(attach(&volume, &instance, "/dev/sdf")).unwrap();
    account.pass(1);
    assert_eq!(account.world.advance(account.now), []);
    account.world.distrust_devices();
    let owed = account.world.advance(account.now);
    assert!(owed.iter().any(|e| matches!(e, Effect::AttachDevice { volume_id, .. } if *volume_id == volume)), "{owed:?}");
    assert_eq!(account.world.volumes()[&volume].attachment.as_ref().unwrap().status(), "attached");
}
