//! A simulated life of a live pool: the source moves on, agents are slow, nodes die, claims come and go. No refresh ever touches a
//! claimed volume or takes one from a zone that is short, each ends, and in the end every ready volume is new enough.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;

use crate::domain::{NodeName, ObjectKey, Phase, SyncPosition, SyncState, VolumeState, Zone};
use crate::plan::{
    CheckpointSeen, ContentSeen, NodeSide, PoolSeen, PoolWanted, RefreshEnd, RefreshSeen, SyncSeen, VolumeSeen, demand, supply,
};

use super::build::at;
use super::live::sync;
use super::refresh_build::{MOST, SOURCE, position, refreshed};
use super::simulation_events::{Event, event};
use super::simulation_world::Life;
use super::words::{demand_words, words};

/// What happens to a live pool beside what happens to all.
#[derive(Clone, Debug)]
enum LiveEvent {
    Common(Event),
    /// The source is changed so many times.
    Edit(u64),
    /// The source begins a new epoch.
    Renew,
    /// The source is published, or is not.
    Publish(bool),
    /// The instance ends, with its agent; or it is there again.
    Die(&'static str),
    Join(&'static str),
    Cordon(&'static str, bool),
    /// Agents do nothing for so many passes.
    Slow(u32),
    /// Nothing but time.
    Hours(i64),
}

/// Nodes that may end; the source stays on `node-a`.
const MORTAL: [&str; 2] = ["node-b", "node-d"];

fn live_event() -> impl Strategy<Value = LiveEvent> {
    let node = || prop::sample::select(MORTAL.to_vec());
    prop_oneof![
        12 => event().prop_map(LiveEvent::Common),
        4 => (1..30u64).prop_map(LiveEvent::Edit),
        1 => Just(LiveEvent::Renew),
        1 => any::<bool>().prop_map(LiveEvent::Publish),
        1 => node().prop_map(LiveEvent::Die),
        1 => node().prop_map(LiveEvent::Join),
        1 => (node(), any::<bool>()).prop_map(|(node, is_cordoned)| LiveEvent::Cordon(node, is_cordoned)),
        1 => (1..80u32).prop_map(LiveEvent::Slow),
        1 => (1..3i64).prop_map(LiveEvent::Hours),
    ]
}

/// A mounted copy learns what the source has: first that it lacks something, then all of it.
pub(super) fn follow(side: &mut NodeSide, newest: SyncPosition) {
    let is_connected = side.sync.as_ref().is_some_and(|sync| sync.state != SyncState::Disconnected);
    let position =
        side.sync.as_ref().and_then(|sync| sync.position.clone()).filter(|_| !is_connected).or_else(|| is_connected.then_some(newest));
    side.sync = Some(SyncSeen { position, ..sync(if is_connected { SyncState::InSync } else { SyncState::CatchingUp }) });
}

/// What the controller notes when it takes a copy off a node.
pub(super) fn note_content(object: &mut VolumeSeen, now: Timestamp) {
    let sync = object.node.as_ref().and_then(|side| side.sync.as_ref());
    if let Some((state, position)) = sync.and_then(|sync| Some((sync.state, sync.position.clone()?))) {
        let before = object.content.as_ref().and_then(|content| content.time);
        let time = if state == SyncState::InSync { Some(now) } else { before };
        object.content = Some(ContentSeen { position: Some(position), time });
    }
}

impl Life {
    /// A live pool in two zones whose volumes are refreshed.
    fn live(replicas: u32) -> Self {
        let mut life = Self::new(replicas);
        let published = refreshed([]).zones(&["a", "b"]).snapshots([]).intent(None).seen();
        let pool = PoolWanted { replicas, has_finalizer: false, ..published.pool.clone() };
        life.pool = PoolSeen { pool, ..published };
        life
    }

    fn source_sync(&mut self) -> Option<&mut SyncSeen> {
        self.pool.source_object.as_mut()?.volume.node.as_mut()?.sync.as_mut()
    }

    /// Where the source of a live pool is, as long as it is published.
    pub(super) fn source_position(&mut self) -> Option<SyncPosition> {
        self.source_sync().filter(|sync| sync.state == SyncState::Publishing)?.position.clone()
    }

    pub(super) fn make_checkpoint(&mut self, number: u64) {
        self.pool.pool.checkpoint_order = Some((number, at(self.now)));
        if let Some(object) = &mut self.pool.source_object {
            object.checkpoint = Some(number);
        }
        if let Some(sync) = self.source_sync() {
            sync.checkpoint = Some(CheckpointSeen { number, position: sync.position.clone() });
        }
    }

    pub(super) fn begin_refresh(&mut self, object: VolumeSeen, node: &NodeName, target: &SyncPosition) {
        assert!(object.claim.is_none() && object.is_off_nodes() && !object.deleting && !object.retired, "{object:?}");
        // Two controllers at once could lend two; the leader lease rules them out.
        if !self.is_late {
            let others = self.objects.values().filter(|other| other.zone == object.zone && other.is_refreshing()).count();
            assert_eq!(others, 0, "two at once in {}", object.zone);
            let zone = &self.last_zones[&object.zone];
            assert!(zone.ready >= zone.desired && zone.filling == 0, "{} has {zone:?}", object.zone);
        }
        let failures = object.refresh.as_ref().map_or(0, |last| last.failures);
        let (node, target) = (node.clone(), target.clone());
        let refresh = RefreshSeen { node: node.clone(), started: at(self.now), target, failures, ended: None, error: None };
        self.write(VolumeSeen { node_name: Some(node), refresh: Some(refresh), ..object });
    }

    pub(super) fn end_refresh(&mut self, mut object: VolumeSeen, end: &RefreshEnd) {
        assert!(object.is_refreshing(), "{object:?}");
        let now = at(self.now);
        if let Some(refresh) = &mut object.refresh {
            refresh.failures = end.failures(refresh.failures);
            (refresh.ended, refresh.error) = (Some(now), end.error().map(str::to_owned));
        }
        self.write(VolumeSeen { node_name: None, ..object });
    }

    /// A refresh that is too late is ended by the next pass, or by the one after when the volume needed another step before.
    pub(super) fn check_refreshes(&mut self) {
        let is_late = |object: &&VolumeSeen| {
            let is_old = object.refresh.as_ref().is_some_and(|last| at(self.now).duration_since(last.started).as_secs() >= 600);
            object.is_refreshing() && is_old && !object.deleting
        };
        let late: BTreeSet<ObjectKey> = self.objects.values().filter(is_late).map(|object| object.key.clone()).collect();
        assert!(late.is_disjoint(&self.late_refreshes), "{late:?} are refreshed for ever");
        self.late_refreshes = late;
    }

    fn happen_live(&mut self, event: &LiveEvent) {
        match event {
            LiveEvent::Common(event) => self.happen(event),
            LiveEvent::Edit(count) => self.move_source(|position| position.generation += count),
            LiveEvent::Renew => self.move_source(|position| (position.epoch, position.generation) = (position.epoch + 1, 1)),
            LiveEvent::Publish(is_published) => {
                let state = if *is_published { SyncState::Publishing } else { SyncState::Scanning };
                self.source_sync().expect("it has a side").state = state;
            }
            LiveEvent::Die(node) => self.die(node),
            LiveEvent::Join(node) => drop(self.dead.remove(&NodeName::from(*node))),
            LiveEvent::Cordon(node, is_cordoned) => {
                self.pool.agents.get_mut(&NodeName::from(*node)).expect("it is there").is_cordoned = *is_cordoned;
            }
            LiveEvent::Slow(passes) => self.slow_agents = *passes,
            LiveEvent::Hours(hours) => self.now += hours * 3600,
        }
    }

    fn move_source(&mut self, change: impl FnOnce(&mut SyncPosition)) {
        if let Some(position) = self.source_sync().and_then(|sync| sync.position.as_mut()) {
            change(position);
        }
    }

    /// EC2 frees what the instance had.
    fn die(&mut self, node: &'static str) {
        self.dead.insert(node.into());
        let of_node = self.objects.values().filter(|object| object.node.as_ref().is_some_and(|side| side.node == node));
        let ids: Vec<_> = of_node.filter_map(|object| object.recorded.volume.clone()).collect();
        for ebs in self.ebs.iter_mut().filter(|(id, _)| ids.contains(id)).map(|(_, ebs)| ebs) {
            if ebs.cloud.state == VolumeState::InUse {
                ebs.cloud.state = VolumeState::Available;
                ebs.cloud.attachments.clear();
            }
        }
    }

    fn settle_live(&mut self) {
        self.dead.clear();
        self.slow_agents = 0;
        self.pool.agents.values_mut().for_each(|agent| agent.is_cordoned = false);
        self.source_sync().expect("it has a side").state = SyncState::Publishing;
        self.settle();
    }

    fn assert_settled_live(&mut self) {
        let seen = self.observe();
        assert_eq!(words(&supply(&seen, at(self.now))), [""; 0]);
        assert_eq!(demand_words(&demand(&self.observe_demand())), [""; 0]);
        assert_eq!(self.ready(), self.pool.pool.replicas as usize);
        for uid in self.claims.keys() {
            assert!(self.pvs.contains_key(uid), "{uid} got nothing");
        }
        let newest = self.source_position().expect("it is published");
        let ready = self.objects.values().filter(|object| object.phase == Some(Phase::Ready));
        for object in ready {
            let own = object.content.as_ref().and_then(|content| content.position.as_ref()).expect("it is known");
            assert!(
                (&own.source, own.epoch) == (&newest.source, newest.epoch) && own.generation + MOST >= newest.generation,
                "{own} of {newest}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_ready_volume_is_new_enough_in_the_end_and_no_refresh_harms_a_claim(
        replicas in 0..5u32,
        events in prop::collection::vec(live_event(), 0..30),
    ) {
        let mut life = Life::live(replicas);
        for event in &events {
            life.happen_live(event);
        }
        life.settle_live();
        life.assert_settled_live();
    }
}

#[test]
fn volumes_that_fell_behind_are_refreshed_one_after_the_other_in_each_zone() {
    let mut life = Life::live(4);
    life.settle_live();
    life.happen_live(&LiveEvent::Edit(MOST + 1));
    let made = life.ebs.len();
    let mut began: BTreeMap<Zone, usize> = BTreeMap::new();
    for _ in 0..40 {
        life.pass();
        let now = at(life.now);
        for object in life.objects.values().filter(|object| object.refresh.as_ref().is_some_and(|refresh| refresh.started == now)) {
            *began.entry(object.zone.clone()).or_default() += 1;
        }
    }
    assert_eq!(began, BTreeMap::from([("a".into(), 2), ("b".into(), 2)]));
    assert_eq!((life.ebs.len(), life.ready()), (made, 4), "none is made for one that is away");
    life.assert_settled_live();
    assert_eq!(life.source_position(), Some(position(SOURCE + MOST + 1)));
}

#[test]
fn a_claim_gets_the_only_volume_although_it_is_being_refreshed() {
    let mut life = Life::live(1);
    life.settle_live();
    life.happen_live(&LiveEvent::Edit(MOST + 1));
    let is_away = |life: &Life| life.objects.values().any(|object| object.phase == Some(Phase::Refreshing));
    (0..5).for_each(|_| {
        if !is_away(&life) {
            life.pass();
        }
    });
    assert!(is_away(&life) && life.ready() == 0, "{:?}", life.objects);
    let made = life.ebs.len();
    life.claim(0);
    (0..6).for_each(|_| life.pass());
    let claimed: Vec<&VolumeSeen> = life.objects.values().filter(|object| object.claim.is_some()).collect();
    assert_eq!((claimed.len(), claimed[0].slot), (1, 0), "no other was made for it");
    assert_eq!(life.ebs.len(), made + 1, "the pool is filled up behind it");
    life.settle_live();
    life.assert_settled_live();
}

#[test]
fn a_refresh_that_nobody_carries_out_ends_and_is_tried_ever_more_seldom() {
    let mut life = Life::live(1);
    life.settle_live();
    life.happen_live(&LiveEvent::Edit(MOST + 1));
    life.slow_agents = u32::MAX;
    // Each try finds the volume free again, as if its node had never begun.
    let mut tries = 0;
    for _ in 0..6 * 60 * 6 {
        life.pass();
        let now = at(life.now);
        tries += life.objects.values().filter(|object| object.refresh.as_ref().is_some_and(|refresh| refresh.started == now)).count();
    }
    assert!((4..=9).contains(&tries), "{tries} tries in six hours");
    life.settle_live();
    life.assert_settled_live();
}
