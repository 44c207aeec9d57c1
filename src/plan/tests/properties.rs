//! What holds for every plan, whatever was seen.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::domain::tags::{TAG_CLUSTER, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{CloudSnapshot, ObjectKey, Phase, SnapshotState, VolumeState};
use crate::plan::{Action, Condition, DemandAction, PoolSeen, VolumeSeen, demand, generation_of, supply};

use super::build::{CLUSTER, NOW, POOL_UID, VolumeBuild, at, pool, volume};
use super::worlds::{any_demand, any_world};

fn find<'a>(seen: &'a PoolSeen, key: &ObjectKey) -> &'a VolumeSeen {
    let source = seen.source_object.iter().map(|object| &object.volume);
    seen.volumes.iter().chain(source).find(|volume| volume.key == *key).unwrap()
}

fn demand_subject(action: &DemandAction) -> Option<&ObjectKey> {
    match action {
        DemandAction::Reserve { volume, .. }
        | DemandAction::Assign { volume, .. }
        | DemandAction::Unassign { volume, .. }
        | DemandAction::CutRefresh { volume, .. }
        | DemandAction::Free { volume, .. }
        | DemandAction::Restore { volume, .. }
        | DemandAction::Restored { volume, .. }
        | DemandAction::GiveUp { volume, .. }
        | DemandAction::Discard { volume, .. } => Some(volume),
        // Making a PersistentVolume does not write to the volume.
        DemandAction::CreatePv { .. }
        | DemandAction::CreateForClaim { .. }
        | DemandAction::DeletePv(_)
        | DemandAction::Reschedule(_)
        | DemandAction::Tell { .. } => None,
    }
}

