//! Who may call, as clients see it: signatures, policies, and requests that make no sense.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use ec2_sim::{Error, Options, Server};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::http::{Answer, call, request};
use crate::signing::Signer;

/// A simulator with an administrator, a driver that is held to its tag, and temporary credentials.
struct Guarded {
    server: Server,
    _folder: tempfile::TempDir,
}

const ADMIN: (&str, &str) = ("AKIAADMIN", "admin-secret");
const DRIVER: (&str, &str) = ("AKIADRIVER", "driver/secret+with=signs");
const TEMPORARY: (&str, &str) = ("ASIATEMPORARY", "temporary-secret");

impl Guarded {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let all = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
        fs::write(folder.path().join("all.json"), all.to_string()).unwrap();
        let tagged = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
            {"Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": "arn:aws:ec2:*:*:volume/*",
             "Condition": {"StringEquals": {"aws:RequestTag/pool": "p"}}},
            {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "CreateVolume"}}},
            {"Effect": "Allow", "Action": "ec2:DeleteVolume", "Resource": "*", "Condition": {"StringEquals": {"ec2:ResourceTag/pool": "p"}}},
        ]});
        let key =
            |(id, secret): (&str, &str), policy: Value| json!({"access-key-id": id, "secret-access-key": secret, "policies": [policy]});
        let mut temporary = key(TEMPORARY, json!("all.json"));
        temporary["session-token"] = json!("token");
        let file = folder.path().join("credentials.yaml");
        fs::write(&file, json!({"access-keys": [key(ADMIN, json!("all.json")), key(DRIVER, tagged), temporary]}).to_string()).unwrap();
        let options = Options { credentials: Some(file), ..Options::for_tests(folder.path().join("data")) };
        Self { server: Server::start(options).await.unwrap(), _folder: folder }
    }

    async fn call(&self, signer: Signer, action: &'static str, rest: impl Into<String>) -> Answer {
        let (address, rest) = (self.server.addr(), rest.into());
        tokio::task::spawn_blocking(move || signer.call(address, action, &rest)).await.unwrap()
    }

    async fn code(&self, signer: Signer, action: &'static str, rest: impl Into<String>) -> (u16, String) {
        let answer = self.call(signer, action, rest).await;
        let code = answer.texts("Code").into_iter().next();
        (answer.status, code.unwrap_or_else(|| "ok".to_owned()))
    }
}

fn signer((id, secret): (&'static str, &'static str)) -> Signer {
    Signer::new(id, secret)
}

#[tokio::test]
async fn only_requests_signed_by_a_configured_key_are_let_in() {
    let simulator = Guarded::start().await;
    let ok = (200, "ok".to_owned());
    assert_eq!(simulator.code(signer(ADMIN), "DescribeVolumes", "").await, ok);
    let table = [
        (Signer::new("AKIAADMIN", "another secret"), (401, "AuthFailure")),
        (Signer::new("AKIANOBODY", "admin-secret"), (401, "AuthFailure")),
        (Signer { region: "eu-west-1", ..signer(ADMIN) }, (401, "AuthFailure")),
        (Signer { ahead: 1_200, ..signer(ADMIN) }, (400, "RequestExpired")),
        (Signer { ahead: -1_200, ..signer(ADMIN) }, (400, "RequestExpired")),
        (signer(TEMPORARY), (401, "AuthFailure")),
        (Signer { token: Some("stale"), ..signer(TEMPORARY) }, (401, "AuthFailure")),
        (Signer { token: Some("token"), ..signer(TEMPORARY) }, (200, "ok")),
    ];
    for (signer, (status, code)) in table {
        assert_eq!(simulator.code(signer, "DescribeVolumes", "").await, (status, code.to_owned()), "{} {}", signer.id, signer.ahead);
    }
    let address = simulator.server.addr();
    let unsigned = tokio::task::spawn_blocking(move || call(address, "DescribeVolumes", "")).await.unwrap();
    assert_eq!((unsigned.status, unsigned.text("Code")), (403, "MissingAuthenticationToken".to_owned()));
}

