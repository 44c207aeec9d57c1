//! A simulator of EC2 in this process, an adapter to it, and the few calls that the product never makes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use ec2_sim::world::{self, Profile, Settings};
use ec2_sim::{Options, Server, World};
use jiff::Timestamp;
use tempfile::TempDir;
use volume_dispatcher::domain::cloud::Tags;
use volume_dispatcher::domain::{CloudSnapshot, CloudVolume, InstanceId, SnapshotId, SnapshotState, VolumeId};
use volume_dispatcher::ec2::aws::Aws;
use volume_dispatcher::ec2::pacing::{Gate, Limits};
use volume_dispatcher::ec2::{CreateVolume, Ec2};

pub(crate) const ZONE: &str = "us-east-1a";

/// A simulator without a data plane, stopped when dropped.
pub(crate) struct Simulator {
    server: Server,
    data: TempDir,
    pub(crate) ec2: Aws,
}

impl Simulator {
    /// One in which every change is done as soon as anybody looks.
    pub(crate) async fn start() -> Self {
        Self::on(tempfile::tempdir().unwrap(), Profile::Instant).await
    }

    /// One whose account has this many volumes with a tag already: made in memory, since one call each takes seconds.
    pub(crate) async fn with_volumes(count: usize, key: &str, value: &str) -> Self {
        let mut account = World::new(Settings { region: "us-east-1".to_owned(), profile: Profile::Instant, seed: 1 });
        let tags = vec![world::Tag { key: key.to_owned(), value: value.to_owned() }];
        let request = world::CreateVolume {
            size_gib: Some(1),
            zone: Some(ZONE.to_owned()),
            tag_specifications: vec![world::TagSpecification { resource_type: "volume".to_owned(), tags }],
            ..world::CreateVolume::default()
        };
        for _ in 0..count {
            account.apply(Timestamp::now(), &world::Call::from(world::Action::CreateVolume(request.clone()))).unwrap();
        }
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("state.json"), serde_json::to_vec(&account).unwrap()).unwrap();
        Self::on(data, Profile::Instant).await
    }

    async fn on(data: TempDir, profile: Profile) -> Self {
        let options = Options { profile, ..Options::for_tests(data.path()) };
        let server = Server::start(options).await.unwrap();
        let ec2 = Aws::for_simulator("us-east-1", &server.endpoint_url(), Gate::new(Limits::default()));
        Self { server, data, ec2 }
    }

    /// The same account with other latencies.
    pub(crate) async fn restart(self, profile: Profile) -> Self {
        self.server.shutdown().await.unwrap();
        Self::on(self.data, profile).await
    }

    /// Makes the call and returns the text of an element of the answer.
    async fn raw(&self, query: String, element: &'static str) -> String {
        let address = self.server.addr();
        tokio::task::spawn_blocking(move || text_of(&post(address, &query), element)).await.unwrap()
    }

    /// A running instance.
    pub(crate) async fn instance(&self, instance_type: &str) -> InstanceId {
        let query = format!("Action=RunInstances&MinCount=1&MaxCount=1&InstanceType={instance_type}&Placement.AvailabilityZone={ZONE}");
        InstanceId::new(self.raw(query, "instanceId").await)
    }

    /// A volume that nobody filled, as the owner of a source has one.
    pub(crate) async fn empty_volume(&self) -> VolumeId {
        VolumeId::new(self.raw(format!("Action=CreateVolume&AvailabilityZone={ZONE}&Size=1&VolumeType=gp3"), "volumeId").await)
    }

    /// A completed snapshot of such a volume.
    pub(crate) async fn snapshot(&self) -> SnapshotId {
        let made = self.ec2.create_snapshot(&self.empty_volume().await, &Tags::new()).await.unwrap();
        assert_eq!(self.snapshot_seen(&made.id).await.state, SnapshotState::Completed);
        made.id
    }

    /// A filled volume.
    pub(crate) async fn volume(&self) -> VolumeId {
        let request = request("filled", &self.snapshot().await);
        self.ec2.create_volume(&CreateVolume { client_token: request.snapshot.clone(), ..request }).await.unwrap().id
    }

    /// The volume as it is now.
    pub(crate) async fn seen(&self, id: &VolumeId) -> CloudVolume {
        self.ec2.volumes_by_id(std::slice::from_ref(id)).await.unwrap().remove(0)
    }

    pub(crate) async fn snapshot_seen(&self, id: &SnapshotId) -> CloudSnapshot {
        self.ec2.snapshots_by_id(std::slice::from_ref(id)).await.unwrap().remove(0)
    }
}

pub(crate) fn request(token: &str, snapshot: &SnapshotId) -> CreateVolume {
    CreateVolume {
        client_token: token.to_owned(),
        zone: ZONE.to_owned(),
        snapshot: snapshot.to_string(),
        size_gib: 1,
        volume_type: "gp3".to_owned(),
        tags: tag("made-by", "contract"),
        ..CreateVolume::default()
    }
}

pub(crate) fn tag(key: &str, value: &str) -> Tags {
    [(key.to_owned(), value.to_owned())].into()
}

/// Sends a query as EC2 clients do, unsigned, and reads the answer to its end. Blocks.
fn post(address: SocketAddr, query: &str) -> String {
    let body = format!("{query}&Version=2016-11-15");
    let mut stream = TcpStream::connect(address).unwrap();
    let kind = "application/x-www-form-urlencoded";
    let length = body.len();
    let head =
        format!("POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn text_of(answer: &str, element: &str) -> String {
    let (_, rest) = answer.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("no {element} in {answer}"));
    rest.split('<').next().unwrap().to_owned()
}
