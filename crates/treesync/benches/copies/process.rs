//! The program under test: started, listened to, and what it uses.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Longer than any change may take.
const LONG: Duration = Duration::from_mins(5);

/// CPU seconds so far, of a process.
pub(crate) fn usage(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("after the name").split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// MiB of memory that a process has now.
pub(crate) fn memory(process: &Running) -> f64 {
    of_status(process, "VmRSS:")
}

/// MiB of memory that a process had at most.
pub(crate) fn peak_memory(process: &Running) -> f64 {
    of_status(process, "VmHWM:")
}

fn of_status(process: &Running, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).expect("it runs");
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix("kB"));
    value.and_then(|kib| kib.trim().parse::<f64>().ok()).expect("the kernel tells") / 1024.0
}

/// The program, running, and the lines that it prints.
pub(crate) struct Running(pub(crate) Child, pub(crate) Receiver<String>);

impl Running {
    pub(crate) fn start(arguments: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_treesync")).args(arguments).stdout(Stdio::piped()).spawn().expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self(child, lines)
    }

    /// The next event.
    pub(crate) fn next(&self) -> Value {
        serde_json::from_str(&self.1.recv_timeout(LONG).expect("it says something in time")).expect("an object a line")
    }

    pub(crate) fn wait_for(&self, wanted: impl Fn(&Value) -> bool) {
        while !wanted(&self.next()) {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
