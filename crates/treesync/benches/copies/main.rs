//! How soon changes of a large tree are on ten mounted copies, beside rsync that scans and rsync that is told what changed.
//!
//! Needs root, rsync, and memory for eleven filesystems. Prints one JSON object for each figure.

#![expect(clippy::cast_precision_loss, reason = "figures are for people, and none has more than 52 bits")]

mod away;
mod figure;
mod large;
mod process;
mod scale;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use figure::row;
use process::{Running, memory, peak_memory, usage};

const COPIES: usize = 10;
const FILES_IN_A_DIRECTORY: usize = 50;
const ROUNDS: usize = 5;
/// How long a publisher waits for quiet (`feed::Windows`); whoever gathers a list for rsync has to wait as well.
const QUIET: Duration = Duration::from_millis(20);
/// How long an idle subscriber is watched.
const IDLE: Duration = Duration::from_secs(10);
/// Size of a volume, most of it a hole: the journal that `mkfs.ext4` makes has 64 MiB from 2 to 64 GiB, and 16 MiB below 1 GiB,
/// the smallest size that EBS has. A quarter of it is the most that one commit takes.
const VOLUME_GIB: usize = 10;
/// A copy rests for 0.3 s, and tidies up.
const TIDYING: Duration = Duration::from_secs(3);
/// Files in the directory that is renamed.
const RENAMED: usize = 5_000;

fn main() {
    let files = std::env::var("TREESYNC_BENCH_FILES").map_or(100_000, |text| text.parse().expect("TREESYNC_BENCH_FILES is a number"));
    assert!(rustix::process::geteuid().is_root(), "this benchmark mounts filesystems: run it as root");
    let only = std::env::var("TREESYNC_BENCH_ONLY").ok();
    measure(files, |part| only.as_ref().is_none_or(|only| only.split(',').any(|wanted| wanted == part)));
    figure::tell_missed();
}

fn measure(files: usize, is_wanted: impl Fn(&str) -> bool) {
    if ["changes", "rename", "idle"].into_iter().any(&is_wanted) {
        let world = World::new(files);
        for (changes, limit_seconds) in [(1, 0.060), (100, 0.3), (1_000, 1.5)].into_iter().filter(|_| is_wanted("changes")) {
            eprintln!("{changes} changes of {files} files");
            world.measure(changes, limit_seconds);
        }
        if is_wanted("rename") {
            world.rename_a_directory();
        }
        if is_wanted("idle") {
            world.be_idle();
        }
    }
    if is_wanted("large") {
        large::measure();
    }
    if is_wanted("away") {
        away::measure(files);
    }
    for files in [files, files * 5, files * 10].into_iter().filter(|_| is_wanted("scale")) {
        scale::measure(files);
    }
}

fn shell(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().expect("sh runs");
    assert!(status.success(), "{script}: {status}");
}

/// How rsync makes its copies durable, or not, and what that is called.
#[derive(Clone, Copy)]
struct Rival {
    sync: &'static str,
    text: &'static str,
}

/// How rsync that scans is run for all copies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    OneByOne,
    AllAtOnce,
}

