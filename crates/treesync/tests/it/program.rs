//! The program from end to end: its processes, what they say, and how they end.

use std::path::PathBuf;

use serde_json::Value;

use crate::certificates::Authority;
use crate::processes::{LONG, Running, run, text};
use crate::rsync;
use crate::stage::is_root_or_skipped;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["source", "one", "two"] {
            std::fs::create_dir(world.at(name)).unwrap();
        }
        std::fs::write(world.at("source/index.html"), "hello").unwrap();
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.at(path).to_str().unwrap().to_owned()
    }

    fn address(&self) -> String {
        format!("unix:{}", self.text("socket"))
    }

    fn publish(&self) -> Running {
        let mut publisher = Running::start(&["publish", &self.text("source"), "--listen", &self.address()]);
        publisher.wait_for(|line| line.starts_with("in sync at generation"));
        publisher
    }
}

fn can_run(test: &str) -> bool {
    is_root_or_skipped(test) && rsync::is_there_or_skipped(test)
}

#[test]
fn copies_follow_a_source_and_each_command_answers() {
    if !can_run("copies_follow_a_source_and_each_command_answers") {
        return;
    }
    let world = World::new();
    let address = world.address();
    let publisher = world.publish();
    let mut subscriber = Running::start(&["--json", "subscribe", "--from", &address, &world.text("one"), &world.text("two")]);
    subscriber.wait_for_event(|event| event["event"] == "in_sync");
    std::fs::create_dir(world.at("source/new")).unwrap();
    std::fs::write(world.at("source/new/page.html"), "page").unwrap();

    let dry = run(&["push", "new", "--to", &address, "--dry-run"]);
    assert!(dry.status.success() && text(&dry.stdout).contains("would change: new/page.html"), "{dry:?}");
    let pushed = run(&["--json", "push", "./new/", "--to", &address]);
    let receipt: Value = serde_json::from_slice(&pushed.stdout).unwrap();
    assert!(pushed.status.success() && receipt["is_complete"] == true, "{receipt}");
    let generation = receipt["position"]["generation"].as_u64().unwrap();
    let copies = receipt["copies"].as_array().unwrap();
    assert!(copies.len() == 2 && copies.iter().all(|copy| copy["durable"]["generation"].as_u64() >= Some(generation)), "{receipt}");
    for copy in ["one", "two"] {
        rsync::assert_equal(&world.at("source"), &world.at(copy));
    }

    let missing = run(&["push", "no/such", "--to", &address]);
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("no/such"), "{missing:?}");
    let deleted = run(&["delete", "new", "--to", &address]);
    assert!(deleted.status.success() && text(&deleted.stdout).contains("every attached copy has generation"), "{deleted:?}");
    assert!(!world.at("source/new").exists() && !world.at("one/new").exists() && !world.at("two/new").exists());

    let status = run(&["status", "--of", &address]);
    assert!(
        text(&status.stdout).contains("detection: fanotify")
            && text(&status.stdout).contains("unreadable: 0")
            && text(&status.stdout).contains(&world.text("one")),
        "{status:?}"
    );
    let status = run(&["status", "--of", &world.text("one")]);
    assert!(text(&status.stdout).contains("is clean at generation"), "{status:?}");
    for level in ["marker", "metadata", "content"] {
        let verified = run(&["verify", &world.text("one"), "--against", &address, "--level", level]);
        assert!(verified.status.success() && text(&verified.stdout).contains("equals its source"), "{level}: {verified:?}");
    }
    for command in ["checkpoint", "rescan"] {
        let done = run(&[command, "--to", &address]);
        assert!(done.status.success() && text(&done.stdout).contains("at generation"), "{done:?}");
    }
    subscriber.stop();
    publisher.stop();
}

#[test]
fn a_source_on_another_volume_than_before_begins_a_new_epoch() {
    let world = World::new();
    let (source, address) = (world.text("source"), world.address());
    let epoch = |volume: &[&str]| {
        let arguments = [&["--json", "publish", &source, "--listen", &address, "--poll"], volume].concat();
        let mut publisher = Running::start(&arguments);
        let event = publisher.wait_for_event(|event| event["event"] == "in_sync");
        publisher.stop();
        event["position"]["epoch"].as_u64().unwrap()
    };
    let first = epoch(&["--volume", "vol-1"]);
    assert_eq!(epoch(&["--volume", "vol-1"]), first);
    assert_eq!(epoch(&[]), first, "nobody says that it is another");
    assert_eq!(epoch(&["--volume", "vol-2"]), first + 1, "a volume that was made of a snapshot of the first");
}

