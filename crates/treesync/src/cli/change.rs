//! Commands that ask a publisher to do something: push, delete, checkpoint, rescan.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::Outcome;
use super::arguments::{Change, To};
use super::output::{Event, Output};
use crate::model::TreePath;
use crate::wire::{Client, Receipt};

/// A path of the source, as people write it: `./a/b/` is `a/b`, and `.` the root.
fn tree_path(path: &Path) -> anyhow::Result<TreePath> {
    let mut bytes = path.as_os_str().as_bytes();
    while let Some(rest) = bytes.strip_prefix(b"./") {
        bytes = rest;
    }
    while let Some(rest) = bytes.strip_suffix(b"/").filter(|rest| !rest.is_empty()) {
        bytes = rest;
    }
    let bytes = if bytes == b"." { b"" } else { bytes };
    Ok(TreePath::parse(bytes.to_vec())?)
}

async fn connect(to: To) -> anyhow::Result<Client> {
    Ok(Client::connect(&to.to, to.tls.source().as_ref()).await?)
}

pub(super) async fn push(arguments: Change, output: &Output) -> anyhow::Result<Outcome> {
    let path = tree_path(&arguments.path)?;
    let (is_dry_run, wait) = (arguments.dry_run, Duration::from_secs(arguments.wait.into()));
    let client = connect(To { to: arguments.to, tls: arguments.tls }).await?;
    let receipt = client.push(&path, is_dry_run, wait).await.with_context(|| format!("cannot push {path}"))?;
    Ok(say_receipt(receipt, is_dry_run, wait, output))
}

pub(super) async fn delete(arguments: Change, output: &Output) -> anyhow::Result<Outcome> {
    let path = tree_path(&arguments.path)?;
    let (is_dry_run, wait) = (arguments.dry_run, Duration::from_secs(arguments.wait.into()));
    let client = connect(To { to: arguments.to, tls: arguments.tls }).await?;
    let receipt = client.delete(&path, is_dry_run, wait).await.with_context(|| format!("cannot delete {path}"))?;
    Ok(say_receipt(receipt, is_dry_run, wait, output))
}

fn say_receipt(receipt: Receipt, is_dry_run: bool, wait: Duration, output: &Output) -> Outcome {
    let is_good = receipt.is_complete || is_dry_run || wait.is_zero();
    output.say(&Event::Receipt {
        position: receipt.position.into(),
        is_dry_run,
        is_complete: receipt.is_complete,
        paths: receipt.paths.iter().map(ToString::to_string).collect(),
        is_cut_off: receipt.is_cut_off,
        copies: receipt.copies.into_iter().map(Into::into).collect(),
    });
    if is_good { Outcome::Good } else { Outcome::Different }
}

pub(super) async fn checkpoint(arguments: To, output: &Output) -> anyhow::Result<Outcome> {
    let position = connect(arguments).await?.checkpoint().await.context("no checkpoint")?;
    output.say(&Event::Done { what: "checkpoint", position: position.into() });
    Ok(Outcome::Good)
}

pub(super) async fn rescan(arguments: To, output: &Output) -> anyhow::Result<Outcome> {
    let position = connect(arguments).await?.rescan().await.context("no rescan")?;
    output.say(&Event::Done { what: "rescanned", position: position.into() });
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_be_written_as_a_shell_completes_it() {
        let parsed = |text: &str| tree_path(Path::new(text)).map(|path| path.to_string());
        assert_eq!(["./a/b/", "a/b", "a/b//"].map(|text| parsed(text).expect(text)), ["a/b", "a/b", "a/b"]);
        assert_eq!(parsed(".").expect("the root"), ".");
        assert_eq!(parsed("./").expect("the root"), ".");
        for bad in ["/a", "a/../b", "a//b"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
