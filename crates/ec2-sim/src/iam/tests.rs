//! Decisions about whole calls, with the tag-scoped policies that EBS drivers are given.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::world::{
    AttachVolume, CopyVolumes, CreateSnapshot, CreateTags, CreateVolume, DeleteTags, Describe, DetachVolume, Reply, RunInstances,
};
use crate::world::{Profile, Settings, Tag, TagSpecification};

/// A world, and an access key with policies.
struct Scene {
    world: World,
    key: AccessKey,
}

impl Scene {
    fn with(policies: &[Value]) -> Self {
        let file = json!({"access-keys": [{
            "access-key-id": "AKIA1", "secret-access-key": "secret", "user": "driver",
            "principal-tags": {"cluster": "blue"}, "policies": policies,
        }]});
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        std::fs::write(&path, file.to_string()).unwrap();
        let credentials = Credentials::load(&path).unwrap();
        assert_eq!(credentials.count(), 1);
        let settings = Settings { region: "us-east-1".to_owned(), profile: Profile::Instant, seed: 1 };
        Self { world: World::new(settings), key: credentials.find("AKIA1").unwrap().as_ref().clone() }
    }

    /// Carries a call out without asking IAM, and returns the id that it made.
    fn make(&mut self, action: Action) -> String {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        self.world.settle(now);
        match self.world.apply(now, &action.into()).unwrap() {
            Reply::Volume(volume) => volume.id,
            Reply::Snapshot(snapshot) => snapshot.id,
            Reply::Reservation(placed) => placed[0].instance.id.clone(),
            other => format!("{other:?}"),
        }
    }

    /// The action that is denied, or `ok`.
    fn asks(&self, action: &Action) -> String {
        match authorize(&self.key, &self.world, action) {
            Ok(()) => "ok".to_owned(),
            Err(error) => {
                assert_eq!((error.code, error.http_status()), ("UnauthorizedOperation", 403));
                explanation(&error)["context"]["action"].as_str().unwrap().to_owned()
            }
        }
    }
}

/// What the encoded message of an error says.
fn explanation(error: &ApiError) -> Value {
    let (_, encoded) = error.message.split_once("Encoded authorization failure message: ").unwrap();
    decode(encoded).unwrap()
}

fn tags(resource_type: &str, pairs: &[(&str, &str)]) -> Vec<TagSpecification> {
    let tags = pairs.iter().map(|(key, value)| Tag { key: (*key).to_owned(), value: (*value).to_owned() }).collect();
    vec![TagSpecification { resource_type: resource_type.to_owned(), tags }]
}

fn volume(pairs: &[(&str, &str)]) -> Action {
    let zone = Some("us-east-1a".to_owned());
    let tag_specifications = if pairs.is_empty() { Vec::new() } else { tags("volume", pairs) };
    Action::CreateVolume(CreateVolume { size_gib: Some(1), zone, tag_specifications, ..CreateVolume::default() })
}

fn snapshot(volume_id: &str, pairs: &[(&str, &str)]) -> Action {
    let tag_specifications = if pairs.is_empty() { Vec::new() } else { tags("snapshot", pairs) };
    Action::CreateSnapshot(CreateSnapshot { volume_id: volume_id.to_owned(), tag_specifications, ..CreateSnapshot::default() })
}

fn instance() -> Action {
    Action::RunInstances(RunInstances { min_count: 1, max_count: 1, ..RunInstances::default() })
}

fn attach(volume_id: &str, instance_id: &str) -> Action {
    Action::AttachVolume(AttachVolume {
        volume_id: volume_id.to_owned(),
        instance_id: instance_id.to_owned(),
        device: "/dev/sdf".to_owned(),
    })
}

const OURS: (&str, &str) = ("ebs.csi.aws.com/cluster", "true");

/// What the policy of the EBS CSI driver says, as its documentation (`docs/tagging.md`, `docs/install.md`)
/// describes it: it makes and deletes what carries its tag, and tags only what it makes.
fn driver() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Look", "Effect": "Allow", "Action": ["ec2:Describe*"], "Resource": "*"},
        {"Sid": "Attach", "Effect": "Allow", "Action": ["ec2:AttachVolume", "ec2:DetachVolume"],
         "Resource": ["arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:*:*:instance/*"]},
        {"Sid": "Tag", "Effect": "Allow", "Action": "ec2:CreateTags",
         "Resource": ["arn:aws:ec2:*:*:volume/*", "arn:aws:ec2:*:*:snapshot/*"],
         "Condition": {"StringEquals": {"ec2:CreateAction": ["CreateVolume", "CreateSnapshot"]}}},
        {"Sid": "Create", "Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": "arn:aws:ec2:*:*:volume/*",
         "Condition": {"StringLike": {"aws:RequestTag/ebs.csi.aws.com/cluster": "true"}}},
        {"Sid": "Restore", "Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": "arn:aws:ec2:*:*:snapshot/*"},
        {"Sid": "Delete", "Effect": "Allow", "Action": "ec2:DeleteVolume", "Resource": "arn:aws:ec2:*:*:volume/*",
         "Condition": {"StringLike": {"ec2:ResourceTag/ebs.csi.aws.com/cluster": "true"}}},
        {"Sid": "SnapshotOf", "Effect": "Allow", "Action": "ec2:CreateSnapshot", "Resource": "arn:aws:ec2:*:*:volume/*"},
        {"Sid": "Snapshot", "Effect": "Allow", "Action": "ec2:CreateSnapshot", "Resource": "arn:aws:ec2:*::snapshot/*",
         "Condition": {"StringLike": {"aws:RequestTag/ebs.csi.aws.com/cluster": "*"}}},
        {"Sid": "DeleteSnapshot", "Effect": "Allow", "Action": "ec2:DeleteSnapshot", "Resource": "arn:aws:ec2:*::snapshot/*",
         "Condition": {"StringLike": {"ec2:ResourceTag/ebs.csi.aws.com/cluster": "true"}}},
    ]})
}

