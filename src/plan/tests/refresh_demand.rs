//! What a claim gets while ready volumes are away to be refreshed.

use crate::domain::{Phase, Reason, SyncState};
use crate::plan::{ClaimSeen, ContentSeen, DemandAction};

use super::build::{NOW, VolumeBuild, at, volume};
use super::demand_build::{DemandBuild, claim, claim_on, demand_on_web};
use super::refresh_build::{at_generation, current, following, last_refresh, position, refreshing};

fn here(name: &str) -> VolumeBuild {
    following(refreshing(name, 20), SyncState::CatchingUp, position(1))
}

/// Its refresh has ended so many seconds ago, and its agent has not let go.
fn returning(name: &str, ended: i64) -> VolumeBuild {
    here(name).phase(Phase::Releasing).but(|volume| {
        volume.node_name = None;
        volume.refresh = Some(last_refresh(90, Some(ended), 0));
    })
}

fn demand_of(volumes: impl IntoIterator<Item = VolumeBuild>, claims: impl IntoIterator<Item = ClaimSeen>) -> DemandBuild {
    demand_on_web().volumes(volumes).claims(claims).but(|seen| {
        seen.now = at(NOW);
        seen.node_zones.insert("node-d".into(), "a".into());
    })
}

#[test]
fn a_ready_volume_comes_before_one_that_is_being_refreshed() {
    assert_eq!(
        demand_of([here("web-0"), volume("web-1").ready()], [claim_on("cart", "node-d")]).words(),
        ["reserve web-1 for cart on node-d"]
    );
}

#[test]
fn on_the_node_of_the_claim_a_refreshed_volume_is_claimed_as_it_is() {
    for built in [here("web-0"), refreshing("web-0", 1)] {
        assert_eq!(demand_of([built], [claim_on("cart", "node-d")]).words(), ["reserve web-0 for cart on node-d"]);
    }
    let reserved = here("web-0").reserved_for("cart");
    assert_eq!(
        demand_of([reserved], [claim_on("cart", "node-d")]).words(),
        ["pv of web-0 for cart"],
        "it is filled, whatever was published"
    );
}

#[test]
fn for_another_node_its_refresh_is_cut_short_and_the_claim_waits() {
    let words = demand_of([here("web-0")], [claim("cart")]).words();
    assert_eq!(words, ["cut the refresh of web-0: the claim shop/cart waits for a volume"]);
    let back = demand_of([returning("web-0", 5)], [claim("cart")]);
    assert_eq!(back.words(), [format!("tell cart: {}", Reason::WaitingForVolume)], "it is there before another would be made");
    let ready = returning("web-0", 5).phase(Phase::Ready).but(|volume| volume.node = None);
    assert_eq!(demand_of([ready], [claim("cart")]).words(), ["reserve web-0 for cart on node-a"]);
}

#[test]
fn a_volume_that_does_not_come_back_is_not_waited_for() {
    assert_eq!(demand_of([returning("web-0", 60)], [claim("cart")]).words(), ["make web-1 in a for cart on node-a"]);
    let failed = here("web-0").phase(Phase::Failed);
    assert!(!demand_of([failed], [claim("cart")]).words().iter().any(|word| word.starts_with("cut")));
}

#[test]
fn each_claim_gets_another_and_those_left_over_have_one_made() {
    let words = demand_of([here("web-0")], [claim("cart"), claim("desk")]).words();
    assert_eq!(words, ["cut the refresh of web-0: the claim shop/cart waits for a volume", "make web-1 in a for desk on node-a"]);
}

#[test]
fn what_was_published_before_the_order_or_its_end_gives_nothing_away() {
    let ordered = refreshing("web-0", 1).phase(Phase::Ready);
    let words = demand_of([ordered], [claim("cart")]).words();
    assert_eq!(words, ["cut the refresh of web-0: the claim shop/cart waits for a volume"], "not to a second node");
    let ended = returning("web-0", 1).phase(Phase::Ready);
    assert_eq!(demand_of([ended], [claim("cart")]).words(), [format!("tell cart: {}", Reason::WaitingForVolume)]);
}

#[test]
fn a_volume_that_is_made_for_a_claim_is_noted_to_have_what_its_snapshot_has() {
    let content = ContentSeen { position: Some(position(7)), time: Some(at(0)) };
    let plan = demand_of([], [claim("cart")]).offer(|offer| offer.content = Some(content.clone())).plan();
    assert!(matches!(&plan[..], [DemandAction::CreateForClaim { content: Some(noted), .. }] if *noted == content), "{plan:?}");
}

#[test]
fn of_ready_volumes_the_one_with_the_newest_content_is_given() {
    let volumes = [at_generation("web-0", 500), current("web-1"), at_generation("web-2", 700), volume("web-3").ready().generation(2)];
    assert_eq!(demand_of(volumes, [claim("cart")]).words(), ["reserve web-1 for cart on node-a"]);
}
