//! A simulated life: whatever happened before, passes of the plan lead to the wanted state, and break nothing on the way.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::domain::{GiB, ObjectKey, Phase, Schedule, VolumeState};
use crate::plan::{Action, DemandAction, PoolSeen, PvSeen, Recorded, RefreshEnd, VolumeSeen, demand, generation_of, pv_name, supply};

use super::build::{NAMESPACE, at};
use super::simulation_events::{Event, event};
use super::simulation_world::Life;
use super::words::{demand_words, words};

fn every_minute() -> Schedule {
    Schedule::parse("* * * * *", "Etc/UTC").unwrap()
}

/// The nth of a map, counted round.
fn nth<K: Clone, V>(map: &BTreeMap<K, V>, index: usize) -> Option<K> {
    let count = map.len().max(1);
    map.keys().nth(index % count).cloned()
}

impl Life {
    pub(super) fn happen(&mut self, event: &Event) {
        match event {
            Event::Scale(replicas) => self.pool.pool.replicas = *replicas,
            Event::Claim(number) => self.claim(*number),
            Event::DeleteClaim(index) => drop(nth(&self.claims, *index).and_then(|uid| self.claims.remove(&uid))),
            Event::LoseVolume(index) => drop(nth(&self.ebs, *index).and_then(|id| self.ebs.remove(&id))),
            Event::DeleteObject(index) => {
                if let Some(key) = nth(&self.objects, *index) {
                    let object = VolumeSeen { deleting: true, ..self.objects[&key].clone() };
                    self.write(object);
                }
            }
            Event::FailVolumes(count) => self.failing_volumes = *count,
            Event::FailSnapshots(count) => self.failing_snapshots = *count,
            Event::LagReads(count) => self.lagging_reads = *count,
            Event::Snapshot => self.pool.pool.snapshots.schedule = Ok(Some(every_minute())),
            Event::Grow(size) => self.pool.pool.size = self.pool.pool.size.max(Some(GiB(*size))),
            Event::Speed(iops) => self.pool.pool.template.settings.iops = Some(*iops),
            Event::Encrypt(encrypted) => self.pool.pool.template.encryption.encrypted = Some(*encrypted),
            Event::Pause(paused) => self.pool.pool.paused = *paused,
            Event::Pass(count) => (0..*count).for_each(|_| self.pass()),
            Event::StalePass => self.stale_pass(),
        }
    }

    pub(super) fn pass(&mut self) {
        self.tick();
        let seen = self.observe();
        self.supply_pass(&seen);
        let seen = self.observe_demand();
        self.apply_demand(&demand(&seen));
        self.check();
        self.check_refreshes();
    }

    fn stale_pass(&mut self) {
        let (supplied, demanded) = (self.observe(), self.observe_demand());
        self.pass();
        self.tick();
        if !self.is_pool_gone && supplied.pool == self.pool.pool {
            self.is_late = true;
            self.supply_pass(&supplied);
            self.is_late = false;
        }
        // Two dispatchers at once could give one claim two volumes, since a claim carries no version to compare with.
        // The leader lease rules them out; everything else is safe to do late.
        let gives = |action: &DemandAction| matches!(action, DemandAction::Reserve { .. } | DemandAction::CreateForClaim { .. });
        let mut late = demand(&demanded);
        late.retain(|action| !gives(action));
        self.apply_demand(&late);
        self.check();
    }

    fn supply_pass(&mut self, seen: &PoolSeen) {
        if self.is_pool_gone {
            return;
        }
        let plan = supply(seen, at(self.now));
        self.last_zones.clone_from(&plan.report.zones);
        for action in &plan.actions {
            self.apply(seen, action);
        }
        for (key, life) in &plan.report.volumes {
            let Some(mut object) = self.unchanged(seen, key) else { continue };
            object.phase = Some(life.phase);
            object.initialized_percent = life.initialized_percent;
            object.recorded = Recorded {
                volume: life.volume.clone(),
                missing_since: life.missing_since,
                modification: life.modification.clone(),
                ..object.recorded
            };
            self.write(object);
        }
        self.last_plan = Some(plan);
    }

