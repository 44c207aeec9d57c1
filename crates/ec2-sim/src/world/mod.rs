//! The simulated account: a pure state machine without I/O, clock or randomness of its own.
//!
//! [`World::apply`] answers a call at a given time; [`World::advance`] makes the
//! transitions that are due. Both leave *effects* owed to the data plane, which
//! whoever drives the world carries out and reports with [`World::confirm`].
//! The same seed and the same calls at the same times give the same answers.

mod apply;
mod engine;
mod instances;
mod model;
mod queries;
mod rules;
mod snapshots;
mod volumes;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use engine::changes::Changes;
pub use engine::effect::Effect;
pub use instances::types::{AttachmentLimit, INSTANCE_TYPES, InstanceType};
pub use model::call::{Action, Call};
pub use model::error::ApiError;
pub use model::ids::Kind;
pub use model::reply::{FastRestoreItem, FastRestoreRefusal, Placed, Reply, StateChange};
pub use model::requests::{
    AttachVolume, CopySnapshot, CopyVolumes, CreateSnapshot, CreateSnapshots, CreateTags, CreateVolume, DeleteTags, Describe,
    DescribeSnapshots, DescribeVolumeAttribute, DescribeZones, DetachVolume, FastSnapshotRestores, LockSnapshot, ModifyVolume,
    RunInstances, Tag, TagSpecification,
};
pub use model::{
    Attachment, AttachmentPhase, FastRestore, FastRestoreState, Hold, Instance, InstancePhase, LockMode, Modification, ModificationPhase,
    Snapshot, SnapshotLock, SnapshotPhase, Specification, Tags, Volume, VolumePhase,
};
pub use queries::filters::Filter;
pub(crate) use queries::filters::time;
pub use queries::pages::Page;
pub use queries::tags::TagDescription;
pub use queries::zones::{Zone, zone_id, zones};
pub use rules::actions::{ACTIONS, ActionSpec, Bucket};
pub use rules::{Consistency, Latencies, MissingType, OverLimit, Profile, Quotas, Rules, Span, StandingFault, actions, fault};
pub use volumes::VolumeAttribute;
pub use volumes::types::VolumeType;

use engine::changes::{Dirty, Undo};
use engine::index::Index;
use engine::table::Table;
use engine::tokens::Token;
use model::ids;
use rules::{Faults, Throttle, View};

/// The account that owns everything.
pub const ACCOUNT_ID: &str = "000000000000";

/// What a world is made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Such as `us-east-1`.
    pub region: String,
    /// How long things take.
    pub profile: Profile,
    /// Where ids and latencies come from: two worlds with one seed give the same.
    pub seed: u64,
}

/// How often an action was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallCount {
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that were refused; dry runs are among them, as in EC2.
    pub refused: u64,
    /// Those of the refused calls for which there was no token.
    #[serde(default)]
    pub throttled: u64,
}

/// The state of the simulated account. Two are equal when they hold the same; what is
/// derived, and the faults that stand, are not compared or stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct World {
    settings: Settings,
    rules: Rules,
    /// How many ids have been made.
    ids: u64,
    /// How many random numbers have been drawn.
    draws: u64,
    volumes: Table<Volume>,
    snapshots: Table<Snapshot>,
    instances: Table<Instance>,
    tokens: Table<Token>,
    calls: BTreeMap<String, CallCount>,
    #[serde(skip)]
    index: Index,
    /// The latest time that anybody has told.
    #[serde(skip)]
    clock: Timestamp,
    #[serde(skip)]
    faults: Faults,
    #[serde(skip)]
    throttle: Throttle,
    /// What the call that is being answered sees.
    #[serde(skip)]
    view: View,
    /// How many calls have been answered, for the views.
    #[serde(skip)]
    answered: u64,
    /// How far back reads may look.
    #[serde(skip)]
    retention_ms: u64,
    /// When the past was forgotten last.
    #[serde(skip)]
    forgot: Timestamp,
    #[serde(skip)]
    dirty: Option<Dirty>,
    #[serde(skip)]
    last_call: Option<Undo>,
}

/// A world as it is stored.
#[derive(Deserialize)]
struct Stored {
    settings: Settings,
    rules: Option<Rules>,
    ids: u64,
    #[serde(default)]
    draws: u64,
    volumes: Table<Volume>,
    snapshots: Table<Snapshot>,
    instances: Table<Instance>,
    tokens: Table<Token>,
    calls: BTreeMap<String, CallCount>,
}

impl From<Stored> for World {
    fn from(stored: Stored) -> Self {
        let mut world = Self::new(stored.settings);
        if let Some(rules) = stored.rules {
            world.rules = rules;
        }
        world.ids = stored.ids;
        world.draws = stored.draws;
        world.volumes = stored.volumes;
        world.snapshots = stored.snapshots;
        world.instances = stored.instances;
        world.tokens = stored.tokens;
        world.calls = stored.calls;
        world.make_index();
        world.note_retention();
        world
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.rules == other.rules
            && (self.ids, self.draws) == (other.ids, other.draws)
            && self.volumes == other.volumes
            && self.snapshots == other.snapshots
            && self.instances == other.instances
            && self.tokens == other.tokens
            && self.calls == other.calls
    }
}

impl Eq for World {}

impl World {
    /// An empty account.
    pub fn new(settings: Settings) -> Self {
        Self {
            rules: Rules::of(settings.profile),
            settings,
            ids: 0,
            draws: 0,
            volumes: Table::default(),
            snapshots: Table::default(),
            instances: Table::default(),
            tokens: Table::default(),
            calls: BTreeMap::new(),
            index: Index::default(),
            clock: Timestamp::UNIX_EPOCH,
            faults: Faults::default(),
            throttle: Throttle::default(),
            view: View::default(),
            answered: 0,
            retention_ms: 0,
            forgot: Timestamp::UNIX_EPOCH,
            dirty: None,
            last_call: None,
        }
    }

    /// Changes region and latencies; what is under way keeps the times it was given.
    /// Another profile brings its own rules.
    pub fn configure(&mut self, region: &str, profile: Profile) {
        region.clone_into(&mut self.settings.region);
        if self.settings.profile != profile {
            self.settings.profile = profile;
            self.set_rules(Rules::of(profile));
        }
    }

    /// The rules that hold.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Sets the rules from now on; what is under way stays as it is.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        self.note_retention();
        self.note_rules();
    }

    /// What the world was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every volume, by id.
    pub fn volumes(&self) -> &BTreeMap<String, Volume> {
        self.volumes.rows()
    }

    /// Every snapshot, by id, including those deleted but not yet removed.
    pub fn snapshots(&self) -> &BTreeMap<String, Snapshot> {
        self.snapshots.rows()
    }

    /// Every instance, by id.
    pub fn instances(&self) -> &BTreeMap<String, Instance> {
        self.instances.rows()
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

    /// A random number between 0 and 1, from the seed and how many have been drawn.
    fn draw(&mut self) -> f64 {
        self.draws += 1;
        ids::fraction(self.settings.seed, self.draws)
    }
}
