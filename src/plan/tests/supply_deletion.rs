//! What is deleted in EC2, and what never is; and the end of a pool.

use crate::domain::tags::{TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudVolume, Reason, VolumeState};
use crate::plan::{Condition, VISIBILITY, VolumeSeen, safety};

use super::build::{NOW, PoolBuild, at, attachment, pool, snapshot, volume};
use super::words::{assert_finding, words};

fn deleted(name: &str) -> PoolBuild {
    pool(name).but(|seen| seen.pool.deleting = true)
}

#[test]
fn nothing_is_deleted_in_ec2_without_every_proof() {
    let doomed = || volume("web-0").ready().deleting();
    let cloud = |change: fn(&mut CloudVolume)| doomed().but(|volume| change(volume.cloud.as_mut().unwrap()));
    let cases = [
        ("another cluster's", cloud(|cloud| drop(cloud.tags.insert(TAG_CLUSTER.to_owned(), "other".to_owned())))),
        ("another pool's", cloud(|cloud| drop(cloud.tags.insert(TAG_POOL_UID.to_owned(), "other".to_owned())))),
        ("another object's", cloud(|cloud| drop(cloud.tags.insert(TAG_VOLUME_UID.to_owned(), "other".to_owned())))),
        ("no cluster tag", cloud(|cloud| drop(cloud.tags.remove(TAG_CLUSTER)))),
        ("no pool tag", cloud(|cloud| drop(cloud.tags.remove(TAG_POOL_UID)))),
        ("no object tag", cloud(|cloud| drop(cloud.tags.remove(TAG_VOLUME_UID)))),
        ("attached", cloud(|cloud| cloud.attachments = vec![attachment()])),
        ("in use", cloud(|cloud| cloud.state = VolumeState::InUse)),
        ("in an unknown state", cloud(|cloud| cloud.state = VolumeState::Unknown)),
        ("claimed", doomed().reserved_for("cart")),
        ("on a node", doomed().but(|volume| volume.node_name = None).on_node("node-a")),
        ("not to be deleted", volume("web-0").ready()),
    ];
    for (case, volume) in cases {
        let plan = pool("web").replicas(1).zones(&["c"]).nodes_in(&[]).with([volume]).plan();
        assert!(!plan.actions.iter().any(crate::plan::Action::writes_to_ec2), "{case}: {:?}", plan.actions);
    }
    assert_eq!(words(&pool("web").replicas(0).with([doomed()]).plan()), ["delete vol-web-0 of web-0"]);
}

/// Callers check this too; the proof does not rely on them.
#[test]
fn a_proof_needs_an_object_that_is_being_deleted() {
    let proof = |volume: VolumeSeen| safety::may_delete_volume(&pool("web").seen().pool, &volume, volume.cloud.as_ref().unwrap());
    assert_eq!(proof(volume("web-0").ready().seen()), None);
    assert_eq!(proof(volume("web-0").ready().deleting().seen()).unwrap().id().as_str(), "vol-web-0");
    assert_eq!(proof(volume("web-0").used_by("cart").deleting().seen()), None);
    assert_eq!(proof(volume("web-0").ready().deleting().reserved_for("cart").seen()), None);
    assert_eq!(proof(volume("web-0").ready().deleting().but(|volume| volume.node_name = Some("node-a".into())).seen()), None);
}

#[test]
fn a_deleted_pool_drops_its_volumes_first() {
    let plan = deleted("web").replicas(3).with([volume("web-1").ready(), volume("web-0"), volume("web-2").ready().deleting()]).plan();
    assert_eq!(words(&plan), ["delete vol-web-2 of web-2", "drop web-0", "drop web-1"]);
    assert_finding(&plan, Condition::Ready, false, Reason::Deleting, &["3 volumes", "1 snapshots"]);
}

#[test]
fn a_failed_volume_of_a_deleted_pool_is_dropped_once() {
    for volume in [volume("web-0").cloud(VolumeState::Error), volume("web-0").missing_since(0)] {
        assert_eq!(words(&deleted("web").with([volume]).plan()), ["drop web-0"]);
    }
}