    /// The stored object, if it is still the one that was seen.
    fn unchanged(&self, seen: &PoolSeen, key: &ObjectKey) -> Option<VolumeSeen> {
        let judged = seen.volumes.iter().find(|volume| volume.key == *key)?;
        self.at_version(key, &judged.resource_version)
    }

    fn at_version(&self, key: &ObjectKey, version: &str) -> Option<VolumeSeen> {
        self.objects.get(key).filter(|object| object.resource_version == version).cloned()
    }

    fn apply(&mut self, seen: &PoolSeen, action: &Action) {
        match action {
            Action::AddPoolFinalizer => self.pool.pool.has_finalizer = true,
            Action::RemovePoolFinalizer => self.is_pool_gone = true,
            Action::CreateSnapshot { generation, content, .. } => {
                self.pool.pool.snapshot_intent = Some((*generation, at(self.now)));
                self.create_snapshot(*generation, content);
            }
            Action::DeleteSnapshot(proof) => self.snapshots.retain(|snapshot| snapshot.id != *proof.id()),
            Action::CreatePoolVolume(new) => self.create_object(new.slot, |object| {
                (object.zone, object.origin) = (new.zone.clone(), new.origin.clone());
                (object.size, object.attempt, object.encryption) = (new.size, new.attempt, seen.pool.template.encryption.clone());
                object.content.clone_from(&new.content);
            }),
            Action::ModifyVolume { key, volume, change } => {
                if self.unchanged(seen, key).is_some() {
                    self.modify(key, volume, change);
                }
            }
            Action::TagVolume { volume, tags, .. } => {
                if let Some(ebs) = self.ebs.get_mut(volume) {
                    ebs.cloud.tags.extend(tags.clone());
                }
            }
            Action::RecordSize { key, resource_version, size } => {
                let Some(object) = self.at_version(key, resource_version) else { return };
                self.write(VolumeSeen { size: *size, ..object });
            }
            Action::CreateVolume(request) => {
                let Some(mut object) = self.unchanged(seen, &request.key) else { return };
                if object.recorded.requested.is_none() {
                    object.recorded.requested = Some(at(self.now));
                } else {
                    object.recorded.volume = Some(self.create_ebs(request));
                }
                self.write(object);
            }
            // The source of a live world is published from the beginning.
            Action::CreateSourceObject(_) | Action::Publish { .. } | Action::AssignSource { .. } => unreachable!("{action:?}"),
            Action::OrderCheckpoint { number, .. } => self.make_checkpoint(*number),
            Action::BeginRefresh { key, resource_version, node, target } => {
                let Some(object) = self.at_version(key, resource_version) else { return };
                self.begin_refresh(object, node, target);
            }
            Action::EndRefresh { key, resource_version, end } => {
                let Some(object) = self.at_version(key, resource_version) else { return };
                self.end_refresh(object, end);
            }
            Action::Unassign(key) => {
                let Some(object) = self.unchanged(seen, key) else { return };
                self.assign(object, None);
            }
            Action::ForgetNode { key, resource_version } => {
                let Some(object) = self.at_version(key, resource_version) else { return };
                self.write(VolumeSeen { node: None, ..object });
            }
            Action::DeletePoolVolume { key, resource_version, .. } => {
                let Some(object) = self.at_version(key, resource_version) else { return };
                self.write(VolumeSeen { deleting: true, ..object });
            }
            Action::DeleteVolume { key, proof } => self.delete_ebs(key, proof.id()),
            Action::RemoveVolumeFinalizer(key) => {
                if self.unchanged(seen, key).is_some() {
                    self.objects.remove(key);
                }
            }
        }
    }

