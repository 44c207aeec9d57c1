//! What a publisher tells of its own speed: how long changes took until readers of copies saw them, and bytes that were sent.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use treesync::apply::CopyOptions;
use treesync::publish::{PublishOptions, Publisher};
use treesync::session::{Notice, Session, copy_at};
use treesync::wire::Address;

use crate::wire::Served;

const LONG: Duration = Duration::from_mins(2);
/// More than travels with a batch: asked for by path.
const LARGE_BYTES: usize = 3 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_copy_that_sees_a_change_is_a_measurement_and_one_that_catches_up_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("early"), "from before any copy").unwrap();
    let (note, mut times) = mpsc::unbounded_channel();
    let on_visible = Arc::new(move |took| note.send(took).unwrap());
    let options = PublishOptions { on_visible: Some(on_visible), ..PublishOptions::default() };
    let publisher = Arc::new(Publisher::start(&source, options).unwrap());
    publisher.settle().unwrap();
    let served = Served::start(publisher.clone(), Address::Unix(folder.path().join("socket")), None).await;
    let copies = ["one", "two"].map(|name| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        (name.to_owned(), copy_at(path, CopyOptions::default()))
    });
    let (sender, mut notices) = mpsc::unbounded_channel();
    let session = Session::start(served.followed_by(copies.into(), folder.path()), sender).unwrap();
    let mut wait_for = async |generation: u64| {
        let mut there = std::collections::BTreeSet::new();
        while there.len() < 2 {
            let notice = tokio::time::timeout(LONG, notices.recv()).await.expect("in time").expect("told");
            if let Notice::InSync { copy, position } = notice
                && position.generation >= generation
            {
                there.insert(copy);
            }
        }
    };
    wait_for(publisher.position().generation).await;
    assert!(times.is_empty(), "to fill a copy is no change that it sees");
    let sent = publisher.status().sent_bytes;
    assert!(sent > 0, "the list of all and the file were sent");

    fs::write(source.join("late"), vec![7; LARGE_BYTES]).unwrap();
    wait_for(publisher.settle().unwrap().generation).await;
    for copy in ["one", "another"] {
        let took = tokio::time::timeout(LONG, times.recv()).await.unwrap_or_else(|_| panic!("{copy} was not measured"));
        assert!(took.unwrap() < LONG);
    }
    session.stop().await.unwrap();
    let sent = publisher.status().sent_bytes - sent;
    let large = u64::try_from(LARGE_BYTES).unwrap();
    assert!((large..2 * large).contains(&sent), "a host gets the bytes once for all of its copies: {sent}");
}
