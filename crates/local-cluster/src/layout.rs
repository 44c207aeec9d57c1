//! Where a cluster keeps what, and the names that it derives from its state folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The bytes that a unix socket's path may have (`sun_path` is 108 with its final zero, see unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// The longest socket below the state folder: the one of the last node's containerd for its shims.
const LONGEST_SOCKET: &str = "n200/containerd.sock.ttrpc";

/// The paths and names of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The state folder, absolute and free of symbolic links.
    pub(crate) root: PathBuf,
    /// `vd-` and a short hash of the state folder's path: names the network namespace and the cgroup.
    pub(crate) name: String,
}

impl Layout {
    /// The layout of the state folder `state`, which need not exist.
    ///
    /// # Errors
    /// When the path has characters that mount options or scripts would trip over, or is too long.
    pub(crate) fn new(state: &Path) -> Result<Self> {
        let root = resolve(state)?;
        let text = root.to_str().context("the path of the state folder must be UTF-8")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
        ensure!(
            text.chars().all(plain),
            "the state folder {text:?} must have letters, digits and /._-+@ only: its path goes into mount options"
        );
        ensure!(root.parent().is_some(), "the state folder cannot be the root folder");
        let longest = text.len() + 1 + LONGEST_SOCKET.len();
        ensure!(
            longest <= MAX_SOCKET_PATH_BYTES,
            "the state folder {text} is too long by {} bytes: the sockets below it may have paths of \
             {MAX_SOCKET_PATH_BYTES} bytes at most; choose a shorter folder with --state",
            longest - MAX_SOCKET_PATH_BYTES
        );
        let hash = blake3::hash(text.as_bytes()).to_hex();
        Ok(Self { name: format!("vd-{}", &hash[..8]), root })
    }

    /// The file that says "this folder is a cluster's state", with the spec in it.
    pub(crate) fn record(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// The folder with one file for each long-running process.
    pub(crate) fn processes(&self) -> PathBuf {
        self.root.join("proc")
    }

    /// The folder of the logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The log of the process `name`.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// The file `name` among the certificates and keys.
    pub(crate) fn pki(&self, name: &str) -> PathBuf {
        self.root.join("pki").join(name)
    }

    /// The kubeconfig of `user`.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.root.join("pki").join(format!("{user}.kubeconfig"))
    }

    /// The folder of the node with this index (from 0).
    pub(crate) fn node(&self, index: usize) -> PathBuf {
        self.root.join(format!("n{}", index + 1))
    }

    /// The socket of the containerd of the node with this index (from 0).
    pub(crate) fn containerd_socket(&self, index: usize) -> PathBuf {
        self.node(index).join("containerd.sock")
    }

    /// The file that names the network namespace.
    pub(crate) fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// The lock that `up` and `down` of this state folder hold. It lies outside, as the folder comes and goes.
    pub(crate) fn lock(&self) -> PathBuf {
        Path::new("/run").join(format!("{}.lock", self.name))
    }

    /// Whether `path` is the state folder or lies below it.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }
}

/// `path` made absolute, with the symbolic links of its existing part followed, as the kernel will report it.
fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))?;
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        if let Ok(real) = existing.canonicalize() {
            return Ok(missing.iter().rev().fold(real, |path, part| path.join(part)));
        }
        missing.push(existing.file_name().context("the state folder's path must not contain `..`")?);
        existing = existing.parent().context("the state folder's path has no existing part")?;
    }
}

/// The folder that the command line takes by default: below `$XDG_STATE_HOME` or `~/.local/state`.
///
/// # Errors
/// When neither `XDG_STATE_HOME` nor `HOME` is set.
pub fn default_state() -> Result<PathBuf> {
    Ok(user_folder("XDG_STATE_HOME", ".local/state")?.join("volume-dispatcher/local-cluster"))
}

/// The folder of the environment variable `variable`, or else `below_home` in the home folder.
pub(crate) fn user_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").filter(|value| !value.is_empty());
    let home = home.with_context(|| format!("neither {variable} nor HOME is set"))?;
    Ok(Path::new(&home).join(below_home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_by_state_folder_and_are_stable() {
        let first = Layout::new(Path::new("/nonexistent/a")).unwrap();
        let second = Layout::new(Path::new("/nonexistent/b")).unwrap();
        assert_ne!(first.name, second.name);
        assert_eq!(first.name, Layout::new(Path::new("/nonexistent/./a")).unwrap().name);
        assert_eq!(first.name.len(), 11);
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_with_the_excess() {
        let fits = format!("/{}", "x".repeat(MAX_SOCKET_PATH_BYTES - LONGEST_SOCKET.len() - 2));
        Layout::new(Path::new(&fits)).unwrap();
        let message = Layout::new(Path::new(&format!("{fits}yz"))).unwrap_err().to_string();
        assert!(message.contains("too long by 2 bytes"), "{message}");
    }

    #[test]
    fn a_path_that_would_break_mount_options_is_refused() {
        Layout::new(Path::new("/nonexistent/a,b")).unwrap_err();
        Layout::new(Path::new("/nonexistent/a b")).unwrap_err();
        Layout::new(Path::new("/")).unwrap_err();
    }

    #[test]
    fn symbolic_links_of_the_existing_part_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
        let layout = Layout::new(&folder.path().join("link/state")).unwrap();
        assert_eq!(layout.root, real.join("state"));
        assert!(layout.contains(&real.join("state/n1")));
        assert!(!layout.contains(&real.join("state2")));
    }
}