#[test]
fn a_deleted_pool_waits_for_claims_and_names_them() {
    let volumes = [volume("web-1").used_by("cart"), volume("web-0").used_by("blog"), volume("web-2").ready()];
    let plan = deleted("web").with(volumes).plan();
    assert_eq!(words(&plan), ["drop web-2"]);
    assert_finding(&plan, Condition::Ready, false, Reason::ClaimsRemain, &["shop/blog, shop/cart"]);
}

#[test]
fn snapshots_go_after_the_last_volume_and_the_pool_after_the_last_snapshot() {
    let snapshots = || [snapshot(2), snapshot(1)];
    let plan = deleted("web").snapshots(snapshots()).with([volume("web-0").ready().deleting()]).plan();
    assert_eq!(words(&plan), ["delete vol-web-0 of web-0"]);
    assert_eq!(words(&deleted("web").snapshots(snapshots()).plan()), ["delete snap-1", "delete snap-2"]);
    assert_eq!(words(&deleted("web").snapshots([]).plan()), ["let the pool go"]);
    let unguarded = deleted("web").snapshots([]).but(|seen| seen.pool.has_finalizer = false);
    assert_eq!(words(&unguarded.plan()), [""; 0]);
}

#[test]
fn a_snapshot_of_others_is_never_deleted_and_holds_nothing_up() {
    for tag in [TAG_CLUSTER, TAG_POOL_UID] {
        let mut foreign = snapshot(1);
        foreign.tags.insert(tag.to_owned(), "other".to_owned());
        assert_eq!(words(&deleted("web").snapshots([foreign]).plan()), ["let the pool go"], "{tag}");
    }
}

#[test]
fn a_snapshot_that_ec2_does_not_list_yet_holds_the_pool() {
    let asked_and_unseen = |age| deleted("web").snapshots([]).intent(Some((1, NOW - age))).plan();
    assert_eq!(words(&asked_and_unseen(1)), [""; 0], "else it would stay in EC2 for ever");
    assert_eq!(words(&asked_and_unseen(VISIBILITY.as_secs())), ["let the pool go"]);
    let seen_before = deleted("web").snapshots([]).intent(Some((1, NOW - 1))).but(|seen| seen.pool.completed_generation = 1);
    assert_eq!(words(&seen_before.plan()), ["let the pool go"], "it was listed, and has been deleted");
}

#[test]
fn retain_keeps_everything_in_ec2() {
    let retained = || deleted("web").but(|seen| seen.pool.retain_on_deletion = true);
    assert_eq!(words(&retained().with([volume("web-0").ready()]).plan()), ["drop web-0"]);
    assert_eq!(words(&retained().with([volume("web-0").ready().deleting()]).plan()), ["let web-0 go"]);
    assert_eq!(words(&retained().plan()), ["let the pool go"]);
    let used = retained().with([volume("web-0").used_by("cart").deleting()]).plan();
    assert_eq!(words(&used), [""; 0], "a claim still has it");
}

#[test]
fn an_object_stays_while_an_agent_has_its_volume() {
    let held = || volume("web-0").ready().deleting().on_node("node-a");
    let retained = deleted("web").but(|seen| seen.pool.retain_on_deletion = true);
    assert_eq!(words(&retained.with([held()]).plan()), [""; 0]);
    let lost = volume("web-0").missing_since(0).deleting().on_node("node-a");
    assert_eq!(words(&pool("web").replicas(0).with([lost]).plan()), [""; 0]);
}

#[test]
fn a_deleted_pool_makes_no_volume_even_for_a_claim() {
    assert_eq!(words(&deleted("web").with([volume("web-0").reserved_for("cart")]).plan()), [""; 0]);
}

#[test]
fn retain_spares_nothing_while_the_pool_lives() {
    let pool = pool("web").replicas(0).but(|seen| seen.pool.retain_on_deletion = true);
    assert_eq!(words(&pool.with([volume("web-0").ready().deleting()]).plan()), ["delete vol-web-0 of web-0"]);
}

#[test]
fn a_paused_pool_that_is_deleted_waits_with_ec2_and_keeps_its_guard() {
    let paused = || deleted("web").but(|seen| seen.pool.paused = true);
    assert_eq!(words(&paused().plan()), [""; 0]);
    assert_eq!(words(&paused().with([volume("web-0").ready().deleting()]).plan()), [""; 0]);
}

