//! Creates, searches and removes the cluster's cgroups, in the hierarchies of version 1 and in version 2.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long the kernel may take to empty a cgroup after its processes were killed.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The cgroup of the cluster's own processes, beside those of the nodes.
const SYSTEM: &str = "system";

/// The cgroup hierarchies of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cgroups {
    /// Mount points of version 1 hierarchies.
    v1: Vec<PathBuf>,
    /// Mount points of version 2: the only one on a modern host, beside version 1 on a hybrid host.
    v2: Vec<PathBuf>,
}

impl Cgroups {
    /// Finds the hierarchies that are mounted.
    pub(crate) fn detect() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mount table")?;
        let found = Self::parse(&mounts);
        if found.v1.is_empty() && found.v2.is_empty() {
            bail!("no cgroup file system is mounted: the kubelet and runc need one below /sys/fs/cgroup");
        }
        Ok(found)
    }

    fn parse(mounts: &str) -> Self {
        let of_type = |wanted: &str| {
            let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let matching = lines.filter(|fields| fields.get(2) == Some(&wanted));
            let points: BTreeSet<PathBuf> = matching.map(|fields| fields[1].into()).collect();
            // Copies that containers mount elsewhere show the same cgroups again.
            points.into_iter().filter(|point| point.starts_with("/sys/fs/cgroup")).collect()
        };
        Self { v1: of_type("cgroup"), v2: of_type("cgroup2") }
    }

    fn is_pure_v2(&self) -> bool {
        self.v1.is_empty()
    }

    fn hierarchies(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().chain(&self.v2)
    }

    /// Creates the cgroup `name` with one child for each of `nodes` and one for the cluster's own processes.
    pub(crate) fn create(&self, name: &str, nodes: &[String]) -> Result<()> {
        for hierarchy in self.hierarchies() {
            let top = hierarchy.join(name);
            self.create_one(hierarchy, &top)?;
            for child in nodes.iter().map(String::as_str).chain([SYSTEM]) {
                self.create_one(&top, &top.join(child))?;
            }
        }
        Ok(())
    }

    fn create_one(&self, parent: &Path, group: &Path) -> Result<()> {
        if self.is_pure_v2() {
            delegate_controllers(parent)?;
        }
        fs::create_dir_all(group).with_context(|| format!("cannot create the cgroup {}", group.display()))?;
        // A version 1 cpuset starts without processors and memory, and nothing can enter it until it has both.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (source, target) = (parent.join(file), group.join(file));
            if !self.is_pure_v2() && source.exists() {
                let value = fs::read_to_string(&source)?;
                let written = fs::write(&target, value.trim());
                written.with_context(|| format!("cannot write {}", target.display()))?;
            }
        }
        Ok(())
    }

    /// The files through which a process enters the cgroup of the cluster's own processes.
    pub(crate) fn system_procs(&self, name: &str) -> Vec<PathBuf> {
        self.hierarchies().map(|hierarchy| hierarchy.join(name).join(SYSTEM).join("cgroup.procs")).collect()
    }

    /// Every process in the cgroup `name` or below it.
    pub(crate) fn members(&self, name: &str) -> BTreeSet<u32> {
        let groups = self.hierarchies().flat_map(|hierarchy| depth_first(&hierarchy.join(name)));
        let listings = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
        listings.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Whether a cgroup `name` exists.
    pub(crate) fn exist(&self, name: &str) -> bool {
        self.hierarchies().any(|hierarchy| hierarchy.join(name).exists())
    }

    /// Removes the cgroup `name` with all below it, blocking the thread while the kernel still empties it.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + REMOVAL_TIMEOUT;
        loop {
            let groups = self.hierarchies().flat_map(|hierarchy| depth_first(&hierarchy.join(name)));
            let failures: Vec<String> =
                groups.filter_map(|group| fs::remove_dir(&group).err().map(|error| format!("{}: {error}", group.display()))).collect();
            if !self.exist(name) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("cannot remove cgroups: {}", failures.join(", "));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Lets the children of `parent` have every controller that it has itself (version 2).
fn delegate_controllers(parent: &Path) -> Result<()> {
    let read = |file: &str| fs::read_to_string(parent.join(file)).unwrap_or_default();
    let enabled = read("cgroup.subtree_control");
    for controller in read("cgroup.controllers").split_whitespace() {
        if enabled.split_whitespace().any(|other| other == controller) {
            continue;
        }
        let written = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        let needed = ["cpu", "cpuset", "memory", "pids"].contains(&controller);
        if let (true, Err(error)) = (needed, written) {
            bail!(
                "cannot enable the cgroup controller {controller} in {}: {error}. In a container, move its \
                 processes out of the top cgroup first.",
                parent.display()
            );
        }
    }
    Ok(())
}

/// `group` and all below it, the deepest first; nothing when it does not exist.
fn depth_first(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else {
        return Vec::new();
    };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<PathBuf> = folders.flat_map(|entry| depth_first(&entry.path())).collect();
    found.push(group.to_path_buf());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                          cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                          cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
                          cgroup /var/lib/elsewhere/cpu cgroup rw,cpu 0 0\n\
                          cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

    #[test]
    fn a_hybrid_host_has_hierarchies_of_both_versions() {
        let found = Cgroups::parse(HYBRID);
        let points: Vec<_> = found.hierarchies().map(|point| point.to_str().unwrap()).collect();
        let expected = ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
        assert_eq!(points, expected);
        assert!(!found.is_pure_v2());
    }

    #[test]
    fn a_modern_host_is_recognised() {
        let found = Cgroups::parse("cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
        assert!(found.is_pure_v2());
        let procs = found.system_procs("vd-1");
        assert_eq!(procs, [PathBuf::from("/sys/fs/cgroup/vd-1/system/cgroup.procs")]);
    }

    #[test]
    fn nested_groups_come_before_their_parents() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b/c")).unwrap();
        let found = depth_first(&folder.path().join("a"));
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert!(depth_first(&folder.path().join("missing")).is_empty());
    }

    #[test]
    fn creation_copies_the_cpuset_at_every_level_and_removal_takes_all() {
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = folder.path().to_path_buf();
        fs::write(hierarchy.join("cpuset.cpus"), "0-1\n").unwrap();
        let cgroups = Cgroups { v1: vec![hierarchy.clone()], v2: Vec::new() };
        cgroups.create("vd-1", &["n1".into()]).unwrap();
        for group in ["vd-1", "vd-1/n1", "vd-1/system"] {
            let file = hierarchy.join(group).join("cpuset.cpus");
            assert_eq!(fs::read_to_string(&file).unwrap(), "0-1");
            // In a real hierarchy the kernel's files vanish with their folder.
            fs::remove_file(file).unwrap();
        }
        assert!(cgroups.exist("vd-1"));
        cgroups.remove("vd-1").unwrap();
        assert!(!cgroups.exist("vd-1"));
    }

    #[test]
    fn members_are_found_in_nested_groups() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("vd-1/n1/kubepods/pod7");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cgroup.procs"), "12\n34\n").unwrap();
        let cgroups = Cgroups { v1: vec![folder.path().to_path_buf()], v2: Vec::new() };
        assert_eq!(cgroups.members("vd-1"), BTreeSet::from([12, 34]));
        assert!(cgroups.members("vd-2").is_empty());
    }
}
