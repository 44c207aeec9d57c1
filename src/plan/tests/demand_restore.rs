//! How a volume that pods wrote comes back in a live pool: compared and mended on its node, and never claimable before.

use crate::domain::{Access, Phase, ReclaimPolicy, SyncState};
use crate::plan::{DemandAction, PvSeen, SyncSeen, VerifiedSeen, VolumeSeen};

use super::build::{NOW, VolumeBuild, at, volume};
use super::demand_build::{DemandBuild, claim, demand_on_web, released_pv_of};
use super::live::sync;

/// Written by pods of a claim that is gone, still mounted on `node-a`, and unpublished.
fn written() -> VolumeBuild {
    volume("web-0").used_by("cart").but(|volume| {
        volume.claim.as_mut().expect("it is claimed").access = Access::ReadWrite;
        let side = volume.node.as_mut().expect("it is on a node");
        (side.published, side.sync) = (0, Some(sync(SyncState::InSync)));
    })
}

fn order(seconds_ago: i64) -> String {
    format!("recycle-uid-cart.{}", at(NOW - seconds_ago).as_second())
}

fn ordered(seconds_ago: i64) -> VolumeBuild {
    written().but(|volume| volume.ordered = Some(order(seconds_ago)))
}

fn answered(id: &str, differences: u64, repaired: bool, error: Option<&str>) -> VolumeBuild {
    let verified = VerifiedSeen { id: id.to_owned(), differences, repaired, error: error.map(str::to_owned) };
    ordered(60).but(|volume| {
        volume.node.as_mut().expect("it is on a node").sync = Some(SyncSeen { verified: Some(verified), ..sync(SyncState::InSync) });
    })
}

/// Off its node.
fn returned(volume: VolumeBuild) -> VolumeBuild {
    volume.but(|volume| (volume.node_name, volume.node) = (None, None))
}

fn restored(volume: VolumeBuild) -> VolumeBuild {
    volume.but(|volume| (volume.restored_after, volume.ordered) = (Some("uid-cart".to_owned()), None))
}

/// A release in a live pool of which nothing is left out.
fn released(volume: VolumeBuild) -> DemandBuild {
    demand_on_web().offer(|offer| offer.restores = true).pv(released_pv_of("cart")).volumes([volume]).but(|seen| seen.now = at(NOW))
}

#[test]
fn a_written_volume_is_compared_and_mended_where_it_is() {
    assert_eq!(released(written()).words(), [format!("restore web-0 by {}", order(0))]);
    assert_eq!(released(ordered(599)).words(), [""; 0], "its agent is at it");
    let unmounted = written().but(|volume| volume.node = None);
    assert_eq!(released(unmounted).words(), [format!("restore web-0 by {}", order(0))], "its agent will");
}

#[test]
fn nothing_is_compared_while_a_pod_still_has_it() {
    let published = |volume: VolumeBuild| volume.but(|volume| volume.node.as_mut().expect("it is there").published = 1);
    assert_eq!(released(published(written())).words(), [""; 0]);
    assert_eq!(released(published(answered(&order(60), 0, false, None))).words(), [""; 0]);
}

#[test]
fn only_the_answer_to_its_own_order_makes_it_clean() {
    for (volume, words) in [
        (answered(&order(60), 0, false, None), "web-0 is restored, 0 mended"),
        (answered(&order(60), 7, true, None), "web-0 is restored, 7 mended"),
        (answered(&order(60), 7, false, None), "give web-0 up: 7 paths differ from the source and could not be mended"),
        (answered(&order(60), 0, false, Some("no way")), "give web-0 up: it could not be compared with the source: no way"),
    ] {
        assert_eq!(released(volume).words(), [words]);
    }
    assert_eq!(released(answered(&order(61), 0, false, None)).words(), [""; 0], "an answer to an earlier order");
    let of_an_operation = answered("uid-push", 0, false, None).but(|volume| volume.ordered = Some("uid-push".to_owned()));
    assert_eq!(released(of_an_operation).words(), [format!("restore web-0 by {}", order(0))], "it did not mend");
}