#[test]
fn a_volume_that_was_kept_for_a_person_stays_in_ec2_when_its_pool_goes() {
    let kept = || volume("web-0").ready().deleting().but(|volume| volume.retired = true);
    assert_eq!(words(&pool("web").but(|seen| seen.pool.deleting = true).with([kept()]).plan()), ["let web-0 go"]);
    assert_eq!(words(&pool("web").replicas(0).with([kept()]).plan()), ["delete vol-web-0 of web-0"], "a person deleted the object itself");
}

#[test]
fn a_volume_that_lost_our_tags_is_let_go_and_stays_in_ec2() {
    for tag in [TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID] {
        let retagged = volume("web-0").ready().deleting().but(|volume| {
            volume.cloud.as_mut().unwrap().tags.insert(tag.to_owned(), "of others".to_owned());
        });
        assert_eq!(words(&pool("web").replicas(0).with([retagged]).plan()), ["let web-0 go"], "{tag}");
    }
}

#[test]
fn a_pool_goes_although_ec2_denies_to_delete_what_it_has() {
    let denied =
        |seconds_ago: i64| volume("web-0").ready().deleting().but(|volume| volume.recorded.denied_since = Some(at(NOW - seconds_ago)));
    let plan = deleted("web").with([denied(299)]).plan();
    assert_eq!(words(&plan), ["delete vol-web-0 of web-0"], "it is tried as long as there is hope");
    assert_finding(&plan, Condition::Ready, false, Reason::DeletionDenied, &["vol-web-0", "ec2:DeleteVolume", "kept in EC2"]);
    assert_eq!(words(&deleted("web").with([denied(300)]).plan()), ["let web-0 go"]);
    let alone = pool("web").replicas(0).with([denied(9000)]).plan();
    assert_eq!(words(&alone), ["delete vol-web-0 of web-0"], "a pool that lives forgets nothing");
    let endless = volume("web-0").cloud(VolumeState::Creating).deleting().but(|volume| volume.recorded.requested = Some(at(NOW - 600)));
    assert_eq!(words(&deleted("web").with([endless]).plan()), ["let web-0 go"], "EC2 deletes none that it is making");
    let snapshots = |seconds_ago: i64| deleted("web").but(|seen| seen.pool.denied_since = Some(at(NOW - seconds_ago)));
    assert_eq!(words(&snapshots(299).plan()), ["delete snap-1"]);
    assert_eq!(words(&snapshots(300).plan()), ["let the pool go"]);
}

#[test]
fn a_pool_goes_although_its_source_and_its_zone_are_gone() {
    let gone = || deleted("web").zones(&["z"]).nodes_in(&[]).source(crate::plan::SourceSeen::Missing("vol-source".to_owned()));
    assert_eq!(words(&gone().with([volume("web-0").ready()]).plan()), ["drop web-0"]);
    assert_eq!(words(&gone().with([volume("web-0").ready().deleting()]).plan()), ["delete vol-web-0 of web-0"]);
    assert_eq!(words(&gone().with([volume("web-0").missing_since(0).deleting()]).plan()), ["let web-0 go"], "with its zone");
    assert_eq!(words(&gone().plan()), ["delete snap-1"]);
    assert_eq!(words(&gone().snapshots([]).plan()), ["let the pool go"]);
}

#[test]
fn an_adopted_volume_is_not_let_go_before_it_can_carry_our_tags() {
    let adopted_before = |seconds: i64| {
        let untagged = volume("web-0").ready().deleting().but(|volume| {
            volume.cloud.as_mut().unwrap().tags.insert(TAG_VOLUME_UID.to_owned(), "of an object that is lost".to_owned());
            volume.recorded.adopted = Some(at(NOW - seconds));
        });
        deleted("web").with([untagged]).plan()
    };
    assert_eq!(words(&adopted_before(1)), [""; 0], "else it would stay in EC2 for ever");
    assert_eq!(words(&adopted_before(301)), ["let web-0 go"], "somebody has taken it from us");
}
