//! Commands that work on a data folder: down, gc, report.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use crate::audit::{Owners, audit_folder_by_owner};
use crate::disk;

pub(super) fn down(data: &Path, force: bool) -> anyhow::Result<ExitCode> {
    ensure_folder(data)?;
    let report = disk::down(data, force)?;
    let mut out = std::io::stdout();
    if !report.mounted.is_empty() {
        writeln!(out, "Nothing was changed: these volumes are still mounted.")?;
        for (device, mount) in &report.mounted {
            let file = device.file.file_stem().unwrap_or_default().display();
            writeln!(out, "  {file} ({}) on {} (seen by process {})", device.name, mount.point, mount.process)?;
        }
        writeln!(out, "Unmount them, or use --force to unmount them lazily.")?;
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "{} loop devices removed", report.removed.len())?;
    if report.left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "still held open by a process: {}; they go when it ends", report.left.join(", "))?;
    Ok(ExitCode::FAILURE)
}

pub(super) fn gc(data: &Path, delete: bool) -> anyhow::Result<ExitCode> {
    ensure_folder(data)?;
    let report = disk::gc(data, delete)?;
    let mut out = std::io::stdout();
    for leak in &report.leaks {
        writeln!(out, "{leak}")?;
    }
    if report.no_account {
        writeln!(out, "The folder holds no account, so no image in it can be called leaked.")?;
    }
    match (report.leaks.len(), delete) {
        (0, _) => writeln!(out, "nothing is leaked")?,
        (count, false) => writeln!(out, "{count} found, nothing was changed: --delete removes them")?,
        (count, true) => writeln!(out, "{} removed", count - report.failed.len())?,
    }
    for (leak, error) in &report.failed {
        writeln!(out, "not removed: {leak}: {error}")?;
    }
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn report(data: &Path, json: bool, owner_tag: Option<&str>, owners: Vec<String>) -> anyhow::Result<ExitCode> {
    ensure_folder(data)?;
    let existing = (!owners.is_empty()).then(|| owners.into_iter().collect());
    let owners = owner_tag.map(|tag| Owners { tag, existing: existing.as_ref() });
    let audit = audit_folder_by_owner(data, owners)?.with_context(|| format!("{} holds no account", data.display()))?;
    let mut out = std::io::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&audit)?)?;
    } else {
        write!(out, "{audit}")?;
    }
    let clean = audit.is_clean();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ensure_folder(data: &Path) -> anyhow::Result<()> {
    ensure!(data.is_dir(), "there is no data folder {}", data.display());
    Ok(())
}