#[tokio::test]
async fn a_policy_decides_before_the_call_changes_anything() {
    let simulator = Guarded::start().await;
    let driver = signer(DRIVER);
    let plain = "Size=1&AvailabilityZone=us-east-1a";
    let tag = "TagSpecification.1.ResourceType=volume&TagSpecification.1.Tag.1.Key=pool&TagSpecification.1.Tag.1.Value=p";
    let denied = simulator.call(driver, "CreateVolume", plain).await;
    assert_eq!((denied.status, denied.text("Code")), (403, "UnauthorizedOperation".to_owned()));
    // A dry run asks exactly this.
    assert_eq!(simulator.code(driver, "CreateVolume", format!("{plain}&DryRun=true")).await, (403, "UnauthorizedOperation".to_owned()));
    assert_eq!(simulator.code(driver, "CreateVolume", format!("{plain}&{tag}&DryRun=true")).await, (412, "DryRunOperation".to_owned()));
    assert_eq!(simulator.call(driver, "DescribeVolumes", "").await.texts("volumeId"), Vec::<String>::new());
    let ours = simulator.call(driver, "CreateVolume", format!("{plain}&{tag}")).await.text("volumeId");
    let foreign = simulator.call(signer(ADMIN), "CreateVolume", plain).await.text("volumeId");
    assert_eq!(simulator.code(driver, "DeleteVolume", format!("VolumeId={foreign}")).await, (403, "UnauthorizedOperation".to_owned()));
    assert_eq!(simulator.code(driver, "DeleteVolume", format!("VolumeId={ours}")).await, (200, "ok".to_owned()));
    // A request that makes no sense is refused as such before anybody asks who may.
    assert_eq!(simulator.code(driver, "DeleteVolume", "").await, (400, "MissingParameter".to_owned()));
}

#[tokio::test]
async fn the_message_of_a_denial_can_be_decoded() {
    let simulator = Guarded::start().await;
    let denied = simulator.call(signer(DRIVER), "TerminateInstances", "InstanceId.1=i-0123456789abcdef0").await.text("Message");
    let (_, encoded) = denied.split_once("Encoded authorization failure message: ").unwrap();
    let address = simulator.server.addr();
    let path = format!("/_sim/decode?message={encoded}");
    let (told, nonsense) =
        tokio::task::spawn_blocking(move || (request(address, "GET", &path, ""), request(address, "POST", "/_sim/decode", "nonsense")))
            .await
            .unwrap();
    let told: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(told["context"]["action"], "ec2:TerminateInstances");
    assert_eq!(told["context"]["resource"], "arn:aws:ec2:us-east-1:000000000000:instance/i-0123456789abcdef0");
    assert_eq!(nonsense.status, 400);
    assert!(nonsense.body.contains("\"error\""), "{}", nonsense.body);
}

#[tokio::test]
async fn a_credentials_file_with_a_mistake_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials.yaml");
    fs::write(&file, "access-keys:\n- access-key-id: A\n  secret-access-key: s\n  policies: [missing.json]\n").unwrap();
    let data = folder.path().join("data");
    let error = Server::start(Options { credentials: Some(file.clone()), ..Options::for_tests(&data) }).await.unwrap_err();
    assert!(matches!(error, Error::Credentials { .. }));
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("policy 1") && text.contains("missing.json"), "{text}");
    assert!(!data.exists(), "nothing was made");
}

/// Sends bytes as they are and reads the whole answer.
fn send(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may answer and close before it has read all of a request that is too long.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(query: &[u8], extra: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}Content-Length: {}\r\n\r\n", body.len());
    [b"POST /", query, head.as_bytes(), body].concat()
}

