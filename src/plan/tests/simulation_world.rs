//! EC2, the API server, the agents and the pods as plain structs, with a clock that only [`Life::pass`] moves.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL_UID, TAG_POSITION, TAG_VOLUME_UID};
use crate::domain::{
    AttachmentState, CloudSnapshot, CloudVolume, ModificationState, NodeName, ObjectKey, Phase, SnapshotId, SnapshotState, Uid, VolumeId,
    VolumeState, Zone,
};
use crate::plan::{
    ClaimSeen, ContentSeen, DemandSeen, Modification, NodeSide, Plan, PoolSeen, PvSeen, Recorded, SnapshotContent, SourceLoad, SourceSeen,
    VolumeChange, VolumeRequest, VolumeSeen, position_of,
};

use crate::plan::report::ZoneReport;

use super::build::{CLUSTER, POOL_UID, at, attachment, pool, snapshot_in, source_volume, volume};
use super::demand_build::{claim_on, demand_on_web};
use super::refresh_life::{follow, note_content};

/// Seconds between two passes: several fit into `VISIBILITY`.
const TICK: i64 = 10;

/// A volume in EC2.
pub(super) struct Ebs {
    pub(super) cloud: CloudVolume,
    pub(super) percent: u8,
    is_doomed: bool,
    /// The last change in place, and when each was asked for.
    modification: Option<ModificationState>,
    modified: Vec<i64>,
}

/// The whole world of one pool.
pub(super) struct Life {
    pub(super) now: i64,
    /// The pool as the API server has it; its lists are filled by `observe`.
    pub(super) pool: PoolSeen,
    pub(super) is_pool_gone: bool,
    pub(super) ebs: BTreeMap<VolumeId, Ebs>,
    pub(super) tokens: BTreeMap<Uid, VolumeId>,
    pub(super) snapshots: Vec<CloudSnapshot>,
    pub(super) objects: BTreeMap<ObjectKey, VolumeSeen>,
    pub(super) claims: BTreeMap<String, ClaimSeen>,
    pub(super) pvs: BTreeMap<String, PvSeen>,
    pub(super) last_plan: Option<Plan>,
    /// What each zone shall have and has, by the plan that is being carried out.
    pub(super) last_zones: BTreeMap<Zone, ZoneReport>,
    /// Whether that plan was made on what was seen before the last pass.
    pub(super) is_late: bool,
    /// How many of the next volumes and snapshots fail.
    pub(super) failing_volumes: u32,
    pub(super) failing_snapshots: u32,
    /// How many of the next answers of EC2 list nothing that was made in the last tick or two.
    pub(super) lagging_reads: u32,
    pub(super) snapshots_taken: u32,
    /// Nodes that are gone, with their agents.
    pub(super) dead: BTreeSet<NodeName>,
    /// Refreshes that the last pass left although they were too late.
    pub(super) late_refreshes: BTreeSet<ObjectKey>,
    /// How many of the next passes agents do nothing in.
    pub(super) slow_agents: u32,
    versions: u64,
    ids: u64,
}

impl Life {
    pub(super) fn new(replicas: u32) -> Self {
        let mut pool = pool("web").replicas(replicas).zones(&["a", "b"]).snapshots([]).intent(None).seen();
        pool.pool.has_finalizer = false;
        Self {
            now: 0,
            pool,
            is_pool_gone: false,
            ebs: BTreeMap::new(),
            tokens: BTreeMap::new(),
            snapshots: Vec::new(),
            objects: BTreeMap::new(),
            claims: BTreeMap::new(),
            pvs: BTreeMap::new(),
            last_plan: None,
            last_zones: BTreeMap::new(),
            is_late: false,
            failing_volumes: 0,
            failing_snapshots: 0,
            lagging_reads: 0,
            snapshots_taken: 0,
            dead: BTreeSet::new(),
            late_refreshes: BTreeSet::new(),
            slow_agents: 0,
            versions: 0,
            ids: 0,
        }
    }

