//! Builders with defaults: a test names only what matters to it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::cloud::Tags;
use crate::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL_UID, TAG_SOURCE, TAG_VOLUME_UID};
use crate::domain::{
    Access, Attachment, AttachmentState, ClaimRef, CloudSnapshot, CloudVolume, Encryption, GiB, NodeName, ObjectKey, Phase, Role, Schedule,
    SnapshotId, SnapshotState, Uid, VolumeId, VolumeSettings, VolumeState, Zone,
};
use crate::plan::{
    NodeSide, Origin, Plan, PoolSeen, PoolWanted, Recorded, SnapshotsWanted, Source, SourceLoad, SourceSeen, TemplateWanted, VolumeSeen,
    supply,
};

/// The namespace of every pool that a test does not place elsewhere.
pub(super) const NAMESPACE: &str = "shop";
pub(super) const CLUSTER: &str = "test-cluster";
pub(super) const POOL_UID: &str = "uid-of-pool";
/// The second at which a plan is made unless a test says otherwise; things were made at second 0.
pub(super) const NOW: i64 = 10_000;

/// Seconds of the test's own time.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(NAMESPACE, name)
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A completed snapshot of the pool, made long ago.
pub(super) fn snapshot(generation: u64) -> CloudSnapshot {
    CloudSnapshot {
        id: SnapshotId::new(format!("snap-{generation}")),
        state: SnapshotState::Completed,
        volume: "vol-source".into(),
        size: GiB(10),
        progress_percent: 100,
        started: Some(at(0)),
        tags: tags(&[(TAG_CLUSTER, CLUSTER), (TAG_POOL_UID, POOL_UID), (TAG_GENERATION, &generation.to_string())]),
    }
}

/// A gp3 volume as EC2 makes it when nothing is said.
pub(super) fn settings() -> VolumeSettings {
    VolumeSettings { volume_type: "gp3".to_owned(), iops: Some(3000), throughput: Some(125) }
}

pub(super) fn snapshot_in(state: SnapshotState, generation: u64) -> CloudSnapshot {
    CloudSnapshot { state, progress_percent: 40, ..snapshot(generation) }
}

pub(super) fn source_volume() -> CloudVolume {
    CloudVolume {
        id: "vol-source".into(),
        state: VolumeState::InUse,
        zone: "a".into(),
        size: GiB(10),
        settings: settings(),
        snapshot: None,
        tags: tags(&[(TAG_SOURCE, "shop/web")]),
        attachments: Vec::new(),
    }
}

/// A pool with a shared source in zone `a`, nodes in `a`, `b` and `c`, and one completed snapshot.
pub(super) struct PoolBuild(PoolSeen);

pub(super) fn pool(name: &str) -> PoolBuild {
    PoolBuild(PoolSeen {
        observed: at(NOW),
        pool: PoolWanted {
            key: key(name),
            uid: Uid::new(POOL_UID),
            cluster: CLUSTER.to_owned(),
            deleting: false,
            has_finalizer: true,
            paused: false,
            replicas: 1,
            source: Source::Volume("vol-source".into()),
            recorded_source: None,
            size: None,
            template: TemplateWanted { settings: settings(), ..TemplateWanted::default() },
            zones: Vec::new(),
            snapshots: SnapshotsWanted { schedule: Ok(None), skip_unchanged: true, keep_count: 3, keep_age: None, allowed_lag: 0 },
            retain_on_deletion: false,
            completed_generation: 0,
            denied_since: None,
            snapshot_intent: Some((1, at(0))),
            checkpoint_order: None,
            live: None,
            refresh: None,
        },
        source: SourceSeen::Volume(source_volume()),
        source_load: SourceLoad::default(),
        source_free: None,
        snapshots: vec![snapshot(1)],
        volumes: Vec::new(),
        source_object: None,
        agents: BTreeMap::new(),
        instances: [("i-a".into(), "node-a".into())].into(),
        nodes: ["node-a", "node-b", "node-c"].map(NodeName::from).into(),
        zones_with_nodes: ["a", "b", "c"].map(Zone::from).into(),
    })
}

