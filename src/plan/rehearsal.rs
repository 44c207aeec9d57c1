//! The whole way of a pool to its wanted state, by the very plan that is carried out, in a world where nothing fails.

use jiff::{SignedDuration, Timestamp};

use crate::domain::cloud::Tags;
use crate::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL_UID, TAG_VOLUME_UID};
use crate::domain::{
    CloudSnapshot, CloudVolume, GiB, ModificationState, NodeName, ObjectKey, Role, SnapshotId, SnapshotState, SyncPosition, SyncState, Uid,
    VolumeId, VolumeState,
};

use super::action::{Action, NewVolume, VolumeRequest};
use super::live::{CheckpointSeen, NewSource, SourceObject, SyncSeen};
use super::observation::{Modification, NodeSide, Origin, PoolSeen, PoolWanted, Recorded, SourceSeen, VolumeSeen};
use super::refresh::{ContentSeen, RefreshSeen};
use super::report::Report;
use super::supply;

/// Rounds after which a rehearsal ends without having come to rest: a pool of a thousand volumes that are replaced one
/// after the other needs some for each.
const MOST_ROUNDS: usize = 10_000;
/// The time between two rounds: none that the plan waits for, since nothing has to be waited for.
const ROUND: SignedDuration = SignedDuration::from_secs(1);

/// What would be done, and where that leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsal {
    /// Effects by round: what is in a later one waits for those before it.
    pub rounds: Vec<Vec<Action>>,
    /// How the pool stands now.
    pub now: Report,
    /// How it would stand then.
    pub then: Report,
    /// What would exist then.
    pub end: PoolSeen,
    /// Whether there is more than could be rehearsed.
    pub is_cut: bool,
}

/// Plans again and again, each time as if everything before had been carried out and EC2 had finished it.
pub fn rehearse(seen: &PoolSeen, now: Timestamp) -> Rehearsal {
    let first = supply(seen, now);
    let mut stage = Stage { seen: seen.clone(), is_released: false };
    let (mut rounds, mut plan, mut clock) = (Vec::new(), first.clone(), now);
    while !plan.actions.is_empty() && !stage.is_released && rounds.len() < MOST_ROUNDS {
        stage.play(&plan.report, &plan.actions, clock);
        rounds.push(plan.actions);
        clock += ROUND;
        stage.settle(clock);
        plan = supply(&stage.seen, clock);
    }
    if rounds.is_empty() {
        // What is under way already is waited for: it may be all that is missing.
        stage.settle(clock);
        plan = supply(&stage.seen, clock);
    }
    let is_cut = !plan.actions.is_empty() && !stage.is_released && !rounds.is_empty();
    Rehearsal { rounds, now: first.report, then: plan.report, end: stage.seen, is_cut }
}

/// The pool as it would be.
struct Stage {
    seen: PoolSeen,
    is_released: bool,
}

impl Stage {
    fn play(&mut self, report: &Report, actions: &[Action], clock: Timestamp) {
        for volume in &mut self.seen.volumes {
            volume.phase = report.volumes.get(&volume.key).map(|life| life.phase).or(volume.phase);
        }
        for action in actions {
            self.perform(action, clock);
        }
    }

