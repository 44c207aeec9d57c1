//! Ends a node as a loss of power does: all of its processes at once, and with them its mounts. Makes it ready for a boot.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::cgroups::Cgroups;
use crate::identity::{Identity, all_pids};
use crate::layout::Layout;
use crate::render::{Node, cgroup_name};
use crate::startup::mount_namespace;
use crate::{mounts, network, processes};

/// How long killed processes may take to vanish: the kernel unmounts what only they had.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// What we start for a node.
const COMPONENTS: [&str; 2] = ["containerd", "kubelet"];
/// What of the node's own folder is in memory on a machine: `/run`, and so its sockets.
const VOLATILE: [&str; 4] = ["run", "shims", "containerd.sock", "containerd.sock.ttrpc"];

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
            // What ended on purpose is not looked for any more.
            return COMPONENTS.iter().try_for_each(|component| processes::forget(node.layout, &node.process(component)));
        }
        if Instant::now() > deadline {
            let pids: Vec<String> = left.iter().map(|identity| identity.pid.to_string()).collect();
            bail!("processes of {} do not end although they were killed: {}", node.spec.name, pids.join(", "));
        }
        left.iter().try_for_each(|identity| identity.signal(Signal::KILL))?;
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Takes from a node without power what no boot finds again: what was in memory, its control groups, its bridge. What is on
/// its disk stays, and so do the devices of its instance. Blocks the thread.
pub(crate) fn forget_the_last_boot(node: &Node<'_>) -> Result<()> {
    let folder = node.layout.node(node.index);
    let mounted: Vec<PathBuf> = mounts::mounts_below(node.layout)?.into_iter().filter(|point| point.starts_with(&folder)).collect();
    ensure!(mounted.is_empty(), "{mounted:?} is mounted on the host, so that it would be emptied");
    for name in VOLATILE {
        remove(&folder.join(name))?;
    }
    let cgroups = Cgroups::detect()?;
    cgroups.remove(&node.cgroup())?;
    cgroups.create(&node.layout.name, &[cgroup_name(node.index)])?;
    network::remove_pod_bridge(node.layout, node.index);
    node.write_boot_id()
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The power is there again.
pub(crate) fn note_on(layout: &Layout, node: &str) -> Result<()> {
    remove(&off_note(layout, node))
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
    let started = COMPONENTS.iter().filter_map(|component| processes::running(node.layout, &node.process(component)));
    let mut found: BTreeSet<Identity> = started.collect();
    let pods = Cgroups::detect()?.members(&node.cgroup());
    found.extend(pods.into_iter().filter_map(Identity::of));
    let inside = |pid: &u32| namespace.is_some() && inode(Path::new(&format!("/proc/{pid}/ns/mnt"))) == namespace;
    found.extend(all_pids().context("cannot look for the node's processes")?.into_iter().filter(inside).filter_map(Identity::of));
    Ok(found)
}

fn inode(namespace: &Path) -> Option<u64> {
    fs::metadata(namespace).ok().map(|metadata| metadata.ino())
}
