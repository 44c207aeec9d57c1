//! What others plant where a source keeps its index: whoever may write the root can, and the publisher is root.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;
use tempfile::TempDir;
use treesync::model::Position;
use treesync::publish::{DetectionWish, PublishOptions, Publisher};

use crate::stage::is_root_or_skipped;

/// Longer than anything takes on a loaded machine, but that which waits for ever.
const LONG: Duration = Duration::from_mins(1);
const SECRET: &str = "what nobody may touch";

/// A source, its hidden directory, and a file and an empty directory that are none of its.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.source()).unwrap();
        fs::write(scene.source().join("page"), "one").unwrap();
        fs::create_dir(scene.elsewhere()).unwrap();
        fs::write(scene.canary(), SECRET).unwrap();
        scene
    }

    /// With a hidden directory that nobody used yet.
    fn prepared() -> Self {
        let scene = Self::new();
        fs::DirBuilder::new().mode(0o700).create(scene.hidden("")).unwrap();
        scene
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn hidden(&self, name: &str) -> PathBuf {
        self.source().join(".treesync").join(name)
    }

    fn elsewhere(&self) -> PathBuf {
        self.folder.path().join("elsewhere")
    }

    fn canary(&self) -> PathBuf {
        self.folder.path().join("canary")
    }

    fn publish(&self) -> Result<Publisher, String> {
        let options = PublishOptions { detection: DetectionWish::Poll, ..PublishOptions::default() };
        Publisher::start(&self.source(), options).map_err(|error| error.to_string())
    }

    /// What starting says; the publisher ends again.
    fn start(&self) -> Result<Position, String> {
        self.publish().map(|publisher| publisher.settle().unwrap())
    }

    #[track_caller]
    fn assert_refused(&self, name: &str) {
        let told = self.start().expect_err(name);
        let path = self.hidden(name);
        assert!(told.contains(path.to_str().unwrap().trim_end_matches('/')) && told.contains("move it away"), "{name}: {told}");
        self.assert_untouched(name);
    }

    #[track_caller]
    fn assert_untouched(&self, context: &str) {
        assert_eq!(fs::read_to_string(self.canary()).unwrap(), SECRET, "{context}");
        assert_eq!(fs::read_dir(self.elsewhere()).unwrap().count(), 0, "{context}");
    }
}

#[test]
fn a_link_where_a_file_is_written_is_replaced_and_not_followed() {
    for name in ["origin.new", "index.damaged"] {
        let scene = Scene::prepared();
        symlink(scene.canary(), scene.hidden(name)).unwrap();
        fs::write(scene.hidden("index"), "no index").unwrap();
        scene.start().unwrap();
        scene.assert_untouched(name);
        assert!(fs::symlink_metadata(scene.hidden(name)).is_ok_and(|state| state.is_file()) || name == "origin.new", "{name}");
    }
}

#[test]
fn a_link_where_a_file_is_read_is_refused() {
    for name in ["index", "origin.json"] {
        let scene = Scene::prepared();
        symlink(scene.canary(), scene.hidden(name)).unwrap();
        scene.assert_refused(name);
        // An empty file would become an index.
        fs::write(scene.canary(), "").unwrap();
        scene.start().expect_err(name);
        assert_eq!(fs::read(scene.canary()).unwrap(), b"", "{name}");
    }
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    for name in ["index", "origin.json"] {
        let scene = Scene::prepared();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, scene.hidden(name), fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            scene.assert_refused(name);
            sender.send(()).unwrap();
        });
        receiver.recv_timeout(LONG).expect(name);
    }
}

#[test]
fn a_hidden_directory_of_somebody_else_is_refused_and_one_of_ours_is_made_private() {
    if !is_root_or_skipped("a_hidden_directory_of_somebody_else_is_refused_and_one_of_ours_is_made_private") {
        return;
    }
    let scene = Scene::prepared();
    chown(scene.hidden(""), Some(33), None).unwrap();
    scene.assert_refused("");
    assert_eq!(fs::read_dir(scene.hidden("")).unwrap().count(), 0);
    chown(scene.hidden(""), Some(0), None).unwrap();
    fs::set_permissions(scene.hidden(""), fs::Permissions::from_mode(0o777)).unwrap();
    scene.start().unwrap();
    assert_eq!(fs::metadata(scene.hidden("")).unwrap().permissions().mode() & 0o7777, 0o700);
    chown(scene.hidden("index"), Some(33), None).unwrap();
    scene.assert_refused("index");
}

#[test]
fn a_link_in_place_of_the_hidden_directory_is_refused() {
    let scene = Scene::new();
    symlink(scene.elsewhere(), scene.source().join(".treesync")).unwrap();
    scene.assert_refused("");
}

#[test]
fn a_hidden_directory_that_is_renamed_while_it_is_used_stays_the_one_that_is_used() {
    let scene = Scene::new();
    let publisher = scene.publish().unwrap();
    let position = publisher.settle().unwrap();
    fs::rename(scene.source().join(".treesync"), scene.source().join("renamed")).unwrap();
    symlink(scene.elsewhere(), scene.source().join(".treesync")).unwrap();
    // A copy from a later epoch makes the source begin one more, and write that down.
    drop(publisher.subscribe(Some(Position { epoch: position.epoch + 1, ..position })).unwrap());
    drop(publisher);
    scene.assert_untouched("a new epoch");
    let noted = fs::read_to_string(scene.source().join("renamed/origin.json")).unwrap();
    assert!(noted.contains(&format!("\"epoch\":{}", position.epoch + 2)), "{noted}");
}
