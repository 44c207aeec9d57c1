//! How volumes come back, and how they move between nodes.

use crate::domain::{Access, Phase, ReclaimPolicy};
use crate::plan::PvSeen;

use super::build::{VolumeBuild, volume};
use super::demand_build::{DemandBuild, claim, demand_on_web, pv_of, released_pv_of};

fn used() -> VolumeBuild {
    volume("web-0").used_by("cart")
}

/// Off its node: the agent has unmounted and detached it.
fn returned() -> VolumeBuild {
    used().but(|volume| {
        volume.node_name = None;
        volume.node = None;
    })
}

fn returned_by_writer() -> VolumeBuild {
    returned().but(|volume| volume.claim.as_mut().unwrap().access = Access::ReadWrite)
}

fn released(policy: ReclaimPolicy, volume: VolumeBuild) -> DemandBuild {
    let pv = PvSeen { is_retained: policy == ReclaimPolicy::Retain, ..released_pv_of("cart") };
    demand_on_web().offer(|offer| offer.reclaim = policy).pv(pv).volumes([volume])
}

#[test]
fn a_volume_in_use_is_left_alone() {
    let demand = demand_on_web().pv(pv_of("cart")).volumes([used()]);
    assert_eq!(demand.words(), [""; 0]);
    assert_eq!(demand.wanted_on("web-0", "node-a").words(), [""; 0], "it is where it is wanted");
}

#[test]
fn a_released_volume_leaves_its_node_first() {
    for policy in [ReclaimPolicy::Recycle, ReclaimPolicy::Delete, ReclaimPolicy::Retain] {
        assert_eq!(released(policy, used()).words(), ["unassign web-0"]);
        let leaving = used().but(|volume| volume.node_name = None);
        assert_eq!(released(policy, leaving).words(), [""; 0], "the agent still has it");
    }
}

#[test]
fn what_becomes_of_a_released_volume_is_the_policy_of_the_pool() {
    let cases = [
        (ReclaimPolicy::Recycle, returned(), vec!["free web-0"]),
        (ReclaimPolicy::Recycle, returned_by_writer(), vec!["discard web-0"]),
        (ReclaimPolicy::Delete, returned(), vec!["discard web-0"]),
        (ReclaimPolicy::Delete, returned_by_writer(), vec!["discard web-0"]),
        (ReclaimPolicy::Retain, returned(), vec![]),
        (ReclaimPolicy::Recycle, returned_by_writer().deleting(), vec!["free web-0"]),
        (ReclaimPolicy::Delete, returned().deleting(), vec!["free web-0"]),
    ];
    for (policy, volume, words) in cases {
        assert_eq!(released(policy, volume.clone()).words(), words, "{policy:?} {:?}", volume.seen());
    }
}

#[test]
fn a_retained_volume_is_set_aside_once_an_administrator_deletes_the_pv() {
    let deleted = PvSeen { is_retained: true, deleting: true, ..released_pv_of("cart") };
    let demand = demand_on_web().offer(|offer| offer.reclaim = ReclaimPolicy::Retain).pv(deleted);
    assert_eq!(demand.volumes([returned()]).words(), ["free web-0 and retire it"]);
}

#[test]
fn a_pool_that_is_gone_takes_nothing_back() {
    let demand = released(ReclaimPolicy::Recycle, returned()).but(|seen| seen.offers.clear());
    assert_eq!(demand.words(), ["discard web-0"]);
}

#[test]
fn the_pv_goes_when_no_volume_holds_its_claim() {
    let unheld = |pv| demand_on_web().pv(pv).volumes([volume("web-0").ready()]).words();
    assert_eq!(unheld(released_pv_of("cart")), ["delete pvc-uid-cart"]);
    assert_eq!(unheld(PvSeen { is_retained: true, ..released_pv_of("cart") }), [""; 0]);
    assert_eq!(unheld(PvSeen { is_retained: true, deleting: true, ..released_pv_of("cart") }), ["delete pvc-uid-cart"]);
    assert_eq!(unheld(pv_of("cart")), [""; 0], "its claim lives");
    assert_eq!(unheld(PvSeen { deleting: true, ..pv_of("cart") }), [""; 0], "its claim lives");
}

