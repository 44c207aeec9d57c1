//! The phase of each volume, and the one step that it needs by itself.

use crate::domain::{AttachmentState, Phase, Reason, VolumeState};
use crate::plan::{Condition, NodeSide, VISIBILITY};

use super::build::{NOW, VolumeBuild, at, attachment, key, pool, volume};
use super::words::{assert_finding, words};

fn phase_of(volume: VolumeBuild) -> Phase {
    pool("web").with([volume]).plan().report.volumes[&key("web-0")].phase
}

#[test]
fn the_phase_says_where_a_volume_is() {
    let ready = || volume("web-0").ready();
    let attached_elsewhere = ready().but(|volume| volume.cloud.as_mut().unwrap().attachments = vec![attachment()]);
    let cases = vec![
        (volume("web-0"), Phase::Pending),
        (volume("web-0").cloud(VolumeState::Creating), Phase::Creating),
        (volume("web-0").cloud(VolumeState::Unknown), Phase::Creating),
        (volume("web-0").cloud(VolumeState::Available), Phase::Initializing),
        (volume("web-0").initializing(), Phase::Initializing),
        (ready(), Phase::Ready),
        (ready().on_node("node-a"), Phase::Releasing),
        (attached_elsewhere, Phase::Releasing),
        (volume("web-0").used_by("cart"), Phase::Claimed),
        (ready().reserved_for("cart"), Phase::Claimed),
        (volume("web-0").used_by("cart").but(|volume| volume.node_name = None), Phase::Releasing),
        (ready().but(|volume| volume.retired = true), Phase::Retained),
        (volume("web-0").cloud(VolumeState::Error), Phase::Failed),
        (volume("web-0").cloud(VolumeState::Deleting), Phase::Failed),
        (volume("web-0").cloud(VolumeState::Deleted), Phase::Failed),
        (ready().deleting(), Phase::Deleting),
    ];
    for (volume, phase) in cases {
        assert_eq!(phase_of(volume.clone()), phase, "{:?}", volume.seen());
    }
}

#[test]
fn an_ended_attachment_leaves_a_volume_ready() {
    let ended = crate::domain::Attachment { state: AttachmentState::Detached, ..attachment() };
    let volume = volume("web-0").ready().but(|volume| volume.cloud.as_mut().unwrap().attachments = vec![ended]);
    assert_eq!(phase_of(volume), Phase::Ready);
}

#[test]
fn a_wanted_volume_is_asked_for_until_ec2_lists_it() {
    let asked = volume("web-0").but(|volume| volume.recorded.requested = Some(at(NOW)));
    for volume in [volume("web-0"), asked] {
        assert_eq!(words(&pool("web").with([volume]).plan()), ["create web-0"]);
    }
    let lost_reply = volume("web-0").ready().but(|volume| volume.recorded.volume = None);
    let plan = pool("web").with([lost_reply]).plan();
    assert_eq!(words(&plan), [""; 0], "it was found by its tag");
    assert_eq!(plan.report.volumes[&key("web-0")].volume, Some("vol-web-0".into()));
}

#[test]
fn a_volume_that_is_kept_aside_is_not_asked_for() {
    let plan = pool("web").replicas(0).with([volume("web-0").but(|volume| volume.retired = true)]).plan();
    assert_eq!(words(&plan), [""; 0]);
}

#[test]
fn a_missing_volume_is_not_replaced_before_ec2_had_time_to_list_it() {
    let visibility = VISIBILITY.as_secs();
    let just_missed = volume("web-0").ready().but(|volume| volume.cloud = None);
    let plan = pool("web").with([just_missed]).plan();
    assert_eq!(words(&plan), [""; 0]);
    let life = &plan.report.volumes[&key("web-0")];
    assert_eq!((life.phase, life.missing_since), (Phase::Creating, Some(at(NOW))));
    assert!(plan.report.is_moving);

    let plan = pool("web").with([volume("web-0").missing_since(NOW - visibility + 1)]).plan();
    assert_eq!(words(&plan), [""; 0]);
    let plan = pool("web").with([volume("web-0").missing_since(NOW - visibility)]).plan();
    assert_eq!(words(&plan), ["drop web-0", "add 1 in a"]);
}

#[test]
fn an_old_answer_of_ec2_does_not_prove_that_a_volume_is_lost() {
    let missing = || volume("web-0").missing_since(NOW - 2 * VISIBILITY.as_secs());
    for (replicas, volume) in [(1, missing()), (0, missing().deleting())] {
        let pool = pool("web").replicas(replicas).with([volume]);
        let plan = pool.but(|seen| seen.observed = at(NOW - 2 * VISIBILITY.as_secs())).plan();
        assert_eq!(words(&plan), [""; 0], "only one answer has missed it, long ago");
    }
}

#[test]
fn a_volume_that_was_asked_for_after_the_answer_is_not_missing() {
    let fresh = volume("web-0").ready().but(|volume| {
        volume.cloud = None;
        volume.recorded.requested = Some(at(NOW + 1));
    });
    assert_eq!(pool("web").with([fresh]).plan().report.volumes[&key("web-0")].missing_since, None);
}

#[test]
fn a_lost_volume_that_a_claim_holds_stays_as_evidence() {
    let lost = volume("web-0").missing_since(0).reserved_for("cart").phase(Phase::Claimed);
    let plan = pool("web").replicas(0).with([lost]).plan();
    assert_eq!(words(&plan), [""; 0]);
    assert_eq!(plan.report.volumes[&key("web-0")].phase, Phase::Failed);
}