    fn perform(&mut self, action: &Action, clock: Timestamp) {
        match action {
            Action::AddPoolFinalizer => self.seen.pool.has_finalizer = true,
            Action::RemovePoolFinalizer => self.is_released = true,
            Action::CreateSnapshot { volume, generation, .. } => self.take_snapshot(volume, *generation, clock),
            Action::OrderCheckpoint { number, .. } => self.make_checkpoint(*number, clock),
            Action::DeleteSnapshot(proof) => self.seen.snapshots.retain(|snapshot| snapshot.id != *proof.id()),
            Action::CreatePoolVolume(new) => self.make_object(new),
            Action::CreateVolume(request) => self.make_volume(request, clock),
            Action::ModifyVolume { key, change, .. } => self.change(key, |volume| {
                let modification = Modification { requested: clock, state: Some(ModificationState::Completed), refusal: None };
                volume.recorded.modification = Some(modification);
                if let Some(cloud) = &mut volume.cloud {
                    (cloud.size, cloud.settings) = (change.size, change.settings.clone());
                }
            }),
            Action::TagVolume { key, tags, .. } => self.change(key, |volume| {
                if let Some(cloud) = &mut volume.cloud {
                    cloud.tags.extend(tags.clone());
                }
            }),
            Action::RecordSize { key, size, .. } => self.change(key, |volume| volume.size = *size),
            Action::CreateSourceObject(new) => self.make_source_object(new),
            Action::Publish { publish, .. } => self.change_source(|object| object.publish = Some(publish.clone())),
            Action::AssignSource { node, .. } => self.change_source(|object| publish_on(object, node)),
            Action::BeginRefresh { key, node, target, .. } => self.change(key, |volume| refresh_on(volume, node, target, clock)),
            Action::EndRefresh { key, .. } => self.change(key, |volume| end_refresh(volume, clock)),
            Action::Unassign(key) => self.change(key, |volume| {
                volume.node_name = None;
                let_go(volume);
            }),
            Action::ForgetNode { key, .. } => self.change(key, let_go),
            Action::DeletePoolVolume { key, .. } => self.change(key, |volume| volume.deleting = true),
            Action::DeleteVolume { key, .. } => self.change(key, |volume| {
                volume.cloud = None;
                volume.recorded.deletion_accepted = true;
            }),
            Action::RemoveVolumeFinalizer(key) => {
                self.seen.volumes.retain(|volume| volume.key != *key);
                self.seen.source_object.take_if(|object| object.volume.key == *key);
            }
        }
    }

    fn change(&mut self, key: &ObjectKey, change: impl FnOnce(&mut VolumeSeen)) {
        let source = self.seen.source_object.iter_mut().map(|object| &mut object.volume);
        if let Some(volume) = self.seen.volumes.iter_mut().chain(source).find(|volume| volume.key == *key) {
            change(volume);
        }
    }

    fn change_source(&mut self, change: impl FnOnce(&mut SourceObject)) {
        if let Some(object) = &mut self.seen.source_object {
            change(object);
        }
    }

    fn make_source_object(&mut self, new: &NewSource) {
        let first = NewVolume { slot: 0, attempt: 0, zone: new.zone.clone(), size: new.size, origin: Origin::none(), content: None };
        let mut volume = blank(&self.seen.pool, "source", &first);
        volume.role = Role::Source;
        volume.recorded.volume = Some(new.volume.clone());
        self.seen.source_object = Some(SourceObject { volume, publish: Some(new.publish.clone()), checkpoint: None, requested_by: None });
    }

    fn make_checkpoint(&mut self, number: u64, clock: Timestamp) {
        self.seen.pool.checkpoint_order = Some((number, clock));
        self.change_source(|object| {
            object.checkpoint = Some(number);
            if let Some(sync) = object.volume.node.as_mut().and_then(|side| side.sync.as_mut()) {
                sync.checkpoint = Some(CheckpointSeen { number, position: sync.position.clone() });
            }
        });
    }

    fn owner_tags(&self) -> Tags {
        let pool = &self.seen.pool;
        [(TAG_CLUSTER.to_owned(), pool.cluster.clone()), (TAG_POOL_UID.to_owned(), pool.uid.to_string())].into()
    }

    fn take_snapshot(&mut self, volume: &VolumeId, generation: u64, clock: Timestamp) {
        let mut tags = self.owner_tags();
        tags.insert(TAG_GENERATION.to_owned(), generation.to_string());
        let size = if let SourceSeen::Volume(source) = &self.seen.source { source.size } else { GiB(0) };
        self.seen.pool.snapshot_intent = Some((generation, clock));
        self.seen.snapshots.push(CloudSnapshot {
            id: SnapshotId::new(format!("snap-of-generation-{generation}")),
            state: SnapshotState::Pending,
            volume: volume.clone(),
            size,
            progress_percent: 0,
            started: Some(clock),
            tags,
        });
    }

    fn make_object(&mut self, new: &NewVolume) {
        let volume = blank(&self.seen.pool, &new.slot.to_string(), new);
        self.seen.volumes.push(volume);
    }

