//! On simulated time, with the rates of a real account: how long a pool of a thousand volumes takes to fill.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use demo::shared_snapshot::{apply, with_snapshot};
use ec2_sim::world::{self, Filter, Profile, Reply, Tag, TagSpecification, World};
use jiff::{SignedDuration, Timestamp};
use volume_dispatcher::controller::admission::{Turns, admit, wishes};
use volume_dispatcher::domain::cloud::Tags;
use volume_dispatcher::domain::tags::{TAG_CLUSTER, TAG_GENERATION, TAG_POOL_UID, TAG_VOLUME_UID};
use volume_dispatcher::domain::{CloudSnapshot, CloudVolume, GiB, ObjectKey, SnapshotState, VolumeSettings, VolumeState};
use volume_dispatcher::ec2::client_token;
use volume_dispatcher::ec2::pacing::{Budget, Limits};
use volume_dispatcher::plan::{Action, PoolSeen, VolumeRequest, VolumeSeen, supply};

use crate::planning::{pool_of, wanted_volume};
use crate::row::{Comparison, Row};

pub(crate) const VOLUMES: u32 = 1000;
/// The bucket of CreateVolume. Source: EC2 developer guide, "Request throttling for the Amazon EC2 API".
const BURST: f64 = 100.0;
const CALLS_A_SECOND: f64 = 5.0;
/// The time between two passes while calls wait, and between two sweeps while something moves, as in the controller.
const PASS: SignedDuration = SignedDuration::from_millis(200);
const PASSES_A_SWEEP: u32 = 3;
/// A refill that takes longer than this has failed.
const LIMIT: SignedDuration = SignedDuration::from_mins(10);
pub(crate) const COMMAND: &str = "make bench ONLY=supply";

pub(crate) fn run() -> Result<Vec<Row>> {
    let mut refill = Refill::new()?;
    let seconds = refill.fill()?.as_secs_f64();
    let calls = refill.world.calls().values();
    let (all, throttled) = calls.fold((0, 0), |(all, throttled), count| (all + count.ok + count.refused, throttled + count.throttled));
    eprintln!("refill: {VOLUMES} volumes in {seconds:.1} simulated seconds with {all} calls, {throttled} of them throttled");
    let time = Comparison {
        name: "refill_1000_volumes",
        unit: "s",
        rival: "the account's CreateVolume bucket alone",
        target: 1.05,
        command: COMMAND,
    };
    let share = Comparison { name: "refill_throttled_calls", unit: "%", rival: "one call of a hundred", target: 1.0, command: COMMAND };
    let percent = 100.0 * count(throttled) / count(all);
    Ok(vec![time.row(seconds, floor_seconds()), share.row(percent, 1.0)])
}

/// What nobody can pass: the burst at once, the rest at the rate.
pub(crate) fn floor_seconds() -> f64 {
    (f64::from(VOLUMES) - BURST) / CALLS_A_SECOND
}

pub(crate) fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// An account with the rates and latencies of AWS, the objects of one pool, and the real plan, admission and buckets.
struct Refill {
    world: World,
    start: Timestamp,
    now: Timestamp,
    pool: PoolSeen,
    snapshot: String,
    objects: BTreeMap<ObjectKey, VolumeSeen>,
    /// What the last sweep showed, by id.
    listed: BTreeMap<String, CloudVolume>,
    budget: Budget,
    turns: Turns,
}

impl Refill {
    fn new() -> Result<Self> {
        let start = Timestamp::from_second(1_800_000_000)?;
        let (world, snapshot) = with_snapshot(Profile::Aws, start)?;
        let mut pool = pool_of(0);
        pool.pool.replicas = VOLUMES;
        pool.snapshots = vec![completed(&snapshot, &pool, start)];
        Ok(Self {
            world,
            start,
            now: start,
            pool,
            snapshot,
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            budget: Budget::new(Limits::default()),
            turns: Turns::default(),
        })
    }

    /// Time since the start: the clock of the buckets.
    fn elapsed(&self) -> Duration {
        self.now.duration_since(self.start).unsigned_abs()
    }

    /// Passes until EC2 shows all volumes as available; says how long that took.
    fn fill(&mut self) -> Result<Duration> {
        for pass in 0.. {
            if pass % PASSES_A_SWEEP == 0 {
                self.sweep()?;
                let available = self.listed.values().filter(|volume| volume.state == VolumeState::Available).count();
                if available == VOLUMES as usize {
                    return Ok(self.elapsed());
                }
                ensure!(self.now < self.start + LIMIT, "only {available} volumes after {LIMIT:?}");
            }
            self.pass()?;
            self.now += PASS;
            self.world.settle(self.now);
        }
        unreachable!("the loop has no end")
    }

