//! What is on disk when a simulator dies: every call that was answered.

use ec2_sim::{Options, Server};

use crate::http::call;

async fn create(server: &Server) -> String {
    let address = server.addr();
    let answer = tokio::task::spawn_blocking(move || call(address, "CreateVolume", "Size=1&AvailabilityZone=us-east-1a")).await.unwrap();
    answer.text("volumeId")
}

#[tokio::test]
async fn every_answered_call_is_on_disk_before_the_simulator_stops() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(folder.path())).await.unwrap();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(create(&server).await);
        // What a simulator would find that starts after a crash at this moment.
        let copy = tempfile::tempdir().unwrap();
        for name in ["state.json", "journal.jsonl"] {
            std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
        }
        let after_crash = Server::start(Options::for_tests(copy.path())).await.unwrap();
        let address = after_crash.addr();
        let found = tokio::task::spawn_blocking(move || call(address, "DescribeVolumes", "")).await.unwrap();
        made.sort();
        assert_eq!(found.texts("volumeId"), made);
        after_crash.shutdown().await.unwrap();
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_report_tells_whose_resources_have_lost_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(folder.path())).await.unwrap();
    let address = server.addr();
    let tagged = |owner: &str| {
        format!(
            "Size=2&AvailabilityZone=us-east-1a&TagSpecification.1.ResourceType=volume\
             &TagSpecification.1.Tag.1.Key=pool&TagSpecification.1.Tag.1.Value={owner}"
        )
    };
    for owner in ["web", "old"] {
        let parameters = tagged(owner);
        tokio::task::spawn_blocking(move || call(address, "CreateVolume", &parameters)).await.unwrap();
    }
    // Beside the running simulator, from the journal alone.
    let mut command = crate::devices::program();
    command.args(["report", "--owner-tag", "pool", "--owner", "web", "--data-dir"]).arg(folder.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("web: volumes 1 ") && text.contains("(2 GiB)"), "{text}");
    assert!(text.contains("without an owner:   1\n  vol-") && text.contains(") of old"), "{text}");
    server.shutdown().await.unwrap();
}
