//! A copy that was away while the source was edited, taken in again as the agent of a node does it: by the calls of the
//! library, over mutual TLS. Beside it a copy that was away as long, and rsync that scans both trees.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use treesync::apply::CopyOptions;
use treesync::model::Position;
use treesync::publish::{Phase, PublishOptions, Publisher};
use treesync::session::{Notice, Session, Settings, copy_at};
use treesync::wire::{Address, Anybody, Listening, Sources, TlsMaterial, TlsSource};

use super::{FILES_IN_A_DIRECTORY, file_at, median, row, shell};

/// Edits while the copy is away, each with the largest ratio to rsync that is accepted.
const EDITS: [(usize, f64); 3] = [(100, 0.1), (1_000, 0.2), (10_000, 0.8)];
const ROUNDS: usize = 3;
/// The name of the source, as a pool names it.
const SOURCE: &str = "shop/web";
/// The rival. What each filesystem has for itself is left out, and so is the marker of a copy, an attribute of ours.
const RSYNC: &str = "rsync -aHAX --modify-window=-1 --delete '--filter=-x! user.*' --exclude=/.treesync --exclude=/lost+found";

pub(crate) fn measure(files: usize) {
    eprintln!("{files} files: a copy that was away");
    let runtime = Runtime::new().expect("a runtime");
    let place = Place::new(files);
    let publisher = place.publish();
    let served = runtime.block_on(Served::start(publisher.clone()));
    // What the volume was made with is taken over once, as after each snapshot.
    runtime.block_on(served.take_in(&place.path("ours"), publisher.position()));
    let mut last: Option<f64> = None;
    for (edits, target) in EDITS {
        let figures: Vec<(f64, f64)> = (0..ROUNDS).map(|round| place.round(&runtime, &served, &publisher, (edits, round))).collect();
        let ours = median(figures.iter().map(|(ours, _)| *ours).collect());
        let rival = median(figures.iter().map(|(_, rival)| *rival).collect());
        row(&format!("away_{edits}_of_{files}"), ours, "s", "mount, rsync -aHAX --delete", rival, target);
        if let Some(before) = last.replace(ours) {
            row(&format!("away_{edits}_growth"), ours, "s", "10 times the time of a tenth of the edits", 10.0 * before, 1.0);
        }
    }
}

/// The library's publisher behind a port, and what a peer of it shows.
struct Served {
    address: Address,
    peer: TlsSource,
}

impl Served {
    async fn start(publisher: Arc<Publisher>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let end = |name: &str| {
            let key = KeyPair::generate().expect("a key");
            let signed = CertificateParams::new(vec![name.to_owned()]).and_then(|params| params.signed_by(&key, &authority));
            let certificate_pem = signed.expect("a certificate").pem();
            let material = TlsMaterial { certificate_pem, key_pem: key.serialize_pem(), authorities_pem: authority.pem() };
            TlsSource::Watched(watch::channel(Some(material)).1)
        };
        let sources = Sources::default();
        sources.add(SOURCE, publisher);
        let any = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let listening = Listening::bind_sources(sources, Arc::new(Anybody), any, Some(&end("127.0.0.1"))).await.expect("a port");
        let address = listening.address().clone();
        tokio::spawn(listening.serve(std::future::pending()));
        Self { address, peer: end("peer") }
    }

    /// Follows with one copy until it has all that the source had, durable; then lets it go. Seconds until it had.
    async fn take_in(&self, copy: &Path, wanted: Position) -> f64 {
        let begun = Instant::now();
        let options = CopyOptions { adopt: true, accept_clone: true, ..CopyOptions::default() };
        let (told, mut notices) = mpsc::unbounded_channel();
        let settings = Settings {
            address: self.address.clone(),
            server_name: None,
            source: SOURCE.to_owned(),
            tls: Some(self.peer.clone()),
            session: "node1".to_owned(),
            copies: vec![("ours".to_owned(), copy_at(copy.to_owned(), options))],
            spool_directory: std::env::temp_dir(),
            jitter: Box::new(|| 0.5),
        };
        let session = Session::start(settings, told).expect("a session");
        loop {
            match notices.recv().await.expect("it goes on") {
                Notice::InSync { position, .. } if position.generation >= wanted.generation => break,
                Notice::Behind { problem, .. } | Notice::Disconnected { problem, .. } => panic!("{problem}"),
                _ => {}
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        session.stop().await.expect("it ends in order");
        seconds
    }
}

/// Filesystems of one tree: the source, a copy of ours, and one of the rival.
struct Place {
    folder: tempfile::TempDir,
    files: usize,
}

impl Place {
    /// Both copies are raw clones of the source, as volumes that are made of its snapshot.
    fn new(files: usize) -> Self {
        let place = Self { folder: tempfile::tempdir_in("/dev/shm").expect("a folder"), files };
        let mib = (files * 6 / 1024).max(64) + 256;
        place.shell(&format!(
            "truncate -s {mib}M source.img; mkfs.ext4 -q -F -N {} source.img; mkdir source ours rival; mount -o loop,noatime source.img source",
            files * 2 + 20_000
        ));
        for file in 0..files {
            let path = file_at(&place.path("source"), file);
            if file % FILES_IN_A_DIRECTORY == 0 {
                std::fs::create_dir(path.parent().expect("in a directory")).expect("made");
            }
            std::fs::write(path, format!("{file:>1000}")).expect("written");
        }
        drop(place.publish());
        place.shell(
            "umount source; for n in ours rival; do cp --sparse=always source.img $n.img; done; mount -o loop,noatime source.img source",
        );
        place.shell("mount -o loop,noatime ours.img ours");
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn shell(&self, script: &str) {
        shell(&format!("cd {}; {script}", self.folder.path().display()));
    }

    /// Follows the source when it returns, with its index durable.
    fn publish(&self) -> Arc<Publisher> {
        let publisher = Publisher::start(&self.path("source"), PublishOptions::default()).expect("it publishes");
        publisher.checkpoint().expect("a checkpoint");
        while publisher.status().phase != Phase::Following {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Arc::new(publisher)
    }

    fn is_equal(&self, copy: &str) {
        let script = format!("cd {}; {RSYNC} --dry-run --itemize-changes source/ {copy}/", self.folder.path().display());
        let output = Command::new("sh").args(["-ec", &script]).output().expect("sh runs");
        let found = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && found.is_empty(), "{copy} differs from the source:\n{found}");
    }

    /// Both copies are detached, the source is edited, and each is mounted and made equal: seconds of ours, and of the rival.
    fn round(&self, runtime: &Runtime, served: &Served, publisher: &Publisher, (edits, round): (usize, usize)) -> (f64, f64) {
        self.shell("umount ours");
        for index in 0..edits {
            let file = (index * (self.files / edits) + round * 7) % self.files;
            std::fs::write(file_at(&self.path("source"), file), format!("{round:>500}{edits:>550}")).expect("written");
        }
        let wanted = publisher.settle().expect("all edits are in the history");
        let begun = Instant::now();
        self.shell("mount -o loop,noatime ours.img ours");
        let mounted = begun.elapsed().as_secs_f64();
        let ours = mounted + runtime.block_on(served.take_in(&self.path("ours"), wanted));
        let begun = Instant::now();
        self.shell(&format!("mount -o loop,noatime rival.img rival; {RSYNC} source/ rival/"));
        let rival = begun.elapsed().as_secs_f64();
        for copy in ["ours", "rival"] {
            self.is_equal(copy);
        }
        self.shell("umount rival");
        (ours, rival)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shell("umount -q -l ours rival source || true");
    }
}