    /// What happens between two passes: EC2, Kubernetes and the agents do what they were asked for.
    pub(super) fn tick(&mut self) {
        self.now += TICK;
        self.ec2_moves();
        self.kubernetes_moves();
        let keys: Vec<ObjectKey> = self.objects.keys().cloned().collect();
        if self.slow_agents > 0 {
            self.slow_agents -= 1;
            return;
        }
        for key in &keys {
            self.agent_moves(key);
        }
    }

    fn ec2_moves(&mut self) {
        self.ebs.retain(|_, ebs| ebs.cloud.state != VolumeState::Deleting);
        for ebs in self.ebs.values_mut() {
            ebs.modification = ebs.modification.map(|state| match state {
                ModificationState::Modifying => ModificationState::Optimizing,
                _ => ModificationState::Completed,
            });
            match ebs.cloud.state {
                VolumeState::Creating if ebs.is_doomed => ebs.cloud.state = VolumeState::Error,
                VolumeState::Creating => ebs.cloud.state = VolumeState::Available,
                _ => ebs.percent = (ebs.percent + 50).min(100),
            }
        }
        for snapshot in self.snapshots.iter_mut().filter(|snapshot| snapshot.state == SnapshotState::Pending) {
            let fails = self.failing_snapshots > 0;
            self.failing_snapshots = self.failing_snapshots.saturating_sub(1);
            snapshot.state = if fails { SnapshotState::Error } else { SnapshotState::Completed };
        }
    }

    fn kubernetes_moves(&mut self) {
        for pv in self.pvs.values_mut() {
            pv.is_released = !self.claims.contains_key(&pv.claim_uid);
        }
    }

    /// The agent attaches what is assigned, publishes it to the pod of a live bound claim, and lets go of the rest.
    fn agent_moves(&mut self, key: &ObjectKey) {
        let mut object = self.objects[key].clone();
        let agent = object.node.as_ref().map(|side| NodeName::new(side.node.as_str())).or_else(|| object.node_name.clone());
        if agent.is_some_and(|agent| self.dead.contains(&agent)) {
            return;
        }
        let newest = self.source_position();
        let claim = object.claim.as_ref().map(|claim| claim.uid.clone());
        let has_pod = claim.is_some_and(|uid| self.claims.contains_key(&uid) && self.pvs.contains_key(&uid));
        let ebs = object.recorded.volume.as_ref().and_then(|id| self.ebs.get_mut(id));
        match (object.node_name.clone(), &mut object.node) {
            (Some(_), Some(side)) => {
                side.published = u32::from(has_pod);
                if let Some(ebs) = ebs.filter(|ebs| ebs.cloud.is_free()) {
                    // Its instance had ended.
                    (ebs.cloud.state, ebs.cloud.attachments) = (VolumeState::InUse, vec![attachment()]);
                }
                if let Some(newest) = newest {
                    follow(side, newest);
                }
            }
            (Some(node), None) => {
                let Some(ebs) = ebs.filter(|ebs| ebs.cloud.is_free()) else { return };
                ebs.cloud.state = VolumeState::InUse;
                ebs.cloud.attachments = vec![attachment()];
                object.node = Some(NodeSide { node: node.to_string(), attached: true, mounted: true, ..NodeSide::default() });
            }
            (None, Some(side)) if side.published > 0 => side.published = u32::from(has_pod),
            (None, Some(_)) => {
                if let Some(ebs) = ebs {
                    ebs.cloud.state = VolumeState::Available;
                    ebs.cloud.attachments.iter_mut().for_each(|attachment| attachment.state = AttachmentState::Detached);
                }
                object.node = None;
            }
            (None, None) => return,
        }
        self.write(object);
    }

    /// Stores an object under a new version when it differs from what is stored.
    pub(super) fn write(&mut self, mut object: VolumeSeen) {
        let before = self.objects.get(&object.key);
        if before == Some(&object) {
            return;
        }
        if before.is_some_and(|before| before.node_name.is_some() && before.node_name != object.node_name) {
            note_content(&mut object, at(self.now));
        }
        self.versions += 1;
        object.resource_version = self.versions.to_string();
        self.objects.insert(object.key.clone(), object);
    }

