//! The service and its client over real sockets: Unix and mutual TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use treesync::model::{ManifestPart, Wanted};
use treesync::publish::{DetectionWish, PublishOptions, Publisher, Step};
use treesync::session::{Open, Settings};
use treesync::wire::{
    Address, Authorize, Call, CallError, Client, CopyState, Listening, Message, Peer, Piece, Source, Sources, TlsFiles, TlsSource, Versions,
};

use crate::certificates::Authority;
use crate::scripted::{Scripted, at, batch, file, path, put};

const LONG: Duration = Duration::from_mins(2);

/// A publisher that serves until it is dropped or stopped.
pub(crate) struct Served {
    pub(crate) address: Address,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Served {
    /// A session that follows this source, the only one there.
    pub(crate) fn followed_by(&self, copies: Vec<(String, Open)>, spool_directory: &Path) -> Settings {
        Settings {
            address: self.address.clone(),
            server_name: None,
            source: String::new(),
            tls: None,
            session: "host".to_owned(),
            copies,
            spool_directory: spool_directory.to_owned(),
            jitter: Box::new(|| 0.0),
        }
    }

    pub(crate) async fn start(source: impl Source, address: Address, tls: Option<&TlsSource>) -> Self {
        let listening = Listening::bind(source, address, tls).await.expect("bound");
        let address = listening.address().clone();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let serving = tokio::spawn(async move { listening.serve(stopped).await.expect("served") });
        Self { address, stop: Some(stop), serving }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.expect("ended in order");
    }
}

fn socket(folder: &Path) -> Address {
    Address::Unix(folder.join("socket"))
}

async fn unix(source: Scripted) -> (tempfile::TempDir, Served, Client) {
    let folder = tempfile::tempdir().expect("a folder");
    let served = Served::start(source, socket(folder.path()), None).await;
    let client = Client::connect(&served.address, None).await.expect("connected");
    (folder, served, client)
}

#[tokio::test]
async fn batches_arrive_as_they_were_sent_to_each_subscriber() {
    let source = Scripted::default();
    let first = batch(0, vec![put("a", file(b"one"))]);
    source.step(Step::Batch(Arc::new(first.clone())));
    source.step(Step::InSync(at(1)));
    let (_folder, _served, client) = unix(source.clone()).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(client.subscribe(Some(at(0)), "host", &[]).await.expect("subscribed"));
    }
    let large = vec![3; 200 * 1024];
    let puts = (0..20).map(|n| treesync::model::Put { inline: Some(large.clone().into()), ..put(&format!("large-{n:02}"), file(&large)) });
    let second = batch(1, puts.collect());
    source.step(Step::Batch(Arc::new(second.clone())));
    for stream in &mut streams {
        for expected in [Message::Batch(first.clone()), Message::InSync(at(1)), Message::Batch(second.clone())] {
            let message = tokio::time::timeout(LONG, stream.next()).await.expect("in time").expect("true");
            assert_eq!(message, Some(expected));
        }
    }
}

#[tokio::test]
async fn bytes_arrive_checked_and_missing_ones_are_gone() {
    let source = Scripted::default();
    let large: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    source.hold("large", &large);
    source.hold("empty", b"");
    source.hold("changed", b"other");
    let (_folder, _served, client) = unix(source).await;
    let hash = treesync::model::ContentHash::of;
    let whole = |name: &str, bytes: &[u8]| Wanted::whole(path(name), bytes.len() as u64, hash(bytes));
    let middle = Wanted { offset_bytes: 300_000, length_bytes: 5, ..whole("large", &large) };
    let wanted = vec![whole("large", &large), whole("none", b"x"), whole("empty", b""), middle];
    let mut reading = client.read(wanted).await.expect("answered");
    let mut files = vec![Vec::new(); 4];
    let mut gone = Vec::new();
    while let Some(piece) = reading.next().await.expect("true") {
        match piece {
            Piece::Bytes { index, bytes, .. } => files[index].extend_from_slice(&bytes),
            Piece::Gone { index } => gone.push(index),
        }
    }
    assert_eq!((files[0] == large, &files[2], &files[3][..], gone), (true, &Vec::new(), &large[300_000..300_005], vec![1]));
    // Other bytes than were wanted are no lie of the source: its file has changed since.
    let mut changed = client.read(vec![whole("changed", b"bytes")]).await.expect("answered");
    let piece = changed.next().await.expect("true");
    assert!(matches!(piece, Some(Piece::Gone { index: 0 })), "{piece:?}");
}