#[test]
fn a_copy_that_was_changed_is_found_with_exit_code_3_and_repaired() {
    if !can_run("a_copy_that_was_changed_is_found_with_exit_code_3_and_repaired") {
        return;
    }
    let world = World::new();
    let address = world.address();
    let publisher = world.publish();
    let once = run(&["subscribe", "--from", &address, &world.text("one"), "--once"]);
    assert!(once.status.success() && text(&once.stdout).contains("in sync at generation"), "{once:?}");
    std::fs::write(world.at("one/index.html"), "defaced").unwrap();
    let verify = |more: &[&str]| run(&[&["verify", &world.text("one"), "--against", &address][..], more].concat());
    let found = verify(&[]);
    assert_eq!(found.status.code(), Some(3), "{found:?}");
    assert!(text(&found.stdout).contains("index.html: other content"), "{found:?}");
    let repaired = verify(&["--repair"]);
    assert!(repaired.status.success() && text(&repaired.stdout).contains("repaired"), "{repaired:?}");
    rsync::assert_equal(&world.at("source"), &world.at("one"));
    publisher.stop();
}

#[test]
fn a_repair_of_a_wrong_directory_is_refused_unless_it_is_to_be_adopted() {
    if !can_run("a_repair_of_a_wrong_directory_is_refused_unless_it_is_to_be_adopted") {
        return;
    }
    let world = World::new();
    let address = world.address();
    let publisher = world.publish();
    // One directory is of nobody, and one is a copy of another source.
    std::fs::write(world.at("one/precious"), "mine").unwrap();
    std::fs::create_dir(world.at("foreign")).unwrap();
    std::fs::write(world.at("foreign/precious"), "theirs").unwrap();
    let foreign = format!("unix:{}", world.text("foreign.sock"));
    let mut other = Running::start(&["publish", &world.text("foreign"), "--listen", &foreign]);
    other.wait_for(|line| line.starts_with("in sync at generation"));
    assert!(run(&["subscribe", "--from", &foreign, &world.text("two"), "--once"]).status.success());
    let repair = |copy: &str, more: &[&str]| run(&[&["verify", &world.text(copy), "--against", &address, "--repair"][..], more].concat());
    for (copy, reason) in [("one", "precious"), ("two", "copy of source")] {
        for level in ["marker", "metadata", "content"] {
            let refused = repair(copy, &["--level", level]);
            let said = text(&refused.stderr);
            let names = said.contains(&world.text(copy)) && said.contains("adopt") && said.contains(reason);
            assert!(refused.status.code() == Some(1) && names, "{copy}, {level}: {refused:?}");
            assert!(world.at(copy).join("precious").exists() && !world.at(copy).join("index.html").exists(), "{copy} is as it was");
        }
        let adopted = repair(copy, &["--adopt"]);
        assert!(adopted.status.success() && text(&adopted.stdout).contains("repaired"), "{adopted:?}");
        rsync::assert_equal(&world.at("source"), &world.at(copy));
    }
    let alone = run(&["verify", &world.text("one"), "--against", &address, "--adopt"]);
    assert_eq!(alone.status.code(), Some(2), "without a repair there is nothing to adopt: {alone:?}");
    other.stop();
    publisher.stop();
}

#[test]
fn a_subscriber_that_was_killed_goes_on_where_it_was() {
    if !can_run("a_subscriber_that_was_killed_goes_on_where_it_was") {
        return;
    }
    let world = World::new();
    let address = world.address();
    let publisher = world.publish();
    let subscribe = || Running::start(&["--json", "subscribe", "--from", &address, &world.text("one")]);
    let mut subscriber = subscribe();
    subscriber.wait_for_event(|event| event["event"] == "in_sync");
    drop(subscriber);
    for number in 0..50 {
        std::fs::write(world.at("source").join(number.to_string()), "written while nobody listened").unwrap();
    }
    let checkpoint = run(&["--json", "checkpoint", "--to", &address]);
    let generation = serde_json::from_slice::<Value>(&checkpoint.stdout).unwrap()["position"]["generation"].as_u64();
    let mut subscriber = subscribe();
    let opened = subscriber.wait_for_event(|event| event["event"] == "opened");
    assert!(opened["position"]["generation"].as_u64() < generation, "{opened}");
    subscriber.wait_for_event(|event| event["event"] == "in_sync" && event["position"]["generation"].as_u64() >= generation);
    rsync::assert_equal(&world.at("source"), &world.at("one"));
    subscriber.stop();
    publisher.stop();
}