    /// What the controller sees of the pool now.
    pub(super) fn observe(&mut self) -> PoolSeen {
        let lags = self.lagging_reads > 0;
        self.lagging_reads = self.lagging_reads.saturating_sub(1);
        let is_listed = |made: i64| !lags || self.now - made > 2 * TICK;
        let join = |object: &VolumeSeen| {
            let id = object.recorded.volume.as_ref().or_else(|| self.tokens.get(&object.uid));
            let made = object.recorded.requested.map_or(0, |asked| asked.duration_since(at(0)).as_secs());
            let ebs = id.and_then(|id| self.ebs.get(id)).filter(|_| is_listed(made));
            let percent = ebs.map_or(object.initialized_percent, |ebs| ebs.percent);
            let mut recorded = object.recorded.clone();
            if let (Some(last), Some(state)) = (&mut recorded.modification, ebs.and_then(|ebs| ebs.modification)) {
                last.state = Some(state);
            }
            VolumeSeen { cloud: ebs.map(|ebs| ebs.cloud.clone()), recorded, initialized_percent: percent, ..object.clone() }
        };
        let unfinished = self.snapshots.iter().filter(|snapshot| snapshot.state != SnapshotState::Completed).count();
        let last_started = self.snapshots.iter().filter_map(|snapshot| snapshot.started).max();
        let made = |snapshot: &CloudSnapshot| snapshot.started.map_or(0, |started| started.duration_since(at(0)).as_secs());
        PoolSeen {
            observed: at(self.now),
            source: SourceSeen::Volume(source_volume()),
            source_load: SourceLoad { unfinished: u32::try_from(unfinished).unwrap(), last_started },
            snapshots: self.snapshots.iter().filter(|snapshot| is_listed(made(snapshot))).cloned().collect(),
            volumes: self.objects.values().map(join).collect(),
            nodes: self.pool.nodes.difference(&self.dead).cloned().collect(),
            ..self.pool.clone()
        }
    }

    /// What the dispatcher sees now: the pool as it was published, objects as they are.
    pub(super) fn observe_demand(&self) -> DemandSeen {
        let is_bound = |claim: &&ClaimSeen| self.pvs.contains_key(claim.uid.as_str());
        let waiting: Vec<ClaimSeen> = self.claims.values().filter(|claim| !is_bound(claim)).cloned().collect();
        let newest = self.last_plan.as_ref().and_then(|plan| plan.report.newest.clone());
        let snapshot = self.snapshots.iter().find(|snapshot| newest.as_ref().is_some_and(|newest| newest.snapshot == snapshot.id));
        let content = snapshot.map(|snapshot| ContentSeen { position: position_of(snapshot), time: snapshot.started });
        let built = demand_on_web().claims(waiting).offer(|offer| {
            (offer.origin, offer.content) = (newest, content.filter(|_| self.pool.pool.live.is_some()));
            offer.is_closed = self.pool.pool.paused || self.pool.pool.deleting;
        });
        built
            .but(|seen| {
                seen.now = at(self.now);
                seen.live_claims = self.claims.keys().cloned().collect();
                seen.volumes = self.objects.values().cloned().collect();
                seen.pvs = self.pvs.values().cloned().collect();
                if self.is_pool_gone {
                    seen.offers.clear();
                }
            })
            .seen()
    }

    pub(super) fn claim(&mut self, number: u8) {
        let node = if number.is_multiple_of(2) { "node-a" } else { "node-b" };
        self.ids += 1;
        let claim = claim_on(&format!("claim-{number}-{}", self.ids), node);
        self.claims.insert(claim.uid.to_string(), claim);
    }

