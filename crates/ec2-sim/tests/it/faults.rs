//! Faults on request over HTTP: what a client sees of them, from the admin port and from a script.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ec2_sim::{Error, Options, Server};
use serde_json::Value;

use crate::http::{call, request};

async fn start(folder: &std::path::Path, script: Option<&str>) -> Result<Server, Error> {
    let faults = script.map(|text| {
        let file = folder.join("faults.yaml");
        fs::write(&file, text).unwrap();
        file
    });
    let admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Server::start(Options { faults, admin_listen, ..Options::for_tests(folder.join("data")) }).await
}

async fn blocking<T: Send + 'static>(server: &Server, run: impl FnOnce(SocketAddr, SocketAddr) -> T + Send + 'static) -> T {
    let (ec2, admin) = (server.addr(), server.admin_addr().unwrap());
    tokio::task::spawn_blocking(move || run(ec2, admin)).await.unwrap()
}

/// Injects a fault and returns its number.
fn inject(admin: SocketAddr, fault: &str) -> u64 {
    let answer = request(admin, "POST", "/_sim/faults", fault);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    told["id"].as_u64().unwrap()
}

const CREATE: &str = "Size=1&AvailabilityZone=us-east-1a";

/// What comes back for a creation of a volume, byte for byte.
fn bytes_of_a_creation(ec2: SocketAddr) -> Vec<u8> {
    let body = format!("Action=CreateVolume&Version=2016-11-15&{CREATE}");
    let mut stream = TcpStream::connect(ec2).unwrap();
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = Vec::new();
    // The end of the connection may come as an error.
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn volumes(ec2: SocketAddr) -> usize {
    call(ec2, "DescribeVolumes", "").texts("volumeId").len()
}

#[tokio::test]
async fn a_lost_reply_closes_the_connection_after_the_call_was_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), None).await.unwrap();
    blocking(&server, |ec2, admin| {
        inject(admin, r#"{"fault": "reply-lost", "calls": {"action": "CreateVolume"}, "times": 1}"#);
        assert_eq!(volumes(ec2), 0, "another action is not meant");
        assert_eq!(bytes_of_a_creation(ec2), b"", "not a byte comes back");
        assert_eq!(volumes(ec2), 1, "and yet there is a volume");
        assert_eq!(call(ec2, "CreateVolume", CREATE).status, 200, "once is once");
    })
    .await;
}

#[tokio::test]
async fn a_reply_can_be_late_and_a_request_can_come_twice() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), None).await.unwrap();
    blocking(&server, |ec2, admin| {
        inject(admin, r#"{"fault": "reply-delayed", "times": 1, "millis": 300}"#);
        let start = Instant::now();
        assert_eq!(volumes(ec2), 0);
        assert!(start.elapsed() >= Duration::from_millis(300));
        inject(admin, r#"{"fault": "request-duplicated", "calls": {"action": "CreateVolume"}, "times": 1}"#);
        assert_eq!(call(ec2, "CreateVolume", CREATE).status, 200);
        assert_eq!(volumes(ec2), 2, "without a token the second is another volume");
        inject(admin, r#"{"fault": "request-duplicated", "calls": {"action": "CreateVolume"}, "times": 1}"#);
        assert_eq!(call(ec2, "CreateVolume", &format!("{CREATE}&ClientToken=t")).status, 200);
        assert_eq!(volumes(ec2), 3, "with one it is the same");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_was_kept_back_is_carried_out_though_its_client_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), None).await.unwrap();
    blocking(&server, |ec2, admin| {
        inject(admin, r#"{"fault": "request-delayed", "calls": {"action": "CreateVolume"}, "times": 1, "millis": 200}"#);
        let body = format!("Action=CreateVolume&Version=2016-11-15&{CREATE}");
        let mut stream = TcpStream::connect(ec2).unwrap();
        write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        // Until the request has been read: the fault is then used up.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !request(admin, "GET", "/_sim/faults", "").body.contains("\"standing\":[]") {
            assert!(Instant::now() < deadline, "the request was not read");
        }
        drop(stream);
        while volumes(ec2) == 0 {
            assert!(Instant::now() < deadline, "the request was forgotten with its client");
            std::thread::sleep(Duration::from_millis(10));
        }
    })
    .await;
}

#[tokio::test]
async fn faults_are_listed_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), None).await.unwrap();
    blocking(&server, |ec2, admin| {
        let refused =
            |times| format!(r#"{{"fault": "error", "calls": {{"action": "DescribeVolumes"}}, "times": {times}, "code": "InternalError"}}"#);
        let id = inject(admin, &refused(5));
        let answer = call(ec2, "DescribeVolumes", "");
        assert_eq!((answer.status, answer.text("Code")), (500, "InternalError".to_owned()));
        let listed: Value = serde_json::from_str(&request(admin, "GET", "/_sim/faults", "").body).unwrap();
        assert_eq!((&listed["standing"][0]["id"], &listed["standing"][0]["left"]), (&Value::from(id), &Value::from(4)));
        assert_eq!(request(admin, "DELETE", &format!("/_sim/faults/{id}"), "").status, 204);
        assert_eq!(request(admin, "DELETE", &format!("/_sim/faults/{id}"), "").status, 404);
        assert_eq!(call(ec2, "DescribeVolumes", "").status, 200);
        inject(admin, &refused(5));
        assert_eq!(request(admin, "DELETE", "/_sim/faults", "").status, 204);
        assert_eq!(call(ec2, "DescribeVolumes", "").status, 200);
        for nonsense in ["", "{}", r#"{"fault": "eror"}"#, r#"{"fault": "instance-dies", "instance_id": "i-0123456789abcdef0"}"#] {
            let refused = request(admin, "POST", "/_sim/faults", nonsense);
            assert_eq!(refused.status, 400, "{nonsense}: {}", refused.body);
        }
    })
    .await;
}

#[tokio::test]
async fn a_script_acts_by_the_clock_and_by_the_count_of_calls() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
faults:
- after_calls: {action: CreateVolume, count: 2}
  inject: {fault: error, calls: {action: CreateVolume}, times: 1, code: InternalError}
- at_millis: 60000
  inject: {fault: error, calls: {action: DescribeVolumes}, times: 1, code: Unavailable}
";
    let server = start(folder.path(), Some(script)).await.unwrap();
    blocking(&server, |ec2, admin| {
        let statuses: Vec<u16> = (0..4).map(|_| call(ec2, "CreateVolume", CREATE).status).collect();
        assert_eq!(statuses, [200, 200, 500, 200]);
        assert_eq!(volumes(ec2), 3);
        request(admin, "POST", "/_sim/clock", r#"{"advance_millis": 60000}"#);
        assert_eq!(call(ec2, "DescribeVolumes", "").text("Code"), "Unavailable");
        assert_eq!(volumes(ec2), 3);
    })
    .await;
}

#[tokio::test]
async fn a_script_with_a_mistake_stops_the_start_and_is_named() {
    for script in ["faults: [{inject: {fault: eror}}]", "faults: [{inject: {fault: instance-dies, instance_id: i-0123456789abcdef0}}]"] {
        let folder = tempfile::tempdir().unwrap();
        let error = start(folder.path(), Some(script)).await.unwrap_err();
        assert!(matches!(error, Error::Faults { .. }) && error.to_string().contains("faults.yaml"), "{error}");
    }
}
