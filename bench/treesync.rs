//! Many copies of a large tree, kept in step by treesync and by rsync. Runs the benchmark of its crate, which cargo builds
//! optimised: the engine without the EC2 SDK.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::row::{Comparison, Row};

const COMMAND: &str = "make bench ONLY=treesync";

/// What the benchmark prints for each figure. A figure without a rival is information, and has none of the last two.
#[derive(Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    rival: String,
    rival_value: Option<f64>,
    target: Option<f64>,
}

pub(crate) fn run() -> Result<Vec<Row>> {
    run_parts("changes,rename,idle,large,scale", COMMAND)
}

/// Runs parts of it, which `remake` runs again.
pub(crate) fn run_parts(parts: &str, remake: &'static str) -> Result<Vec<Row>> {
    let mut command = Command::new("cargo");
    command.args(["bench", "--quiet", "--package", "treesync", "--bench", "copies"]).env("TREESYNC_BENCH_ONLY", parts);
    command.stderr(Stdio::inherit());
    let output = command.output().context("cargo cannot be run")?;
    ensure!(output.status.success(), "the benchmark of treesync failed: {}", output.status);
    let text = String::from_utf8(output.stdout).context("the benchmark prints JSON")?;
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let figure: Figure = serde_json::from_str(line).with_context(|| format!("not a figure: {line}"))?;
        let Figure { name, value, unit, rival, rival_value, target } = figure;
        let (Some(rival_value), Some(target)) = (rival_value, target) else {
            eprintln!("{name}: {value:.3} {unit}");
            continue;
        };
        // A handful, for the life of the process.
        let [name, unit, rival] = [name, unit, rival].map(|text| &*text.leak());
        rows.push(Comparison { name, unit, rival, target, command: remake }.row(value, rival_value));
    }
    Ok(rows)
}