#[tokio::test]
async fn a_malformed_request_gets_an_error_of_ec2_with_a_request_id() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(folder.path())).await.unwrap();
    let address = server.addr();
    let long = [b"Action=", vec![b'a'; 2 << 20].as_slice()].concat();
    let table: Vec<(Vec<u8>, u16, &str)> = vec![
        (post(b"", "", b""), 400, "MissingAction"),
        (post(b"", "", b"Action=DescribeVolumes"), 400, "MissingParameter"),
        (post(b"", "", b"Action=DescribeVolumes&Version=2001-01-01"), 400, "NoSuchVersion"),
        (post(b"", "", b"Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=\xff\xfe"), 400, "InvalidCharacter"),
        (post(b"?Action=%ff", "", b""), 400, "InvalidCharacter"),
        (post(b"", "", &long), 413, "RequestEntityTooLarge"),
        (post(b"", "Content-Type: application/soap+xml\r\n", b"<Envelope/>"), 400, "UnsupportedProtocol"),
        (post(b"elsewhere", "", b"Action=DescribeVolumes&Version=2016-11-15"), 400, "InvalidRequest"),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec(), 405, "MethodNotAllowed"),
        (b"DELETE /?Action=DescribeVolumes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), 405, "MethodNotAllowed"),
    ];
    tokio::task::spawn_blocking(move || {
        for (bytes, status, code) in table {
            let answer = send(address, &bytes);
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
            assert!(answer.contains(&format!("<Code>{code}</Code>")), "{shown}: {answer}");
            assert!(answer.contains("<RequestID>") && !answer.to_lowercase().contains("<html"), "{shown}: {answer}");
        }
    })
    .await
    .unwrap();
    server.shutdown().await.unwrap();
}

/// Parameters as a clumsy or hostile client might send them.
fn parameters() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "Action",
        "Version",
        "VolumeId",
        "VolumeId.1",
        "Filter.1.Name",
        "Filter.1.Value.1",
        "MaxResults",
        "NextToken",
        "Size",
        "DryRun",
        "AvailabilityZone",
        "SnapshotId",
        "InstanceId",
        "InstanceId.1",
        "Device",
        "Tag.1.Key",
        "TagSpecification.1.Tag.1.Key",
        "MinCount",
        "TagSpecification.99999999999.ResourceType",
        "Iops",
        "ClientToken",
        "ResourceId.1",
        "Force",
        "",
        "X-Amz-Algorithm",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            "DescribeVolumes",
            "CreateVolume",
            "AttachVolume",
            "DescribeInstances",
            "RunInstances",
            "CreateTags",
            "2016-11-15",
            "-1",
            "0",
            "9223372036854775808",
            "vol-",
            "vol-0123456789abcdef0",
            "us-east-1a",
            "true",
            "/dev/sdf",
            "tag:",
            "%00",
            "%F0%9F%92%A9",
            "*",
            "AWS4-HMAC-SHA256",
            "volume",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,20}",
        "\\PC{0,8}",
    ];
    let pair = (names, values).prop_map(|(name, value)| format!("{name}={value}"));
    prop::collection::vec(pair, 0..8).prop_map(|pairs| pairs.join("&"))
}

#[test]
fn no_request_makes_the_simulator_panic_or_leave_xml() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = runtime.block_on(Server::start(Options::for_tests(folder.path()))).unwrap();
    let address = server.addr();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() });
    let actions = prop::sample::select(vec!["", "Action=DescribeVolumes&Version=2016-11-15&", "Action=CreateVolume&Version=2016-11-15&"]);
    let cases = (actions, parameters(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>());
    let outcome = runner.run(&cases, |(action, text, noise, noisy)| {
        let mut body = format!("{action}{text}").into_bytes();
        if noisy {
            body.extend(noise);
        }
        let answer = send(address, &post(b"", "", &body));
        let (head, document) = answer.split_once("\r\n\r\n").ok_or_else(|| TestCaseError::fail(format!("no answer to {body:?}")))?;
        prop_assert!(head.contains("text/xml") && head.contains("x-amzn-requestid"), "{}", head);
        prop_assert!(document.starts_with("<?xml") && !document.contains("<Code>InternalError"), "{}", document);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(server.shutdown()).unwrap();
}
