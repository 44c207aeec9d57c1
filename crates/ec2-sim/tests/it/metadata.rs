//! The metadata service of instances, as a program on the instance sees it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ec2_sim::{Options, Server};
use serde_json::Value;

use crate::http::{Answer, call, request, request_with};

/// How long an endpoint may take to open or close before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator with metadata services and an admin port.
struct Simulator {
    server: Server,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Simulator {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let options =
            Options { imds: Some(loopback), admin_listen: Some(SocketAddr::new(loopback, 0)), ..Options::for_tests(folder.path()) };
        let server = Server::start(options).await.unwrap();
        let admin = server.admin_addr().unwrap();
        Self { server, admin, _folder: folder }
    }

    /// Runs what blocks, beside the simulator.
    async fn blocking<T: Send + 'static>(&self, run: impl FnOnce(SocketAddr, SocketAddr) -> T + Send + 'static) -> T {
        let (ec2, admin) = (self.server.addr(), self.admin);
        tokio::task::spawn_blocking(move || run(ec2, admin)).await.unwrap()
    }
}

fn launch(ec2: SocketAddr) -> String {
    call(ec2, "RunInstances", "MinCount=1&MaxCount=1&InstanceType=m7i.large&Placement.AvailabilityZone=us-east-1b").text("instanceId")
}

/// The address of an instance's endpoint, which opens soon after the instance runs.
fn endpoint(admin: SocketAddr, id: &str) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all: Value = serde_json::from_str(&request(admin, "GET", "/_sim/instances", "").body).unwrap();
        let ours = all.as_array().unwrap().iter().find(|instance| instance["id"] == id).unwrap();
        if let Some(url) = ours["imds"].as_str() {
            return url.strip_prefix("http://").unwrap().parse().unwrap();
        }
        assert!(Instant::now() < deadline, "no endpoint of {id} in {all}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn token(imds: SocketAddr, seconds: u32) -> String {
    let header = format!("X-aws-ec2-metadata-token-ttl-seconds: {seconds}\r\n");
    let answer = request_with(imds, "PUT", "/latest/api/token", &header, "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains(&format!("x-aws-ec2-metadata-token-ttl-seconds: {seconds}")), "{}", answer.head);
    answer.body
}

fn get(imds: SocketAddr, token: &str, path: &str) -> Answer {
    request_with(imds, "GET", path, &format!("X-aws-ec2-metadata-token: {token}\r\n"), "")
}

#[tokio::test]
async fn an_instance_learns_who_and_where_it_is() {
    let simulator = Simulator::start().await;
    simulator
        .blocking(|ec2, admin| {
            let id = launch(ec2);
            let imds = endpoint(admin, &id);
            let token = token(imds, 60);
            let text = |path: &str| get(imds, &token, &format!("/latest/meta-data/{path}")).body;
            assert_eq!(text("instance-id"), id);
            assert_eq!(text("instance-type"), "m7i.large");
            assert_eq!(text("placement/availability-zone"), "us-east-1b");
            assert_eq!(text("placement/region"), "us-east-1");
            assert_eq!(text("placement/"), "availability-zone\navailability-zone-id\nregion");
            assert!(text("").lines().any(|line| line == "placement/"), "{}", text(""));
            assert_eq!(text("block-device-mapping/root"), "/dev/xvda");
            let document: Value = serde_json::from_str(&get(imds, &token, "/latest/dynamic/instance-identity/document").body).unwrap();
            assert_eq!((&document["instanceId"], &document["region"]), (&Value::from(id), &Value::from("us-east-1")));
            assert_eq!(document["availabilityZone"], "us-east-1b");
            assert_eq!(get(imds, &token, "/latest/meta-data/none").status, 404);
        })
        .await;
}

#[tokio::test]
async fn nothing_is_told_without_a_token_that_is_good() {
    let simulator = Simulator::start().await;
    simulator
        .blocking(|ec2, admin| {
            let (one, other) = (endpoint(admin, &launch(ec2)), endpoint(admin, &launch(ec2)));
            assert_ne!(one, other);
            let path = "/latest/meta-data/instance-id";
            assert_eq!(request(one, "GET", path, "").status, 401);
            assert_eq!(get(one, "nonsense", path).status, 401);
            assert_eq!(get(one, &token(other, 60), path).status, 401, "a token is for its instance");
            let put = |headers: &str| request_with(one, "PUT", "/latest/api/token", headers, "").status;
            assert_eq!(put(""), 400);
            assert_eq!(put("X-aws-ec2-metadata-token-ttl-seconds: 21601\r\n"), 400);
            assert_eq!(put("X-aws-ec2-metadata-token-ttl-seconds: 60\r\nX-Forwarded-For: 10.0.0.1\r\n"), 403);
            assert_eq!(request(one, "POST", path, "").status, 405);
        })
        .await;
}

#[tokio::test]
async fn a_token_ends_by_the_clock_of_the_simulator() {
    let simulator = Simulator::start().await;
    simulator
        .blocking(|ec2, admin| {
            let imds = endpoint(admin, &launch(ec2));
            let token = token(imds, 3_600);
            let path = "/latest/meta-data/instance-id";
            assert_eq!(get(imds, &token, path).status, 200);
            assert_eq!(request(admin, "POST", "/_sim/clock", r#"{"advance_millis": 3600000}"#).status, 200);
            assert_eq!(get(imds, &token, path).status, 401);
        })
        .await;
}

#[tokio::test]
async fn a_volume_attached_later_is_not_among_the_mapped_devices() {
    let simulator = Simulator::start().await;
    simulator
        .blocking(|ec2, admin| {
            let id = launch(ec2);
            let imds = endpoint(admin, &id);
            let volume = call(ec2, "CreateVolume", "Size=1&AvailabilityZone=us-east-1b").text("volumeId");
            call(ec2, "AttachVolume", &format!("VolumeId={volume}&InstanceId={id}&Device=/dev/sdf"));
            let mapping = get(imds, &token(imds, 60), "/latest/meta-data/block-device-mapping/").body;
            assert_eq!(mapping, "ami\nroot");
        })
        .await;
}

#[tokio::test]
async fn an_instance_that_does_not_run_has_no_endpoint() {
    let simulator = Simulator::start().await;
    simulator
        .blocking(|ec2, admin| {
            let id = launch(ec2);
            let imds = endpoint(admin, &id);
            call(ec2, "StopInstances", &format!("InstanceId.1={id}"));
            let deadline = Instant::now() + PATIENCE;
            while TcpStream::connect(imds).is_ok() {
                assert!(Instant::now() < deadline, "the endpoint of a stopped instance is open");
                std::thread::sleep(Duration::from_millis(10));
            }
        })
        .await;
}
