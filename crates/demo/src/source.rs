//! The source volume: a real filesystem with a real tree, made as an administrator would make it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::account::Account;
use crate::programs::run;

/// Prints one digest of all names and contents below the working folder. It runs in busybox, here and in pods alike.
pub const DIGEST_COMMAND: &str = "find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64";

/// The size of the source in GiB.
pub(crate) const SIZE_GIB: i32 = 1;

/// What a source is filled with.
#[derive(Clone, Debug)]
pub enum Content {
    /// The source tree of the Go toolchain: about ten thousand files.
    GoToolchain,
    /// A few files, quick to make.
    Small,
}

/// The filesystem of a source.
#[derive(Clone, Copy, Debug)]
pub enum Filesystem {
    /// XFS.
    Xfs,
    /// ext4.
    Ext4,
}

impl Filesystem {
    fn maker(self) -> &'static str {
        match self {
            Self::Xfs => "mkfs.xfs",
            Self::Ext4 => "mkfs.ext4",
        }
    }
}

/// A filled source volume.
#[derive(Clone, Debug)]
pub(crate) struct Filled {
    pub(crate) volume: String,
    pub(crate) digest: String,
    pub(crate) files: usize,
}

/// Makes a volume, attaches it, makes a filesystem, copies the content, notes its digest, and detaches it.
pub(crate) async fn fill(account: &Account, data: &Path, zone: &str, (content, filesystem): (&Content, Filesystem)) -> Result<Filled> {
    let builder = account.run_instance("source-builder", zone).await?;
    let volume = account.create_volume("source", zone, SIZE_GIB).await?;
    account.attach(&volume, &builder).await?;
    let device = data.join("instances").join(&builder).join("dev/nvme1n1");
    let device = device.to_str().context("the data folder is not UTF-8")?.to_owned();
    run(filesystem.maker(), ["-q", &device]).await?;
    let point = tempfile::tempdir().context("cannot make a temporary folder")?;
    let root = point.path().to_str().context("the temporary folder is not UTF-8")?.to_owned();
    run("mount", [&device, &root]).await?;
    let written = write(&root, content).await;
    run("umount", [&root]).await?;
    let (digest, files) = written?;
    account.detach(&volume).await?;
    Ok(Filled { volume, digest, files })
}

async fn write(root: &str, content: &Content) -> Result<(String, usize)> {
    match content {
        Content::GoToolchain => {
            let tree = go_tree().await?;
            let tree = tree.to_str().context("the Go toolchain is not in a UTF-8 folder")?;
            run("cp", ["-a", &format!("{tree}/."), root]).await?;
        }
        Content::Small => {
            for number in 0..40 {
                std::fs::write(Path::new(root).join(format!("page-{number}.html")), format!("<p>page {number}</p>").repeat(100))?;
            }
        }
    }
    std::fs::write(Path::new(root).join("VERSION"), "generation one\n")?;
    let digest = run("busybox", ["sh", "-c", &format!("cd {root} && {DIGEST_COMMAND}")]).await?;
    let files = run("busybox", ["sh", "-c", &format!("find {root} -type f | wc -l")]).await?;
    Ok((digest, files.trim().parse().context("wc printed no number")?))
}

async fn go_tree() -> Result<PathBuf> {
    let root = run("go", ["env", "GOROOT"]).await.context("the Go toolchain is needed for the content of the demonstration")?;
    Ok(Path::new(&root).join("src"))
}
