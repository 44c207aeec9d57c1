//! How long the pure plan of a pool of a thousand volumes takes, beside the time to copy its input once.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use volume_dispatcher::domain::cloud::Tags;
use volume_dispatcher::domain::tags::TAG_SOURCE;
use volume_dispatcher::domain::{CloudVolume, GiB, ObjectKey, Phase, Uid, VolumeState, Zone};
use volume_dispatcher::plan::{Origin, PoolSeen, PoolWanted, Recorded, Source, SourceSeen, VolumeSeen, supply};

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
    vec![comparison.row(plan, copy)]
}

fn rounds(work: impl Fn()) -> f64 {
    let one = || {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64() * 1000.0
    };
    median((0..ROUNDS).map(|_| one()).collect())
}

fn pool_of(volumes: u32) -> PoolSeen {
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
            size: None,
            zones: vec![zone.clone()],
            retain_on_deletion: false,
            snapshot_intent: None,
        },
        source: SourceSeen::Volume(source),
        snapshots: Vec::new(),
        volumes: (0..volumes).map(|slot| volume(slot, &zone)).collect(),
        instances: BTreeMap::new(),
        nodes: BTreeSet::new(),
        zones_with_nodes: BTreeSet::from([zone]),
    }
}

fn cloud(id: &str, zone: &Zone, tags: Tags) -> CloudVolume {
    CloudVolume {
        id: id.into(),
        state: VolumeState::Available,
        zone: zone.clone(),
        size: GiB(20),
        snapshot: None,
        tags,
        attachments: Vec::new(),
    }
}

fn volume(slot: u32, zone: &Zone) -> VolumeSeen {
    let id = format!("vol-{slot:017x}");
    VolumeSeen {
        key: ObjectKey::new("shop", format!("web-{slot}")),
        uid: Uid::new(format!("uid-{slot}")),
        resource_version: "1".to_owned(),
        pool: "web".to_owned(),
        slot,
        zone: zone.clone(),
        size: GiB(20),
        origin: Origin { snapshot: "snap-1".into(), generation: 1 },
        claim: None,
        node_name: None,
        deleting: false,
        retired: false,
        phase: Some(Phase::Ready),
        recorded: Recorded { volume: Some(id.as_str().into()), requested: Some(Timestamp::UNIX_EPOCH), ..Recorded::default() },
        cloud: Some(cloud(&id, zone, Tags::new())),
        initialized_percent: 100,
        node: None,
    }
}
