//! Volumes that are out of date are replaced one at a time in each zone, and the pool is never below its target.

use crate::domain::{Encryption, GiB, Reason, VolumeState};
use crate::plan::Condition;

use super::build::{PoolBuild, VolumeBuild, at, pool, snapshot, volume};
use super::words::{assert_finding, words};

/// A pool of two whose newest snapshot has generation 3.
fn two(volumes: impl IntoIterator<Item = VolumeBuild>) -> PoolBuild {
    pool("web").replicas(2).snapshots([snapshot(1), snapshot(2), snapshot(3)]).intent(Some((3, 0))).with(volumes)
}

fn fresh(name: &str) -> VolumeBuild {
    volume(name).generation(3)
}

#[test]
fn a_stale_volume_is_replaced_by_one_more_which_lets_the_stalest_go() {
    let stale = || [volume("web-0").generation(2).ready(), volume("web-1").generation(1).ready()];
    let plan = two(stale()).plan();
    assert_eq!(words(&plan), ["add 2 in a"], "one at a time");
    assert_finding(&plan, Condition::PoolFilled, true, Reason::Replacing, &["2 of 2", "2 of them are out of date"]);
    assert_finding(&plan, Condition::Ready, true, Reason::PoolReady, &[]);
    let on_its_way = [fresh("web-2"), fresh("web-2").cloud(VolumeState::Creating).but(|volume| volume.recorded.requested = Some(at(9999)))];
    for third in on_its_way {
        let plan = two(stale().into_iter().chain([third])).plan();
        assert!(words(&plan).iter().all(|word| word == "create web-2"), "{:?}", words(&plan));
    }
    assert_eq!(words(&two(stale().into_iter().chain([fresh("web-2").ready()])).plan()), ["drop web-1"]);
    assert_eq!(words(&two([volume("web-0").generation(2).ready(), fresh("web-2").ready()]).plan()), ["add 1 in a"]);
    assert_eq!(words(&two([fresh("web-1").ready(), fresh("web-2").ready()]).plan()), [""; 0]);
}

#[test]
fn a_volume_within_the_allowed_lag_stays() {
    let lag = |allowed| {
        two([volume("web-0").generation(2).ready(), fresh("web-1").ready()]).but(|seen| seen.pool.snapshots.allowed_lag = allowed)
    };
    assert_eq!(words(&lag(0).plan()), ["add 2 in a"]);
    assert_eq!(words(&lag(1).plan()), [""; 0]);
    assert_eq!(words(&lag(u64::MAX).plan()), [""; 0]);
}

#[test]
fn each_zone_replaces_by_itself() {
    let volumes = [volume("web-0").ready(), volume("web-1").zone("b").ready()];
    assert_eq!(words(&two(volumes).zones(&["a", "b"]).plan()), ["add 2 in a", "add 3 in b"]);
}

#[test]
fn a_claimed_volume_is_never_replaced() {
    assert_eq!(words(&two([volume("web-0").used_by("cart"), fresh("web-1").ready(), fresh("web-2").ready()]).plan()), [""; 0]);
}

#[test]
fn an_old_one_on_its_way_is_not_interrupted() {
    let volumes = [volume("web-0").initializing(), fresh("web-1").ready()];
    assert_eq!(words(&two(volumes).plan()), [""; 0], "else frequent snapshots would keep a pool empty");
}

#[test]
fn shrinking_takes_the_stalest_first() {
    let volumes = || [fresh("web-0").ready(), volume("web-1").generation(1).ready(), volume("web-2").generation(2).ready()];
    assert_eq!(words(&two(volumes()).plan()), ["drop web-1"]);
    assert_eq!(words(&two(volumes()).replicas(1).plan()), ["drop web-1", "drop web-2"]);
}

#[test]
fn shrinking_while_replacing_keeps_one_replacement_on_its_way() {
    let filling = |name| fresh(name).initializing();
    let volumes = || [volume("web-0").ready(), fresh("web-1").ready(), filling("web-2"), filling("web-3")];
    assert_eq!(words(&two(volumes()).plan()), ["drop web-3"], "the replacement of web-0 goes on");
    assert_eq!(words(&two(volumes()).replicas(1).plan()), ["drop web-3", "drop web-2", "drop web-0"]);
}

#[test]
fn what_cannot_be_changed_in_place_is_replaced() {
    let key = |id: &str| Encryption { encrypted: Some(true), kms_key_id: Some(id.to_owned()) };
    let made_with = |encryption: Encryption| {
        [
            fresh("web-0").ready().but(|volume| volume.encryption = encryption),
            fresh("web-1").ready().but(|volume| volume.encryption = key("new")),
        ]
    };
    let wanting = |volumes: [VolumeBuild; 2]| two(volumes).but(|seen| seen.pool.template.encryption = key("new"));
    assert_eq!(words(&wanting(made_with(key("old"))).plan()), ["add 2 in a"]);
    assert_eq!(words(&wanting(made_with(Encryption::default())).plan()), ["add 2 in a"]);
    assert_eq!(words(&wanting(made_with(key("new"))).plan()), [""; 0]);
    let large = fresh("web-0").but(|volume| volume.size = GiB(20)).ready();
    assert_eq!(words(&two([large, fresh("web-1").ready()]).plan()), ["add 2 in a"], "EC2 makes no volume smaller");
    let third = fresh("web-2").ready().but(|volume| volume.encryption = key("new"));
    assert_eq!(words(&wanting(made_with(key("old"))).with([third]).plan()), ["drop web-0"], "not the new one");
}

#[test]
fn nothing_is_replaced_while_the_source_cannot_be_used() {
    let gone = crate::plan::SourceSeen::Missing("vol-source".to_owned());
    assert_eq!(words(&two([volume("web-0").ready(), volume("web-1").ready()]).source(gone).plan()), [""; 0]);
}
