//! What other processes change on a copy is noticed, and nothing that treesync does to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::oracle::ground::{Ground, Kind};
use crate::processes::{Running, run};
use crate::stage::is_root_or_skipped;

struct World {
    ground: Ground,
    address: String,
}

impl World {
    fn new(kind: Kind) -> Self {
        let ground = Ground::new(kind, 512);
        for directory in ["source/deep", "source/kept", "copy"] {
            fs::create_dir_all(ground.path().join(directory)).unwrap();
        }
        for name in ["one", "two", "deep/three", "kept/four"] {
            fs::write(ground.path().join("source").join(name), name).unwrap();
        }
        let address = format!("unix:{}", ground.path().join("socket").display());
        Self { ground, address }
    }

    fn text(&self, path: &str) -> String {
        self.ground.path().join(path).to_str().unwrap().to_owned()
    }

    /// What the publisher says of the one copy.
    fn drift_in_status(&self) -> Value {
        let status = run(&["--json", "status", "--of", &self.address]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status["copies"][0]["drift"].clone()
    }
}

/// Waits until so many paths are told; all that were told.
fn told(subscriber: &mut Running, total: u64) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    loop {
        let event = subscriber.wait_for_event(|event| event["event"] == "drifted");
        paths.extend(event["paths"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().to_owned()));
        if event["total"].as_u64() >= Some(total) {
            return paths;
        }
    }
}

fn notices_what_others_change(kind: Kind) {
    let world = World::new(kind);
    let (source, copy) = (world.text("source"), world.text("copy"));
    let mut publisher = Running::start(&["publish", &source, "--listen", &world.address]);
    publisher.wait_for(|line| line.starts_with("in sync at generation"));
    let start = ["--json", "subscribe", "--from", &world.address, &copy, "--watch-drift", "--preserve", "kept/**"];
    let mut subscriber = Running::start(&start);
    subscriber.wait_for_event(|event| event["event"] == "in_sync");
    // Changes of the source are none of the copy, though they come by the same calls.
    let change = |round: u64| {
        fs::write(Path::new(&source).join("two"), format!("round {round}")).unwrap();
        fs::create_dir(Path::new(&source).join(format!("new-{round}"))).unwrap();
        let pushed = run(&["push", "two", "--to", &world.address]);
        assert!(pushed.status.success(), "{pushed:?}");
    };
    change(1);
    assert_eq!(world.drift_in_status(), 0);

    let at = |path: &str| Path::new(&copy).join(path);
    fs::write(at("kept/own"), "the copy's own").unwrap();
    fs::write(at("one"), "defaced").unwrap();
    fs::remove_file(at("deep/three")).unwrap();
    fs::create_dir(at("deep/foreign")).unwrap();
    let expected = ["deep/foreign", "deep/three", "one"];
    assert_eq!(told(&mut subscriber, 3), expected.map(str::to_owned).into());
    change(2);
    // The push returned after the copies had told where they are, with this beside it.
    assert_eq!(world.drift_in_status(), 3);
    let status = run(&["status", "--of", &world.address]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("3 paths changed by others"), "{status:?}");

    subscriber.stop();
    let repaired = run(&["verify", &copy, "--against", &world.address, "--repair", "--preserve", "kept/**"]);
    assert!(repaired.status.success(), "{repaired:?}");
    let mut subscriber = Running::start(&start);
    subscriber.wait_for_event(|event| event["event"] == "in_sync");
    change(3);
    assert_eq!((world.drift_in_status(), fs::read_to_string(at("one")).unwrap()), (Value::from(0), "one".to_owned()));
    assert_eq!(fs::read_to_string(at("kept/own")).unwrap(), "the copy's own");
    subscriber.stop();
    publisher.stop();
}

#[test]
fn what_others_change_on_a_copy_is_told_on_ext4() {
    if is_root_or_skipped("what_others_change_on_a_copy_is_told_on_ext4") {
        notices_what_others_change(Kind::Ext4);
    }
}

#[test]
fn what_others_change_on_a_copy_is_told_on_xfs() {
    if is_root_or_skipped("what_others_change_on_a_copy_is_told_on_xfs") {
        notices_what_others_change(Kind::Xfs);
    }
}
