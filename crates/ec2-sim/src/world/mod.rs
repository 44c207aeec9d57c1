//! The simulated account: a pure state machine without I/O, clock or randomness of its own.
//!
//! [`World::apply`] answers a call at a given time; [`World::advance`] makes the
//! transitions that are due. Both leave *effects* owed to the data plane, which
//! whoever drives the world carries out and reports with [`World::confirm`].

pub mod actions;
mod advance;
mod attachments;
mod call;
mod confirm;
mod effect;
mod error;
pub mod fault;
mod filters;
mod ids;
mod instance_types;
mod instances;
mod latency;
mod model;
mod pages;
mod reply;
mod snapshots;
mod tags;
mod tokens;
mod volume_types;
mod volumes;
mod zones;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use call::{
    Action, AttachVolume, Call, CreateSnapshot, CreateTags, CreateVolume, DeleteTags, Describe, DescribeSnapshots, DescribeZones,
    DetachVolume, RunInstances, Tag, TagSpecification,
};
pub use effect::Effect;
pub use error::ApiError;
pub use filters::Filter;
pub(crate) use filters::time;
pub use ids::Kind;
pub use instance_types::{AttachmentLimit, INSTANCE_TYPES, InstanceType};
use instances::Wish;
pub use latency::{Latencies, Profile};
pub use model::{Attachment, AttachmentPhase, Instance, InstancePhase, Snapshot, SnapshotPhase, Tags, Volume, VolumePhase};
pub use pages::Page;
pub use reply::{Placed, Reply, StateChange};
pub use tags::TagDescription;
pub use volume_types::VolumeType;
pub use zones::{Zone, zone_id, zones};

/// The account that owns everything.
pub const ACCOUNT_ID: &str = "000000000000";

/// What a world is made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Such as `us-east-1`.
    pub region: String,
    /// How long things take.
    pub profile: Profile,
    /// Where ids come from: two worlds with one seed give the same ids.
    pub seed: u64,
}

/// How often an action was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCount {
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that were refused; dry runs are among them, as in EC2.
    pub refused: u64,
}

/// The state of the simulated account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    settings: Settings,
    /// How many ids have been made.
    ids: u64,
    volumes: BTreeMap<String, Volume>,
    snapshots: BTreeMap<String, Snapshot>,
    instances: BTreeMap<String, Instance>,
    tokens: BTreeMap<String, tokens::Token>,
    calls: BTreeMap<String, CallCount>,
}

impl World {
    /// An empty account.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ids: 0,
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            instances: BTreeMap::new(),
            tokens: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    /// Answers a call made at `now`.
    ///
    /// A refused call changes nothing but the counters, and so does a dry run.
    pub fn apply(&mut self, now: Timestamp, call: &Call) -> Result<Reply, ApiError> {
        self.advance(now);
        let answer = if call.dry_run {
            let mut rehearsal = self.clone();
            rehearsal.dispatch(now, &call.action).and_then(|_| Err(ApiError::dry_run()))
        } else {
            self.dispatch(now, &call.action)
        };
        self.count(call.action.name(), answer.is_ok());
        answer
    }

    fn dispatch(&mut self, now: Timestamp, action: &Action) -> Result<Reply, ApiError> {
        Ok(match action {
            Action::RunInstances(r) => Reply::Reservation(self.run_instances(now, r)?),
            Action::DescribeInstances(r) => Reply::Instances(self.describe_instances(r)?),
            Action::TerminateInstances(ids) => Reply::StateChanges(self.wish(now, ids, Wish::Terminate)?),
            Action::StopInstances(ids) => Reply::StateChanges(self.wish(now, ids, Wish::Stop)?),
            Action::StartInstances(ids) => Reply::StateChanges(self.wish(now, ids, Wish::Start)?),
            Action::DescribeInstanceTypes(r) => Reply::InstanceTypes(self.describe_instance_types(r)?),
            Action::CreateVolume(r) => Reply::Volume(Box::new(self.create_volume(now, r)?)),
            Action::DescribeVolumes(r) => Reply::Volumes(self.describe_volumes(r)?),
            Action::DescribeVolumeStatus(r) => Reply::VolumeStatuses(self.describe_volume_status(now, r)?),
            Action::AttachVolume(r) => Reply::Attachment(r.volume_id.clone(), self.attach_volume(now, r)?),
            Action::DetachVolume(r) => Reply::Attachment(r.volume_id.clone(), self.detach_volume(now, r)?),
            Action::DeleteVolume(id) => self.delete_volume(now, id).map(|()| Reply::Done)?,
            Action::CreateSnapshot(r) => Reply::Snapshot(Box::new(self.create_snapshot(now, r)?)),
            Action::DescribeSnapshots(r) => Reply::Snapshots(self.describe_snapshots(r)?),
            Action::DeleteSnapshot(id) => self.delete_snapshot(id).map(|()| Reply::Done)?,
            Action::CreateTags(r) => self.create_tags(r).map(|()| Reply::Done)?,
            Action::DeleteTags(r) => self.delete_tags(r).map(|()| Reply::Done)?,
            Action::DescribeTags(r) => Reply::Tags(self.describe_tags(r)?),
            Action::DescribeAvailabilityZones(r) => Reply::Zones(self.describe_zones(r)?),
            Action::DescribeRegions(r) => Reply::Regions(self.describe_regions(r)?),
        })
    }

    /// Counts a call that never became a [`Call`], such as one of an unknown action.
    pub fn count(&mut self, action: &str, ok: bool) {
        let count = self.calls.entry(action.to_owned()).or_default();
        if ok {
            count.ok += 1;
        } else {
            count.refused += 1;
        }
    }

    /// Changes region and latencies; what is under way keeps the times it was given.
    pub fn configure(&mut self, region: &str, profile: Profile) {
        region.clone_into(&mut self.settings.region);
        self.settings.profile = profile;
    }

    /// What the world was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every volume, by id.
    pub fn volumes(&self) -> &BTreeMap<String, Volume> {
        &self.volumes
    }

    /// Every snapshot, by id, including those deleted but not yet removed.
    pub fn snapshots(&self) -> &BTreeMap<String, Snapshot> {
        &self.snapshots
    }

    /// Every instance, by id.
    pub fn instances(&self) -> &BTreeMap<String, Instance> {
        &self.instances
    }

    /// Calls per action.
    pub fn calls(&self) -> &BTreeMap<String, CallCount> {
        &self.calls
    }

    /// A fresh request id.
    pub fn request_id(&mut self) -> String {
        self.ids += 1;
        ids::request_id(self.settings.seed, self.ids)
    }

    fn next_id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        ids::make(prefix, self.settings.seed, self.ids)
    }

    fn latencies(&self) -> Latencies {
        self.settings.profile.latencies()
    }
}