#[test]
fn a_subscriber_with_nothing_to_do_empties_the_trash() {
    if !can_run("a_subscriber_with_nothing_to_do_empties_the_trash") {
        return;
    }
    let world = World::new();
    let address = world.address();
    std::fs::create_dir(world.at("source/many")).unwrap();
    // More than one apply removes.
    for number in 0..7_000 {
        std::fs::write(world.at("source/many").join(number.to_string()), "").unwrap();
    }
    let publisher = world.publish();
    let mut subscriber = Running::start(&["--json", "subscribe", "--from", &address, &world.text("one")]);
    subscriber.wait_for_event(|event| event["event"] == "in_sync");
    let deleted = run(&["delete", "many", "--to", &address]);
    assert!(deleted.status.success(), "{deleted:?}");
    let trash = world.at("one/.treesync/trash");
    let begun = std::time::Instant::now();
    while std::fs::read_dir(&trash).unwrap().next().is_some() {
        assert!(begun.elapsed() < LONG, "{} names stay in the trash", std::fs::read_dir(&trash).unwrap().count());
        std::thread::yield_now();
    }
    rsync::assert_equal(&world.at("source"), &world.at("one"));
    subscriber.stop();
    publisher.stop();
}

#[test]
fn ends_meet_over_tls_and_strangers_do_not() {
    if !can_run("ends_meet_over_tls_and_strangers_do_not") {
        return;
    }
    let world = World::new();
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let tls = |name: &str, by: &Authority| {
        by.issue(&world.at(name), "127.0.0.1", &ours);
        let file = |file: &str| world.text(&format!("{name}/{file}"));
        ["--tls-cert".to_owned(), file("cert.pem"), "--tls-key".to_owned(), file("key.pem"), "--tls-ca".to_owned(), file("ca.pem")]
    };
    let with = |arguments: &[&str], tls: &[String; 6]| -> Vec<String> {
        arguments.iter().map(ToString::to_string).chain(tls.iter().cloned()).collect()
    };
    let arguments = with(&["publish", &world.text("source"), "--listen", "127.0.0.1:0"], &tls("server", &ours));
    let mut publisher = Running::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let address = publisher.wait_for(|line| line.starts_with("listening on")).replace("listening on ", "");
    let ask = |tls: &[String; 6]| run(&with(&["checkpoint", "--to", &address], tls).iter().map(String::as_str).collect::<Vec<_>>());
    let friend = ask(&tls("friend", &ours));
    assert!(friend.status.success(), "{friend:?}");
    let stranger = ask(&tls("stranger", &foreign));
    assert!(stranger.status.code() == Some(1) && text(&stranger.stderr).contains("ertificate"), "{stranger:?}");
    let plain = run(&["checkpoint", "--to", &address]);
    assert!(plain.status.code() == Some(1) && text(&plain.stderr).contains("TCP needs TLS"), "{plain:?}");
    publisher.stop();
}

#[test]
fn wrong_arguments_are_told_apart_from_failures() {
    assert_eq!(run(&["subscribe", "--from", "nowhere", "/tmp"]).status.code(), Some(2));
    assert_eq!(run(&["--json"]).status.code(), Some(2));
    let missing = run(&["publish", "/no/such/directory", "--listen", "unix:/no/such/socket"]);
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("/no/such/directory"), "{missing:?}");
    let nobody = run(&["--json", "checkpoint", "--to", "unix:/no/such/socket"]);
    let event: Value = serde_json::from_slice(&nobody.stdout).unwrap();
    assert!(nobody.status.code() == Some(1) && event["event"] == "error", "{event}");
    assert!(event["message"].as_str().unwrap().contains("/no/such/socket"), "{event}");
    let bad_glob = run(&["publish", "/tmp", "--listen", "unix:/s", "--exclude", "a["]);
    assert!(bad_glob.status.code() == Some(1) && text(&bad_glob.stderr).contains("a["), "{bad_glob:?}");
    let help = text(&run(&["--help"]).stdout);
    assert!(help.contains("Exit codes"), "{help}");
}
