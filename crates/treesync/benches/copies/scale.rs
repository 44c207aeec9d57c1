//! What grows with the tree: memory, a restart, and a copy that was away. Files are small enough to live in their inodes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::process::{Running, memory, peak_memory};
use super::{file_at, row, shell};

/// Directories that hold the tree, so that none is large.
const FILES_IN_A_DIRECTORY: usize = super::FILES_IN_A_DIRECTORY;
/// Changes while the copy is away.
const MISSED: usize = 2_000;

/// One source and one copy of so many files.
pub(crate) fn measure(files: usize) {
    eprintln!("{files} files: memory, restart, catch-up");
    let place = Place::new(files);
    let publisher = place.publish();
    row(&format!("memory_{files}_scanned"), memory(&publisher), "MiB", "a limit", 64.0, 1.0);
    row(&format!("memory_{files}_scanned_peak"), peak_memory(&publisher), "MiB", "none", f64::NAN, f64::NAN);
    let clean = |publisher: Running| {
        place.folder_shell(&format!(
            "kill {0}; while kill -0 {0} 2>/dev/null && ! grep -q Z /proc/{0}/stat; do sleep 0.01; done",
            publisher.0.id()
        ));
        drop(publisher);
    };
    clean(publisher);
    let begun = Instant::now();
    let publisher = place.publish();
    row(&format!("restart_{files}"), begun.elapsed().as_secs_f64(), "s", "a limit", 5.0, 1.0);
    row(&format!("memory_{files}"), memory(&publisher), "MiB", "a limit", 64.0, 1.0);
    row(&format!("memory_{files}_restarted_peak"), peak_memory(&publisher), "MiB", "none", f64::NAN, f64::NAN);
    // The largest tree is for memory alone: a copy of it takes a minute more.
    if files <= 500_000 {
        place.catch_up(files);
    }
    drop(publisher);
}

struct Place(tempfile::TempDir);

impl Place {
    fn new(files: usize) -> Self {
        let place = Self(tempfile::tempdir_in("/dev/shm").expect("a folder"));
        let mib = files * 4 / 5 / 1024 + files / FILES_IN_A_DIRECTORY * 4 / 1024 + 256;
        for name in ["source", "copy"] {
            place.folder_shell(&format!(
                "truncate -s {mib}M {name}.img; mkfs.ext4 -q -F -O inline_data -I 256 -N {} {name}.img; mkdir {name}; mount -o loop,noatime {name}.img {name}",
                files + files / FILES_IN_A_DIRECTORY + 10_000
            ));
        }
        for file in 0..files {
            let path = file_at(&place.0.path().join("source"), file);
            if file % FILES_IN_A_DIRECTORY == 0 {
                std::fs::create_dir(path.parent().expect("in a directory")).expect("made");
            }
            std::fs::write(path, format!("{file:>20}")).expect("written");
        }
        place
    }

    fn folder_shell(&self, script: &str) {
        shell(&format!("cd {}; {script}", self.0.path().display()));
    }

    fn address(&self) -> String {
        format!("unix:{}/socket", self.0.path().display())
    }

    /// In sync when it returns.
    fn publish(&self) -> Running {
        let source = self.0.path().join("source").display().to_string();
        let publisher = Running::start(&["--json", "publish", &source, "--listen", &self.address()].map(ToOwned::to_owned));
        publisher.wait_for(|event| event["event"] == "in_sync");
        publisher
    }

    fn follow_once(&self) -> f64 {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_treesync"));
        command.args(["subscribe", "--once", "--from", &self.address()]).arg(self.0.path().join("copy")).stdout(Stdio::null());
        assert!(command.status().expect("ran").success());
        begun.elapsed().as_secs_f64()
    }

    fn catch_up(&self, files: usize) {
        self.follow_once();
        let change = |round: usize| {
            for index in 0..MISSED {
                let file = (index * (files / MISSED) + round) % files;
                std::fs::write(file_at(&self.0.path().join("source"), file), format!("{round:>21}")).expect("written");
            }
        };
        change(1);
        // The publisher has heard of all of them when it has compared.
        let rescan = Command::new(env!("CARGO_BIN_EXE_treesync")).args(["rescan", "--to", &self.address()]).stdout(Stdio::null()).status();
        assert!(rescan.expect("ran").success());
        let ours = self.follow_once();
        assert!(is_equal(&self.0.path().join("source"), &self.0.path().join("copy"), files), "the copy has all changes");
        change(2);
        let begun = Instant::now();
        self.folder_shell("rsync -aHAX --modify-window=-1 --delete --exclude=/.treesync --exclude=/lost+found source/ copy/");
        row(&format!("catch_up_2000_in_{files}"), ours, "s", "rsync -aHAX --delete", begun.elapsed().as_secs_f64(), 0.2);
    }
}

fn is_equal(source: &Path, copy: &Path, files: usize) -> bool {
    let read = |root: &Path, index: usize| std::fs::read(file_at(root, index * (files / MISSED) + 1)).ok();
    (0..MISSED).all(|index| read(source, index).is_some_and(|bytes| Some(bytes) == read(copy, index)))
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in ["copy", "source"] {
            let _ = Command::new("umount").args(["-q", "-l"]).arg(self.0.path().join(name)).status();
        }
    }
}
