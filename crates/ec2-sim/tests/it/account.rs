//! An account with a clock that only the test moves, for the tests of the state machine.

use ec2_sim::world::{
    Action, ApiError, AttachVolume, Call, CreateSnapshot, CreateVolume, DetachVolume, Profile, Reply, RunInstances, Settings, Tag, World,
};
use jiff::{SignedDuration, Timestamp};

/// A world with a clock that only the test moves.
pub(crate) struct Account {
    pub(crate) world: World,
    pub(crate) now: Timestamp,
}

impl Account {
    pub(crate) fn new(profile: Profile) -> Self {
        let settings = Settings { region: "us-east-1".to_owned(), profile, seed: 42 };
        Self { world: World::new(settings), now: "2026-01-01T00:00:00Z".parse().unwrap() }
    }

    pub(crate) fn call(&mut self, action: Action) -> Result<Reply, ApiError> {
        self.world.apply(self.now, &Call::from(action))
    }

    /// The code of the refusal, or `ok`.
    pub(crate) fn code(&mut self, action: Action) -> &'static str {
        self.call(action).err().map_or("ok", |e| e.code)
    }

    pub(crate) fn pass(&mut self, millis: i64) {
        self.now += SignedDuration::from_millis(millis);
        self.world.settle(self.now);
    }

    pub(crate) fn instance(&mut self, zone: &str, instance_type: &str) -> String {
        let request = RunInstances {
            min_count: 1,
            max_count: 1,
            zone: Some(zone.to_owned()),
            instance_type: Some(instance_type.to_owned()),
            ..RunInstances::default()
        };
        let Reply::Reservation(placed) = self.call(Action::RunInstances(request)).unwrap() else { panic!("no reservation") };
        self.pass(60_000);
        placed[0].instance.id.clone()
    }

    pub(crate) fn create(&mut self, request: CreateVolume) -> Result<String, ApiError> {
        match self.call(Action::CreateVolume(request))? {
            Reply::Volume(volume) => Ok(volume.id),
            other => panic!("not a volume: {other:?}"),
        }
    }

    pub(crate) fn volume(&mut self) -> String {
        let id = self.create(gp3(1)).unwrap();
        self.pass(10_000);
        id
    }

    pub(crate) fn snapshot(&mut self, volume_id: &str) -> String {
        let request = CreateSnapshot { volume_id: volume_id.to_owned(), ..CreateSnapshot::default() };
        match self.call(Action::CreateSnapshot(request)).unwrap() {
            Reply::Snapshot(snapshot) => snapshot.id,
            other => panic!("not a snapshot: {other:?}"),
        }
    }

    pub(crate) fn status(&self, volume_id: &str) -> &'static str {
        self.world.volumes().get(volume_id).map_or("gone", |v| v.status())
    }
}

pub(crate) fn gp3(size_gib: i64) -> CreateVolume {
    CreateVolume {
        size_gib: Some(size_gib),
        zone: Some("us-east-1a".to_owned()),
        volume_type: Some("gp3".to_owned()),
        ..CreateVolume::default()
    }
}

pub(crate) fn attach(volume_id: &str, instance_id: &str, device: &str) -> Action {
    Action::AttachVolume(AttachVolume { volume_id: volume_id.to_owned(), instance_id: instance_id.to_owned(), device: device.to_owned() })
}

pub(crate) fn detach(volume_id: &str, instance_id: Option<&str>) -> Action {
    Action::DetachVolume(DetachVolume {
        volume_id: volume_id.to_owned(),
        instance_id: instance_id.map(str::to_owned),
        ..DetachVolume::default()
    })
}

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}
