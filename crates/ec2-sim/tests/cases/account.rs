//! An account with a clock that only the test moves, the calls of the tests, and faults.

use ec2_sim::world::fault::{Calls, Fault};
use ec2_sim::world::{
    Action, ApiError, AttachVolume, Attachment, Call, CreateSnapshot, CreateVolume, Describe, DescribeSnapshots, DetachVolume, Effect,
    Filter, Profile, Reply, Rules, RunInstances, Settings, Tag, TagSpecification, World,
};
use jiff::{SignedDuration, Timestamp};

pub(crate) const ZONE: &str = "us-east-1a";
pub(crate) const DEVICE: &str = "/dev/xvdba";
pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;

/// The world, its time, and a data plane that does everything at once unless a test withholds it.
pub(crate) struct Account {
    pub(crate) world: World,
    pub(crate) now: Timestamp,
}

impl Account {
    /// One with the latencies and rules of a profile.
    pub(crate) fn new(profile: Profile) -> Self {
        let settings = Settings { region: "us-east-1".to_owned(), profile, seed: 42 };
        Self { world: World::new(settings), now: "2026-01-01T00:00:00Z".parse().unwrap() }
    }

    /// Changes the rules.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        let mut rules = self.world.rules().clone();
        change(&mut rules);
        self.world.set_rules(rules);
        self
    }

    pub(crate) fn call(&mut self, action: Action) -> Result<Reply, ApiError> {
        self.world.apply(self.now, &Call::from(action))
    }

    /// The code of the refusal, or `ok`.
    pub(crate) fn code(&mut self, action: Action) -> &'static str {
        self.call(action).err().map_or("ok", |error| error.code)
    }

    /// Lets time go by, with a data plane that does what it owes.
    pub(crate) fn pass(&mut self, millis: i64) {
        self.wait(millis);
        self.world.settle(self.now);
    }

    /// Lets time go by while the data plane does nothing, and returns what it owes.
    pub(crate) fn wait(&mut self, millis: i64) -> Vec<Effect> {
        self.now += SignedDuration::from_millis(millis);
        self.world.advance(self.now)
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        self.world.inject(self.now, fault).unwrap();
    }

    /// A running instance with so many network interfaces.
    pub(crate) fn instance(&mut self, kind: &str, interfaces: u32) -> String {
        let request = RunInstances {
            min_count: 1,
            max_count: 1,
            zone: Some(ZONE.to_owned()),
            instance_type: Some(kind.to_owned()),
            interfaces,
            ..RunInstances::default()
        };
        let Reply::Reservation(placed) = self.call(Action::RunInstances(request)).unwrap() else { panic!("no reservation") };
        self.pass(10 * 60 * SECOND_MS);
        placed[0].instance.id.clone()
    }

    /// A machine whose type does not matter.
    pub(crate) fn machine(&mut self) -> String {
        self.instance("m7i.large", 1)
    }

    pub(crate) fn create(&mut self, request: CreateVolume) -> Result<String, ApiError> {
        match self.call(Action::CreateVolume(request))? {
            Reply::Volume(volume) => Ok(volume.id),
            other => panic!("not a volume: {other:?}"),
        }
    }

    /// An available volume.
    pub(crate) fn volume(&mut self) -> String {
        let id = self.create(gp3()).unwrap();
        self.pass(60 * SECOND_MS);
        id
    }

    /// An attached volume.
    pub(crate) fn attached(&mut self, instance: &str, device: &str) -> String {
        let volume = self.volume();
        assert_eq!(self.code(attach(&volume, instance, device)), "ok");
        self.pass(60 * SECOND_MS);
        assert_eq!(self.attachment(&volume), Some("attached"));
        volume
    }

    pub(crate) fn status(&self, volume: &str) -> &'static str {
        self.world.volumes().get(volume).map_or("gone", |found| found.status())
    }

    pub(crate) fn attachment(&self, volume: &str) -> Option<&'static str> {
        self.world.volumes().get(volume)?.attachment.as_ref().map(Attachment::status)
    }

    /// The ids that DescribeVolumes lists for these filters.
    pub(crate) fn listed(&mut self, filters: Vec<Filter>) -> Vec<String> {
        let request = Describe { filters, ..Describe::default() };
        let Reply::Volumes(page) = self.call(Action::DescribeVolumes(request)).unwrap() else { panic!("no volumes") };
        page.items.into_iter().map(|volume| volume.id).collect()
    }

    /// The ids that DescribeSnapshots lists for these filters.
    pub(crate) fn snapshots(&mut self, filters: Vec<Filter>) -> Vec<String> {
        let describe = Describe { filters, ..Describe::default() };
        let request = DescribeSnapshots { describe, owners: vec!["self".to_owned()] };
        let Reply::Snapshots(page) = self.call(Action::DescribeSnapshots(request)).unwrap() else { panic!("no snapshots") };
        page.items.into_iter().map(|snapshot| snapshot.id).collect()
    }

    /// Whatever happened, two instances must never share a volume.
    #[track_caller]
    pub(crate) fn assert_in_order(&self) {
        let audit = ec2_sim::audit(&self.world);
        assert!(audit.is_clean(), "{audit}");
    }
}

pub(crate) fn gp3() -> CreateVolume {
    CreateVolume { size_gib: Some(1), zone: Some(ZONE.to_owned()), volume_type: Some("gp3".to_owned()), ..CreateVolume::default() }
}

pub(crate) fn attach(volume: &str, instance: &str, device: &str) -> Action {
    Action::AttachVolume(AttachVolume { volume_id: volume.to_owned(), instance_id: instance.to_owned(), device: device.to_owned() })
}

pub(crate) fn detach(volume: &str, force: bool) -> Action {
    Action::DetachVolume(DetachVolume { volume_id: volume.to_owned(), force, ..DetachVolume::default() })
}

pub(crate) fn snapshot(volume: &str, tags: Vec<TagSpecification>) -> Action {
    Action::CreateSnapshot(CreateSnapshot { volume_id: volume.to_owned(), tag_specifications: tags, ..CreateSnapshot::default() })
}

pub(crate) fn describe(ids: &[&str]) -> Action {
    Action::DescribeVolumes(Describe { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..Describe::default() })
}

pub(crate) fn filter(name: &str, value: &str) -> Filter {
    Filter { name: name.to_owned(), values: vec![value.to_owned()] }
}

pub(crate) fn tagged(kind: &str, key: &str, value: &str) -> Vec<TagSpecification> {
    vec![TagSpecification { resource_type: kind.to_owned(), tags: vec![Tag { key: key.to_owned(), value: value.to_owned() }] }]
}

pub(crate) fn calls(action: &str) -> Calls {
    Calls { action: Some(action.to_owned()), resource: None }
}
