//! How many calls a second the account answers in process, without wire, files or devices. Prints the figure.
//!
//! It is a program of this package, so that it is optimized as a release is without compiling anything else anew.

use std::time::Instant;

use ec2_sim::Profile;
use ec2_sim::world::{
    Action, AttachVolume, Call, CreateTags, CreateVolume, Describe, DetachVolume, Filter, Reply, RunInstances, Settings, Tag,
    TagSpecification, World,
};
use jiff::{SignedDuration, Timestamp};

/// Volumes that are there all the time.
const POPULATION: usize = 1_000;
/// Lives of volumes that are measured, nine calls each.
const LIVES: usize = 4_000;
/// Between two calls, so that no rate limit is reached.
const APART: SignedDuration = SignedDuration::from_millis(500);
const ZONE: &str = "us-east-1a";

fn main() {
    let mut account = Account::new();
    for number in 0..POPULATION {
        account.create(number);
    }
    let instance = account.launch();
    let started = Instant::now();
    let before = account.calls;
    for number in 0..LIVES {
        account.live(POPULATION + number, &instance);
    }
    let calls = f64::from(account.calls - before);
    println!("{:.0}", calls / started.elapsed().as_secs_f64());
}

struct Account {
    world: World,
    now: Timestamp,
    calls: u32,
}

impl Account {
    fn new() -> Self {
        let settings = Settings { region: "us-east-1".to_owned(), profile: Profile::Instant, seed: 1 };
        Self { world: World::new(settings), now: Timestamp::UNIX_EPOCH, calls: 0 }
    }

    fn call(&mut self, action: Action) -> Reply {
        self.now += APART;
        self.calls += 1;
        let name = action.name();
        let answer = self.world.apply(self.now, &Call::from(action));
        self.world.settle(self.now);
        answer.unwrap_or_else(|error| panic!("{name} number {}: {error}", self.calls))
    }

    fn launch(&mut self) -> String {
        let request = RunInstances { min_count: 1, max_count: 1, zone: Some(ZONE.to_owned()), ..RunInstances::default() };
        let Reply::Reservation(placed) = self.call(Action::RunInstances(request)) else { panic!("no reservation") };
        placed[0].instance.id.clone()
    }

    fn create(&mut self, number: usize) -> String {
        let tags = vec![Tag { key: "pool".to_owned(), value: format!("pool-{}", number % 20) }];
        let request = CreateVolume {
            size_gib: Some(1),
            zone: Some(ZONE.to_owned()),
            client_token: Some(format!("token-{number}")),
            tag_specifications: vec![TagSpecification { resource_type: "volume".to_owned(), tags }],
            ..CreateVolume::default()
        };
        let Reply::Volume(volume) = self.call(Action::CreateVolume(request)) else { panic!("no volume") };
        volume.id
    }

    /// What a controller asks for in the life of one volume.
    fn live(&mut self, number: usize, instance: &str) {
        let volume_id = self.create(number);
        let look = || Action::DescribeVolumes(Describe { ids: vec![volume_id.clone()], ..Describe::default() });
        self.call(look());
        let instance_id = instance.to_owned();
        let device = "/dev/xvdba".to_owned();
        self.call(Action::AttachVolume(AttachVolume { volume_id: volume_id.clone(), instance_id, device }));
        self.call(look());
        let tags = vec![Tag { key: "state".to_owned(), value: "used".to_owned() }];
        self.call(Action::CreateTags(CreateTags { resources: vec![volume_id.clone()], tags }));
        // A page of fifty, as the sweep of a controller reads them.
        let filters = vec![Filter { name: "tag:pool".to_owned(), values: vec![format!("pool-{}", number % 20)] }];
        self.call(Action::DescribeVolumes(Describe { filters, max_results: Some(50), ..Describe::default() }));
        self.call(Action::DetachVolume(DetachVolume { volume_id: volume_id.clone(), ..DetachVolume::default() }));
        self.call(look());
        self.call(Action::DeleteVolume(volume_id));
    }
}