    /// All pages of our volumes; none when the bucket has no token for it.
    fn sweep(&mut self) -> Result<()> {
        let mut next_token = None;
        loop {
            if self.budget.take("DescribeVolumes", self.elapsed()).is_err() {
                return Ok(());
            }
            let filter = Filter { name: format!("tag:{TAG_CLUSTER}"), values: vec!["bench".to_owned()] };
            let question = world::Describe { filters: vec![filter], max_results: Some(500), next_token, ..world::Describe::default() };
            let Reply::Volumes(page) = apply(&mut self.world, self.now, world::Action::DescribeVolumes(question))? else {
                anyhow::bail!("no page")
            };
            self.listed.extend(page.items.iter().map(|volume| (volume.id.clone(), cloud(volume))));
            next_token = page.next_token;
            if next_token.is_none() {
                return Ok(());
            }
        }
    }

    fn pass(&mut self) -> Result<()> {
        let join = |object: &VolumeSeen| {
            let cloud = object.recorded.volume.as_ref().and_then(|id| self.listed.get(id.as_str())).cloned();
            VolumeSeen { cloud, ..object.clone() }
        };
        let seen = PoolSeen { observed: self.now, volumes: self.objects.values().map(join).collect(), ..self.pool.clone() };
        let actions = supply(&seen, self.now).actions;
        let wishes = BTreeMap::from([(seen.pool.key.clone(), wishes(&seen, &actions))]);
        let free = BTreeMap::from([("CreateVolume", self.budget.available("CreateVolume", self.elapsed()))]);
        let granted = admit(&wishes, free, &mut self.turns);
        let mut granted = granted.values().flatten();
        for action in &actions {
            if action.ec2_call().is_none() || granted.next() == Some(&true) {
                self.perform(&seen, action)?;
            }
        }
        Ok(())
    }

    fn perform(&mut self, seen: &PoolSeen, action: &Action) -> Result<()> {
        match action {
            Action::CreatePoolVolume(new) => {
                let object = VolumeSeen { size: new.size, origin: new.origin.clone(), ..wanted_volume(new.slot, &new.zone) };
                self.objects.insert(object.key.clone(), object);
                Ok(())
            }
            Action::CreateVolume(request) => self.create(seen, request),
            other => anyhow::bail!("a pool that is filled needs no {}", other.name()),
        }
    }

    fn create(&mut self, seen: &PoolSeen, request: &VolumeRequest) -> Result<()> {
        let now = self.elapsed();
        ensure!(self.budget.take("CreateVolume", now).is_ok(), "admitted without a token");
        let tags = owner_tags(seen).into_iter().chain([(TAG_VOLUME_UID.to_owned(), request.uid.to_string())]);
        let tags = tags.map(|(key, value)| Tag { key, value }).collect();
        let call = world::CreateVolume {
            snapshot_id: Some(self.snapshot.clone()),
            zone: Some(request.zone.to_string()),
            volume_type: Some("gp3".to_owned()),
            client_token: Some(client_token(request.uid.as_str())),
            tag_specifications: vec![TagSpecification { resource_type: "volume".to_owned(), tags }],
            ..world::CreateVolume::default()
        };
        match self.world.apply(self.now, &world::Call::from(world::Action::CreateVolume(call))) {
            Ok(Reply::Volume(made)) => {
                let object = self.objects.get_mut(&request.key).context("an object is there before its volume")?;
                object.recorded.volume = Some(made.id.as_str().into());
                object.recorded.requested = Some(self.now);
                Ok(())
            }
            Err(error) if error.code == "RequestLimitExceeded" => {
                self.budget.refused("CreateVolume", now);
                Ok(())
            }
            other => anyhow::bail!("CreateVolume: {other:?}"),
        }
    }
}

fn owner_tags(pool: &PoolSeen) -> Tags {
    [(TAG_CLUSTER.to_owned(), pool.pool.cluster.clone()), (TAG_POOL_UID.to_owned(), pool.pool.uid.to_string())].into()
}

fn completed(id: &str, pool: &PoolSeen, started: Timestamp) -> CloudSnapshot {
    let mut tags = owner_tags(pool);
    tags.insert(TAG_GENERATION.to_owned(), "1".to_owned());
    CloudSnapshot {
        id: id.into(),
        state: SnapshotState::Completed,
        volume: "vol-source".into(),
        size: GiB(20),
        progress_percent: 100,
        started: Some(started),
        tags,
    }
}

fn cloud(volume: &world::Volume) -> CloudVolume {
    CloudVolume {
        id: volume.id.as_str().into(),
        state: match volume.status() {
            "creating" => VolumeState::Creating,
            "available" => VolumeState::Available,
            "error" => VolumeState::Error,
            _ => VolumeState::Unknown,
        },
        zone: volume.zone.as_str().into(),
        size: GiB(volume.size_gib),
        settings: VolumeSettings { volume_type: "gp3".to_owned(), iops: volume.iops, throughput: volume.throughput },
        snapshot: volume.snapshot_id.as_deref().map(Into::into),
        tags: volume.tags.clone(),
        attachments: Vec::new(),
    }
}