#[tokio::test]
async fn a_receipt_waits_until_each_attached_copy_has_the_change_durably() {
    let source = Scripted::default();
    let (_folder, _served, client) = unix(source).await;
    let _stream = client.subscribe(None, "host", &[]).await.expect("subscribed");
    let copy = |name: &str, durable| CopyState { name: name.to_owned(), visible: Some(at(1)), durable, problem: None, drift: None };
    client.acknowledge("host", &[copy("/a", Some(at(1))), copy("/b", None)]).await.expect("noted");
    let early = client.push(&path("x"), false, Duration::ZERO).await.expect("pushed");
    assert!(!early.is_complete && early.copies.len() == 2 && early.position == at(1));
    let other = client.clone();
    let waiting = tokio::spawn(async move { other.push(&path("x"), false, LONG).await });
    client.acknowledge("host", &[copy("/a", Some(at(2))), copy("/b", Some(at(2)))]).await.expect("noted");
    let receipt = waiting.await.expect("ran").expect("pushed");
    assert!(receipt.is_complete && receipt.position == at(2) && receipt.paths == [path("x")], "{receipt:?}");
    let dry = client.delete(&path("x"), true, LONG).await.expect("told");
    assert!(!dry.is_complete && dry.position == at(2));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_the_reason() {
    let (_folder, _served, client) = unix(Scripted::default()).await;
    let missing = client.push(&path("missing"), false, Duration::ZERO).await.expect_err("not there");
    assert!(matches!(missing, CallError::Refused { .. }) && missing.to_string().contains("does not exist"), "{missing}");
    let root = client.delete(&path(""), false, Duration::ZERO).await.expect_err("the root");
    assert!(root.to_string().contains("root of the tree"), "{root}");
    let stranger = client.acknowledge("nobody", &[]).await.expect_err("no stream");
    assert!(stranger.to_string().contains("nobody"), "{stranger}");
}

#[tokio::test]
async fn ends_without_a_version_in_both_part_with_a_clear_message() {
    let (_folder, served, _client) = unix(Scripted::default()).await;
    let newer = Client::connect_speaking(&served.address, None, Versions { min: 2, max: 9 }).await.expect_err("too new");
    assert!(matches!(newer, CallError::Refused { .. }), "{newer}");
    assert!(newer.to_string().contains("speaks protocol versions 2 to 9"), "{newer}");
    Client::connect_speaking(&served.address, None, Versions { min: 0, max: 9 }).await.expect("version 1 is in both");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_and_removes_its_socket() {
    let (folder, served, client) = unix(Scripted::default()).await;
    let mut stream = client.subscribe(None, "host", &[]).await.expect("subscribed");
    served.stop().await;
    let end = tokio::time::timeout(LONG, stream.next()).await.expect("in time");
    assert!(!matches!(end, Ok(Some(_))), "{end:?}");
    assert!(!folder.path().join("socket").exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_anything_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = socket(folder.path());
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("bound"));
    let served = Served::start(Scripted::default(), address.clone(), None).await;
    let taken = Listening::bind(Scripted::default(), address.clone(), None).await.err().expect("taken");
    assert!(taken.to_string().contains("another process"), "{taken}");
    served.stop().await;
    std::fs::write(folder.path().join("socket"), "precious").expect("written");
    assert!(Listening::bind(Scripted::default(), address, None).await.is_err());
    assert_eq!(std::fs::read(folder.path().join("socket")).expect("there"), b"precious");
}

pub(crate) fn tcp() -> Address {
    Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }
}

#[tokio::test]
async fn tcp_without_tls_is_refused_at_both_ends() {
    let error = Listening::bind(Scripted::default(), tcp(), None).await.err().expect("never plain");
    assert!(error.to_string().contains("TCP needs TLS"), "{error}");
    let error = Client::connect(&tcp(), None).await.expect_err("never plain");
    assert!(error.to_string().contains("TCP needs TLS"), "{error}");
}

#[tokio::test]
async fn ends_with_certificates_of_one_authority_understand_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("ours");
    let server = authority.issue(&folder.path().join("server"), "127.0.0.1", &authority);
    let peer = authority.issue(&folder.path().join("peer"), "peer", &authority);
    let source = Scripted::default();
    source.step(Step::InSync(at(3)));
    let publisher = Served::start(source, tcp(), Some(&server)).await;
    let client = Client::connect(&publisher.address, Some(&peer)).await.expect("trusted");
    let mut stream = client.subscribe(None, "host", &[]).await.expect("subscribed");
    assert_eq!(stream.next().await.expect("true"), Some(Message::InSync(at(3))));
}

