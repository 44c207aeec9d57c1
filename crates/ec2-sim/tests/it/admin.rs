//! The admin interface: what is on which port, and the clock.

use std::net::SocketAddr;

use ec2_sim::{Options, Profile, Server};
use serde_json::Value;

use crate::http::{call, request};

/// A simulator whose changes take as long as on AWS, with an admin port.
async fn start(folder: &std::path::Path) -> Server {
    let admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Server::start(Options { profile: Profile::Aws, admin_listen, ..Options::for_tests(folder) }).await.unwrap()
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn what_changes_something_is_on_the_admin_port_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let (ec2, admin) = (server.addr(), server.admin_addr().unwrap());
    blocking(move || {
        for port in [ec2, admin] {
            assert_eq!(request(port, "GET", "/_sim/health", "").status, 200);
            assert_eq!(request(port, "GET", "/_sim/audit", "").status, 200);
            assert!(request(port, "GET", "/_sim/report", "").body.contains("double attachments: 0"));
            let nothing = request(port, "GET", "/_sim/nothing", "");
            assert_eq!(nothing.status, 404);
            assert!(nothing.body.contains("\"error\""), "{}", nothing.body);
        }
        assert_eq!(request(admin, "GET", "/_sim/clock", "").status, 200);
        assert_eq!(request(ec2, "GET", "/_sim/clock", "").status, 404);
        assert_eq!(request(ec2, "POST", "/_sim/clock", r#"{"advance_millis": 1}"#).status, 404);
        // EC2 itself is not there.
        assert_eq!(request(admin, "POST", "/", "Action=DescribeVolumes&Version=2016-11-15").status, 404);
    })
    .await;
}

#[tokio::test]
async fn the_clock_goes_forward_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let (ec2, admin) = (server.addr(), server.admin_addr().unwrap());
    let volume = blocking(move || {
        let volume = call(ec2, "CreateVolume", "Size=1&AvailabilityZone=us-east-1a").text("volumeId");
        for body in ["", "{}", r#"{"advance_millis": -1}"#, r#"{"advance": 1}"#, r#"{"advance_millis": 18446744073709551615}"#] {
            let refused = request(admin, "POST", "/_sim/clock", body);
            assert_eq!(refused.status, 400, "{body}");
            assert!(refused.body.contains("\"error\""), "{}", refused.body);
        }
        let before = call(ec2, "DescribeVolumes", &format!("VolumeId.1={volume}"));
        assert_eq!(before.text("status"), "creating", "it takes a second and more on AWS");
        assert_eq!(request(admin, "POST", "/_sim/clock", r#"{"advance_millis": 86400000}"#).status, 200);
        assert_eq!(call(ec2, "DescribeVolumes", &format!("VolumeId.1={volume}")).text("status"), "available");
        volume
    })
    .await;
    server.shutdown().await.unwrap();
    let server = start(folder.path()).await;
    let (ec2, admin) = (server.addr(), server.admin_addr().unwrap());
    blocking(move || {
        let clock: Value = serde_json::from_str(&request(admin, "GET", "/_sim/clock", "").body).unwrap();
        assert_eq!(clock["ahead_millis"], 86_400_000);
        assert_eq!(call(ec2, "DescribeVolumes", &format!("VolumeId.1={volume}")).text("status"), "available");
    })
    .await;
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids() {
    let mut made = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(Options { seed: Some(7), ..Options::for_tests(folder.path()) }).await.unwrap();
        let ec2 = server.addr();
        made.push(blocking(move || call(ec2, "CreateVolume", "Size=1&AvailabilityZone=us-east-1a").text("volumeId")).await);
    }
    assert_eq!(made[0], made[1]);
}
