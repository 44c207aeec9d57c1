//! Writes the images that pods need before any other: the pause image and a busybox image, from the machine's busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::run;
use crate::packages;

/// The image of every pod's sandbox.
pub(crate) const PAUSE: &str = "registry.local/pause:1";
/// An image with a shell and the usual small programs.
pub(crate) const BUSYBOX: &str = "registry.local/busybox:1";

/// Sleeps until it is told to end, and then ends at once.
const PAUSE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done";

/// Writes one docker-archive with both images to `archive`, working in a folder beside it.
pub(crate) fn write_archive(archive: &Path) -> Result<()> {
    let work = archive.with_extension("work");
    let _ = fs::remove_dir_all(&work);
    let busybox = packages::static_busybox()?;
    let applets = run(&[&busybox.to_string_lossy(), "--list"])?;
    let pause = Image { work: &work, name: "pause", reference: PAUSE };
    let pause = pause.write(&busybox, &[], &["/bin/busybox", "sh", "-c", PAUSE_SCRIPT])?;
    let full = Image { work: &work, name: "busybox", reference: BUSYBOX };
    let applets: Vec<&str> = applets.lines().filter(|name| *name != "busybox" && !name.contains('/')).collect();
    let full = full.write(&busybox, &applets, &["/bin/sh"])?;
    fs::write(work.join("manifest.json"), json!([pause, full]).to_string())?;
    tar(&work, archive, &["manifest.json", "pause", "busybox"])?;
    fs::remove_dir_all(&work).context("cannot remove the images' work folder")
}

/// One image of a single layer. Its files in the archive lie in a folder of its name.
struct Image<'a> {
    work: &'a Path,
    name: &'a str,
    reference: &'a str,
}

impl Image<'_> {
    /// Writes layer and configuration; returns the entry for the archive's manifest.
    fn write(&self, busybox: &Path, applets: &[&str], command: &[&str]) -> Result<Value> {
        let tree = self.work.join(format!("{}-tree", self.name));
        let folder = self.work.join(self.name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fill(&tree, busybox, applets)?;
        tar(&tree, &folder.join("layer.tar"), &["."])?;
        fs::remove_dir_all(&tree)?;
        let digest = run(&["sha256sum", &folder.join("layer.tar").to_string_lossy()])?;
        let digest = digest.split_whitespace().next().context("sha256sum wrote nothing")?;
        fs::write(folder.join("config.json"), configuration(digest, command).to_string())?;
        Ok(json!({
            "Config": format!("{}/config.json", self.name),
            "RepoTags": [self.reference],
            "Layers": [format!("{}/layer.tar", self.name)],
        }))
    }
}

/// The image's configuration, see the OCI image specification.
fn configuration(layer_sha256: &str, command: &[&str]) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_sha256}")]},
        "history": [{"created_by": "local-cluster"}],
    })
}

fn fill(tree: &Path, busybox: &Path, applets: &[&str]) -> Result<()> {
    for folder in ["bin", "etc", "tmp", "root", "proc", "sys", "dev"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let user = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
    fs::write(tree.join("etc/passwd"), user)?;
    fs::write(tree.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    fs::copy(busybox, tree.join("bin/busybox")).context("cannot copy busybox")?;
    for applet in applets {
        let link = tree.join("bin").join(applet);
        symlink("busybox", &link).with_context(|| format!("cannot create {}", link.display()))?;
    }
    Ok(())
}

/// Packs `names` of `folder`, with owner root and without times, so that equal content has equal digests.
fn tar(folder: &Path, archive: &Path, names: &[&str]) -> Result<()> {
    let (folder, archive): (PathBuf, PathBuf) = (folder.into(), archive.into());
    let (folder, archive) = (folder.to_string_lossy(), archive.to_string_lossy());
    let flags = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"];
    let argv = ["tar", "-C", &folder, "-cf", &archive];
    run(&[&argv[..], &flags[..], names].concat())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_has_both_images_and_the_same_bytes_each_time() {
        if packages::static_busybox().is_err() {
            std::io::Write::write_all(
                &mut std::io::stderr(),
                b"SKIPPED: the_archive_has_both_images_and_the_same_bytes_each_time: no static busybox on this machine\n",
            )
            .unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a.tar"), folder.path().join("b.tar"));
        write_archive(&first).unwrap();
        write_archive(&second).unwrap();
        assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
        let manifest = run(&["tar", "-xOf", &first.to_string_lossy(), "manifest.json"]).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], PAUSE);
        assert_eq!(manifest[1]["RepoTags"][0], BUSYBOX);
    }

    #[test]
    fn a_configuration_names_its_layer() {
        let config = configuration("abc", &["/bin/sh"]);
        assert_eq!(config["rootfs"]["diff_ids"][0], "sha256:abc");
        assert_eq!(config["os"], "linux");
    }
}
