//! Which volume a claim gets, and in which steps.

use crate::domain::{Access, GiB, ObjectKey, Phase, ReclaimPolicy};
use crate::plan::{ClaimSeen, DemandAction};

use super::build::{VolumeBuild, claim_ref, key, volume};
use super::demand_build::{claim, claim_on, demand_on_web, immediate_claim};
use super::words::demand_words;

#[test]
fn a_claim_waits_quietly_for_the_scheduler() {
    let waiting = ClaimSeen { selected_node: None, ..claim("cart") };
    assert_eq!(demand_on_web().claims([waiting]).volumes([volume("web-0").ready()]).words(), [""; 0]);
}

#[test]
fn a_ready_volume_in_the_zone_of_the_node_is_reserved() {
    let volumes = || [volume("web-0").ready(), volume("web-1").zone("b").ready()];
    let words = demand_on_web().claims([claim_on("cart", "node-b")]).volumes(volumes()).words();
    assert_eq!(words, ["reserve web-1 for cart on node-b"]);
    let words = demand_on_web().claims([immediate_claim("cart")]).volumes(volumes()).words();
    assert_eq!(words, ["reserve web-0 for cart"], "no node is chosen, so any zone of the pool will do");
}

#[test]
fn a_reservation_carries_the_claim_and_the_version_that_was_judged() {
    let plan = demand_on_web().offer(|offer| offer.access = Access::ReadWrite).claims([claim("cart")]).volumes([volume("web-0").ready()]);
    let expected = DemandAction::Reserve {
        volume: key("web-0"),
        resource_version: "7".to_owned(),
        claim: crate::domain::ClaimRef { access: Access::ReadWrite, ..claim_ref("cart") },
        node: Some("node-a".into()),
    };
    assert_eq!(plan.plan(), [expected]);
}

/// On the node already, then newest content, then lowest slot.
#[test]
fn the_best_ready_volume_is_chosen() {
    let plain = || volume("web-0").ready();
    let newer = || volume("web-1").generation(2).ready();
    let newer_later = || volume("web-2").generation(2).ready();
    let near = || volume("web-3").ready().on_node("node-a").phase(Phase::Ready);
    let far = || volume("web-4").generation(2).ready().on_node("node-z").phase(Phase::Ready);
    let cases: [(&str, Vec<VolumeBuild>); 5] = [
        ("web-0", vec![plain()]),
        ("web-1", vec![plain(), newer()]),
        ("web-1", vec![newer_later(), newer()]),
        ("web-3", vec![newer(), near(), far()]),
        ("web-1", vec![far(), newer()]),
    ];
    for (best, volumes) in cases {
        let words = demand_on_web().claims([claim("cart")]).volumes(volumes).words();
        assert_eq!(words, [format!("reserve {best} for cart on node-a")]);
    }
}

#[test]
fn only_a_volume_that_is_free_and_filled_is_given_away() {
    let unfit = [
        volume("web-0").initializing(),
        volume("web-0").ready().deleting(),
        volume("web-0").ready().but(|volume| volume.retired = true),
        volume("web-0").used_by("other"),
        volume("web-0").ready().reserved_for("other"),
        volume("web-0").ready().zone("b"),
        volume("web-0").ready().but(|volume| volume.pool = "other".to_owned()),
        volume("web-0").ready().but(|volume| volume.key = ObjectKey::new("elsewhere", "web-0")),
        volume("web-0").ready().but(|volume| volume.size = GiB(4)),
    ];
    for volume in unfit {
        let wants_five = ClaimSeen { requested: GiB(5), ..claim("cart") };
        let demand = demand_on_web().claims([wants_five]).but(|seen| seen.live_claims.extend(["uid-other".to_owned()]));
        let words = demand.volumes([volume.clone()]).words();
        assert!(words.len() == 1 && words[0].starts_with("make web-"), "{words:?} of {:?}", volume.seen());
    }
}