impl Order {
    fn text(self) -> &'static str {
        match self {
            Self::OneByOne => "one copy after another",
            Self::AllAtOnce => "10 in parallel",
        }
    }

    /// Two cores do no more than twice as much in parallel.
    fn target(self) -> f64 {
        match self {
            Self::OneByOne => 1.0 / 200.0,
            Self::AllAtOnce => 1.0 / 100.0,
        }
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
        let inodes = (files + RENAMED) * 2;
        let image = |name: &str| {
            format!(
                "truncate -s {VOLUME_GIB}G {0}.img; mkfs.ext4 -q -F -N {inodes} {0}.img; mkdir {0}; mount -o loop,noatime {0}.img {0}",
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
        row("publisher_memory", memory(&publisher), "MiB", "a limit", 64.0, 1.0);
        row("publisher_memory_peak", peak_memory(&publisher), "MiB", "none", f64::NAN, f64::NAN);
        row("subscriber_memory_peak", peak_memory(&subscriber), "MiB", "none", f64::NAN, f64::NAN);
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

    /// From now until something is true of all copies: when readers saw it on all of them, and when it was durable.
    fn wait_until(&self, is_there: impl Fn() -> bool) -> (f64, f64) {
        let begun = Instant::now();
        let (mut generation, mut visible) = (0, None);
        loop {
            let event = self.subscriber.next();
            let seconds = begun.elapsed().as_secs_f64();
            let at = event["position"]["generation"].as_u64().unwrap_or(0);
            if event["event"] == "visible" {
                generation = generation.max(at);
                visible = Some(seconds);
            }
            // In sync means durable on all copies. A batch can end before the last of the changes, so the files are looked at:
            // only now, since that takes time from those who still work.
            if event["event"] == "in_sync" && at >= generation && is_there() {
                return (visible.unwrap_or(seconds), seconds);
            }
        }
    }

    /// From the last write until all changes are visible, and durable, on all copies.
    fn measure(&self, changes: usize, limit_seconds: f64) {
        let (mut ours, mut shown, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        self.warm_up(changes);
        for round in 1..=ROUNDS {
            let before = usage(self.publisher.0.id()) + usage(self.subscriber.0.id());
            while self.subscriber.1.try_recv().is_ok() {}
            let touched = self.change(changes, round);
            let is_there = || (0..COPIES).all(|copy| touched.iter().all(|file| self.is_equal(copy, *file)));
            let (visible, durable) = self.wait_until(is_there);
            shown.push(visible);
            ours.push(durable);
            cpu.push(usage(self.publisher.0.id()) + usage(self.subscriber.0.id()) - before);
        }
        let (ours, shown, cpu) = (median(ours), median(shown), median(cpu));
        row(&format!("visible_{changes}"), shown, "s", "a limit", limit_seconds, 1.0);
        self.compare_by_list(&format!("visible_{changes}"), shown, changes, Rival { sync: "true", text: "no sync" }, 3);
        row(&format!("durable_{changes}"), ours, "s", "a limit", limit_seconds, 1.0);
        self.compare_by_list(&format!("durable_{changes}"), ours, changes, Rival { sync: "sync -f", text: "and sync -f" }, 5);
        if changes == 100 {
            for (name, order, round) in [("durable_100_scan", Order::OneByOne, 7), ("durable_100_scan_parallel", Order::AllAtOnce, 8)] {
                let scan = self.rival_by_scan(order, || {
                    self.change(changes, round * ROUNDS);
                });
                row(name, ours, "s", &format!("rsync -aHAX --delete, {}", order.text()), scan, order.target());
            }
        }
        // The kernel counts in hundredths of a second: too coarse for a few files.
        if changes >= 100 {
            row(&format!("cpu_{changes}"), cpu * 1000.0 / (changes * COPIES) as f64, "ms", "a limit, a file and copy", 0.15, 1.0);
        }
    }

    /// A round that is not counted: what the filesystems read for the first time since they were mounted, the rival, which
    /// comes later, finds in memory.
    fn warm_up(&self, changes: usize) {
        let touched = self.change(changes, 0);
        self.wait_until(|| (0..COPIES).all(|copy| touched.iter().all(|file| self.is_equal(copy, *file))));
    }

    /// Beside rsync that has its list as soon as the last write is done, and beside rsync with the guarantees of ours: the list
    /// is known after the same quiet, and is durable before the first copy is touched, or a crash would call for a scan.
    fn compare_by_list(&self, name: &str, ours: f64, changes: usize, rival: Rival, first_round: usize) {
        let times = |is_told: bool, first_round: usize| {
            median((0..ROUNDS).map(|round| self.rival_by_list(changes, first_round * ROUNDS + round, rival.sync, is_told)).collect())
        };
        let text = format!("rsync --files-from, 10 in parallel, {}", rival.text);
        row(&format!("{name}_list_known"), ours, "s", &text, times(true, first_round), 1.0 / 2.5);
        let text = format!("{text}; 20 ms of quiet, a durable list");
        row(&format!("{name}_list"), ours, "s", &text, times(false, first_round + 1), 1.0 / 2.5);
    }

    fn rename_a_directory(&self) {
        eprintln!("a directory of {RENAMED} files is renamed");
        let copies = || (0..COPIES).map(|copy| self.folder.path().join(format!("copy-{copy}")));
        let (old, new, newest) = (self.source().join("old"), self.source().join("new"), self.source().join("newest"));
        std::fs::create_dir(&old).expect("made");
        for file in 0..RENAMED {
            std::fs::write(old.join(file.to_string()), format!("{file:>1000}")).expect("written");
        }
        let last = format!("old/{}", RENAMED - 1);
        self.wait_until(|| copies().all(|copy| copy.join(&last).exists()));
        std::fs::rename(&old, &new).expect("renamed");
        let (_, durable) = self.wait_until(|| copies().all(|copy| copy.join("new").exists() && !copy.join("old").exists()));
        for (name, order, from, to) in
            [("rename_5000", Order::OneByOne, &new, &newest), ("rename_5000_parallel", Order::AllAtOnce, &newest, &old)]
        {
            let scan = self.rival_by_scan(order, || std::fs::rename(from, to).expect("renamed"));
            row(name, durable, "s", &format!("rsync -aHAX --delete, {}", order.text()), scan, order.target());
        }
    }

    /// System calls of the subscriber, while nothing happens, that name a copy or a descriptor below one.
    fn be_idle(&self) {
        eprintln!("nothing happens for {} s", IDLE.as_secs());
        // Not idle yet: what was replaced last is still to be removed.
        std::thread::sleep(TIDYING);
        let trace = self.folder.path().join("trace");
        let seconds = IDLE.as_secs().to_string();
        let pid = self.subscriber.0.id().to_string();
        let mut command = Command::new("timeout");
        command.args(["--signal=INT", &seconds, "strace", "-f", "-y", "-o"]).arg(&trace).args(["-p", &pid]).stderr(Stdio::null());
        command.status().expect("timeout runs");
        let text = std::fs::read_to_string(&trace)
            .expect("system calls are counted by strace, which is missing or may not trace (apt-get install strace)");
        let calls = text.lines().filter(|line| line.contains(" = ") || line.contains("unfinished")).count();
        assert!(calls > 0, "strace sees the subscriber wait, at least: {text}");
        let on_copies = text.lines().filter(|line| line.contains("/copy-")).count();
        row("idle_calls_all", calls as f64, "", "none", f64::NAN, f64::NAN);
        row("idle_calls_on_copies", on_copies as f64, "", "one call in 10 s", 1.0, 0.0);
    }

    fn is_equal(&self, copy: usize, file: usize) -> bool {
        let time = |root: &Path| std::fs::metadata(file_at(root, file)).and_then(|metadata| metadata.modified()).ok();
        time(&self.source()) == time(&self.folder.path().join(format!("copy-{copy}")))
    }

    /// The same changes, by rsync to copies that nobody else keeps meanwhile: the engine is stopped, and then catches up.
    fn rival_by_list(&self, changes: usize, round: usize, sync: &str, is_told: bool) -> f64 {
        self.paused(|| {
            let touched = self.change(changes, round);
            let list = self.folder.path().join("list");
            let names: Vec<String> = touched.iter().map(|file| file_at(Path::new(""), *file).display().to_string()).collect();
            let names = names.join("\n");
            if is_told {
                std::fs::write(&list, &names).expect("written");
            }
            let begun = Instant::now();
            if !is_told {
                std::thread::sleep(QUIET);
                // On the filesystem of the source, as the index of ours is; in its reserved directory, so that it is no change.
                let kept = std::fs::File::create(self.source().join(".treesync/list")).expect("created");
                std::io::Write::write_all(&mut &kept, names.as_bytes()).and_then(|()| kept.sync_all()).expect("durable");
                std::fs::copy(self.source().join(".treesync/list"), &list).expect("copied");
            }
            let folder = self.folder.path().display();
            let one = format!(
                "(rsync -aHAX --modify-window=-1 --files-from={folder}/list {folder}/source/ {folder}/copy-$n/; {sync} {folder}/copy-$n) & "
            );
            shell(&format!("for n in $(seq 0 {}); do {one} done; wait", COPIES - 1));
            begun.elapsed().as_secs_f64()
        })
    }

    fn rival_by_scan(&self, order: Order, change: impl FnOnce()) -> f64 {
        self.paused(|| {
            change();
            let begun = Instant::now();
            let folder = self.folder.path().display();
            let one = format!(
                "rsync -aHAX --modify-window=-1 --delete --exclude=/.treesync --exclude=/lost+found {folder}/source/ {folder}/copy-$n/"
            );
            let (end, wait) = if order == Order::AllAtOnce { (" &", "; wait") } else { (";", "") };
            shell(&format!("for n in $(seq 0 {}); do {one}{end} done{wait}", COPIES - 1));
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
