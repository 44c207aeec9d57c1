//! The simulator of EC2: calls in process, describes over HTTP, memory, and snapshots of real files.
//!
//! Everything here is measured on `ec2-sim` as it is released, which is built without the SDK.

mod program;
mod snapshots;
mod wire;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use ec2_sim::world::{Action, Call, CreateSnapshot, CreateVolume, Profile, Reply, Settings, World};
use jiff::{SignedDuration, Timestamp};

use crate::row::{Comparison, Row, median};
use program::Program;
use wire::Client;

pub(crate) const COMMAND: &str = "make bench ONLY=ec2-sim";
const ZONE: &str = "us-east-1a";
const ROUNDS: usize = 3;
/// How long a round of describes lasts.
const ROUND: Duration = Duration::from_secs(2);
/// Clients that describe at the same time.
const CLIENTS: usize = 2;
/// Volumes in each answer of a describe.
const PAGE: usize = 50;
/// Volumes, and as many snapshots, of the account whose memory is measured.
const MANY: usize = 10_000;
/// Calls a second in process that a test of a whole cluster needs, in microseconds a call.
const CALL_LIMIT_US: f64 = 1e6 / 20_000.0;
/// Describes a second over HTTP, in milliseconds each.
const DESCRIBE_LIMIT_MS: f64 = 1e3 / 3_000.0;
const MEMORY_LIMIT_MIB: f64 = 300.0;

pub(crate) fn run() -> Result<Vec<Row>> {
    eprintln!("building ec2-sim as it is released");
    cargo(&["build", "--release", "--quiet", "--package", "ec2-sim"])?;
    let mut rows = vec![calls()?];
    rows.extend(describes()?);
    rows.push(memory()?);
    rows.extend(snapshots::run()?);
    Ok(rows)
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "cargo {} failed", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// The account alone, in a program of its own that is optimized.
fn calls() -> Result<Row> {
    let round = || -> Result<f64> {
        let printed = cargo(&["bench", "--quiet", "--package", "ec2-sim", "--bench", "calls"])?;
        Ok(1e6 / printed.trim().parse::<f64>().context("the bench `calls` prints calls a second")?)
    };
    let figures: Vec<f64> = (0..ROUNDS).map(|_| round()).collect::<Result<_>>()?;
    let comparison =
        Comparison { name: "ec2_sim_call", unit: "us", rival: "the limit: 20,000 calls a second", target: 1.0, command: COMMAND };
    Ok(comparison.row(median(figures), CALL_LIMIT_US))
}

/// Describes of an account of fifty volumes, beside the limit and beside moto.
fn describes() -> Result<Vec<Row>> {
    let simulator = Program::ec2_sim(&["--profile", "instant", "--no-data"], None)?;
    let ours = milliseconds(&simulator)?;
    drop(simulator);
    let limit =
        Comparison { name: "ec2_sim_describe_50", unit: "ms", rival: "the limit: 3,000 describes a second", target: 1.0, command: COMMAND };
    let mut rows = vec![limit.row(ours, DESCRIBE_LIMIT_MS)];
    match Program::moto() {
        Ok(moto) => {
            let rival = Comparison { name: "ec2_sim_describe_50", unit: "ms", rival: "moto 5.2.5", target: 0.1, command: COMMAND };
            rows.push(rival.row(ours, milliseconds(&moto)?));
        }
        Err(error) => eprintln!("NOT MEASURED: moto, the rival of ec2_sim_describe_50, cannot be installed: {error:#}"),
    }
    Ok(rows)
}

/// Milliseconds a describe, over all clients together, on a program that has no volumes yet.
fn milliseconds(program: &Program) -> Result<f64> {
    let mut client = Client::new(program.address);
    for _ in 0..PAGE {
        client.call(&format!("Action=CreateVolume&AvailabilityZone={ZONE}&Size=1&VolumeType=gp3"))?;
    }
    let rounds: Vec<f64> = (0..ROUNDS).map(|_| round(program)).collect::<Result<_>>()?;
    Ok(median(rounds))
}

fn round(program: &Program) -> Result<f64> {
    let started = Instant::now();
    let describe = || -> Result<u32> {
        let mut client = Client::new(program.address);
        let mut count = 0;
        while started.elapsed() < ROUND {
            let answer = client.call("Action=DescribeVolumes")?;
            ensure!(answer.matches("<volumeType>").count() == PAGE, "an answer does not have {PAGE} volumes: {answer}");
            count += 1;
        }
        Ok(count)
    };
    let counts: Vec<Result<u32>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(describe)).collect();
        clients.into_iter().map(|client| client.join().expect("a client returns its errors")).collect()
    });
    let count: u32 = counts.into_iter().sum::<Result<u32>>()?;
    Ok(started.elapsed().as_secs_f64() * 1e3 / f64::from(count.max(1)))
}

/// What a simulator of a large account holds in memory once it has answered.
fn memory() -> Result<Row> {
    let account = serde_json::to_vec(&large_account()?)?;
    let simulator = Program::ec2_sim(&["--profile", "instant", "--no-data"], Some(&account))?;
    let mut client = Client::new(simulator.address);
    for (action, element) in [("DescribeVolumes", "<volumeType>"), ("DescribeSnapshots", "<startTime>")] {
        let answer = client.call(&format!("Action={action}&MaxResults=1000"))?;
        ensure!(answer.matches(element).count() == 1_000, "{action} does not show a large account");
    }
    client.call(&format!("Action=CreateVolume&AvailabilityZone={ZONE}&Size=1&VolumeType=gp3"))?;
    let comparison = Comparison {
        name: "ec2_sim_memory_20000",
        unit: "MiB",
        rival: "the limit: 300 MiB for 10,000 volumes and 10,000 snapshots",
        target: 1.0,
        command: COMMAND,
    };
    Ok(comparison.row(simulator.resident_mib()?, MEMORY_LIMIT_MIB))
}

fn large_account() -> Result<World> {
    let mut world = World::new(Settings { region: "us-east-1".to_owned(), profile: Profile::Instant, seed: 1 });
    let mut now = Timestamp::UNIX_EPOCH;
    for _ in 0..MANY {
        let request = CreateVolume { size_gib: Some(1), zone: Some(ZONE.to_owned()), ..CreateVolume::default() };
        let Reply::Volume(volume) = world.apply(now, &Call::from(Action::CreateVolume(request)))? else {
            anyhow::bail!("CreateVolume is not answered with a volume");
        };
        world.settle(now);
        let request = CreateSnapshot { volume_id: volume.id, ..CreateSnapshot::default() };
        world.apply(now, &Call::from(Action::CreateSnapshot(request)))?;
        world.settle(now);
        now += SignedDuration::from_secs(1);
    }
    Ok(world)
}
