//! Who gets a resource back, what is deleted with proof, and what is never touched.

use crate::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, CloudVolume, Uid, VolumeState};
use crate::plan::strays::{Adopted, GRACE, LeftBecause, PoolFacts, Stray, StrayAction, StraysSeen, strays};
use crate::plan::{StrayProof, prove_stray};

use super::build::{CLUSTER, NOW, POOL_UID, at, attachment, key, snapshot, volume};

/// A free volume of the pool `shop/web`, made by a pool with this UID, for an object that nobody knows.
fn stray_of(pool_uid: &str) -> CloudVolume {
    let mut cloud = volume("web-0").cloud(VolumeState::Available).seen().cloud.unwrap();
    for (tag, value) in [(TAG_POOL, "shop/web"), (TAG_POOL_UID, pool_uid), (TAG_VOLUME_UID, "uid-of-nobody"), (TAG_GENERATION, "7")] {
        cloud.tags.insert(tag.to_owned(), value.to_owned());
    }
    cloud
}

fn facts() -> PoolFacts {
    PoolFacts {
        uid: Uid::new(POOL_UID),
        deleting: false,
        paused: false,
        retains: false,
        is_read_only: true,
        source: Some("vol-source".into()),
        slots: [0, 1].into(),
    }
}

fn seen(pool: PoolFacts, volumes: impl IntoIterator<Item = CloudVolume>) -> StraysSeen {
    let volumes = volumes.into_iter().map(|item| Stray { item, since: at(0) }).collect();
    StraysSeen { observed: at(NOW), pools: [(key("web"), pool)].into(), volumes, ..StraysSeen::default() }
}

fn left(seen: &StraysSeen) -> Option<LeftBecause> {
    let plan = strays(seen);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    plan.left.values().next().copied()
}

#[test]
fn a_pool_that_was_made_anew_gets_its_volumes_back_instead_of_new_ones() {
    let plan = strays(&seen(facts(), [stray_of("uid-of-the-old-pool")]));
    let [StrayAction::AdoptVolume { pool, slot, volume, origin, retired, .. }] = plan.actions.as_slice() else { panic!("{plan:?}") };
    assert_eq!((pool, *slot, volume.as_str(), origin.generation, *retired), (&key("web"), 2, "vol-web-0", 7, false));
    assert_eq!(plan.adopting, [key("web")].into());
}

#[test]
fn a_volume_that_pods_may_have_written_is_adopted_but_set_aside() {
    let plan = strays(&seen(PoolFacts { is_read_only: false, ..facts() }, [stray_of("old")]));
    assert!(matches!(plan.actions.as_slice(), [StrayAction::AdoptVolume { retired: true, .. }]), "{plan:?}");
}

#[test]
fn an_adopted_volume_is_tagged_until_it_proves_its_new_owner() {
    let (pool_uid, uid) = (Uid::new(POOL_UID), Uid::new("uid-web-2"));
    let adopted = |cloud| Adopted { pool_uid: pool_uid.clone(), uid: uid.clone(), cloud };
    let plan = strays(&StraysSeen { adopted: vec![adopted(stray_of("old"))], ..StraysSeen::default() });
    let [StrayAction::TagVolume { tags, .. }] = plan.actions.as_slice() else { panic!("{plan:?}") };
    let mut cloud = stray_of("old");
    cloud.tags.extend(tags.clone());
    assert!(strays(&StraysSeen { adopted: vec![adopted(cloud)], ..StraysSeen::default() }).actions.is_empty());
}

#[test]
fn a_snapshot_of_the_same_source_goes_to_the_pool_that_was_made_anew() {
    let old = |volume: &str| {
        let mut old = CloudSnapshot { volume: volume.into(), ..snapshot(7) };
        old.tags.extend([(TAG_POOL.to_owned(), "shop/web".to_owned()), (TAG_POOL_UID.to_owned(), "old".to_owned())]);
        Stray { item: old, since: at(0) }
    };
    let plan = strays(&StraysSeen { snapshots: vec![old("vol-source")], ..seen(facts(), []) });
    assert!(matches!(plan.actions.as_slice(), [StrayAction::TagSnapshot { .. }]), "{plan:?}");
    assert_eq!(plan.adopting, [key("web")].into());
    assert_eq!(left(&StraysSeen { snapshots: vec![old("vol-another")], ..seen(facts(), []) }), Some(LeftBecause::Retagged));
}

