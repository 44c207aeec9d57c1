//! Certificates that are renewed while both ends run: streams go on, and new connections use the newest.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use treesync::publish::Step;
use treesync::wire::{CallError, Client, Message, Messages, TlsError, TlsMaterial, TlsSource};

use crate::certificates::{Authority, write};
use crate::scripted::{Scripted, at, batch};
use crate::wire::{Served, tcp};

const LONG: Duration = Duration::from_mins(2);

/// An end whose certificate can be renewed.
struct End {
    newest: watch::Sender<Option<TlsMaterial>>,
    source: TlsSource,
}

impl End {
    fn new(material: Option<TlsMaterial>) -> Self {
        let (newest, watched) = watch::channel(material);
        Self { newest, source: TlsSource::Watched(watched) }
    }

    fn renew(&self, material: TlsMaterial) {
        self.newest.send_replace(Some(material));
    }
}

async fn expect(stream: &mut Messages, message: Message) {
    let next = tokio::time::timeout(LONG, stream.next()).await.expect("in time").expect("true");
    assert_eq!(next, Some(message));
}

#[tokio::test]
async fn streams_outlive_the_authority_with_whose_certificates_they_were_made() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (server, peer) = (End::new(Some(old.material("127.0.0.1", &[&old]))), End::new(Some(old.material("peer", &[&old]))));
    let source = Scripted::default();
    source.step(Step::InSync(at(1)));
    let listening = Served::start(source.clone(), tcp(), Some(&server.source)).await;
    let connect = || Client::connect(&listening.address, Some(&peer.source));
    let mut stream = connect().await.expect("the old authority").subscribe(Some(at(0)), "first", &[]).await.expect("subscribed");
    expect(&mut stream, Message::InSync(at(1))).await;
    // The bundle comes first, then certificates of the new authority at one end after the other, then the old one goes.
    server.renew(old.material("127.0.0.1", &[&old, &new]));
    peer.renew(old.material("peer", &[&old, &new]));
    connect().await.expect("both still have certificates of the old authority");
    server.renew(new.material("127.0.0.1", &[&old, &new]));
    connect().await.expect("the server has one of the new authority");
    peer.renew(new.material("peer", &[&new]));
    connect().await.expect("so has the peer");
    server.renew(new.material("127.0.0.1", &[&new]));
    connect().await.expect("nothing of the old authority is left");
    peer.renew(old.material("peer", &[&new]));
    assert!(connect().await.is_err(), "a certificate of the old authority is worth nothing now");
    let change = batch(1, Vec::new());
    source.step(Step::Batch(Arc::new(change.clone())));
    expect(&mut stream, Message::Batch(change)).await;
}

#[tokio::test]
async fn an_end_without_a_certificate_says_so_and_connects_once_it_has_one() {
    let ours = Authority::new("ours");
    let (server, peer) = (End::new(Some(ours.material("127.0.0.1", &[&ours]))), End::new(None));
    let listening = Served::start(Scripted::default(), tcp(), Some(&server.source)).await;
    let error = Client::connect(&listening.address, Some(&peer.source)).await.expect_err("it has none");
    assert!(matches!(&error, CallError::Connect { problem, .. } if problem.contains(&TlsError::Missing.to_string())), "{error}");
    peer.renew(ours.material("peer", &[&ours]));
    Client::connect(&listening.address, Some(&peer.source)).await.expect("now it has one");
}

#[tokio::test]
async fn renewed_files_are_used_and_half_written_ones_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = old.issue(folder.path(), "127.0.0.1", &old);
    let listening = Served::start(Scripted::default(), tcp(), Some(&server)).await;
    let (of_old, of_new) = (End::new(Some(old.material("peer", &[&old]))), End::new(Some(new.material("peer", &[&new]))));
    let connect = |end: &End| {
        let (address, source) = (listening.address.clone(), end.source.clone());
        async move { Client::connect(&address, Some(&source)).await }
    };
    connect(&of_old).await.expect("the files that it was started with");
    // The key does not belong to the certificate now.
    std::fs::write(folder.path().join("cert.pem"), old.material("127.0.0.1", &[]).certificate_pem).expect("written");
    connect(&of_old).await.expect("the last good files");
    write(folder.path(), &new.material("127.0.0.1", &[&new]));
    connect(&of_new).await.expect("the renewed files");
    assert!(connect(&of_old).await.is_err(), "the old authority is trusted no more");
}

#[tokio::test]
async fn peers_that_say_nothing_hold_up_no_other() {
    let ours = Authority::new("ours");
    let (server, peer) = (End::new(Some(ours.material("127.0.0.1", &[&ours]))), End::new(Some(ours.material("peer", &[&ours]))));
    let listening = Served::start(Scripted::default(), tcp(), Some(&server.source)).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(tokio::net::TcpStream::connect(listening.address.to_string()).await.expect("connected"));
    }
    Client::connect(&listening.address, Some(&peer.source)).await.expect("served");
    drop(silent);
}