#[tokio::test]
async fn a_wrong_certificate_is_refused_whichever_end_shows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let issue = |by: &Authority, name: &str, host, trusted| by.issue(&folder.path().join(name), host, trusted);
    let server = issue(&ours, "server", "127.0.0.1", &ours);
    let trusting = Served::start(Scripted::default(), tcp(), Some(&server)).await;
    let unknown_peer = issue(&foreign, "unknown-peer", "peer", &ours);
    let mistrusting_peer = issue(&ours, "mistrusting-peer", "peer", &foreign);
    for peer in [unknown_peer, mistrusting_peer] {
        let error = Client::connect(&trusting.address, Some(&peer)).await.expect_err("not trusted");
        assert!(error.to_string().contains("certificate") || error.to_string().contains("UnknownCA"), "{error}");
    }
    let misnamed = issue(&ours, "misnamed", "example.org", &ours);
    let elsewhere = Served::start(Scripted::default(), tcp(), Some(&misnamed)).await;
    let peer = issue(&ours, "peer", "peer", &ours);
    let error = Client::connect(&elsewhere.address, Some(&peer)).await.expect_err("another name");
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let TlsSource::Files(files) = peer else { panic!("files were issued") };
    let missing = TlsFiles { key: folder.path().join("none"), ..files };
    let error = Client::connect(&elsewhere.address, Some(&missing.into())).await.expect_err("no key");
    assert!(error.to_string().contains("none"), "{error}");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused_whichever_end_shows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours");
    let at = |name: &str| folder.path().join(name);
    let good = Served::start(Scripted::default(), tcp(), Some(&ours.issue(&at("good"), "127.0.0.1", &ours))).await;
    let expired_peer = ours.issue_expired(&at("expired-peer"), "peer", &ours);
    let error = Client::connect(&good.address, Some(&expired_peer)).await.expect_err("the peer's has expired");
    assert!(error.to_string().to_lowercase().contains("expired"), "{error}");
    let expired = Served::start(Scripted::default(), tcp(), Some(&ours.issue_expired(&at("expired"), "127.0.0.1", &ours))).await;
    let peer = ours.issue(&at("peer"), "peer", &ours);
    let error = Client::connect(&expired.address, Some(&peer)).await.expect_err("the server's has");
    assert!(error.to_string().contains("has expired: it was valid until 2001-01-01T00:00:00Z, and the clock here says"), "{error}");
    let early_peer = ours.issue_early(&at("early-peer"), "peer", &ours);
    assert!(Client::connect(&good.address, Some(&early_peer)).await.is_err(), "its time has not come");
    let early = Served::start(Scripted::default(), tcp(), Some(&ours.issue_early(&at("early"), "127.0.0.1", &ours))).await;
    let error = Client::connect(&early.address, Some(&peer)).await.expect_err("nor has the server's");
    assert!(error.to_string().contains("not valid yet: it is from 3001-01-01T00:00:00Z on, and the clock here says"), "{error}");
}

