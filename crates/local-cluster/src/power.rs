//! Ends a node as a loss of power does: all of its processes at once, and with them its mounts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::cgroups::Cgroups;
use crate::identity::{Identity, all_pids};
use crate::layout::Layout;
use crate::processes;
use crate::render::Node;
use crate::startup::mount_namespace;

/// How long killed processes may take to vanish: the kernel unmounts what only they had.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Kills everything of a node until nothing is left, blocking the thread. A node that is off already is no error.
pub(crate) fn cut(node: &Node<'_>) -> Result<()> {
    // Noted first: what is off on purpose is not broken.
    let path = off_note(node.layout, &node.spec.name);
    fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
    let namespace = mount_namespace(node).ok().and_then(|path| inode(&path));
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let left = members(node, namespace)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let pids: Vec<String> = left.iter().map(|identity| identity.pid.to_string()).collect();
            bail!("processes of {} do not end although they were killed: {}", node.spec.name, pids.join(", "));
        }
        left.iter().try_for_each(|identity| identity.signal(Signal::KILL))?;
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Whether the power of a node was cut.
pub(crate) fn is_off(layout: &Layout, node: &str) -> bool {
    off_note(layout, node).exists()
}

fn off_note(layout: &Layout, node: &str) -> PathBuf {
    layout.processes().join(format!("{node}.off"))
}

/// What was started for the node, what its pods run, and what else lives in its mount namespace.
fn members(node: &Node<'_>, namespace: Option<u64>) -> Result<BTreeSet<Identity>> {
    let started = ["containerd", "kubelet"].iter().filter_map(|component| processes::running(node.layout, &node.process(component)));
    let mut found: BTreeSet<Identity> = started.collect();
    let pods = Cgroups::detect()?.members(&Path::new(&node.layout.name).join(&node.spec.name).to_string_lossy());
    found.extend(pods.into_iter().filter_map(Identity::of));
    let inside = |pid: &u32| namespace.is_some() && inode(Path::new(&format!("/proc/{pid}/ns/mnt"))) == namespace;
    found.extend(all_pids().context("cannot look for the node's processes")?.into_iter().filter(inside).filter_map(Identity::of));
    Ok(found)
}

fn inode(namespace: &Path) -> Option<u64> {
    fs::metadata(namespace).ok().map(|metadata| metadata.ino())
}
