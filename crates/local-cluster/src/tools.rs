//! Builds Kubernetes, etcd, helm and csi-sanity from the Go modules in `tools/`, once, into a cache folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::layout::user_folder;

/// How often a running build says that it still runs.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// Where the module folders are when `LOCAL_CLUSTER_MODULES` does not say otherwise.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools");
/// The version that the Kubernetes programs report: without it they say v0.0.0, which clients take for too old.
const KUBERNETES_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
                                -X k8s.io/component-base/version.gitMajor=1 \
                                -X k8s.io/component-base/version.gitMinor=36";
/// Leaves out what only debuggers read.
const PLAIN_FLAGS: &str = "-s -w";

/// One `go build` in one module folder.
struct Module {
    /// The folder's name.
    folder: &'static str,
    /// The linker's flags.
    linker_flags: &'static str,
    /// The packages of the programs.
    packages: &'static [&'static str],
    /// The programs that this gives. A single one names the output, as its package may be called otherwise.
    programs: &'static [&'static str],
}

/// All that is built, in this order.
const ALL: [Module; 4] = [
    Module { folder: "etcd", linker_flags: PLAIN_FLAGS, packages: &["go.etcd.io/etcd/server/v3"], programs: &["etcd"] },
    Module {
        folder: "kubernetes",
        linker_flags: KUBERNETES_FLAGS,
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kubelet",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"],
    },
    Module { folder: "helm", linker_flags: PLAIN_FLAGS, packages: &["helm.sh/helm/v4/cmd/helm"], programs: &["helm"] },
    Module {
        folder: "csi-test",
        linker_flags: PLAIN_FLAGS,
        packages: &["github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"],
        programs: &["csi-sanity"],
    },
];

/// Builds what is missing and returns the folder with the programs: etcd, kube-apiserver,
/// kube-controller-manager, kube-scheduler, kube-proxy, kubelet, kubectl, helm and csi-sanity.
///
/// The folder lies in `LOCAL_CLUSTER_TOOLS`, or else below `$XDG_CACHE_HOME` or `~/.cache`, and is named by a hash of
/// everything that decides its content, so a folder that exists is complete and current. `report` gets a line for each
/// build and every ten seconds of it. Dropping the future stops the build; the next call starts over.
///
/// # Errors
/// When Go is missing, a module folder is missing, or a build fails.
pub async fn ensure_tools(report: &(dyn Fn(&str) + Sync)) -> Result<PathBuf> {
    let modules = std::env::var_os("LOCAL_CLUSTER_MODULES").map_or_else(|| MODULES.into(), PathBuf::from);
    let cache = match std::env::var_os("LOCAL_CLUSTER_TOOLS").filter(|value| !value.is_empty()) {
        Some(folder) => std::path::absolute(folder)?,
        None => user_folder("XDG_CACHE_HOME", ".cache")?.join("volume-dispatcher/tools"),
    };
    let finished = cache.join(key(&modules)?);
    if finished.exists() {
        return Ok(finished);
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let _lock = lock(&cache, report).await?;
    if finished.exists() {
        return Ok(finished);
    }
    let partial = finished.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    fs::create_dir(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    for module in &ALL {
        build(module, &modules, &partial, report).await?;
    }
    fs::rename(&partial, &finished).with_context(|| format!("cannot create {}", finished.display()))?;
    Ok(finished)
}

/// A short hash of all that decides what is built.
fn key(modules: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for module in &ALL {
        for part in [&[module.folder, module.linker_flags], module.packages, module.programs].concat() {
            hasher.update(part.as_bytes()).update(b"\n");
        }
        for file in ["go.mod", "go.sum"] {
            let path = modules.join(module.folder).join(file);
            let content = fs::read(&path)
                .with_context(|| format!("cannot read {} (LOCAL_CLUSTER_MODULES can name the folder of the modules)", path.display()))?;
            hasher.update(&(content.len() as u64).to_le_bytes()).update(&content);
        }
    }
    Ok(hasher.finalize().to_hex()[..12].to_owned())
}

/// Makes concurrent builders wait for one another.
async fn lock(cache: &Path, report: &(dyn Fn(&str) + Sync)) -> Result<File> {
    let path = cache.join("build.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if file.try_lock().is_err() {
        report("waiting for another process that builds the tools");
        return tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await?.context("cannot lock");
    }
    Ok(file)
}

async fn build(module: &Module, modules: &Path, output: &Path, report: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let what = format!("{} ({})", module.folder, module.programs.join(", "));
    report(&format!("building {what} from source, once"));
    let started = Instant::now();
    let mut command = tokio::process::Command::new("go");
    command.current_dir(modules.join(module.folder)).env("CGO_ENABLED", "0").env("GOWORK", "off");
    command.args(["build", "-trimpath", "-ldflags", module.linker_flags, "-o"]);
    match module.programs {
        [single] => command.arg(output.join(single)),
        _ => command.arg(output),
    };
    command.args(module.packages).kill_on_drop(true);
    let finished = command.output();
    tokio::pin!(finished);
    let result = loop {
        tokio::select! {
            result = &mut finished => break result,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                report(&format!("building {what}: {} s", started.elapsed().as_secs()));
            }
        }
    };
    let result = result.context("cannot run go: Go 1.26 or newer is needed, see https://go.dev/dl/")?;
    if !result.status.success() {
        bail!("building {what} failed: {}", String::from_utf8_lossy(&result.stderr).trim());
    }
    for program in module.programs {
        ensure!(output.join(program).exists(), "building {what} did not give {program}");
    }
    report(&format!("built {what} in {} s", started.elapsed().as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(folder: &Path) {
        for module in &ALL {
            fs::create_dir_all(folder.join(module.folder)).unwrap();
            for file in ["go.mod", "go.sum"] {
                fs::write(folder.join(module.folder).join(file), module.folder).unwrap();
            }
        }
    }

    #[test]
    fn a_changed_dependency_changes_the_key() {
        let folder = tempfile::tempdir().unwrap();
        modules(folder.path());
        let before = key(folder.path()).unwrap();
        assert_eq!(before, key(folder.path()).unwrap());
        fs::write(folder.path().join("helm/go.sum"), "other").unwrap();
        assert_ne!(before, key(folder.path()).unwrap());
    }

    #[test]
    fn a_missing_module_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = key(folder.path()).unwrap_err().to_string();
        assert!(message.contains("etcd/go.mod") && message.contains("LOCAL_CLUSTER_MODULES"), "{message}");
    }

    #[test]
    fn the_modules_of_this_repository_are_found() {
        assert_eq!(key(Path::new(MODULES)).unwrap().len(), 12);
    }
}