    fn make_volume(&mut self, request: &VolumeRequest, clock: Timestamp) {
        let mut tags = self.seen.pool.template.tags.clone();
        tags.extend(self.owner_tags());
        tags.insert(TAG_VOLUME_UID.to_owned(), request.uid.to_string());
        let cloud = CloudVolume {
            id: VolumeId::new(format!("vol-of-{}", request.key.name)),
            state: VolumeState::Creating,
            zone: request.zone.clone(),
            size: request.size,
            settings: self.seen.pool.template.settings.clone(),
            snapshot: Some(request.origin.snapshot.clone()),
            tags,
            attachments: Vec::new(),
        };
        self.change(&request.key, |volume| {
            volume.recorded = Recorded { volume: Some(cloud.id.clone()), requested: Some(clock), ..Recorded::default() };
            volume.cloud = Some(cloud);
        });
    }

    /// EC2 finishes what was begun.
    fn settle(&mut self, clock: Timestamp) {
        self.seen.observed = clock;
        for snapshot in self.seen.snapshots.iter_mut().filter(|snapshot| snapshot.state == SnapshotState::Pending) {
            snapshot.state = SnapshotState::Completed;
            snapshot.progress_percent = 100;
        }
        for volume in &mut self.seen.volumes {
            if let Some(cloud) = volume.cloud.as_mut().filter(|cloud| cloud.state == VolumeState::Creating) {
                cloud.state = VolumeState::Available;
            }
            if volume.cloud.as_ref().is_some_and(|cloud| cloud.state == VolumeState::Available) {
                volume.initialized_percent = 100;
            }
        }
    }
}

/// The object of a volume of which EC2 knows nothing yet.
fn blank(pool: &PoolWanted, suffix: &str, new: &NewVolume) -> VolumeSeen {
    let name = format!("{}-{suffix}", pool.key.name);
    VolumeSeen {
        uid: Uid::new(format!("uid-of-{name}")),
        key: ObjectKey::new(pool.key.namespace.clone(), name),
        resource_version: String::new(),
        pool: pool.key.name.clone(),
        role: Role::Copy,
        slot: new.slot,
        attempt: new.attempt,
        encryption: pool.template.encryption.clone(),
        zone: new.zone.clone(),
        size: new.size,
        origin: new.origin.clone(),
        claim: None,
        attached_by: None,
        node_name: None,
        deleting: false,
        retired: false,
        ordered: None,
        restored_after: None,
        content: new.content.clone(),
        refresh: None,
        phase: None,
        recorded: Recorded::default(),
        cloud: None,
        initialized_percent: 0,
        node: None,
    }
}

/// The node attaches and mounts it, and it receives all that the source has.
fn refresh_on(volume: &mut VolumeSeen, node: &NodeName, target: &SyncPosition, clock: Timestamp) {
    let sync = SyncSeen { state: SyncState::InSync, position: Some(target.clone()), ..SyncSeen::default() };
    let failures = volume.refresh.as_ref().map_or(0, |last| last.failures);
    let (node, target) = (node.clone(), target.clone());
    volume.node_name = Some(node.clone());
    volume.node = Some(NodeSide { node: node.to_string(), attached: true, mounted: true, sync: Some(sync), ..NodeSide::default() });
    volume.refresh = Some(RefreshSeen { node, started: clock, target, failures, ended: None, error: None });
}

fn end_refresh(volume: &mut VolumeSeen, clock: Timestamp) {
    let position = volume.node.as_ref().and_then(|side| side.sync.as_ref()?.position.clone());
    volume.content = Some(ContentSeen { position, time: Some(clock) });
    volume.node_name = None;
    if let Some(refresh) = &mut volume.refresh {
        (refresh.ended, refresh.failures) = (Some(clock), 0);
    }
    let_go(volume);
}

/// The node attaches, mounts and publishes it.
fn publish_on(object: &mut SourceObject, node: &NodeName) {
    let sync = SyncSeen { state: SyncState::Publishing, ..SyncSeen::default() };
    object.volume.node_name = Some(node.clone());
    object.volume.node = Some(NodeSide { node: node.to_string(), attached: true, mounted: true, sync: Some(sync), ..NodeSide::default() });
}

fn let_go(volume: &mut VolumeSeen) {
    volume.node = None;
    if let Some(cloud) = &mut volume.cloud {
        cloud.attachments.clear();
        if cloud.state == VolumeState::InUse {
            cloud.state = VolumeState::Available;
        }
    }
}
