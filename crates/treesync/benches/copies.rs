//! How soon changes of a large tree are on ten mounted copies, beside rsync that scans and rsync that is told what changed.
//!
//! Needs root, rsync, and memory for eleven filesystems. Prints one JSON object for each figure.

#![expect(clippy::cast_precision_loss, reason = "figures are for people, and none has more than 52 bits")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const COPIES: usize = 10;
const FILES_IN_A_DIRECTORY: usize = 50;
const ROUNDS: usize = 5;
/// Longer than any change may take.
const LONG: Duration = Duration::from_mins(5);

fn main() {
    let files = std::env::var("TREESYNC_BENCH_FILES").map_or(100_000, |text| text.parse().expect("TREESYNC_BENCH_FILES is a number"));
    assert!(rustix::process::geteuid().is_root(), "this benchmark mounts filesystems: run it as root");
    let world = World::new(files);
    for (changes, limit_seconds) in [(1, 0.060), (100, 0.3), (1_000, 1.5)] {
        world.measure(changes, limit_seconds);
    }
}

fn shell(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().expect("sh runs");
    assert!(status.success(), "{script}: {status}");
}

/// Kilobytes of memory, and CPU seconds so far, of a process.
fn usage(pid: u32) -> (u64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("after the name").split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
    (resident.unwrap_or(0), (ticks(11) + ticks(12)) / 100.0)
}

struct Running(Child, Receiver<String>);

impl Running {
    fn start(arguments: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_treesync")).args(arguments).stdout(Stdio::piped()).spawn().expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self(child, lines)
    }