#[test]
fn a_tag_scoped_driver_makes_and_deletes_only_what_carries_its_tag() {
    let mut scene = Scene::with(&[driver()]);
    let (ours, foreign) = (scene.make(volume(&[OURS])), scene.make(volume(&[("owner", "else")])));
    let node = scene.make(instance());
    let taken = scene.make(snapshot(&ours, &[OURS]));
    let stray = scene.make(snapshot(&foreign, &[]));
    let restored = |tags| match volume(tags) {
        Action::CreateVolume(request) => Action::CreateVolume(CreateVolume { snapshot_id: Some(taken.clone()), ..request }),
        other => other,
    };
    let table = [
        (Action::DescribeVolumes(Describe::default()), "ok"),
        (volume(&[OURS]), "ok"),
        (volume(&[("ebs.csi.aws.com/cluster", "false")]), "ec2:CreateVolume"),
        (volume(&[]), "ec2:CreateVolume"),
        (restored(&[OURS]), "ok"),
        (restored(&[]), "ec2:CreateVolume"),
        (attach(&ours, &node), "ok"),
        (attach(&foreign, &node), "ok"),
        (Action::DeleteVolume(ours.clone()), "ok"),
        (Action::DeleteVolume(foreign.clone()), "ec2:DeleteVolume"),
        (snapshot(&foreign, &[OURS]), "ok"),
        (snapshot(&foreign, &[]), "ec2:CreateSnapshot"),
        (Action::DeleteSnapshot(taken.clone()), "ok"),
        (Action::DeleteSnapshot(stray), "ec2:DeleteSnapshot"),
        (Action::TerminateInstances(vec![node.clone()]), "ec2:TerminateInstances"),
        (instance(), "ec2:RunInstances"),
        // Tags only with the creation: it could make anything its own otherwise.
        (Action::CreateTags(CreateTags { resources: vec![foreign.clone()], tags: tags("", &[OURS]).remove(0).tags }), "ec2:CreateTags"),
        (Action::DeleteTags(DeleteTags { resources: vec![ours.clone()], tags: Vec::new() }), "ec2:DeleteTags"),
        // What does not exist has no tag: nobody learns whether it does.
        (Action::DeleteVolume("vol-0123456789abcdef0".to_owned()), "ec2:DeleteVolume"),
    ];
    for (action, expected) in table {
        assert_eq!(scene.asks(&action), expected, "{action:?}");
    }
}

#[test]
fn a_copy_asks_for_its_source_and_for_what_it_makes() {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "ec2:CopyVolumes", "Resource": "arn:aws:ec2:*:*:volume/vol-*",
         "Condition": {"StringEquals": {"aws:ResourceTag/pool": "p"}}},
        {"Effect": "Allow", "Action": "ec2:CopyVolumes", "Resource": "arn:aws:ec2:*:*:volume/*",
         "Condition": {"StringEquals": {"aws:RequestTag/pool": "p"}}},
        {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "CopyVolumes"}}},
    ]});
    let mut scene = Scene::with(&[policy]);
    let (ours, foreign) = (scene.make(volume(&[("pool", "p")])), scene.make(volume(&[])));
    let copy = |source: &String, pairs: &[(&str, &str)]| {
        let tag_specifications = if pairs.is_empty() { Vec::new() } else { tags("volume", pairs) };
        Action::CopyVolumes(CopyVolumes { source_volume_id: source.clone(), tag_specifications, ..CopyVolumes::default() })
    };
    assert_eq!(scene.asks(&copy(&ours, &[("pool", "p")])), "ok");
    assert_eq!(scene.asks(&copy(&ours, &[])), "ec2:CopyVolumes");
    assert_eq!(scene.asks(&copy(&foreign, &[("pool", "p")])), "ec2:CopyVolumes");
}