#[test]
fn a_volume_that_no_object_knows_is_deleted_after_the_grace() {
    let orphan = stray_of(POOL_UID);
    assert!(matches!(strays(&seen(facts(), [orphan.clone()])).actions.as_slice(), [StrayAction::DeleteVolume { .. }]));
    let mut young = seen(facts(), [orphan]);
    young.observed = at(GRACE.as_secs() - 1);
    assert_eq!(left(&young), Some(LeftBecause::Young));
}

#[test]
fn what_is_not_proven_ours_is_left_and_told() {
    let without = |tag: &str| {
        let mut cloud = stray_of(POOL_UID);
        cloud.tags.remove(tag);
        cloud
    };
    let but = |change: fn(&mut CloudVolume)| {
        let mut cloud = stray_of(POOL_UID);
        change(&mut cloud);
        cloud
    };
    let cases = [
        (facts(), without(TAG_POOL), LeftBecause::Retagged),
        (facts(), without(TAG_POOL_UID), LeftBecause::Retagged),
        (facts(), without(TAG_VOLUME_UID), LeftBecause::Retagged),
        (facts(), but(|cloud| drop(cloud.tags.insert(TAG_POOL.to_owned(), "shop".to_owned()))), LeftBecause::Retagged),
        (facts(), but(|cloud| drop(cloud.tags.insert(TAG_POOL.to_owned(), "shop/gone".to_owned()))), LeftBecause::PoolGone),
        (facts(), but(|cloud| cloud.attachments.push(attachment())), LeftBecause::InUse),
        (facts(), but(|cloud| cloud.state = VolumeState::Unknown), LeftBecause::InUse),
        (PoolFacts { paused: true, ..facts() }, stray_of(POOL_UID), LeftBecause::PoolKeeps),
        (PoolFacts { retains: true, ..facts() }, stray_of(POOL_UID), LeftBecause::PoolKeeps),
        (PoolFacts { deleting: true, ..facts() }, stray_of("old"), LeftBecause::PoolKeeps),
    ];
    for (pool, cloud, why) in cases {
        assert_eq!(left(&seen(pool, [cloud.clone()])), Some(why), "{:?} {:?}", cloud.tags, cloud.state);
    }
}

#[test]
fn the_order_of_strays_changes_nothing() {
    let another = CloudVolume { id: "vol-another".into(), ..stray_of("old") };
    assert_eq!(strays(&seen(facts(), [stray_of("old"), another.clone()])), strays(&seen(facts(), [another, stray_of("old")])));
}

#[test]
fn a_stray_is_deleted_only_when_a_fresh_look_proves_everything() {
    let fresh = || StrayProof {
        cluster: CLUSTER.to_owned(),
        pool: key("web"),
        facts: facts(),
        since: at(0),
        now: at(NOW),
        live_objects: [Uid::new("uid-of-another")].into(),
        named_volumes: ["vol-another".into()].into(),
    };
    let orphan = stray_of(POOL_UID);
    assert_eq!(prove_stray(&fresh(), &orphan).map(|proof| proof.id().to_string()), Some("vol-web-0".to_owned()));
    let refused = [
        ("its object is there", StrayProof { live_objects: [Uid::new("uid-of-nobody")].into(), ..fresh() }),
        ("something names it", StrayProof { named_volumes: ["vol-web-0".into()].into(), ..fresh() }),
        ("too young", StrayProof { since: at(NOW), ..fresh() }),
        ("another cluster", StrayProof { cluster: "other".to_owned(), ..fresh() }),
        ("the pool is another", StrayProof { facts: PoolFacts { uid: Uid::new("new"), ..facts() }, ..fresh() }),
        ("the pool is paused", StrayProof { facts: PoolFacts { paused: true, ..facts() }, ..fresh() }),
        ("the pool retains", StrayProof { facts: PoolFacts { retains: true, ..facts() }, ..fresh() }),
    ];
    for (case, proof) in refused {
        assert_eq!(prove_stray(&proof, &orphan), None, "{case}");
    }
    let mut foreign = orphan;
    foreign.tags.insert(TAG_CLUSTER.to_owned(), "other".to_owned());
    assert_eq!(prove_stray(&fresh(), &foreign), None);
}
