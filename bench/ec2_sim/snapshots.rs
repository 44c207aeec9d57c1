//! How long the snapshot of a large volume with real data takes, where the data folder can share blocks.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;

use super::program::Program;
use super::wire::Client;
use super::{COMMAND, ZONE};
use crate::row::{Comparison, Row, median};

const SIZE_GIB: u64 = 20;
/// Data in the volume, in pieces spread over all of it.
const PIECES: u64 = 1_024;
const PIECE_BYTES: u64 = 1 << 20;
/// Volumes that are snapshotted, one after another, since two snapshots of one must be 15 s apart.
const VOLUMES: usize = 3;
const LIMIT_MS: f64 = 50.0;

pub(super) fn run() -> Result<Option<Row>> {
    if !geteuid().is_root() {
        eprintln!("NOT MEASURED: ec2_sim_snapshot_20_gib needs root for the data plane");
        return Ok(None);
    }
    let simulator = Program::ec2_sim(&["--profile", "instant"], None)?;
    let measured = measure(&simulator);
    // Also after a failure nothing mounted stays behind.
    let folder = simulator.stop()?;
    clear(folder.path())?;
    let comparison = Comparison {
        name: "ec2_sim_snapshot_20_gib",
        unit: "ms",
        rival: "the limit: 50 ms for a sparse volume of 20 GiB with 1 GiB of data",
        target: 1.0,
        command: COMMAND,
    };
    Ok(Some(comparison.row(measured?, LIMIT_MS)))
}

fn measure(simulator: &Program) -> Result<f64> {
    let mut client = Client::new(simulator.address);
    let mut figures = Vec::new();
    for _ in 0..VOLUMES {
        let made = client.call(&format!("Action=CreateVolume&AvailabilityZone={ZONE}&Size={SIZE_GIB}&VolumeType=gp3"))?;
        let volume = text_of(&made, "volumeId")?;
        while text_of(&client.call(&format!("Action=DescribeVolumes&VolumeId.1={volume}"))?, "status")? != "available" {}
        fill(&simulator.folder.path().join("volumes").join(format!("{volume}.img")))?;
        let started = Instant::now();
        client.call(&format!("Action=CreateSnapshot&VolumeId={volume}"))?;
        figures.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(figures))
}

fn fill(image: &Path) -> Result<()> {
    let file = File::options().write(true).open(image).with_context(|| format!("open {}", image.display()))?;
    let piece = vec![0xa5; usize::try_from(PIECE_BYTES)?];
    for number in 0..PIECES {
        file.write_all_at(&piece, number * (SIZE_GIB << 30) / PIECES)?;
    }
    file.sync_all()?;
    Ok(())
}

fn text_of(answer: &str, element: &str) -> Result<String> {
    let rest = answer.split(&format!("<{element}>")).nth(1).with_context(|| format!("no {element} in {answer}"))?;
    Ok(rest.split('<').next().unwrap_or_default().to_owned())
}

/// Takes away what a data plane leaves on a stopped simulator's folder.
fn clear(folder: &Path) -> Result<()> {
    let program = super::program::target().join("release/ec2-sim");
    let status = Command::new(program).args(["down", "--data"]).arg(folder).stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "ec2-sim down: {status}");
    Ok(())
}
