//! A rehearsal shows the whole way to the wanted state, in the order in which it is really gone.

use proptest::prelude::*;

use crate::domain::cloud::Tags;
use crate::domain::{CloudVolume, Reason};
use crate::plan::{Condition, Rehearsal, SourceSeen, rehearse};

use super::build::{NOW, at, pool, source_volume, volume};
use super::refresh_build::{refreshed, stale};
use super::words::word;

fn rounds(rehearsal: &Rehearsal) -> Vec<Vec<String>> {
    rehearsal.rounds.iter().map(|round| round.iter().map(word).collect()).collect()
}

#[test]
fn a_new_pool_is_guarded_then_copied_then_filled() {
    let seen = pool("web").replicas(2).snapshots([]).intent(None).but(|seen| seen.pool.has_finalizer = false).seen();
    let rehearsal = rehearse(&seen, at(NOW));
    let expected: [&[&str]; 4] =
        [&["guard the pool"], &["snapshot vol-source as 1"], &["add 0 in a", "add 1 in a"], &["create web-0", "create web-1"]];
    assert_eq!(rounds(&rehearsal), expected);
    assert!(!rehearsal.is_cut);
    let filled = rehearsal.then.findings.iter().find(|finding| finding.condition == Condition::PoolFilled).unwrap();
    assert_eq!((filled.holds, filled.reason), (true, Reason::AsWanted));
}

#[test]
fn a_pool_that_is_deleted_is_rehearsed_to_its_end() {
    let seen = pool("web").replicas(1).with([volume("web-0").ready()]).but(|seen| seen.pool.deleting = true).seen();
    let expected: [&[&str]; 5] =
        [&["drop web-0"], &["delete vol-web-0 of web-0"], &["let web-0 go"], &["delete snap-1"], &["let the pool go"]];
    assert_eq!(rounds(&rehearse(&seen, at(NOW))), expected);
}

#[test]
fn ready_volumes_that_are_behind_are_rehearsed_to_be_refreshed_one_after_the_other() {
    let rehearsal = rehearse(&refreshed([stale("web-0"), stale("web-1")]).seen(), at(NOW));
    let expected: [&[&str]; 4] = [
        &["refresh web-0 on node-d up to 1000"],
        &["web-0 is refreshed"],
        &["refresh web-1 on node-d up to 1000"],
        &["web-1 is refreshed"],
    ];
    assert_eq!(rounds(&rehearsal), expected);
    let filled = rehearsal.then.findings.iter().find(|finding| finding.condition == Condition::PoolFilled).unwrap();
    assert_eq!((filled.holds, filled.reason), (true, Reason::AsWanted));
}

#[test]
fn what_blocks_a_pool_lasts_to_the_end_of_its_rehearsal() {
    let foreign = CloudVolume { tags: Tags::new(), ..source_volume() };
    let seen = pool("web").source(SourceSeen::Volume(foreign)).snapshots([]).intent(None).seen();
    let rehearsal = rehearse(&seen, at(NOW));
    assert_eq!(rounds(&rehearsal), [[""; 0]; 0]);
    assert!(rehearsal.then.findings.iter().any(|finding| !finding.holds && finding.reason == Reason::SourceNotShared));
}

#[test]
fn what_is_under_way_already_does_not_last() {
    let seen = pool("web").replicas(1).with([volume("web-0").initializing()]).seen();
    let rehearsal = rehearse(&seen, at(NOW));
    assert!(rehearsal.rounds.is_empty());
    let filled =
        |report: &crate::plan::Report| report.findings.iter().any(|finding| finding.condition == Condition::PoolFilled && finding.holds);
    assert!(!filled(&rehearsal.now) && filled(&rehearsal.then));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rehearsal_comes_to_rest_with_what_was_asked_for(replicas in 0..20u32, ready in 0..20usize, claimed in 0..5usize) {
        let stock = (0..ready).map(|slot| volume(&format!("web-{slot}")).ready());
        let used = (ready..ready + claimed).map(|slot| volume(&format!("web-{slot}")).used_by(&format!("claim-{slot}")));
        let seen = pool("web").replicas(replicas).with(stock.chain(used)).seen();
        let rehearsal = rehearse(&seen, at(NOW));
        prop_assert!(!rehearsal.is_cut);
        let counted: u32 = rehearsal.then.zones.values().map(|zone| zone.ready).sum();
        prop_assert_eq!(counted, replicas);
        prop_assert_eq!(rehearsal.rounds.is_empty(), replicas as usize == ready);
    }
}