    fn wait_for(&self, wanted: impl Fn(&Value) -> bool) {
        loop {
            let line = self.1.recv_timeout(LONG).expect("it says so in time");
            if serde_json::from_str(&line).is_ok_and(|event| wanted(&event)) {
                return;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    files: usize,
    publisher: Running,
    subscriber: Running,
    folder: tempfile::TempDir,
}

impl World {
    /// A source, and copies that are clones of its first copy's filesystem, as a cloud would make them.
    fn new(files: usize) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let mib = (files * 6 / 1024).max(64) + 128;
        let inodes = files * 2;
        let image = |name: &str| {
            format!(
                "truncate -s {mib}M {0}.img; mkfs.ext4 -q -F -N {inodes} {0}.img; mkdir {0}; mount -o loop,noatime {0}.img {0}",
                at(name).display()
            )
        };
        shell(&image("source"));
        for file in 0..files {
            let path = file_at(&at("source"), file);
            if file % FILES_IN_A_DIRECTORY == 0 {
                std::fs::create_dir(path.parent().expect("in a directory")).expect("made");
            }
            std::fs::write(path, format!("{file:>1000}")).expect("written");
        }
        let address = format!("unix:{}", at("socket").display());
        let own = |arguments: &[&str]| arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
        let begun = Instant::now();
        let publisher = Running::start(&own(&["--json", "publish", &at("source").display().to_string(), "--listen", &address]));
        publisher.wait_for(|event| event["event"] == "in_sync");
        row("first_scan", begun.elapsed().as_secs_f64(), "s", "none", f64::NAN, f64::NAN);
        shell(&image("copy-0"));
        let begun = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_treesync"))
            .args(["subscribe", "--once", "--from", &address])
            .arg(at("copy-0"))
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("ran").success());
        row("first_fill", begun.elapsed().as_secs_f64(), "s", "none", f64::NAN, f64::NAN);
        shell(&format!("umount {}", at("copy-0").display()));
        for copy in 1..COPIES {
            shell(&format!("cp --sparse=always {0}/copy-0.img {0}/copy-{copy}.img; mkdir {0}/copy-{copy}", folder.path().display()));
        }
        for copy in 0..COPIES {
            shell(&format!("mount -o loop,noatime {0}/copy-{copy}.img {0}/copy-{copy}", folder.path().display()));
        }
        let mut arguments = own(&["--json", "subscribe", "--from", &address]);
        arguments.extend((0..COPIES).map(|copy| at(&format!("copy-{copy}")).display().to_string()));
        let begun = Instant::now();
        let subscriber = Running::start(&arguments);
        subscriber.wait_for(|event| event["event"] == "in_sync");
        row("clones_in_sync", begun.elapsed().as_secs_f64(), "s", "none", f64::NAN, f64::NAN);
        row("publisher_memory", usage(publisher.0.id()).0 as f64 / 1024.0, "MiB", "a limit", 64.0, 1.0);
        Self { files, publisher, subscriber, folder }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// Changes files spread over the tree; gives their numbers.
    fn change(&self, changes: usize, round: usize) -> Vec<usize> {
        let touched: Vec<usize> = (0..changes).map(|index| (index * (self.files / changes) + round * 7 + changes) % self.files).collect();
        for file in &touched {
            std::fs::write(file_at(&self.source(), *file), format!("{round:>500}{changes:>550}")).expect("written");
        }
        touched
    }

    /// From the last write until all changes are durable on all copies.
    fn measure(&self, changes: usize, limit_seconds: f64) {
        let (mut ours, mut cpu) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let before = usage(self.publisher.0.id()).1 + usage(self.subscriber.0.id()).1;
            while self.subscriber.1.try_recv().is_ok() {}
            let touched = self.change(changes, round);
            let begun = Instant::now();
            // In sync means durable. A batch can end before the last of the changes, so the files are looked at.
            let is_there = || (0..COPIES).all(|copy| touched.iter().all(|file| self.is_equal(copy, *file)));
            loop {
                self.subscriber.wait_for(|event| event["event"] == "in_sync");
                let seconds = begun.elapsed().as_secs_f64();
                if is_there() {
                    ours.push(seconds);
                    break;
                }
            }
            cpu.push(usage(self.publisher.0.id()).1 + usage(self.subscriber.0.id()).1 - before);
        }
        let (ours, cpu) = (median(ours), median(cpu));
        row(&format!("durable_{changes}"), ours, "s", "a limit", limit_seconds, 1.0);
        let list = median((0..ROUNDS).map(|round| self.rival_by_list(changes, ROUNDS + round)).collect());
        row(&format!("durable_{changes}_list"), ours, "s", "rsync --files-from, 10 in parallel, and sync -f", list, 1.0 / 2.5);
        if changes == 100 {
            let scan = self.rival_by_scan(changes, 2 * ROUNDS);
            row("durable_100_scan", ours, "s", "rsync -aHAX --delete, one copy after another", scan, 1.0 / 200.0);
        }
        // The kernel counts in hundredths of a second: too coarse for a few files.
        if changes >= 100 {
            row(&format!("cpu_{changes}"), cpu * 1000.0 / (changes * COPIES) as f64, "ms", "a limit, a file and copy", 0.15, 1.0);
        }
    }

    fn is_equal(&self, copy: usize, file: usize) -> bool {
        let time = |root: &Path| std::fs::metadata(file_at(root, file)).and_then(|metadata| metadata.modified()).ok();
        time(&self.source()) == time(&self.folder.path().join(format!("copy-{copy}")))
    }

    /// The same changes, by rsync to copies that nobody else keeps meanwhile: the engine is stopped, and then catches up.
    fn rival_by_list(&self, changes: usize, round: usize) -> f64 {
        self.paused(|| {
            let touched = self.change(changes, round);
            let list = self.folder.path().join("list");
            let names: Vec<String> = touched.iter().map(|file| file_at(Path::new(""), *file).display().to_string()).collect();
            std::fs::write(&list, names.join("\n")).expect("written");
            let begun = Instant::now();
            let folder = self.folder.path().display();
            let one = format!("(rsync -aHAX --files-from={folder}/list {folder}/source/ {folder}/copy-$n/; sync -f {folder}/copy-$n) & ");
            shell(&format!("for n in $(seq 0 {}); do {one} done; wait", COPIES - 1));
            begun.elapsed().as_secs_f64()
        })
    }

    fn rival_by_scan(&self, changes: usize, round: usize) -> f64 {
        self.paused(|| {
            self.change(changes, round);
            let begun = Instant::now();
            let folder = self.folder.path().display();
            let one = format!("rsync -aHAX --delete --exclude=/.treesync --exclude=/lost+found {folder}/source/ {folder}/copy-$n/");
            shell(&format!("for n in $(seq 0 {}); do {one}; done", COPIES - 1));
            begun.elapsed().as_secs_f64()
        })
    }

    fn paused<T>(&self, work: impl FnOnce() -> T) -> T {
        let signal = |signal| {
            for process in [&self.publisher.0, &self.subscriber.0] {
                rustix::process::kill_process(rustix::process::Pid::from_child(process), signal).expect("it runs");
            }
        };
        signal(rustix::process::Signal::STOP);
        let done = work();
        signal(rustix::process::Signal::CONT);
        self.subscriber.wait_for(|event| event["event"] == "in_sync");
        done
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = (self.publisher.0.kill(), self.subscriber.0.kill(), self.publisher.0.wait(), self.subscriber.0.wait());
        for name in (0..COPIES).map(|copy| format!("copy-{copy}")).chain(["source".to_owned()]) {
            let _ = Command::new("umount").args(["-q", "-l"]).arg(self.folder.path().join(name)).status();
        }
    }
}

fn file_at(root: &Path, file: usize) -> PathBuf {
    root.join(format!("d{}", file / FILES_IN_A_DIRECTORY)).join(format!("f{file}"))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One figure beside its rival's; `target` is the largest ratio that is accepted.
fn row(name: &str, value: f64, unit: &str, rival: &str, rival_value: f64, target: f64) {
    println!("{}", json!({"name": name, "value": value, "unit": unit, "rival": rival, "rival_value": rival_value, "target": target}));
}
