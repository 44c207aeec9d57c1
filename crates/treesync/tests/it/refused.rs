//! What a copy on a disk refuses of its session: another source, and a source that lies. It serves what it had.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use treesync::apply::{Copy, CopyOptions};
use treesync::model::{ChangedBlock, ContentHash, Delta, Kind, ManifestPart, Mtime, Position, Put, SourceId};
use treesync::publish::Step;
use treesync::session::{Notice, Session, copy_at};
use treesync::tree::Root;
use treesync::wire::Address;

use crate::scripted::{ID, Scripted, at, batch, file, put};
use crate::stage::source::NoContents;
use crate::wire::Served;

/// What a file holds after `first`, when its first three bytes changed and one came after them.
const SECOND: &[u8] = b"secst\0";
const LONG: Duration = Duration::from_mins(1);

/// A source that a test writes, and one copy of it.
struct World {
    folder: tempfile::TempDir,
    source: Scripted,
    served: Served,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("copy")).unwrap();
        let source = Scripted::default();
        let served = Served::start(source.clone(), Address::Unix(folder.path().join("socket")), None).await;
        Self { folder, source, served }
    }

    fn copy(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    /// Follows until a notice is wanted.
    async fn follow(&self, is_wanted: impl Fn(&Notice) -> bool) -> Notice {
        let (sender, mut notices) = mpsc::unbounded_channel();
        let copies = vec![("volume".to_owned(), copy_at(self.copy(), CopyOptions::default()))];
        let session = Session::start(self.served.followed_by(copies, self.folder.path()), sender).unwrap();
        let mut told = Vec::new();
        let wanted = loop {
            let notice = tokio::time::timeout(LONG, notices.recv()).await.unwrap_or_else(|_| panic!("told in vain: {told:?}")).unwrap();
            if is_wanted(&notice) {
                break notice;
            }
            told.push(notice);
        };
        session.stop().await.unwrap();
        wanted
    }

    /// What the copy is told to be behind for, with its name, or the stream to be broken for.
    async fn refusal(&self) -> String {
        let is_told = |notice: &Notice| !matches!(notice, Notice::Opened { .. } | Notice::Connected { .. } | Notice::Durable { .. });
        match self.follow(is_told).await {
            Notice::Behind { copy, problem, .. } => format!("{copy}: {problem}"),
            Notice::Disconnected { problem, .. } => problem,
            other => panic!("nothing was refused: {other:?}"),
        }
    }

    fn position(&self) -> Option<Position> {
        Copy::open(Root::open(&self.copy()).unwrap(), CopyOptions::default()).unwrap().position()
    }

    fn bytes(&self) -> String {
        std::fs::read_to_string(self.copy().join("file")).unwrap()
    }
}

fn change(from: u64, put: Put) -> Step {
    Step::Batch(Arc::new(batch(from, vec![Put { content_generation: from + 1, ..put }])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_another_source_is_refused_and_stays_a_copy_of_that() {
    let theirs = SourceId([3; 16]);
    // A manifest, or changes: whatever a source gives that is asked for one.
    let root = put("", Kind::Directory);
    let manifest = Step::Manifest(ManifestPart { position: at(5), is_last_part: true, puts: vec![root, put("file", file(b"ours"))] });
    for step in [manifest, change(0, put("file", file(b"ours")))] {
        let world = World::new().await;
        world.source.hold("file", b"ours");
        world.source.step(step);
        world.source.step(Step::InSync(at(5)));
        let mut copy = Copy::open(Root::open(&world.copy()).unwrap(), CopyOptions::default()).unwrap();
        copy.apply(&treesync::model::Batch { source: theirs, ..batch(0, Vec::new()) }, &NoContents).unwrap();
        let before = copy.position();
        drop(copy);
        std::fs::write(world.copy().join("precious"), "theirs").unwrap();
        let problem = world.refusal().await;
        let parts = [world.copy().display().to_string(), theirs.to_string(), ID.to_string()];
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
        assert_eq!((world.position(), world.copy().join("precious").exists()), (before, true));
        assert!(!world.copy().join("file").exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_source_that_lies_about_bytes_stays_at_its_last_good_generation() {
    let second = || put("file", file(SECOND));
    let inline = |bytes: &'static [u8]| Put { inline: Some(bytes.into()), ..second() };
    // The publisher does not look at blocks: what it sends is what its source says.
    let block = ChangedBlock { offset_bytes: 0, length_bytes: 3, content: ContentHash::of(b"sec") };
    let delta = Delta { base_size_bytes: 5, base_mtime: Mtime::default(), base_content_generation: 1, blocks: vec![block] };
    let patched = Put { delta: Some(delta), ..second() };
    let lies: [(&str, Put, &[u8]); 4] = [
        ("other bytes with the change", inline(b"other\0"), SECOND),
        ("fewer bytes with the change", inline(b"sec"), SECOND),
        ("more bytes with the change", inline(b"secst\0 and more"), SECOND),
        ("other bytes in a block", patched, b"othst\0"),
    ];
    for (lie, put_of_second, held) in lies {
        let world = World::new().await;
        world.source.hold("file", b"first");
        world.source.step(change(0, put("file", file(b"first"))));
        world.source.step(Step::InSync(at(1)));
        world.follow(|notice| matches!(notice, Notice::InSync { .. })).await;
        world.source.forget_steps();
        world.source.hold("file", held);
        world.source.step(change(1, put_of_second));
        let problem = world.refusal().await;
        // What is wrong in a frame breaks the stream of all copies; what is wrong in bytes is found by the copy.
        let names_copy = problem.starts_with(&format!("volume: {}", world.copy().display()));
        assert!(problem.contains("file") && (names_copy || problem.contains("socket")), "{lie}: {problem}");
        assert_eq!((world.position(), world.bytes()), (Some(at(1)), "first".to_owned()), "{lie}");
        // It follows on when the source is honest again.
        world.source.forget_steps();
        world.source.hold("file", SECOND);
        world.source.step(change(1, second()));
        world.source.step(Step::InSync(at(2)));
        world.follow(|notice| matches!(notice, Notice::InSync { position, .. } if position.generation == 2)).await;
        assert_eq!((world.position(), world.bytes()), (Some(at(2)), String::from_utf8_lossy(SECOND).into_owned()), "{lie}");
    }
}