    fn delete_ebs(&mut self, key: &ObjectKey, id: &crate::domain::VolumeId) {
        let Some(object) = self.objects.get(key) else { return };
        assert!(object.claim.is_none() && object.is_off_nodes(), "{object:?}");
        if let Some(ebs) = self.ebs.get_mut(id) {
            assert!(ebs.cloud.live_attachments().next().is_none(), "{:?}", ebs.cloud);
            ebs.cloud.state = VolumeState::Deleting;
        }
        let recorded = Recorded { deletion_accepted: true, ..object.recorded.clone() };
        self.write(VolumeSeen { recorded, ..object.clone() });
    }

    fn apply_demand(&mut self, actions: &[DemandAction]) {
        for action in actions {
            self.apply_to_object(action);
            match action {
                DemandAction::CreateForClaim { slot, zone, origin, content, claim, node, .. } => {
                    self.create_object(*slot, |object| {
                        (object.zone, object.origin, object.content) = (zone.clone(), origin.clone(), content.clone());
                        (object.claim, object.node_name) = (Some(claim.clone()), node.clone());
                    });
                }
                DemandAction::CreatePv { volume, claim, retain, .. } if self.claims.contains_key(&claim.uid) => {
                    let (name, claim_uid) = (pv_name(&claim.uid), claim.uid.clone());
                    let pv = PvSeen {
                        name,
                        volume: Some(volume.clone()),
                        claim_uid: claim_uid.clone(),
                        is_released: false,
                        deleting: false,
                        is_retained: *retain,
                    };
                    self.pvs.entry(claim_uid).or_insert(pv);
                }
                DemandAction::DeletePv(name) => self.pvs.retain(|_, pv| pv.name != *name),
                DemandAction::Discard { volume, uid } => {
                    if let Some(object) = self.objects.get(volume).filter(|object| object.uid == *uid).cloned() {
                        self.write(VolumeSeen { deleting: true, ..object });
                    }
                }
                _ => {}
            }
        }
    }

    fn apply_to_object(&mut self, action: &DemandAction) {
        match action {
            DemandAction::Reserve { volume, resource_version, claim, node } => {
                let Some(object) = self.at_version(volume, resource_version) else { return };
                assert!(object.is_off_nodes() || object.node_name == *node, "{object:?} is still on a node");
                self.write(VolumeSeen { claim: Some(claim.clone()), node_name: node.clone(), refresh: None, ..object });
            }
            DemandAction::CutRefresh { volume, resource_version, why } => {
                let Some(object) = self.at_version(volume, resource_version) else { return };
                self.end_refresh(object, &RefreshEnd::Stopped(why.clone()));
            }
            DemandAction::Assign { volume, resource_version, node } => {
                if let Some(object) = self.at_version(volume, resource_version) {
                    self.assign(object, Some(node.clone()));
                }
            }
            DemandAction::Unassign { volume, resource_version } => {
                if let Some(object) = self.at_version(volume, resource_version) {
                    self.assign(object, None);
                }
            }
            DemandAction::Free { volume, resource_version, unless_pv, retire } => {
                let Some(object) = self.at_version(volume, resource_version) else { return };
                if unless_pv.as_ref().is_none_or(|name| self.pvs.values().all(|pv| pv.name != *name)) {
                    self.write(VolumeSeen { claim: None, retired: object.retired || *retire, ..object });
                }
            }
            _ => {}
        }
    }

