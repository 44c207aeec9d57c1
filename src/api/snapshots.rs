//! `spec.snapshots` of a VolumePool: when snapshots are taken, how long they are kept, how far volumes may be behind.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// When snapshots of the source are taken, and how long they are kept.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.timeZone) || has(self.schedule)").message("spec.snapshots.timeZone needs spec.snapshots.schedule")
)]
pub struct SnapshotsSpec {
    /// When the next snapshot of the source is taken: minute, hour, day of month, month and day of week, as of cron,
    /// or @hourly, @daily, @weekly, @monthly. The first is taken at once. A time at which the pool could not take one is
    /// made up for once. Two snapshots are at least 15 seconds apart. Default: unset, only the first is taken.
    /// Example: "*/30 * * * *".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), regex(pattern = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+(\s+\S+){4})$"))]
    pub schedule: Option<String>,

    /// The time zone of the schedule, as the IANA names it. Default: Etc/UTC. Example: Europe/Berlin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,

    /// Whether a scheduled snapshot is left out while the source cannot have changed: each look at EC2, at most 45
    /// seconds apart, has found the source volume attached to no instance since a minute before the newest snapshot.
    /// After a restart of the controller one more is taken. Set it to false if the source is attached for less than 45
    /// seconds at a time. The source of a live pool is always attached; there its agent is asked at each due time, and none
    /// is taken when it answers that the source is where the newest snapshot has it. Default: true.
    #[serde(default = "yes")]
    pub skip_unchanged: bool,

    /// How many generations a ready volume may be behind the newest completed snapshot. Volumes that are further behind
    /// are replaced one by one in each zone, never below `replicas`; claimed ones when they come back. Volumes of a live pool that
    /// have followed the source beyond that snapshot are not behind it; with `spec.sync.refresh` they are mostly refreshed instead.
    /// Default: 0. Example: 2.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub allowed_lag: u32,

    /// Which completed snapshots are kept. The newest one, and those that volumes are being filled from, always are.
    #[serde(default)]
    pub retain: RetainSpec,
}

impl Default for SnapshotsSpec {
    fn default() -> Self {
        Self { schedule: None, time_zone: None, skip_unchanged: true, allowed_lag: 0, retain: RetainSpec::default() }
    }
}

/// Which completed snapshots are kept.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetainSpec {
    /// How many completed snapshots are kept. Default: 3. Example: 10.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,

    /// How old a snapshot may become, in hours, minutes and seconds. Default: unset, only `count` decides. Example: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]{1,6}h)?([0-9]{1,8}m)?([0-9]{1,9}s)?$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("spec.snapshots.retain.maxAge must be at least 1m"))]
    pub max_age: Option<String>,
}

impl Default for RetainSpec {
    fn default() -> Self {
        Self { count: 3, max_age: None }
    }
}

fn three() -> u32 {
    3
}

fn yes() -> bool {
    true
}
