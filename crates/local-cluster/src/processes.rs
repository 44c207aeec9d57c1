//! Starts the long-running processes of a cluster, records them, and finds all that belong to the cluster.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cgroups::Cgroups;
use crate::command::PATH;
use crate::identity::{Identity, all_pids, arguments, lives_in_netns, own_line};
use crate::layout::Layout;

/// The programs that a cluster leaves behind with its state path among their arguments.
const COMPONENTS: [&str; 11] = [
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
    "runc",
    "tar",
];

/// How many last lines of a log an error shows.
const TAIL_LINES: usize = 15;

/// Enters the cgroups whose `cgroup.procs` files come first, up to `--`, closes descriptors that the parent
/// leaked, and becomes the program that follows.
const ENTER_AND_EXEC: &str = "while [ \"$1\" != -- ]; do echo $$ > \"$1\" || :; shift; done; shift; \
                              exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec \"$@\"";

/// The record of one long-running process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recorded {
    /// The name under which it was started; also names its log.
    pub(crate) name: String,
    /// Whether the cluster itself needs it. The others were added by [`crate::Cluster::spawn`].
    pub(crate) core: bool,
    /// Which process it is.
    pub(crate) identity: Identity,
}

/// What to start.
pub(crate) struct Launch<'a> {
    /// Names the record and the log.
    pub(crate) name: &'a str,
    /// Whether the cluster itself needs it.
    pub(crate) core: bool,
    /// The program and its arguments, with whatever must be entered in front.
    pub(crate) argv: Vec<String>,
    /// The environment on top of `PATH` and `HOME`; nothing else is passed on.
    pub(crate) env: &'a [(String, String)],
}

/// Starts a process in a session of its own, with its output in its log, and records it.
/// It outlives this process.
pub(crate) fn launch(layout: &Layout, what: &Launch<'_>) -> Result<Identity> {
    let log = layout.log(what.name);
    let output = OpenOptions::new().create(true).append(true).open(&log);
    let output = output.with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", ENTER_AND_EXEC, "sh"]);
    command.args(Cgroups::detect()?.system_procs(&layout.name)).arg("--").args(&what.argv);
    command.env_clear().env("PATH", PATH).current_dir("/");
    command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    command.envs(what.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().with_context(|| format!("cannot start {}", what.name))?;
    let identity = Identity::of(child.id());
    // Reaped here when it ends while we live, else by init: a zombie would keep its number.
    std::thread::spawn(move || child.wait());
    let identity = identity.with_context(|| format!("{} ended at once, see {}", what.name, log.display()))?;
    let recorded = Recorded { name: what.name.into(), core: what.core, identity: identity.clone() };
    let path = layout.processes().join(format!("{}.json", what.name));
    write_atomically(&path, &serde_json::to_vec_pretty(&recorded)?)?;
    Ok(identity)
}

/// Writes a file so that a crash leaves the old one or the new one, never a part.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, content).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Every recorded process, running or not.
pub(crate) fn recorded(layout: &Layout) -> Vec<Recorded> {
    let entries = fs::read_dir(layout.processes()).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    files.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
}

/// The recorded process `name`, when it runs.
pub(crate) fn running(layout: &Layout, name: &str) -> Option<Identity> {
    let path = layout.processes().join(format!("{name}.json"));
    let recorded: Recorded = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    recorded.identity.is_alive().then_some(recorded.identity)
}

/// Drops the record of a process that has ended and shall not run.
pub(crate) fn forget(layout: &Layout, name: &str) -> Result<()> {
    let path = layout.processes().join(format!("{name}.json"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Fails with the end of its log when one of the cluster's own processes has ended.
pub(crate) fn ensure_core_runs(layout: &Layout) -> Result<()> {
    for process in recorded(layout).into_iter().filter(|process| process.core) {
        if !process.identity.is_alive() {
            bail!("{} has ended; {}", process.name, tail(layout, &process.name));
        }
    }
    Ok(())
}

/// The end of a process's log, with the log's name. The folder is left to the caller: it may be moved meanwhile.
pub(crate) fn tail(layout: &Layout, name: &str) -> String {
    let path = layout.log(name);
    let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_else(|error| format!("(unreadable: {error})"));
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("the end of {name}.log:\n{}", last.join("\n"))
}

/// Every running process that belongs to the cluster: recorded, in its network namespace, in its cgroups, or one of
/// the known components with the state folder among its arguments. Never this process or one that waits for it.
pub(crate) fn belonging(layout: &Layout) -> Result<BTreeSet<Identity>> {
    let spared = own_line();
    let netns = layout.netns();
    let own_netns = lives_in_netns(std::process::id(), &netns);
    let in_cgroups = Cgroups::detect()?.members(&layout.name);
    let mut found: BTreeSet<Identity> = recorded(layout).into_iter().map(|process| process.identity).filter(Identity::is_alive).collect();
    for pid in all_pids()? {
        let ours = in_cgroups.contains(&pid) || (!own_netns && lives_in_netns(pid, &netns)) || is_component_of(layout, &arguments(pid));
        if ours {
            found.extend(Identity::of(pid));
        }
    }
    found.retain(|identity| !spared.contains(&identity.pid));
    Ok(found)
}

/// Whether these are the arguments of a known component that works below the state folder. An editor or a shell
/// that merely mentions the folder is not one.
fn is_component_of(layout: &Layout, arguments: &[String]) -> bool {
    let Some(program) = arguments.first().and_then(|first| first.rsplit('/').next()) else {
        return false;
    };
    let below = format!("{}/", layout.root.display());
    COMPONENTS.contains(&program) && arguments[1..].iter().any(|argument| argument.contains(&below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &Path) -> Layout {
        let layout = Layout::new(folder).unwrap();
        fs::create_dir_all(layout.processes()).unwrap();
        fs::create_dir_all(layout.logs()).unwrap();
        layout
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_shim_of_ours_is_recognised_and_an_editor_is_not() {
        let layout = Layout::new(Path::new("/nonexistent/state")).unwrap();
        let shim = "/usr/bin/containerd-shim-runc-v2 -id x -address /nonexistent/state/n1/containerd.sock";
        assert!(is_component_of(&layout, &words(shim)));
        assert!(!is_component_of(&layout, &words("vi /nonexistent/state/log/kubelet.log")));
        assert!(!is_component_of(&layout, &words("etcd --data-dir /nonexistent/state2/etcd")));
        assert!(!is_component_of(&layout, &[]));
    }

    #[test]
    fn a_recorded_process_that_has_ended_fails_the_check_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        ensure_core_runs(&layout).unwrap();
        let identity = Identity { pid: u32::MAX, start_ticks: 1, boot: "none".into() };
        let record = Recorded { name: "etcd".into(), core: true, identity };
        write_atomically(&layout.processes().join("etcd.json"), &serde_json::to_vec(&record).unwrap()).unwrap();
        fs::write(layout.log("etcd"), "first\npanic: disk on fire\n").unwrap();
        let message = ensure_core_runs(&layout).unwrap_err().to_string();
        assert!(message.contains("etcd has ended") && message.contains("disk on fire"), "{message}");
        assert!(running(&layout, "etcd").is_none());
    }

    #[test]
    fn a_half_written_record_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        fs::write(layout.processes().join("etcd.json"), "{\"name\":").unwrap();
        fs::write(layout.processes().join("kubelet.partial"), "{}").unwrap();
        assert!(recorded(&layout).is_empty());
    }
}