/// A snapshot of a living pool goes only when it is settled, not the newest completed one, and nothing is filled from it.
fn assert_expired(seen: &PoolSeen, snapshot: &CloudSnapshot) {
    assert!(matches!(snapshot.state, SnapshotState::Completed | SnapshotState::Error), "{snapshot:?}");
    let completed = seen.snapshots.iter().filter(|other| other.state == SnapshotState::Completed);
    let is_newest = completed.max_by_key(|other| generation_of(other)).is_some_and(|newest| newest.id == snapshot.id);
    assert!(!is_newest, "{snapshot:?}");
    let is_unfilled = |volume: &&VolumeSeen| volume.cloud.is_none() || volume.initialized_percent < 100;
    let mut filling = seen.volumes.iter().filter(is_unfilled).filter(|volume| !volume.deleting);
    assert!(filling.all(|volume| volume.origin.snapshot != snapshot.id), "{snapshot:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pool_in_the_wanted_state_has_no_actions(per_zone in 0..5u32, rest in 0..3u32, claimed in 0..4u32) {
        let mut volumes: Vec<VolumeBuild> = Vec::new();
        for (index, zone) in (0..).zip(["a", "b", "c"]) {
            for _ in 0..per_zone + u32::from(index < rest) {
                volumes.push(volume(&format!("web-{}", volumes.len())).zone(zone).ready());
            }
        }
        for number in 0..claimed {
            volumes.push(volume(&format!("web-{}", volumes.len())).used_by(&format!("claim-{number}")));
        }
        let replicas = 3 * per_zone + rest;
        let plan = pool("web").replicas(replicas).zones(&["a", "b", "c"]).with(volumes).plan();
        prop_assert_eq!(&plan.actions, &[]);
        prop_assert!(plan.report.findings.iter().all(|finding| finding.holds != matches!(finding.condition, Condition::Degraded | Condition::Paused)));
        prop_assert!(!plan.report.is_moving);
    }

    #[test]
    fn the_order_of_a_listing_changes_nothing((seen, shuffled) in any_world().prop_flat_map(|seen| {
        let orders = (Just(seen.volumes.clone()).prop_shuffle(), Just(seen.snapshots.clone()).prop_shuffle());
        let shuffled = orders.prop_map({ let seen = seen.clone(); move |(volumes, snapshots)| PoolSeen { snapshots, volumes, ..seen.clone() } });
        (Just(seen), shuffled)
    })) {
        prop_assert_eq!(supply(&seen, at(NOW)), supply(&shuffled, at(NOW)));
    }

    #[test]
    fn the_order_of_claims_volumes_and_pvs_changes_nothing((seen, shuffled) in any_demand().prop_flat_map(|seen| {
        let orders = (Just(seen.volumes.clone()).prop_shuffle(), Just(seen.claims.clone()).prop_shuffle(), Just(seen.pvs.clone()).prop_shuffle());
        let shuffled = orders.prop_map({ let seen = seen.clone(); move |(volumes, claims, pvs)| {
            crate::plan::DemandSeen { claims, volumes, pvs, ..seen.clone() }
        }});
        (Just(seen), shuffled)
    })) {
        prop_assert_eq!(demand(&seen), demand(&shuffled));
    }

    #[test]
    fn nothing_is_deleted_in_ec2_without_proof(seen in any_world()) {
        for action in supply(&seen, at(NOW)).actions {
            match action {
                Action::DeleteVolume { key, proof } => {
                    let volume = find(&seen, &key);
                    let cloud = volume.cloud.as_ref().unwrap();
                    prop_assert_eq!(proof.id(), &cloud.id);
                    prop_assert!(volume.deleting && volume.claim.is_none() && volume.node_name.is_none() && volume.node.is_none());
                    prop_assert!(matches!(cloud.state, VolumeState::Available | VolumeState::Error));
                    prop_assert!(cloud.attachments.is_empty());
                    prop_assert_eq!(cloud.tags[TAG_CLUSTER].as_str(), CLUSTER);
                    prop_assert_eq!(cloud.tags[TAG_POOL_UID].as_str(), POOL_UID);
                    prop_assert_eq!(cloud.tags[TAG_VOLUME_UID].as_str(), volume.uid.as_str());
                    prop_assert!(!(seen.pool.deleting && seen.pool.retain_on_deletion));
                }
                Action::DeleteSnapshot(proof) => {
                    let snapshot = seen.snapshots.iter().find(|snapshot| snapshot.id == *proof.id()).unwrap();
                    if seen.pool.deleting {
                        prop_assert!(!seen.pool.retain_on_deletion && seen.volumes.is_empty());
                    } else {
                        assert_expired(&seen, snapshot);
                    }
                    prop_assert_eq!(snapshot.tags[TAG_CLUSTER].as_str(), CLUSTER);
                    prop_assert_eq!(snapshot.tags[TAG_POOL_UID].as_str(), POOL_UID);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn no_claimed_volume_is_dropped_or_let_go(seen in any_world()) {
        for action in supply(&seen, at(NOW)).actions {
            if let Action::DeletePoolVolume { key, .. } | Action::RemoveVolumeFinalizer(key) = &action {
                prop_assert_eq!(&find(&seen, key).claim, &None);
            }
            if let Action::RemovePoolFinalizer = action {
                prop_assert!(seen.volumes.is_empty());
            }
        }
    }

    #[test]
    fn each_volume_gets_at_most_one_action(seen in any_world()) {
        let actions = supply(&seen, at(NOW)).actions;
        let subjects: Vec<&ObjectKey> = actions.iter().filter_map(Action::volume).collect();
        let distinct: BTreeSet<&ObjectKey> = subjects.iter().copied().collect();
        prop_assert_eq!(subjects.len(), distinct.len(), "{:?}", actions);
        let slots: Vec<u32> = actions.iter().filter_map(|action| if let Action::CreatePoolVolume(new) = action { Some(new.slot) } else { None }).collect();
        prop_assert_eq!(slots.iter().collect::<BTreeSet<_>>().len(), slots.len());
        prop_assert!(seen.volumes.iter().all(|volume| !slots.contains(&volume.slot)));
    }

    #[test]
    fn a_paused_or_unguarded_pool_writes_nothing_to_ec2(seen in any_world()) {
        let writes = |change: fn(&mut PoolSeen)| {
            let mut seen = seen.clone();
            change(&mut seen);
            supply(&seen, at(NOW)).actions.iter().any(Action::writes_to_ec2)
        };
        prop_assert!(!writes(|seen| seen.pool.paused = true));
        prop_assert!(!writes(|seen| (seen.pool.has_finalizer, seen.pool.deleting) = (false, false)));
    }

    #[test]
    fn a_plan_never_makes_more_than_is_wanted(seen in any_world()) {
        let plan = supply(&seen, at(NOW));
        let added = plan.actions.iter().filter(|action| matches!(action, Action::CreatePoolVolume(_))).count();
        let surges = plan.report.zones.len();
        prop_assert!(added <= seen.pool.replicas as usize + surges);
        prop_assert!(added == 0 || plan.report.source.is_some() && plan.report.newest.is_some() && !seen.pool.deleting);
    }

    /// With as many ready as wanted, a plan never leaves fewer, whatever else is too many or out of date.
    #[test]
    fn no_plan_takes_a_zone_below_its_target(seen in any_world()) {
        let plan = supply(&seen, at(NOW));
        for (zone, counts) in plan.report.zones.iter().filter(|_| !seen.pool.deleting) {
            let is_ready = |key: &ObjectKey| plan.report.volumes[key].phase == Phase::Ready && find(&seen, key).zone == *zone;
            let dropped = plan.actions.iter().filter(|action| matches!(action, Action::DeletePoolVolume { key, .. } if is_ready(key))).count();
            prop_assert!(dropped == 0 || counts.ready as usize - dropped >= counts.desired as usize, "{zone}: {counts:?}, {dropped} dropped");
        }
    }

    #[test]
    fn any_refresh_is_of_a_free_volume_and_one_a_zone(seen in any_world()) {
        let plan = supply(&seen, at(NOW));
        let mut zones = BTreeSet::new();
        for action in &plan.actions {
            match action {
                Action::BeginRefresh { key, node, .. } => {
                    let (volume, counts) = (find(&seen, key), &plan.report.zones[&find(&seen, key).zone]);
                    prop_assert!(volume.claim.is_none() && volume.is_off_nodes() && !volume.deleting && !volume.retired);
                    prop_assert_eq!(plan.report.volumes[key].phase, Phase::Ready);
                    prop_assert!(zones.insert(volume.zone.clone()), "two in {}", volume.zone);
                    prop_assert!(counts.ready >= counts.desired && counts.refreshing == 0, "{:?}", counts);
                    prop_assert!(!seen.pool.paused && !seen.pool.deleting && seen.nodes.contains(node));
                }
                Action::EndRefresh { key, .. } => prop_assert!(find(&seen, key).is_refreshing()),
                _ => {}
            }
        }
    }

    #[test]
    fn a_claim_gets_one_free_filled_volume_of_its_pool(seen in any_demand()) {
        let actions = demand(&seen);
        let subjects: Vec<&ObjectKey> = actions.iter().filter_map(demand_subject).collect();
        prop_assert_eq!(subjects.iter().collect::<BTreeSet<_>>().len(), subjects.len(), "two actions for one volume: {:?}", actions);
        let mut served = BTreeSet::new();
        for action in &actions {
            match action {
                DemandAction::Reserve { volume: key, claim, node, .. } => {
                    let volume = seen.volumes.iter().find(|volume| volume.key == *key).unwrap();
                    prop_assert!(volume.claim.is_none() && !volume.deleting && !volume.retired);
                    // What is on a node to be refreshed is claimed there and nowhere else.
                    let is_at_hand = volume.is_refreshing() && volume.node_name == *node && node.is_some();
                    prop_assert!(volume.is_claimable() || is_at_hand, "{:?}", volume);
                    prop_assert!(served.insert(claim.uid.clone()));
                    prop_assert!(seen.volumes.iter().all(|other| other.claim.as_ref().is_none_or(|held| held.uid != claim.uid)));
                }
                DemandAction::CreateForClaim { claim, .. } => {
                    prop_assert!(served.insert(claim.uid.clone()));
                    prop_assert!(seen.volumes.iter().all(|other| other.claim.as_ref().is_none_or(|held| held.uid != claim.uid)));
                }
                DemandAction::Free { volume: key, .. } | DemandAction::Discard { volume: key, .. } => {
                    let gets_pv = |action: &DemandAction| matches!(action, DemandAction::CreatePv { volume, .. } if volume == key);
                    prop_assert!(!actions.iter().any(gets_pv));
                    let volume = seen.volumes.iter().find(|volume| volume.key == *key).unwrap();
                    prop_assert!(volume.is_off_nodes(), "a pod may still use it");
                }
                DemandAction::Assign { volume: key, .. } => {
                    let volume = seen.volumes.iter().find(|volume| volume.key == *key).unwrap();
                    prop_assert!(volume.is_off_nodes(), "another node may still write to it");
                }
                _ => {}
            }
        }
    }
}
