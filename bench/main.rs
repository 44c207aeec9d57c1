//! `make bench`: each benchmark measures us and a rival, or a physical limit, in the same run.

mod cluster;
mod controller;
mod ec2_sim;
mod live;
mod planning;
mod row;
mod supply;
mod treesync;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use row::Row;

/// Where the rows go, as an array of objects.
const RESULTS: &str = "target/bench/results.json";

/// Names of all benchmarks, in the order in which they run.
const ALL: [&str; 7] = ["planning", "supply", "idle", "ec2-sim", "cluster", "treesync", "live"];

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    match run(&only) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(only: &[String]) -> Result<()> {
    for name in only {
        ensure!(ALL.contains(&name.as_str()), "there is no benchmark {name}; there are: {}", ALL.join(", "));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    let mut rows: Vec<Row> = Vec::new();
    if wanted("planning") {
        rows.extend(planning::run());
    }
    if wanted("supply") {
        rows.extend(supply::run()?);
        rows.extend(controller::run(controller::refill)?);
    }
    if wanted("idle") {
        rows.extend(controller::run(controller::idle)?);
    }
    if wanted("ec2-sim") {
        rows.extend(ec2_sim::run()?);
    }
    if wanted("cluster") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        rows.extend(runtime.block_on(cluster::run())?);
    }
    if wanted("treesync") {
        rows.extend(treesync::run()?);
    }
    if wanted("live") {
        rows.extend(live::run()?);
    }
    write(&rows)
}

fn write(rows: &[Row]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RESULTS);
    std::fs::create_dir_all(path.parent().context("the results are in a folder")?)?;
    std::fs::write(&path, serde_json::to_string_pretty(rows)?)?;
    println!("\n{:<26} {:>10} {:<4} {:>10} {:>8} {:>8}  met  rival", "name", "value", "", "rival", "ratio", "target");
    for row in rows {
        println!("{row}");
    }
    println!("\nwritten to {RESULTS}");
    Ok(())
}