#[test]
fn tags_at_creation_need_a_permission_of_their_own() {
    let create = json!({"Statement": {"Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": "*"}});
    let scene = Scene::with(&[create]);
    assert_eq!(scene.asks(&volume(&[])), "ok");
    assert_eq!(scene.asks(&volume(&[OURS])), "ec2:CreateTags");
}

#[test]
fn an_explicit_deny_wins_over_every_allow() {
    let all = json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
    let but = json!({"Version": "2012-10-17", "Statement": {"Sid": "KeepOthers", "Effect": "Deny", "Action": "ec2:Delete*", "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:ResourceTag/cluster": "${aws:PrincipalTag/cluster}"}}}});
    let mut scene = Scene::with(&[all, but]);
    let (ours, foreign) = (scene.make(volume(&[("cluster", "blue")])), scene.make(volume(&[("cluster", "red")])));
    assert_eq!(scene.asks(&Action::DeleteVolume(ours)), "ok");
    let denied = Action::DeleteVolume(foreign.clone());
    assert_eq!(scene.asks(&denied), "ec2:DeleteVolume");
    let error = authorize(&scene.key, &scene.world, &denied).unwrap_err();
    assert!(error.message.contains("with an explicit deny in an identity-based policy"), "{error}");
    let told = explanation(&error);
    assert_eq!(told["explicitDeny"], true);
    assert_eq!(told["matchedStatements"]["items"][0]["statementId"], "KeepOthers");
    assert_eq!(told["context"]["resource"], format!("arn:aws:ec2:us-east-1:000000000000:volume/{foreign}"));
    assert_eq!(told["context"]["principal"]["arn"], "arn:aws:iam::000000000000:user/driver");
}

#[test]
fn without_a_policy_nothing_is_allowed() {
    let scene = Scene::with(&[]);
    assert_eq!(scene.asks(&Action::DescribeVolumes(Describe::default())), "ec2:DescribeVolumes");
    let error = authorize(&scene.key, &scene.world, &volume(&[])).unwrap_err();
    assert!(error.message.contains("because no identity-based policy allows the ec2:CreateVolume action"), "{error}");
    assert_eq!(explanation(&error)["explicitDeny"], false);
}

#[test]
fn conditions_see_what_is_asked_for_and_what_is_there() {
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": "*",
         "Condition": {"StringEquals": {"ec2:VolumeType": "gp3"}, "NumericLessThanEquals": {"ec2:VolumeSize": 10}}},
        {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*",
         "Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}, "Null": {"aws:TagKeys": "false"}}},
        {"Effect": "Allow", "Action": "ec2:DeleteTags", "Resource": "*", "Condition": {"Null": {"aws:ResourceTag/keep": true}}},
        {"Effect": "Allow", "Action": "ec2:Detach*", "Resource": "arn:aws:ec2:us-east-1:000000000000:volume/*"},
    ]});
    let mut scene = Scene::with(&[policy]);
    let make = |volume_type: Option<&str>, size_gib| match volume(&[]) {
        Action::CreateVolume(request) => {
            Action::CreateVolume(CreateVolume { size_gib: Some(size_gib), volume_type: volume_type.map(str::to_owned), ..request })
        }
        other => other,
    };
    assert_eq!(scene.asks(&make(Some("gp3"), 10)), "ok");
    assert_eq!(scene.asks(&make(Some("gp3"), 11)), "ec2:CreateVolume");
    assert_eq!(scene.asks(&make(None, 10)), "ec2:CreateVolume", "gp2 when nothing is said");
    let (kept, free, node) = (scene.make(volume(&[("keep", "1")])), scene.make(volume(&[])), scene.make(instance()));
    let tag = |id: &String, keys: &[(&str, &str)]| {
        Action::CreateTags(CreateTags { resources: vec![id.clone()], tags: tags("", keys).remove(0).tags })
    };
    assert_eq!(scene.asks(&tag(&free, &[("a", "1"), ("b", "2")])), "ok");
    assert_eq!(scene.asks(&tag(&free, &[("a", "1"), ("c", "2")])), "ec2:CreateTags");
    let untag = |ids: &[&String]| {
        let tags = vec![("a".to_owned(), None)];
        Action::DeleteTags(DeleteTags { resources: ids.iter().map(|id| (*id).clone()).collect(), tags })
    };
    assert_eq!(scene.asks(&untag(&[&free])), "ok");
    assert_eq!(scene.asks(&untag(&[&free, &kept])), "ec2:DeleteTags", "every resource must be allowed");
    scene.make(attach(&free, &node));
    let detach = Action::DetachVolume(DetachVolume { volume_id: free, ..DetachVolume::default() });
    assert_eq!(scene.asks(&detach), "ec2:DetachVolume", "the instance is touched too, though not named");
}

#[test]
fn only_a_message_of_a_denial_is_decoded() {
    for message in ["", "x", "not base64 at all!", "e30"] {
        assert_eq!(decode(message), None, "{message}");
    }
}