#[test]
fn an_agent_that_gives_no_answer_in_ten_minutes_costs_the_volume() {
    let words = released(ordered(600)).words();
    assert!(words[0].starts_with("give web-0 up: the agent of node node-a") && words[0].contains("10m"), "{words:?}");
    let lost = released(written()).but(|seen| seen.node_zones.clear());
    assert_eq!(lost.words(), ["give web-0 up: node node-a is gone"]);
}

#[test]
fn off_its_node_it_is_ready_again_only_when_it_was_made_clean_after_this_claim() {
    let leaving = restored(written()).but(|volume| volume.node_name = None);
    assert_eq!(released(leaving).words(), [""; 0], "the agent still has it");
    assert_eq!(released(returned(restored(written()))).words(), ["free web-0"]);
    assert_eq!(released(returned(ordered(60))).words(), ["discard web-0"]);
    let of_an_earlier_claim = returned(written()).but(|volume| volume.restored_after = Some("uid-before".to_owned()));
    assert_eq!(released(of_an_earlier_claim).words(), ["discard web-0"]);
}

#[test]
fn where_it_cannot_be_mended_a_written_volume_goes_as_before() {
    let still = released(written()).offer(|offer| offer.restores = false);
    assert_eq!(still.words(), ["unassign web-0"]);
    let deleted = released(written()).offer(|offer| offer.reclaim = ReclaimPolicy::Delete);
    assert_eq!(deleted.words(), ["unassign web-0"]);
    let gone = released(written()).but(|seen| seen.offers.clear());
    assert_eq!(gone.words(), ["unassign web-0"]);
    let read_only = written().but(|volume| volume.claim.as_mut().expect("it is claimed").access = Access::ReadOnly);
    assert_eq!(released(read_only).words(), ["unassign web-0"], "nobody wrote it");
    assert_eq!(released(written().deleting()).words(), ["unassign web-0"]);
    let kept = PvSeen { is_retained: true, ..released_pv_of("cart") };
    let retained = demand_on_web().offer(|offer| offer.restores = true).pv(kept).volumes([written()]);
    assert_eq!(retained.words(), ["unassign web-0"]);
}

/// Carries out what is planned, as the controller does, and says whether the volume was given to the claim that waits.
fn act(seen: &mut VolumeSeen, action: DemandAction) -> bool {
    match action {
        DemandAction::Restore { id, .. } => seen.ordered = Some(id),
        DemandAction::Restored { claim_uid, .. } => {
            (seen.restored_after, seen.ordered, seen.node_name) = (Some(claim_uid), None, None);
        }
        DemandAction::GiveUp { .. } => (seen.ordered, seen.node_name) = (None, None),
        DemandAction::Free { .. } => {
            (seen.claim, seen.restored_after, seen.ordered, seen.phase) = (None, None, None, Some(Phase::Ready));
        }
        DemandAction::Discard { .. } => seen.deleting = true,
        DemandAction::Reserve { .. } => return true,
        _ => {}
    }
    false
}

#[test]
fn the_next_claim_gets_it_only_after_it_was_made_clean() {
    for (differences, repaired, is_given) in [(0, false, true), (3, true, true), (3, false, false)] {
        let mut volume = written().seen();
        let (mut was_clean, mut was_given) = (false, false);
        for round in 0..20 {
            let demand = released(super::demand_build::built(volume.clone())).claims([claim("next")]);
            for action in demand.plan() {
                let is_reserved = act(&mut volume, action);
                assert!(!is_reserved || was_clean, "it was given away unclean in round {round}");
                was_given |= is_reserved;
            }
            was_clean |= volume.restored_after.is_some();
            match (&volume.node_name, &mut volume.node, &volume.ordered) {
                (Some(_), Some(side), Some(id)) => {
                    let verified = VerifiedSeen { id: id.clone(), differences, repaired, error: None };
                    side.sync = Some(SyncSeen { verified: Some(verified), ..sync(SyncState::InSync) });
                }
                (None, Some(_), _) => volume.node = None,
                _ => {}
            }
        }
        assert_eq!((was_given, volume.deleting), (is_given, !is_given), "{differences} {repaired}");
    }
}
