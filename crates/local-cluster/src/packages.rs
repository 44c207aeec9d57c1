//! Checks for the programs that the distribution provides, and installs their packages on Debian and Ubuntu.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::command::PATH;

/// Where Debian's package puts the network plugins.
pub(crate) const CNI_FOLDER: &str = "/usr/lib/cni";

/// Each program that is needed with the Debian package that has it.
const PROGRAMS: [(&str, &str); 18] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("losetup", "mount"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("tar", "tar"),
    ("sha256sum", "coreutils"),
    // The judge of treesync's tests, which are run with those of a cluster, and a filesystem that they try.
    ("rsync", "rsync"),
    ("mkfs.btrfs", "btrfs-progs"),
];

/// Fails unless this process is root's.
pub(crate) fn ensure_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a local cluster needs root: it creates namespaces, mounts and cgroups. Run it as root or with sudo."
    );
    Ok(())
}

/// The packages that are missing, judged by their programs.
fn missing() -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package);
    let mut found: BTreeSet<&'static str> = absent.collect();
    if !["bridge", "host-local", "loopback"].iter().all(|name| Path::new(CNI_FOLDER).join(name).exists()) {
        found.insert("containernetworking-plugins");
    }
    if static_busybox().is_err() {
        found.insert("busybox-static");
    }
    found.into_iter().collect()
}

/// The program `name` in root's usual path.
fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The machine's statically linked busybox.
pub(crate) fn static_busybox() -> Result<PathBuf> {
    let path = find("busybox").context("no busybox is installed")?;
    let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(is_static(&content), "{} is not statically linked", path.display());
    Ok(path)
}

/// Whether a program is statically linked: a dynamically linked one names its loader, ld-linux… or ld-musl….
fn is_static(program: &[u8]) -> bool {
    let names = |loader: &[u8]| program.windows(loader.len()).any(|window| window == loader);
    !names(b"/ld-linux") && !names(b"/ld-musl")
}

/// Makes sure that every program that a cluster needs is there; installs what is missing on Debian and Ubuntu.
pub async fn ensure_packages(report: &(dyn Fn(&str) + Sync)) -> Result<()> {
    install(missing, report).await
}

/// Makes sure that programs are there, given with the Debian packages that have them; installs what is missing on
/// Debian and Ubuntu, and elsewhere names the line that would.
pub async fn ensure_programs(programs: &[(&'static str, &'static str)], report: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let absent = || programs.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    install(absent, report).await
}

async fn install(missing: impl Fn() -> Vec<&'static str>, report: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!("programs are missing; this is how Debian names and installs their packages: {line}");
    }
    report(&format!("installing missing packages: {line}"));
    let failed = || format!("cannot install the missing packages; install them by hand: {line}");
    apt_get(&["update"]).await.with_context(failed)?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&install[..], &packages[..]].concat()).await.with_context(failed)?;
    let remaining = missing();
    ensure!(remaining.is_empty(), "programs of these packages are still missing: {}", remaining.join(" "));
    Ok(())
}

async fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    crate::command::run_async(command).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_usual_path_only() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program").is_none());
    }

    #[test]
    fn a_program_that_names_a_loader_is_not_static() {
        assert!(is_static(b"\x7fELF and code"));
        assert!(!is_static(b"\x7fELF\0/lib64/ld-linux-x86-64.so.2\0"));
        assert!(!is_static(b"\x7fELF\0/lib/ld-musl-x86_64.so.1\0"));
    }
}
