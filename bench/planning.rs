//! How much CPU the pure plan of a pool of a thousand volumes takes, beside what copying its input once takes.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Duration;

use jiff::Timestamp;
use volume_dispatcher::domain::cloud::Tags;
use volume_dispatcher::domain::tags::TAG_SOURCE;
use volume_dispatcher::domain::{CloudVolume, Encryption, GiB, ObjectKey, Phase, Role, Uid, VolumeSettings, VolumeState, Zone};
use volume_dispatcher::plan::{
    Origin, PoolSeen, PoolWanted, Recorded, SnapshotsWanted, Source, SourceLoad, SourceSeen, TemplateWanted, VolumeSeen, supply,
};

use crate::row::{Comparison, Row, median};

const VOLUMES: u32 = 1000;
const ROUNDS: usize = 30;

pub(crate) fn run() -> Vec<Row> {
    let seen = pool_of(VOLUMES);
    let comparison = Comparison {
        name: "plan_1000_volumes",
        unit: "ms",
        rival: "copying the plan's input once",
        target: 10.0,
        command: "make bench ONLY=planning",
    };
    let plan = rounds(|| drop(black_box(supply(black_box(&seen), Timestamp::UNIX_EPOCH))));
    let copy = rounds(|| drop(black_box(black_box(&seen).clone())));
    // Built as the tests are, without optimization: an installed controller is several times as fast.
    let limit = Comparison {
        name: "plan_1000_volumes_limit",
        unit: "ms",
        rival: "five milliseconds of CPU",
        target: 1.0,
        command: "make bench ONLY=planning",
    };
    vec![comparison.row(plan, copy), limit.row(plan, 5.0)]
}

/// What this thread has computed so far: other programs of a busy machine do not count. Source: clock_gettime(2).
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Milliseconds of CPU that the work takes, the middle of some rounds.
fn rounds(work: impl Fn()) -> f64 {
    let one = || {
        let started = cpu_time();
        work();
        cpu_time().saturating_sub(started).as_secs_f64() * 1000.0
    };
    median((0..ROUNDS).map(|_| one()).collect())
}

/// A pool that has what it wants.
pub(crate) fn pool_of(volumes: u32) -> PoolSeen {
    let zone = Zone::new("us-east-1a");
    let source = cloud("vol-source", &zone, Tags::from([(TAG_SOURCE.to_owned(), "*".to_owned())]));
    PoolSeen {
        observed: Timestamp::UNIX_EPOCH,
        pool: PoolWanted {
            key: ObjectKey::new("shop", "web"),
            uid: Uid::new("pool"),
            cluster: "bench".to_owned(),
            deleting: false,
            has_finalizer: true,
            paused: false,
            replicas: volumes,
            source: Source::Volume(source.id.clone()),
            recorded_source: None,
            template: TemplateWanted { settings: settings(), ..TemplateWanted::default() },
            snapshots: SnapshotsWanted { schedule: Ok(None), skip_unchanged: true, keep_count: 3, keep_age: None, allowed_lag: 0 },
            completed_generation: 0,
            denied_since: None,
            size: None,
            zones: vec![zone.clone()],
            retain_on_deletion: false,
            snapshot_intent: None,
            checkpoint_order: None,
            live: None,
            refresh: None,
        },
        source: SourceSeen::Volume(source),
        source_load: SourceLoad::default(),
        source_free: None,
        snapshots: Vec::new(),
        volumes: (0..volumes).map(|slot| volume(slot, &zone)).collect(),
        source_object: None,
        agents: BTreeMap::new(),
        instances: BTreeMap::new(),
        nodes: BTreeSet::new(),
        zones_with_nodes: BTreeSet::from([zone]),
    }
}

fn settings() -> VolumeSettings {
    VolumeSettings { volume_type: "gp3".to_owned(), iops: Some(3000), throughput: Some(125) }
}

fn cloud(id: &str, zone: &Zone, tags: Tags) -> CloudVolume {
    CloudVolume {
        id: id.into(),
        state: VolumeState::Available,
        zone: zone.clone(),
        size: GiB(20),
        settings: settings(),
        snapshot: None,
        tags,
        attachments: Vec::new(),
    }
}

fn volume(slot: u32, zone: &Zone) -> VolumeSeen {
    let id = format!("vol-{slot:017x}");
    VolumeSeen {
        phase: Some(Phase::Ready),
        recorded: Recorded { volume: Some(id.as_str().into()), requested: Some(Timestamp::UNIX_EPOCH), ..Recorded::default() },
        cloud: Some(cloud(&id, zone, Tags::new())),
        initialized_percent: 100,
        ..wanted_volume(slot, zone)
    }
}

/// A volume of the pool that EC2 was not asked for yet.
pub(crate) fn wanted_volume(slot: u32, zone: &Zone) -> VolumeSeen {
    VolumeSeen {
        key: ObjectKey::new("shop", format!("web-{slot}")),
        uid: Uid::new(format!("uid-{slot}")),
        resource_version: "1".to_owned(),
        pool: "web".to_owned(),
        role: Role::Copy,
        slot,
        attempt: 0,
        encryption: Encryption::default(),
        zone: zone.clone(),
        size: GiB(20),
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
    }
}
