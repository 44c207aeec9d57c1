//! Why a claim gets nothing: each reason, with a message that names the field and the fix.

use crate::domain::{GiB, Phase, Reason};
use crate::plan::{ClaimSeen, DemandAction};

use super::build::{key, volume};
use super::demand_build::{DemandBuild, claim, claim_in, claim_on, demand_on_web, immediate_claim};

/// The only event that a plan tells.
#[track_caller]
fn told(demand: &DemandBuild) -> (Reason, String) {
    let plan = demand.plan();
    let [DemandAction::Tell { claim, uid, reason, message }, rest @ ..] = plan.as_slice() else { panic!("{plan:?}") };
    assert_eq!((claim.name.as_str(), uid.as_str()), ("cart", "uid-cart"));
    assert!(rest.iter().all(|action| *action == DemandAction::Reschedule(claim.clone())), "{rest:?}");
    (*reason, message.clone())
}

#[test]
fn each_refusal_names_the_field_and_the_fix() {
    let with = |claim| demand_on_web().claims([claim]);
    let empty = || with(claim("cart"));
    let fault = "spec.dataSourceRef is missing; name a VolumePool";
    let cases: Vec<(DemandBuild, Reason, Vec<&str>)> = vec![
        (with(ClaimSeen { pool: Err(fault.to_owned()), ..claim("cart") }), Reason::InvalidClaim, vec![fault]),
        (
            with(ClaimSeen { pool: Ok(key("nope")), ..claim("cart") }),
            Reason::PoolNotFound,
            vec!["shop/nope", "make it", "spec.dataSourceRef"],
        ),
        (
            with(claim_in("blog", "cart")),
            Reason::NamespaceNotAllowed,
            vec!["shop/web", "add blog to its spec.claims.namespaces.matchNames"],
        ),
        (
            with(ClaimSeen { requested: GiB(11), ..claim("cart") }),
            Reason::RequestTooLarge,
            vec!["spec.resources.requests.storage is 11Gi", "ask for 10Gi or less", "raise spec.template.size"],
        ),
        (
            with(claim_on("cart", "node-c")),
            Reason::ZoneNotInPool,
            vec!["node node-c has zone c", "in a, b", "add the zone to its spec.zones"],
        ),
        (with(claim_on("cart", "node-x")), Reason::ZoneNotInPool, vec!["node node-x has no zone label", "keep the pod in these zones"]),
        (
            empty().offer(|offer| offer.makes_on_demand = false),
            Reason::WaitingForVolume,
            vec!["shop/web", "spec.claims.whenEmpty is Wait", "raise spec.replicas"],
        ),
        (empty().offer(|offer| offer.is_closed = true), Reason::WaitingForVolume, vec!["paused or being deleted"]),
        (empty().offer(|offer| offer.origin = None), Reason::WaitingForVolume, vec!["no completed snapshot yet", "conditions of the pool"]),
        (empty().offer(|offer| offer.size = None), Reason::WaitingForVolume, vec!["no completed snapshot yet"]),
        (with(immediate_claim("cart")).offer(|offer| offer.zones.clear()), Reason::WaitingForVolume, vec!["no completed snapshot yet"]),
    ];
    for (demand, reason, message_has) in cases {
        let (found, message) = told(&demand);
        assert_eq!(found, reason, "{message}");
        for part in message_has {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn only_a_wrong_zone_makes_the_scheduler_choose_again() {
    let words = demand_on_web().claims([claim_on("cart", "node-c")]).words();
    assert_eq!(words, ["tell cart: ZoneNotInPool", "reschedule cart"]);
    let words = demand_on_web().claims([claim("cart")]).offer(|offer| offer.makes_on_demand = false).words();
    assert_eq!(words, ["tell cart: WaitingForVolume"]);
}

#[test]
fn a_closed_pool_still_gives_what_is_ready() {
    let demand = demand_on_web().offer(|offer| offer.is_closed = true).claims([claim("cart")]);
    assert_eq!(demand.volumes([volume("web-0").ready()]).words(), ["reserve web-0 for cart on node-a"]);
}

#[test]
fn a_refused_claim_does_not_hold_up_others() {
    let bad = ClaimSeen { pool: Err("no".to_owned()), ..claim("blog") };
    let words = demand_on_web().claims([bad, claim("cart")]).volumes([volume("web-0").ready()]).words();
    assert_eq!(words, ["tell blog: InvalidClaim", "reserve web-0 for cart on node-a"]);
}

#[test]
fn a_claim_that_waits_for_its_volume_is_told_what_fails() {
    let held = volume("web-0").reserved_for("cart").phase(Phase::Pending);
    let refused = held.but(|volume| volume.recorded.error = Some("CreateVolume: VolumeLimitExceeded".to_owned()));
    let (reason, message) = told(&demand_on_web().claims([claim("cart")]).volumes([refused]));
    assert_eq!(reason, Reason::WaitingForVolume);
    assert!(message.contains("web-0") && message.contains("shop/cart") && message.ends_with("VolumeLimitExceeded"), "{message}");
}

#[test]
fn a_claim_whose_last_volume_failed_waits_until_that_is_cleaned_up() {
    let failed = volume("web-0").phase(Phase::Failed);
    let (reason, message) = told(&demand_on_web().claims([claim("cart")]).volumes([failed.clone()]));
    assert_eq!(reason, Reason::WaitingForVolume);
    assert!(message.contains("web-0 failed"), "{message}");
    let elsewhere = failed.zone("b");
    assert_eq!(demand_on_web().claims([claim("cart")]).volumes([elsewhere]).words(), ["make web-1 in a for cart on node-a"]);
}

#[test]
fn of_several_failed_volumes_the_same_is_named_in_whatever_order_they_are_listed() {
    let failed = |names: [&str; 2]| names.map(|name| volume(name).phase(Phase::Failed));
    for names in [["web-0", "web-1"], ["web-1", "web-0"]] {
        let (_, message) = told(&demand_on_web().claims([claim("cart")]).volumes(failed(names)));
        assert!(message.contains("web-0 failed"), "{message}");
    }
}
