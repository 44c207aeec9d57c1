//! A verification that is killed goes on where it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::mount::{MountFlags, mount_remount};
use serde_json::Value;

use crate::oracle::ground::{Ground, Kind};
use crate::processes::{LONG, Running, run};
use crate::stage::is_root_or_skipped;

const FILES: usize = 1_500;
const FILE_BYTES: usize = 128 * 1024;
/// Bytes of the progress of one file, and of what comes before all.
const RECORD_BYTES: u64 = 76;
/// Tries to kill it in time: a machine that is busy may be late.
const TRIES: u32 = 10;

type Times = BTreeMap<PathBuf, (i64, i64)>;

/// When the bytes of each file were read last, on a filesystem that notes each reading.
fn times_of_reading(copy: &Path) -> Times {
    let files = fs::read_dir(copy).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::metadata(path).unwrap())).map(|(path, file)| (path, (file.atime(), file.atime_nsec()))).collect()
}

#[test]
fn a_verification_that_was_killed_reads_only_what_it_had_not_read() {
    let test = "a_verification_that_was_killed_reads_only_what_it_had_not_read";
    if !is_root_or_skipped(test) {
        return;
    }
    let ground = Ground::new(Kind::Ext4, 1024);
    mount_remount(ground.path(), MountFlags::STRICTATIME, "").unwrap();
    let (source, copy, progress) = (ground.path().join("source"), ground.path().join("copy"), ground.path().join("progress"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&copy).unwrap();
    for number in 0..FILES {
        fs::write(source.join(format!("{number:04}")), vec![u8::try_from(number % 251).unwrap(); FILE_BYTES]).unwrap();
    }
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let address = format!("unix:{}", shown(&ground.path().join("socket")));
    let mut publisher = Running::start(&["publish", &shown(&source), "--listen", &address]);
    publisher.wait_for(|line| line.starts_with("in sync at generation"));
    let filled = run(&["subscribe", "--from", &address, &shown(&copy), "--once"]);
    assert!(filled.status.success(), "{filled:?}");
    // What changed within the last second is read again in any case.
    let newest = fs::read_dir(&copy).unwrap().map(|entry| entry.unwrap().metadata().unwrap().ctime()).max().unwrap();
    while std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() <= newest.cast_unsigned() + 1 {
        std::thread::yield_now();
    }
    let (copy_text, progress_text) = (shown(&copy), shown(&progress));
    let verify = ["--json", "verify", &copy_text, "--against", &address, "--level", "content", "--resume", &progress_text];
    let saved = (0..TRIES).find_map(|_| killed_half_way(&verify, &progress)).expect("killed in time");
    let before = times_of_reading(&copy);
    fs::write(copy.join("0000"), vec![99; FILE_BYTES]).unwrap();

    let verified = run(&verify);
    let told: Vec<Value> = verified.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let finding = told.iter().find(|event| event["event"] == "finding").expect("what changed meanwhile is found");
    assert_eq!(finding["path"], "0000", "{told:?}");
    let verdict = told.last().unwrap();
    let spared = verdict["read_before"].as_u64().unwrap();
    // The one that changed was read before as well.
    assert_eq!((spared, &verdict["differences"]), (saved - 1, &Value::from(1)), "{verdict}");
    // A directory that differs is looked at file by file, but none that is known is read for that.
    let after = times_of_reading(&copy);
    let unread = before.iter().filter(|(path, time)| after[*path] == **time).count() as u64;
    assert_eq!(unread, spared, "files whose bytes the second run did not read");
    assert!(!progress.exists(), "when all is read, there is nothing to go on with");
    publisher.stop();
}

/// How many files it had read when it was killed; none when it was done before.
fn killed_half_way(verify: &[&str], progress: &Path) -> Option<u64> {
    let verifying = Running::start(verify);
    let begun = Instant::now();
    let saved = || fs::metadata(progress).map_or(0, |file| file.len().saturating_sub(56) / RECORD_BYTES);
    while saved() < FILES as u64 / 2 {
        assert!(begun.elapsed() < LONG, "nothing is kept in {}", progress.display());
        std::thread::yield_now();
        if begun.elapsed().as_secs() > 2 && !progress.exists() {
            return None;
        }
    }
    drop(verifying);
    (saved() < FILES as u64).then(saved).filter(|_| progress.exists())
}