#[test]
fn a_volume_moves_only_when_the_old_node_has_let_go() {
    let moving = |volume| demand_on_web().pv(pv_of("cart")).volumes([volume]).wanted_on("web-0", "node-b");
    let unpublished = |volume: VolumeBuild| volume.but(|volume| volume.node.as_mut().unwrap().published = 0);
    assert_eq!(moving(used()).words(), [""; 0], "a pod still uses it");
    assert_eq!(moving(unpublished(used())).words(), ["unassign web-0"]);
    let leaving = unpublished(used()).but(|volume| volume.node_name = None);
    assert_eq!(moving(leaving).words(), [""; 0], "the agent has not detached it");
    assert_eq!(moving(returned()).words(), ["assign web-0 to node-b"]);
    let never_arrived = used().but(|volume| volume.node = None);
    assert_eq!(moving(never_arrived).words(), ["unassign web-0"]);
}

#[test]
fn a_volume_that_was_bound_before_scheduling_goes_to_the_node_that_asks() {
    let bound = volume("web-0").ready().reserved_for("cart");
    let demand = demand_on_web().pv(pv_of("cart")).volumes([bound]);
    assert_eq!(demand.words(), [""; 0]);
    assert_eq!(demand.wanted_on("web-0", "node-b").words(), ["assign web-0 to node-b"]);
}

#[test]
fn an_abandoned_reservation_is_taken_back_unless_a_pv_shows_up() {
    let reserved = || volume("web-0").ready().reserved_for("cart");
    let on_node = reserved().but(|volume| volume.node_name = Some("node-a".into()));
    assert_eq!(demand_on_web().volumes([reserved()]).words(), ["free web-0 unless pvc-uid-cart"]);
    assert_eq!(demand_on_web().volumes([on_node]).words(), ["unassign web-0"]);
    let live = demand_on_web().but(|seen| seen.live_claims.extend(["uid-cart".to_owned()]));
    assert_eq!(live.volumes([reserved()]).words(), [""; 0]);
}

#[test]
fn a_failed_or_doomed_volume_is_taken_from_a_claim_that_never_got_a_pv() {
    let held = || volume("web-0").reserved_for("cart");
    for volume in [held().phase(Phase::Failed), held().ready().deleting()] {
        let on_node = volume.clone().but(|volume| volume.node_name = Some("node-a".into()));
        let words = |volume| demand_on_web().claims([claim("cart")]).volumes([volume]).words();
        let told = "tell cart: WaitingForVolume";
        assert_eq!(words(volume), ["free web-0 unless pvc-uid-cart", told], "else the claim waits for ever");
        assert_eq!(words(on_node), ["unassign web-0", told]);
    }
}

#[test]
fn a_failed_volume_with_a_pv_stays_with_its_claim() {
    let failed = returned().phase(Phase::Failed);
    assert_eq!(demand_on_web().pv(pv_of("cart")).volumes([failed]).words(), [""; 0]);
}

#[test]
fn a_volume_is_not_freed_and_given_away_in_one_plan() {
    let words = released(ReclaimPolicy::Recycle, returned()).claims([claim("blog")]).words();
    assert_eq!(words, ["free web-0", "make web-1 in a for blog on node-a"]);
}

#[test]
fn a_second_volume_that_a_claim_got_from_an_old_view_is_given_back() {
    let pv = PvSeen { volume: Some(super::build::key("web-0")), ..pv_of("cart") };
    let spare = || volume("web-1").ready().reserved_for("cart");
    let demand = |spare| demand_on_web().pv(pv.clone()).volumes([used(), spare]);
    let on_its_way = spare().but(|volume| volume.node_name = Some("node-b".into()));
    assert_eq!(demand(on_its_way).words(), ["unassign web-1"]);
    assert_eq!(demand(spare()).words(), ["free web-1"]);
}

#[test]
fn a_volume_that_may_have_been_written_is_never_given_back_without_its_pv() {
    let left = demand_on_web().volumes([returned_by_writer()]);
    assert_eq!(left.words(), ["discard web-0"], "somebody took the PersistentVolume away by force");
    let doomed = demand_on_web().volumes([returned_by_writer().deleting()]);
    assert_eq!(doomed.words(), ["free web-0 unless pvc-uid-cart"]);
}