#[test]
fn a_volume_is_deleted_in_order_claim_node_ec2_object() {
    let doomed = || volume("web-0").ready().deleting();
    let unclaimed = |volume: VolumeBuild| volume.but(|volume| volume.claim = None);
    let off_spec = |volume: VolumeBuild| volume.but(|volume| volume.node_name = None);
    let off_node = |volume: VolumeBuild| off_spec(volume).but(|volume| volume.node = None);
    let used = || volume("web-0").used_by("cart").deleting();
    let gone = |volume: VolumeBuild| volume.but(|volume| volume.cloud = None);
    let accepted = |volume: VolumeBuild| volume.but(|volume| volume.recorded.deletion_accepted = true);
    let cases = [
        ("a claim has it", used(), ""),
        ("an agent is told to let go", unclaimed(used()), "unassign web-0"),
        ("an agent still has it", off_spec(unclaimed(used())), ""),
        ("EC2 still attaches it", off_node(unclaimed(used())), ""),
        ("it is free", doomed(), "delete vol-web-0 of web-0"),
        ("it failed", volume("web-0").cloud(VolumeState::Error).deleting(), "delete vol-web-0 of web-0"),
        ("EC2 makes it", volume("web-0").cloud(VolumeState::Creating).deleting(), ""),
        ("EC2 deletes it", doomed().cloud(VolumeState::Deleting), ""),
        ("EC2 lists it as deleted", doomed().cloud(VolumeState::Deleted), "let web-0 go"),
        ("EC2 took the deletion and lists it no more", accepted(gone(doomed())), "let web-0 go"),
        ("EC2 does not list it for the first time", gone(doomed()), ""),
        ("it was never asked for", volume("web-0").deleting(), "let web-0 go"),
    ];
    for (case, volume, word) in cases {
        let expected: Vec<&str> = Some(word).filter(|word| !word.is_empty()).into_iter().collect();
        assert_eq!(words(&pool("web").replicas(0).with([volume]).plan()), expected, "{case}");
    }
}

#[test]
fn an_unlisted_volume_is_let_go_only_after_ec2_had_time_to_list_it() {
    let visibility = VISIBILITY.as_secs();
    let asked = |second| volume("web-0").but(|volume| volume.recorded.requested = Some(at(second)));
    for (volume, is_let_go) in [
        (volume("web-0").missing_since(NOW - visibility + 1), false),
        (volume("web-0").missing_since(NOW - visibility), true),
        (asked(NOW - visibility + 1), false),
        (asked(NOW - visibility), true),
    ] {
        let plan = pool("web").replicas(0).with([volume.clone().deleting()]).plan();
        assert_eq!(!plan.actions.is_empty(), is_let_go, "{:?}", volume.seen());
    }
}

#[test]
fn errors_of_ec2_and_of_agents_are_told_with_the_volume() {
    let refused = volume("web-0").but(|volume| volume.recorded.error = Some("CreateVolume: VolumeLimitExceeded".to_owned()));
    let plan = pool("web").with([refused]).plan();
    assert_finding(&plan, Condition::Degraded, true, Reason::Ec2Failed, &["web-0", "VolumeLimitExceeded"]);

    let side = NodeSide { node: "node-a".to_owned(), error: Some("no filesystem".to_owned()), ..NodeSide::default() };
    let broken = volume("web-0").used_by("cart").but(|volume| volume.node = Some(side));
    let plan = pool("web").with([broken]).plan();
    assert_finding(&plan, Condition::Degraded, true, Reason::AgentFailed, &["web-0", "node-a", "no filesystem"]);
}

#[test]
fn a_volume_is_watched_by_its_node_until_the_agent_has_let_go() {
    let watched = |volume: VolumeBuild| pool("web").with([volume]).plan().report.volumes[&key("web-0")].watched_by.clone();
    let used = volume("web-0").used_by("cart");
    assert_eq!(watched(used.clone()), Some("node-a".into()));
    assert_eq!(watched(used.but(|volume| volume.node_name = None)), Some("node-a".into()));
    assert_eq!(watched(volume("web-0").ready()), None);
}

#[test]
fn a_volume_of_a_lost_node_is_forgotten_only_when_ec2_shows_it_free() {
    let side = NodeSide { node: "node-gone".to_owned(), ..NodeSide::default() };
    let free = || volume("web-0").ready().but(|volume| volume.node = Some(side.clone()));
    assert_eq!(words(&pool("web").replicas(0).with([free()]).plan()), ["forget the node of web-0"]);
    let held = free().but(|volume| volume.cloud.as_mut().unwrap().attachments = vec![attachment()]);
    assert_eq!(words(&pool("web").replicas(0).with([held]).plan()), [""; 0], "the instance may still write");
    let unseen = free().but(|volume| volume.cloud = None);
    assert_eq!(words(&pool("web").with([unseen]).plan()), [""; 0], "unknown is not detached");
    let living = free().but(|volume| volume.node.as_mut().unwrap().node = "node-a".to_owned());
    assert_eq!(words(&pool("web").replicas(0).with([living]).plan()), [""; 0], "its agent will let it go");
}

#[test]
fn an_attachment_that_came_late_finds_the_agent_of_its_instance() {
    let late = volume("web-0").ready().but(|volume| volume.cloud.as_mut().unwrap().attachments = vec![attachment()]);
    let watcher = |volume: VolumeBuild| pool("web").with([volume]).plan().report.volumes[&key("web-0")].watched_by.clone();
    let instance = attachment().instance;
    let with_agent = pool("web").with([late.clone()]).but(|seen| seen.instances = [(instance, "node-b".into())].into()).plan();
    assert_eq!(with_agent.report.volumes[&key("web-0")].watched_by, Some("node-b".into()));
    let foreign = late.but(|volume| volume.cloud.as_mut().unwrap().attachments[0].instance = "i-foreign".into());
    assert_eq!(watcher(foreign), None, "no agent of ours is there");
    assert_eq!(watcher(volume("web-0").ready()), None);
}
