//! Takes a cluster down completely, whatever is left of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use crate::cgroups::Cgroups;
use crate::identity::Identity;
use crate::layout::Layout;
use crate::{mounts, network, processes};

/// How long processes that the cluster's owner added may take to end by themselves.
const GRACE: Duration = Duration::from_secs(3);
/// How long killed processes may take to vanish.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause between two looks at what is left.
const POLL_INTERVAL: Duration = Duration::from_millis(30);

/// What becomes of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// They go with the rest.
    Remove,
    /// They are moved to a folder beside the state folder, named with the suffix `.logs-` and the Unix time.
    Keep,
}

/// Stops, detaches and removes everything of the cluster, blocking the thread. It needs no complete state and may be
/// repeated any number of times. Returns the folder of the logs that were kept.
pub(crate) fn tear_down(layout: &Layout, logs: Logs) -> Result<Option<PathBuf>> {
    ensure_is_state(&layout.root)?;
    stop_added(layout)?;
    kill_all(layout)?;
    mounts::unmount_below(layout)?;
    mounts::detach_loop_devices(layout)?;
    network::remove(layout)?;
    Cgroups::detect()?.remove(&layout.name)?;
    let kept = keep_logs(layout, logs)?;
    remove_state(layout)?;
    let left = leftovers(layout)?;
    ensure!(left.is_empty(), "still there after everything was removed: {}", left.join(", "));
    Ok(kept)
}

/// Refuses a folder that was not made by this program: it would be removed.
pub(crate) fn ensure_is_state(root: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(root) else {
        ensure!(!root.exists(), "{} is no folder", root.display());
        return Ok(());
    };
    // Before the record there is nothing, or the file that becomes the record.
    let foreign = entries.flatten().any(|entry| entry.file_name() != "cluster.partial");
    if foreign && !root.join("cluster.json").exists() {
        bail!("{} is not the state folder of a local cluster, so it is left alone", root.display());
    }
    Ok(())
}

/// Asks the processes that the owner added to end: they may have something to put in order.
fn stop_added(layout: &Layout) -> Result<()> {
    let added = processes::recorded(layout).into_iter().filter(|process| !process.core);
    let added: Vec<Identity> = added.map(|process| process.identity).collect();
    for identity in &added {
        identity.signal(Signal::TERM)?;
    }
    wait_for_end(&added, GRACE);
    Ok(())
}

/// Blocks the thread until all of `identities` have ended, or the time is over.
pub(crate) fn wait_for_end(identities: &[Identity], at_most: Duration) {
    let deadline = Instant::now() + at_most;
    while identities.iter().any(Identity::is_alive) && Instant::now() < deadline {
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Kills until nothing is left: what is killed first may have started something meanwhile.
fn kill_all(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + KILL_TIMEOUT;
    loop {
        let left = processes::belonging(layout)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let pids: Vec<String> = left.iter().map(|identity| identity.pid.to_string()).collect();
            bail!("processes do not end although they were killed: {}", pids.join(", "));
        }
        for identity in &left {
            identity.signal(Signal::KILL)?;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn keep_logs(layout: &Layout, logs: Logs) -> Result<Option<PathBuf>> {
    if logs == Logs::Remove || !layout.logs().exists() {
        return Ok(None);
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let kept = PathBuf::from(format!("{}.logs-{seconds}", layout.root.display()));
    fs::rename(layout.logs(), &kept).with_context(|| format!("cannot keep the logs in {}", kept.display()))?;
    Ok(Some(kept))
}

/// Removes the state folder, its record last, so that an interrupted removal can be continued.
fn remove_state(layout: &Layout) -> Result<()> {
    let Ok(entries) = fs::read_dir(&layout.root) else {
        return Ok(());
    };
    let record = layout.record();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| *path != record) {
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    if record.exists() {
        fs::remove_file(&record)?;
    }
    fs::remove_dir(&layout.root).with_context(|| format!("cannot remove {}", layout.root.display()))
}

/// What exists of the cluster outside of its state folder, and the folder itself; each with its kind.
pub(crate) fn leftovers(layout: &Layout) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for identity in processes::belonging(layout)? {
        left.push(format!("process {}", identity.pid));
    }
    for point in mounts::mounts_below(layout)? {
        left.push(format!("mount {}", point.display()));
    }
    for device in mounts::loop_devices_below(layout)? {
        left.push(format!("loop device {}", device.display()));
    }
    if layout.netns().exists() {
        left.push(format!("network namespace {}", layout.name));
    }
    if Cgroups::detect()?.exist(&layout.name) {
        left.push(format!("cgroup {}", layout.name));
    }
    if layout.root.exists() {
        left.push(format!("state folder {}", layout.root.display()));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        ensure_is_state(folder.path()).unwrap();
        fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
        ensure_is_state(folder.path()).unwrap_err();
        fs::write(folder.path().join("cluster.json"), "{}").unwrap();
        ensure_is_state(folder.path()).unwrap();
    }

    #[test]
    fn a_state_with_a_half_written_record_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cluster.partial"), "{").unwrap();
        ensure_is_state(folder.path()).unwrap();
        ensure_is_state(&folder.path().join("missing")).unwrap();
    }

    #[test]
    fn removal_takes_files_folders_and_links_but_not_what_links_point_to() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let layout = Layout::new(&folder.path().join("state")).unwrap();
        fs::create_dir_all(layout.root.join("n1/kubelet")).unwrap();
        std::os::unix::fs::symlink(&outside, layout.root.join("link")).unwrap();
        fs::write(layout.record(), "{}").unwrap();
        remove_state(&layout).unwrap();
        remove_state(&layout).unwrap();
        assert!(!layout.root.exists() && outside.exists());
    }

    #[test]
    fn kept_logs_lie_beside_the_state_folder() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(&folder.path().join("state")).unwrap();
        assert_eq!(keep_logs(&layout, Logs::Keep).unwrap(), None);
        fs::create_dir_all(layout.logs()).unwrap();
        assert_eq!(keep_logs(&layout, Logs::Remove).unwrap(), None);
        let kept = keep_logs(&layout, Logs::Keep).unwrap().unwrap();
        assert!(kept.is_dir() && !layout.logs().exists());
        assert_eq!(kept.parent(), layout.root.parent());
    }
}
