//! Claims that get the source itself: one at a time, from the pool's namespace, in its zone.

use crate::domain::{Access, GiB, NodeName, Phase, Role};
use crate::plan::{ClaimSeen, DemandAction, NodeSide, VolumeSeen};

use super::build::{claim_ref, volume};
use super::demand_build::{DemandBuild, claim, claim_in, claim_on, demand_on_web, pv_of, released_pv_of};
use super::live::source_object;

fn writer(name: &str) -> ClaimSeen {
    ClaimSeen { wants_source: true, ..claim(name) }
}

fn source() -> VolumeSeen {
    VolumeSeen { phase: Some(Phase::Ready), ..source_object().volume }
}

fn held_by(name: &str) -> VolumeSeen {
    let claim = crate::domain::ClaimRef { access: Access::ReadWrite, ..claim_ref(name) };
    VolumeSeen { claim: Some(claim), phase: Some(Phase::Claimed), ..source() }
}

fn with(source: VolumeSeen) -> DemandBuild {
    demand_on_web().volumes([volume("web-0").ready()]).but(|seen| seen.volumes.push(source))
}

#[test]
fn a_writer_gets_the_source_and_others_never_do() {
    assert_eq!(with(source()).claims([writer("editor")]).words(), ["reserve web-source for editor on node-a"]);
    assert_eq!(with(source()).claims([claim("cart")]).words(), ["reserve web-0 for cart on node-a"]);
    let no_copy = demand_on_web().but(|seen| seen.volumes.push(source()));
    assert_eq!(no_copy.claims([claim("cart")]).words(), ["make web-0 in a for cart on node-a"], "a source is no copy");
    let actions = with(source()).claims([writer("editor")]).plan();
    assert!(matches!(&actions[0], DemandAction::Reserve { claim, .. } if claim.access == Access::ReadWrite), "{actions:?}");
}

#[test]
fn a_source_that_is_published_elsewhere_stays_there_until_the_pod_asks() {
    let elsewhere = VolumeSeen {
        node_name: Some("node-d".into()),
        node: Some(NodeSide { node: "node-d".to_owned(), ..NodeSide::default() }),
        ..source()
    };
    assert_eq!(with(elsewhere).claims([writer("editor")]).words(), ["reserve web-source for editor on node-d"]);
    let used = VolumeSeen { node_name: Some("node-d".into()), node: Some(NodeSide::default()), ..held_by("editor") };
    let asked = with(used).but(|seen| {
        seen.pvs.push(pv_of("editor"));
        seen.requests.insert("vol-source".into(), NodeName::from("node-a"));
    });
    assert_eq!(asked.words(), ["unassign web-source"]);
}

#[test]
fn one_claim_writes_at_a_time_from_the_pools_namespace_and_zone() {
    let taken = with(held_by("editor")).pv(pv_of("editor")).claims([writer("other")]);
    assert_eq!(taken.words(), ["tell other: WaitingForVolume"]);
    let foreign = ClaimSeen { wants_source: true, ..claim_in("blog", "editor") };
    assert_eq!(
        with(source()).offer(|offer| offer.namespaces = vec!["*".to_owned()]).claims([foreign]).words(),
        ["tell editor: NamespaceNotAllowed"]
    );
    let far = ClaimSeen { wants_source: true, ..claim_on("editor", "node-b") };
    assert_eq!(with(source()).claims([far]).words(), ["tell editor: ZoneNotInPool", "reschedule editor"]);
    let large = ClaimSeen { requested: GiB(99), ..writer("editor") };
    assert_eq!(with(source()).offer(|offer| offer.size = None).claims([large]).words(), ["tell editor: RequestTooLarge"]);
    assert_eq!(demand_on_web().claims([writer("editor")]).words(), ["tell editor: WaitingForVolume"]);
}

#[test]
fn a_source_outlives_its_writer() {
    let released = with(held_by("editor")).but(|seen| seen.pvs.push(released_pv_of("editor")));
    assert_eq!(released.words(), ["free web-source"]);
    let vanished = with(held_by("editor"));
    assert_eq!(vanished.words(), ["free web-source unless pvc-uid-editor"], "never discarded, though it was written");
    assert_eq!(source().role, Role::Source);
}
