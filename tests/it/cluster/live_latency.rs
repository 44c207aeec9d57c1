//! From the close of files in the source until a pod's mount shows them, in ten pods. Figures are printed, never judged.
//!
//! Mounts of pods are looked at through the root of their processes, so that no `kubectl exec` is in the figures.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use demo::Stage;

/// How many files change at once, and how often that is measured.
const SIZES: [(usize, usize); 3] = [(1, 40), (100, 5), (1000, 2)];
/// Pause between two looks, which is the error of each figure.
const LOOK: Duration = Duration::from_millis(1);
/// The longest that a change may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Measures and prints. Each figure is that of one copy: all files of a change are there.
pub(super) fn measure(stage: &Stage, source: &Path, copies: usize) -> Result<()> {
    let mounts = mounts_of(stage, "sh\0-c\0while sleep 1;")?;
    ensure!(mounts.len() == copies, "{} readers run instead of {copies}", mounts.len());
    for (files, rounds) in SIZES {
        let mut figures = Vec::new();
        for round in 0..rounds {
            figures.extend(one(source, &mounts, files, round)?);
            std::thread::sleep(Duration::from_millis(300));
        }
        figures.sort();
        let at = |share: usize| figures[(figures.len() * share / 100).min(figures.len() - 1)];
        let (middle, late, number) = (at(50), at(99), figures.len());
        println!("{files} files at once: visible in a pod after p50 {middle:.1?}, p99 {late:.1?} ({number} figures of {copies} copies)");
    }
    Ok(())
}

/// Makes files and returns how long after the last close each copy showed all of them.
fn one(source: &Path, mounts: &[PathBuf], files: usize, round: usize) -> Result<Vec<Duration>> {
    let folder = PathBuf::from(format!("latency-{files}-{round}"));
    std::fs::create_dir(source.join(&folder))?;
    for file in 0..files {
        std::fs::write(source.join(&folder).join(file.to_string()), [b'x'; 1000])?;
    }
    let closed = Instant::now();
    let mut waiting: Vec<(&PathBuf, usize)> = mounts.iter().map(|mount| (mount, 0)).collect();
    let mut figures = Vec::new();
    while !waiting.is_empty() {
        ensure!(closed.elapsed() < PATIENCE, "{} copies do not show {}", waiting.len(), folder.display());
        waiting.retain_mut(|(mount, seen)| {
            let is_there = |file: usize| mount.join(&folder).join(file.to_string()).metadata().is_ok_and(|data| data.len() == 1000);
            while *seen < files && is_there(*seen) {
                *seen += 1;
            }
            if *seen == files {
                figures.push(closed.elapsed());
            }
            *seen < files
        });
        std::thread::sleep(LOOK);
    }
    Ok(figures)
}

/// The volumes of all containers of this stage whose command begins like this.
pub(super) fn mounts_of(stage: &Stage, command: &str) -> Result<Vec<PathBuf>> {
    let folder = stage.cluster.state().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_one = std::fs::read_to_string(path.join("cmdline")).is_ok_and(|own| own.starts_with(command));
        if is_one && std::fs::read_to_string(path.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&folder)) {
            found.push(path.join("root/content"));
        }
    }
    Ok(found)
}