#[test]
fn two_claims_never_get_the_same_volume_in_one_plan() {
    let claims = || [claim("blog"), claim("cart"), claim("docs")];
    let words = demand_on_web().claims(claims()).volumes([volume("web-0").ready(), volume("web-1").ready()]).words();
    assert_eq!(words, ["reserve web-0 for blog on node-a", "reserve web-1 for cart on node-a", "make web-2 in a for docs on node-a"]);
    let words = demand_on_web().claims(claims()).words();
    assert_eq!(words, ["make web-0 in a for blog on node-a", "make web-1 in a for cart on node-a", "make web-2 in a for docs on node-a"]);
}

#[test]
fn the_pv_is_made_only_once_the_ebs_volume_is_known_and_filled() {
    let held = || volume("web-0").ready().reserved_for("cart");
    let wait = "tell cart: WaitingForVolume";
    let cases = [
        (held(), "pv of web-0 for cart"),
        (held().phase(Phase::Claimed), "pv of web-0 for cart"),
        (held().but(|volume| volume.recorded.volume = None), wait),
        (held().phase(Phase::Initializing), wait),
        (held().phase(Phase::Creating), wait),
        (held().phase(Phase::Pending), wait),
        (held().phase(Phase::Releasing), wait),
        (held().but(|volume| volume.phase = None), wait),
    ];
    for (volume, word) in cases {
        assert_eq!(demand_on_web().claims([claim("cart")]).volumes([volume.clone()]).words(), [word], "{:?}", volume.seen());
    }
}

#[test]
fn the_pv_says_what_the_volume_is() {
    let held = volume("web-0").ready().zone("b").reserved_for("cart");
    let plan = demand_on_web().offer(|offer| offer.reclaim = ReclaimPolicy::Retain).claims([claim("cart")]).volumes([held]).plan();
    let expected = DemandAction::CreatePv {
        volume: key("web-0"),
        claim: claim_ref("cart"),
        volume_id: "vol-web-0".into(),
        zone: "b".into(),
        size: GiB(10),
        retain: true,
    };
    assert_eq!(plan, [expected]);
    assert_eq!(demand_words(&plan), ["retained pv of web-0 for cart"]);
}

#[test]
fn a_claim_keeps_the_volume_that_it_holds() {
    let volumes = [volume("web-0").generation(2).ready(), volume("web-1").ready().reserved_for("cart")];
    assert_eq!(demand_on_web().claims([claim("cart")]).volumes(volumes).words(), ["pv of web-1 for cart"]);
}

#[test]
fn a_volume_made_for_a_claim_is_complete() {
    let plan = demand_on_web().claims([claim_on("cart", "node-b")]).volumes([volume("web-0").used_by("blog")]).but(|seen| {
        seen.live_claims.insert("uid-blog".to_owned());
    });
    let expected = DemandAction::CreateForClaim {
        pool: key("web"),
        pool_uid: super::build::POOL_UID.into(),
        slot: 1,
        zone: "b".into(),
        size: GiB(10),
        origin: crate::plan::Origin { snapshot: "snap-2".into(), generation: 2 },
        content: None,
        claim: claim_ref("cart"),
        node: Some("node-b".into()),
    };
    assert_eq!(plan.plan(), [expected]);
}

#[test]
fn a_node_of_any_zone_may_have_a_volume_while_the_zones_are_unknown() {
    let words = demand_on_web().offer(|offer| offer.zones.clear()).claims([claim_on("cart", "node-c")]).words();
    assert_eq!(words, ["make web-0 in c for cart on node-c"]);
}

#[test]
fn a_namespace_that_is_allowed_may_claim() {
    for names in [["*"], ["blog"]] {
        let demand = demand_on_web().offer(|offer| offer.namespaces = names.map(str::to_owned).into());
        let words = demand.claims([super::demand_build::claim_in("blog", "cart")]).volumes([volume("web-0").ready()]).words();
        assert_eq!(words, ["reserve web-0 for cart on node-a"]);
    }
}
