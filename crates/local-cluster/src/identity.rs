//! Identifies processes beyond their number, so that a number used again is never mistaken for ours.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process of this boot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The process id in our process-id namespace.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the boot: field 22 of `/proc/PID/stat`, see proc(5).
    pub(crate) start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`: start times of another boot say nothing.
    pub(crate) boot: String,
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    start_ticks: u64,
}

impl Identity {
    /// The identity of the running process `pid`; `None` when there is none, or only its zombie.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = read_stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X'))?;
        Some(Self { pid, start_ticks: stat.start_ticks, boot: boot_id() })
    }

    /// Whether this very process still runs (a zombie does not).
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends `signal` to this very process. A process that has ended already is no error.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let handle = match pidfd_open(pid.context("no process id")?, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error).context("cannot open a process handle"),
        };
        // The handle pins the process, so what is checked after opening it holds for what is signalled.
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(handle, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }
}

fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn read_stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads a line of `/proc/PID/stat`. The command name in it may contain blanks and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, after_name) = line.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    Some(Stat { state: fields.first()?.chars().next()?, parent: fields.get(1)?.parse().ok()?, start_ticks: fields.get(19)?.parse().ok()? })
}

/// Every process id that `/proc` shows.
pub(crate) fn all_pids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("cannot list /proc")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// This process and those that wait for it: whatever they look like, they are never ours to kill.
pub(crate) fn own_line() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    while let Some(stat) = line.last().and_then(|pid| read_stat(*pid)) {
        if stat.parent == 0 || line.contains(&stat.parent) {
            break;
        }
        line.push(stat.parent);
    }
    line
}

/// Whether `pid` lives in the network namespace that the file `netns` names.
pub(crate) fn lives_in_netns(pid: u32, netns: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let wanted = inode(netns);
    wanted.is_some() && inode(Path::new(&format!("/proc/{pid}/ns/net"))) == wanted
}

/// The arguments of `pid`; empty when it has ended.
pub(crate) fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a b) c) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 9 9";
        let expected = Stat { state: 'S', parent: 1, start_ticks: 4242 };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("7 (cut) S 1"), None);
    }

    #[test]
    fn a_reused_process_id_is_not_the_recorded_process() {
        let mut identity = Identity::of(std::process::id()).unwrap();
        assert!(identity.is_alive());
        identity.start_ticks += 1;
        assert!(!identity.is_alive());
        // Were it taken for this process, the test would end here.
        identity.signal(Signal::KILL).unwrap();
    }

    #[test]
    fn a_record_of_another_boot_is_not_alive() {
        let mut identity = Identity::of(std::process::id()).unwrap();
        identity.boot = "another".into();
        assert!(!identity.is_alive());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let state = |pid| read_stat(pid).map(|stat| stat.state);
        while state(child.id()) != Some('Z') {
            std::thread::yield_now();
        }
        assert_eq!(Identity::of(child.id()), None);
        child.wait().unwrap();
    }

    #[test]
    fn our_own_line_has_us_and_our_parent() {
        let line = own_line();
        assert_eq!(line[0], std::process::id());
        assert!(line.contains(&std::os::unix::process::parent_id()) || line.len() == 1);
    }
}