#[tokio::test]
async fn a_peer_that_speaks_without_tls_hears_no_word_of_the_protocol() {
    /// How HTTP/2 begins without TLS: preface and empty settings (RFC 9113, 3.4).
    const PLAIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// The type of a TLS alert (RFC 8446, 5.1).
    const ALERT: u8 = 21;
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Authority::new("ours");
    let served = Served::start(Scripted::default(), tcp(), Some(&ours.issue(folder.path(), "127.0.0.1", &ours))).await;
    let mut stream = tokio::net::TcpStream::connect(served.address.to_string()).await.expect("connected");
    stream.write_all(PLAIN).await.expect("sent");
    let mut heard = Vec::new();
    // A connection that is reset says no more than one that ends.
    let end = tokio::time::timeout(LONG, stream.read_to_end(&mut heard)).await.expect("it ends");
    assert!(heard.first().is_none_or(|first| *first == ALERT), "{end:?}: {heard:?}");
}

#[tokio::test]
async fn a_comparison_tells_digests_first_and_then_what_is_in_those_that_differ() {
    let source = Scripted::default();
    let directory = |name: &str| put(name, treesync::model::Kind::Directory);
    let parts = [
        vec![directory(""), directory("a"), put("a/one", file(b"1"))],
        vec![directory("b"), put("b/two", file(b"2")), put("z", file(b"3"))],
    ];
    for (index, puts) in parts.into_iter().enumerate() {
        source.step(Step::Manifest(ManifestPart { position: at(9), is_last_part: index == 1, puts }));
    }
    let (_folder, _served, client) = unix(source).await;
    let mut digests = client.compare(&[], true).await.expect("answered");
    let Some(Message::Digests(told)) = digests.next().await.expect("true") else { panic!("no digests") };
    let mut names: Vec<String> = told.directories.iter().map(|(path, _)| path.to_string()).collect();
    names.sort();
    assert_eq!((names, told.is_last_part, told.position), (vec![".".to_owned(), "a".to_owned(), "b".to_owned()], true, at(9)));
    let mut entries = client.compare(&[path("b")], true).await.expect("answered");
    let Some(Message::Manifest(part)) = entries.next().await.expect("true") else { panic!("no entries") };
    let names: Vec<String> = part.puts.iter().map(|put| put.path.to_string()).collect();
    assert_eq!((names, part.is_last_part), (vec!["b".to_owned(), "b/two".to_owned()], true));
}

#[tokio::test]
async fn an_idle_stream_says_again_that_it_is_in_sync_until_the_publisher_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    std::fs::create_dir(&source).expect("made");
    let options = PublishOptions { detection: DetectionWish::Poll, ..PublishOptions::default() };
    let publisher = Arc::new(Publisher::start(&source, options).expect("started"));
    let served = Served::start(publisher.clone(), socket(folder.path()), None).await;
    let client = Client::connect(&served.address, None).await.expect("connected");
    let mut stream = client.subscribe(Some(publisher.position()), "host", &[]).await.expect("subscribed");
    let mut told = Vec::new();
    while told.len() < 3 {
        let message = tokio::time::timeout(LONG, stream.next()).await.expect("in time").expect("true");
        if let Some(Message::InSync(position)) = message {
            told.push(position);
        }
    }
    assert!(told[1] == told[0] && told[2] == told[0] && told[0] == publisher.position(), "{told:?}");
    served.stop().await;
}

/// Only one peer may follow, and only one source; nobody may change anything.
struct Strict;

impl Authorize for Strict {
    fn authorize(&self, peer: &Peer, source: &str, call: Call) -> Result<(), String> {
        let is_good = peer.dns_names == ["good.example.org"] && source != "shop/secret" && call != Call::Change;
        if is_good { Ok(()) } else { Err(format!("{:?} may not ask {source} for that", peer.dns_names)) }
    }
}