    /// What must hold after every pass.
    fn check(&self) {
        let held: Vec<&str> = self.objects.values().filter_map(|object| object.claim.as_ref()).map(|claim| claim.uid.as_str()).collect();
        assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "a claim holds two volumes: {held:?}");
        for pv in self.pvs.values().filter(|pv| !pv.is_released) {
            assert!(held.contains(&pv.claim_uid.as_str()), "{} has no volume", pv.name);
        }
    }

    /// Nothing fails any more, and enough time passes for every rest, every lagging read and every change in place.
    pub(super) fn settle(&mut self) {
        self.pool.pool.paused = false;
        self.pool.pool.snapshots.schedule = Ok(None);
        (self.failing_volumes, self.failing_snapshots, self.lagging_reads) = (0, 0, 0);
        for passes in [60, 30, 30] {
            (0..passes).for_each(|_| self.pass());
            self.now += 7 * 3600;
        }
        (0..20).for_each(|_| self.pass());
    }

    fn assert_settled(&mut self) {
        let seen = self.observe();
        assert_eq!(words(&supply(&seen, at(self.now))), [""; 0]);
        assert_eq!(demand_words(&demand(&self.observe_demand())), [""; 0]);
        assert_eq!(self.ready(), self.pool.pool.replicas as usize);
        let newest = self.snapshots.iter().map(generation_of).max();
        for object in self.objects.values().filter(|object| object.phase == Some(Phase::Ready)) {
            let cloud = &self.ebs[object.recorded.volume.as_ref().unwrap()].cloud;
            assert_eq!(Some(object.origin.generation), newest, "{object:?} is stale");
            assert_eq!((cloud.size, object.size), [self.pool.pool.size.unwrap_or(GiB(10)); 2].into(), "{object:?}");
            assert_eq!(cloud.settings.iops, self.pool.pool.template.settings.iops.or(Some(3000)));
            assert_eq!(object.encryption, self.pool.pool.template.encryption);
        }
        for uid in self.claims.keys() {
            assert!(self.pvs.contains_key(uid), "{uid} got nothing");
        }
        let known: BTreeSet<_> = self.objects.values().filter_map(|object| object.recorded.volume.as_ref()).collect();
        let leaked: Vec<_> = self.ebs.keys().filter(|id| !known.contains(id)).collect();
        assert!(leaked.is_empty(), "{leaked:?} belong to no object");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_comes_to_the_wanted_state(replicas in 0..5u32, events in prop::collection::vec(event(), 0..25)) {
        let mut life = Life::new(replicas);
        for event in &events {
            life.happen(event);
        }
        life.settle();
        life.assert_settled();
    }

    #[test]
    fn a_deleted_pool_leaves_nothing_in_ec2(replicas in 0..5u32, events in prop::collection::vec(event(), 0..25)) {
        let mut life = Life::new(replicas);
        for event in &events {
            life.happen(event);
        }
        life.pool.pool.deleting = true;
        life.claims.clear();
        life.settle();
        prop_assert!(life.is_pool_gone || !life.pool.pool.has_finalizer);
        prop_assert!(life.ebs.is_empty() && life.snapshots.is_empty() && life.objects.is_empty());
    }
}

#[test]
fn a_new_pool_fills_and_serves_claims() {
    let mut life = Life::new(2);
    (0..12).for_each(|_| life.pass());
    assert_eq!((life.ready(), life.ebs.len(), life.snapshots.len()), (2, 2, 1));
    life.claim(0);
    life.pass();
    life.pass();
    assert_eq!(life.pvs.len(), 1, "a ready volume is handed over in two passes");
    life.settle();
    life.assert_settled();
    assert_eq!(life.ebs.len(), 3);
    life.claims.clear();
    life.settle();
    life.assert_settled();
    assert_eq!((life.ebs.len(), life.pvs.len()), (2, 0));
}

#[test]
fn a_claim_whose_own_volume_fails_gets_another() {
    let mut life = Life::new(0);
    (0..6).for_each(|_| life.pass());
    life.failing_volumes = 1;
    life.claim(0);
    life.settle();
    life.assert_settled();
    assert_eq!(life.pvs.len(), 1);
    assert!(life.objects.values().all(|object| object.key.namespace == NAMESPACE && object.phase == Some(Phase::Claimed)));
}

#[test]
fn a_lasting_failure_is_no_hot_loop() {
    let mut life = Life::new(1);
    life.failing_volumes = u32::MAX;
    (0..60).for_each(|_| life.pass());
    assert!(life.tokens.len() <= 15, "{} volumes were made in ten minutes", life.tokens.len());
}