impl PoolBuild {
    pub(super) fn replicas(mut self, replicas: u32) -> Self {
        self.0.pool.replicas = replicas;
        self
    }

    pub(super) fn zones(mut self, zones: &[&str]) -> Self {
        self.0.pool.zones = zones.iter().map(|zone| Zone::new(*zone)).collect();
        self
    }

    pub(super) fn nodes_in(mut self, zones: &[&str]) -> Self {
        self.0.zones_with_nodes = zones.iter().map(|zone| Zone::new(*zone)).collect::<BTreeSet<_>>();
        self
    }

    pub(super) fn source(mut self, source: SourceSeen) -> Self {
        self.0.source = source;
        self
    }

    /// The source is the claim `web-src`.
    pub(super) fn claimed(mut self, seen: SourceSeen) -> Self {
        self.0.pool.source = Source::Claim("web-src".to_owned());
        self.source(seen)
    }

    /// Fixed content: no snapshots are taken.
    pub(super) fn fixed_content(mut self, seen: SourceSeen) -> Self {
        self.0.pool.source = Source::Snapshot("snap-fixed".into());
        self.0.pool.snapshot_intent = None;
        self.0.snapshots.clear();
        self.source(seen)
    }

    pub(super) fn snapshots(mut self, snapshots: impl IntoIterator<Item = CloudSnapshot>) -> Self {
        self.0.snapshots = snapshots.into_iter().collect();
        self
    }

    pub(super) fn intent(mut self, intent: Option<(u64, i64)>) -> Self {
        self.0.pool.snapshot_intent = intent.map(|(generation, second)| (generation, at(second)));
        self
    }

    /// Snapshots are due by a cron expression, in UTC.
    pub(super) fn schedule(mut self, expression: &str) -> Self {
        self.0.pool.snapshots.schedule = Ok(Some(Schedule::parse(expression, "Etc/UTC").unwrap()));
        self
    }

    pub(super) fn with(mut self, volumes: impl IntoIterator<Item = VolumeBuild>) -> Self {
        self.0.volumes.extend(volumes.into_iter().map(|volume| volume.0));
        self
    }

    /// Anything that has no method of its own.
    pub(super) fn but(mut self, change: impl FnOnce(&mut PoolSeen)) -> Self {
        change(&mut self.0);
        self
    }

    pub(super) fn seen(self) -> PoolSeen {
        self.0
    }

    pub(super) fn plan(self) -> Plan {
        supply(&self.0, at(NOW))
    }
}

/// The source snapshot of a pool with fixed content.
pub(super) fn fixed_snapshot() -> CloudSnapshot {
    CloudSnapshot { id: "snap-fixed".into(), tags: tags(&[(TAG_SOURCE, "*")]), ..snapshot(1) }
}

/// A volume of the pool `web` in zone `a`, wanted and not yet asked for.
#[derive(Clone)]
pub(super) struct VolumeBuild(VolumeSeen);

/// `name` is the name of the pool, a dash and the slot.
pub(super) fn volume(name: &str) -> VolumeBuild {
    let (pool, slot) = name.rsplit_once('-').unwrap();
    VolumeBuild(VolumeSeen {
        key: key(name),
        uid: Uid::new(format!("uid-{name}")),
        resource_version: "7".to_owned(),
        pool: pool.to_owned(),
        role: Role::Copy,
        slot: slot.parse().unwrap(),
        attempt: 0,
        encryption: Encryption::default(),
        zone: "a".into(),
        size: GiB(10),
        origin: Origin { snapshot: "snap-1".into(), generation: 1 },
        claim: None,
        attached_by: None,
        node_name: None,
        deleting: false,
        retired: false,
        ordered: None,
        restored_after: None,
        content: None,
        refresh: None,
        phase: None,
        recorded: Recorded::default(),
        cloud: None,
        initialized_percent: 0,
        node: None,
    })
}

impl VolumeBuild {
    fn id(&self) -> VolumeId {
        VolumeId::new(format!("vol-{}", self.0.key.name))
    }