#[tokio::test]
async fn a_listener_serves_several_sources_each_to_those_who_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("ours");
    let issue = |name: &str, host| authority.issue(&folder.path().join(name), host, &authority);
    let (server, good, bad) = (issue("server", "node.example.org"), issue("good", "good.example.org"), issue("bad", "bad.example.org"));
    let sources = Sources::default();
    for (name, generation) in [("shop/web", 3), ("shop/secret", 4), ("shop/more", 5)] {
        let source = Scripted::default();
        source.step(Step::InSync(at(generation)));
        sources.add(name, source);
    }
    let listening = Listening::bind_sources(sources.clone(), Arc::new(Strict), tcp(), Some(&server)).await.expect("bound");
    let address = listening.address().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(listening.serve(async { drop(stopped.await) }));
    let to = async |source: &'static str, tls: &TlsSource| {
        Client::connect_named(&address, Some("node.example.org"), source, Some(tls)).await.expect("trusted")
    };
    let mut streams = Vec::new();
    for (name, generation) in [("shop/web", 3), ("shop/more", 5)] {
        let mut stream = to(name, &good).await.subscribe(None, "host", &[]).await.expect("allowed");
        assert_eq!(stream.next().await.expect("true"), Some(Message::InSync(at(generation))));
        streams.push(stream);
    }
    let refused = [
        to("shop/secret", &good).await.subscribe(None, "host", &[]).await.err(),
        to("shop/web", &bad).await.subscribe(None, "host", &[]).await.err(),
        to("shop/web", &good).await.push(&path("x"), false, Duration::ZERO).await.err(),
    ];
    for error in refused {
        assert!(matches!(&error, Some(CallError::Refused { problem, .. }) if problem.contains("may not ask")), "{error:?}");
    }
    let misnamed = Client::connect_named(&address, Some("other.example.org"), "shop/web", Some(&good)).await;
    assert!(misnamed.is_err(), "the certificate is for another name");
    assert!(sources.remove("shop/web") && !sources.remove("shop/web"));
    let end = tokio::time::timeout(LONG, streams[0].next()).await.expect("in time");
    assert!(matches!(end, Err(CallError::Failed { .. })), "{end:?}");
    let missing = to("shop/web", &good).await.subscribe(None, "host", &[]).await.expect_err("gone");
    assert!(missing.to_string().contains("not served here"), "{missing}");
    to("shop/more", &good).await.status().await.expect("the others are served on");
    drop((streams, stop));
    serving.await.expect("ran").expect("ended in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_but_its_owner_can_ever_connect_to_a_unix_socket() {
    use std::os::unix::fs::PermissionsExt;
    const ROUNDS: u32 = 2_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |round: u32| folder.path().join(round.to_string());
    let paths: Vec<_> = (0..ROUNDS).map(path).collect();
    let bound = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let watching = std::thread::spawn({
        let (paths, bound) = (paths.clone(), bound.clone());
        move || {
            let mut open_to = std::collections::BTreeSet::new();
            for (round, path) in paths.iter().enumerate() {
                // Until it is connected to, or gone.
                while bound.load(std::sync::atomic::Ordering::Acquire) <= round {
                    if std::os::unix::net::UnixStream::connect(path).is_ok() {
                        open_to.insert(std::fs::metadata(path).expect("it stays").permissions().mode() & 0o777);
                        break;
                    }
                }
            }
            open_to
        }
    });
    for (round, path) in (1..).zip(&paths) {
        drop(Listening::bind(Scripted::default(), Address::Unix(path.clone()), None).await.expect("bound"));
        bound.store(round, std::sync::atomic::Ordering::Release);
    }
    let open_to = watching.join().expect("watched");
    assert!(open_to.is_subset(&[0o600].into()), "somebody connected while its mode was one of these, in decimal: {open_to:?}");
}