    /// EC2 makes a volume, or gives the one that it made for this token.
    pub(super) fn create_ebs(&mut self, request: &VolumeRequest) -> VolumeId {
        if let Some(id) = self.tokens.get(&request.uid) {
            return id.clone();
        }
        assert!(self.snapshots.iter().any(|snapshot| snapshot.id == request.origin.snapshot), "{:?} is gone", request.origin);
        self.ids += 1;
        let id = VolumeId::new(format!("vol-{}", self.ids));
        let tags = [(TAG_CLUSTER, CLUSTER), (TAG_POOL_UID, POOL_UID), (TAG_VOLUME_UID, request.uid.as_str())];
        let cloud = CloudVolume {
            id: id.clone(),
            state: VolumeState::Creating,
            zone: request.zone.clone(),
            size: request.size,
            settings: super::build::settings(),
            snapshot: Some(request.origin.snapshot.clone()),
            tags: tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            attachments: Vec::new(),
        };
        let is_doomed = self.failing_volumes > 0;
        self.failing_volumes = self.failing_volumes.saturating_sub(1);
        self.ebs.insert(id.clone(), Ebs { cloud, percent: 0, is_doomed, modification: None, modified: Vec::new() });
        self.tokens.insert(request.uid.clone(), id.clone());
        id
    }

    /// EC2 changes a volume, and refuses what it refuses: a second change at a time, a fifth in a day, a smaller size.
    pub(super) fn modify(&mut self, key: &ObjectKey, id: &VolumeId, change: &VolumeChange) {
        let Some(object) = self.objects.get(key).cloned() else { return };
        let modification = Some(Modification { requested: at(self.now), state: None, refusal: None });
        self.write(VolumeSeen { recorded: Recorded { modification, ..object.recorded.clone() }, ..object });
        let Some(ebs) = self.ebs.get_mut(id) else { return };
        let is_under_way = ebs.modification.is_some_and(|state| state != ModificationState::Completed);
        let of_day = ebs.modified.iter().filter(|asked| self.now - **asked < 24 * 3600).count();
        assert!(!is_under_way && of_day < 4 && change.size >= ebs.cloud.size, "{id}: {change:?}");
        ebs.modification = Some(ModificationState::Modifying);
        ebs.modified.push(self.now);
        (ebs.cloud.size, ebs.cloud.settings) = (change.size, change.settings.clone());
    }

    pub(super) fn create_snapshot(&mut self, generation: u64, content: &SnapshotContent) {
        let last = self.snapshots.iter().filter_map(|snapshot| snapshot.started).max();
        assert!(last.is_none_or(|last| at(self.now).duration_since(last).as_secs() >= 15), "EC2 refuses a snapshot so soon");
        let unfinished = self.snapshots.iter().filter(|snapshot| snapshot.state != SnapshotState::Completed).count();
        assert!(unfinished < 5, "EC2 refuses more than five snapshots at a time");
        self.snapshots_taken += 1;
        self.ids += 1;
        let id = SnapshotId::new(format!("snap-{}", self.ids));
        let mut snapshot = CloudSnapshot { id, started: Some(at(self.now)), ..snapshot_in(SnapshotState::Pending, generation) };
        snapshot.tags.insert(TAG_GENERATION.to_owned(), generation.to_string());
        snapshot.tags.extend(content.position().map(|position| (TAG_POSITION.to_owned(), position.to_string())));
        self.snapshots.push(snapshot);
    }

    /// A new object; refused when the name is taken.
    pub(super) fn create_object(&mut self, slot: u32, change: impl FnOnce(&mut VolumeSeen)) {
        self.ids += 1;
        let mut object = volume(&format!("web-{slot}")).seen();
        object.uid = Uid::new(format!("uid-{}", self.ids));
        change(&mut object);
        if !self.objects.contains_key(&object.key) {
            self.write(object);
        }
    }

    pub(super) fn assign(&mut self, mut object: VolumeSeen, node: Option<NodeName>) {
        object.node_name = node;
        self.write(object);
    }

    /// Volumes that are ready for a claim.
    pub(super) fn ready(&self) -> usize {
        self.objects.values().filter(|object| object.phase == Some(Phase::Ready) && object.claim.is_none()).count()
    }
}