    /// EC2 lists it in a state; it was asked for at second 0, or just now if EC2 is still making it.
    pub(super) fn cloud(mut self, state: VolumeState) -> Self {
        let asked = if state == VolumeState::Creating { NOW - 5 } else { 0 };
        self.0.recorded.requested.get_or_insert(at(asked));
        self.0.recorded.volume = Some(self.id());
        self.0.cloud = Some(CloudVolume {
            id: self.id(),
            state,
            zone: self.0.zone.clone(),
            size: self.0.size,
            settings: settings(),
            snapshot: Some(self.0.origin.snapshot.clone()),
            tags: tags(&[(TAG_CLUSTER, CLUSTER), (TAG_POOL_UID, POOL_UID), (TAG_VOLUME_UID, self.0.uid.as_str())]),
            attachments: Vec::new(),
        });
        self
    }

    pub(super) fn ready(self) -> Self {
        self.cloud(VolumeState::Available).but(|volume| {
            volume.initialized_percent = 100;
            volume.phase = Some(Phase::Ready);
        })
    }

    /// EC2 has not loaded all of its blocks.
    pub(super) fn initializing(self) -> Self {
        self.ready().but(|volume| {
            volume.initialized_percent = 50;
            volume.phase = Some(Phase::Initializing);
        })
    }

    /// EC2 gave it, and does not list it since a second.
    pub(super) fn missing_since(self, second: i64) -> Self {
        self.ready().but(|volume| {
            volume.cloud = None;
            volume.recorded.missing_since = Some(at(second));
        })
    }

    /// A claim has it, and no node yet.
    pub(super) fn reserved_for(self, claim: &str) -> Self {
        let claim = claim_ref(claim);
        self.but(|volume| volume.claim = Some(claim))
    }

    /// A pod of a claim uses it on `node-a`.
    pub(super) fn used_by(self, claim: &str) -> Self {
        self.ready().reserved_for(claim).on_node("node-a").but(|volume| {
            volume.phase = Some(Phase::Claimed);
            volume.node_name = Some("node-a".into());
        })
    }

    /// An agent still has it.
    pub(super) fn on_node(self, node: &str) -> Self {
        let side = NodeSide { node: node.to_owned(), attached: true, mounted: true, published: 1, ..NodeSide::default() };
        self.but(|volume| {
            volume.node = Some(side);
            if let Some(cloud) = &mut volume.cloud {
                cloud.state = VolumeState::InUse;
                cloud.attachments = vec![attachment()];
            }
        })
    }

    pub(super) fn zone(self, zone: &str) -> Self {
        self.but(|volume| {
            volume.zone = zone.into();
            if let Some(cloud) = &mut volume.cloud {
                cloud.zone = zone.into();
            }
        })
    }

    pub(super) fn generation(self, generation: u64) -> Self {
        self.but(|volume| volume.origin = Origin { snapshot: SnapshotId::new(format!("snap-{generation}")), generation })
    }

    pub(super) fn deleting(self) -> Self {
        self.but(|volume| volume.deleting = true)
    }

    pub(super) fn phase(self, phase: Phase) -> Self {
        self.but(|volume| volume.phase = Some(phase))
    }

    pub(super) fn but(mut self, change: impl FnOnce(&mut VolumeSeen)) -> Self {
        change(&mut self.0);
        self
    }

    pub(super) fn seen(self) -> VolumeSeen {
        self.0
    }
}

pub(super) fn attachment() -> Attachment {
    Attachment { instance: "i-1".into(), device: "/dev/xvdba".to_owned(), state: AttachmentState::Attached }
}

pub(super) fn claim_ref(name: &str) -> ClaimRef {
    ClaimRef { namespace: NAMESPACE.to_owned(), name: name.to_owned(), uid: format!("uid-{name}"), access: Access::ReadOnly }
}

/// The zone of each node of a test: `node-a` is in `a`, and so on.
pub(super) fn node_zones() -> BTreeMap<NodeName, Zone> {
    ["a", "b", "c"].iter().map(|zone| (NodeName::new(format!("node-{zone}")), Zone::new(*zone))).collect()
}
