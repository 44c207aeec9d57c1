//! The judge: rsync says in what two trees differ.

use std::path::Path;
use std::process::Command;

/// Whether rsync is there. A skip is loud, and a failure where everything must run.
pub(crate) fn is_there_or_skipped(test: &str) -> bool {
    if Command::new("rsync").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs rsync, and CI must run everything: apt-get install rsync");
    eprintln!("SKIPPED {test}: needs rsync (apt-get install rsync)");
    false
}

/// What rsync would change on the copy to make it equal to the source; empty when they are equal.
///
/// Archive with hard links, ACLs, attributes and sparse files, deletions included. What belongs to treesync or to the
/// filesystem is left out; so is the digest of files, unless asked for.
pub(crate) fn differences(source: &Path, copy: &Path, with_content: bool) -> String {
    // Attributes of users alone: what else there is belongs to one host.
    let attributes = "--filter=-x! user.*";
    differences_by(source, copy, &[&[attributes][..], if with_content { &["--checksum"] } else { &[] }].concat())
}

/// As [`differences`], with all attributes but our own marks: file capabilities show.
pub(crate) fn differences_in_privileges(source: &Path, copy: &Path) -> String {
    differences_by(source, copy, &["--filter=-x trusted.treesync.*"])
}

fn differences_by(source: &Path, copy: &Path, options: &[&str]) -> String {
    let mut command = Command::new("rsync");
    // Times to the nanosecond: without a window, or with one of zero, rsync compares whole seconds.
    command.args(["-aHAXSn", "--delete", "-i", "--modify-window=-1", "--exclude=/.treesync", "--exclude=/lost+found"]).args(options);
    command.arg(source.join("")).arg(copy.join(""));
    for _ in 0..TRIES {
        let output = command.output().expect("rsync is there");
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).into_owned();
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(STREAM_BROKE), "rsync: {complaint}");
        eprintln!("rsync gave no verdict, and is asked again: {complaint}");
    }
    panic!("rsync gave no verdict in {TRIES} tries");
}

/// "Error in rsync protocol data stream" (rsync(1), exit values): one of its processes lost the other, and nothing is said of
/// the trees.
const STREAM_BROKE: i32 = 12;
const TRIES: u32 = 3;

#[track_caller]
pub(crate) fn assert_equal(source: &Path, copy: &Path) {
    let differences = differences(source, copy, true);
    assert!(differences.is_empty(), "{} differs from {}:\n{differences}", copy.display(), source.display());
}

#[test]
fn the_judge_sees_a_nanosecond() {
    if !is_there_or_skipped("the_judge_sees_a_nanosecond") {
        return;
    }
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    for (name, nanoseconds) in [("source", 1), ("copy", 2)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let file = std::fs::File::create(folder.path().join(name).join("file")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, nanoseconds)).unwrap();
        let directory = std::fs::File::open(folder.path().join(name)).unwrap();
        directory.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let differences = differences(&folder.path().join("source"), &folder.path().join("copy"), true);
    assert!(differences.contains(" file"), "{differences:?}");
}
