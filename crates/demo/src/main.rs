//! `make demo` and `make image`: sets the stage, tells the story, and says what happens and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use demo::{Content, Filesystem, Report, Script, Stage, WITH_A_SPARE, clear, image, prepare, story};
use local_cluster::Cluster;

/// The whole product on this machine: a real Kubernetes, a simulated EC2 with real disks, the image and the chart.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Cli {
    /// The folder of all state. Default: volume-dispatcher/demo in XDG_STATE_HOME or ~/.local/state.
    #[arg(long, env = "DEMO_STATE", global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set the stage anew, tell the story, and leave everything running to look at.
    Up,
    /// Take everything down.
    Down,
    /// Do ahead what takes long: install missing packages, build Kubernetes and the image. Does nothing unless root.
    Prepare,
    /// Build the image, and load it in the nodes when the demo is up.
    Image,
    /// Run kubectl in the demo's cluster.
    Kubectl {
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let state = cli.state.map_or_else(default_state, Ok)?;
    let started = Instant::now();
    let report: Report = Arc::new(move |line: &str| println!("[{:>6.1} s] {line}", started.elapsed().as_secs_f64()));
    match cli.command {
        Command::Up => up(&state, started, report).await,
        Command::Down => clear(&state, &report).await,
        Command::Prepare if !rustix::process::geteuid().is_root() => {
            report("not root: there will be no cluster, and tests that need one are skipped");
            Ok(())
        }
        Command::Prepare => prepare(&report).await.map(drop),
        Command::Image => build_image(&state, &report).await,
        Command::Kubectl { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            println!("{}", Cluster::attach(&state.join("cluster"))?.kubectl(&arguments).await?);
            Ok(())
        }
    }
}

async fn up(folder: &Path, started: Instant, report: Report) -> Result<()> {
    let script = Script {
        state: folder.to_owned(),
        content: Content::GoToolchain,
        filesystem: Filesystem::Xfs,
        zones: WITH_A_SPARE,
        controllers: 2,
        keep: true,
    };
    let stage = Stage::set(script, report.clone()).await?;
    story::tell(&stage, started, &report)
        .await
        .context("the story ended early; look around with target/debug/demo kubectl, then make demo-down")?;
    report("all of it is true. Look around: target/debug/demo kubectl get vp,pvol,pnode -A; end it: make demo-down");
    Ok(())
}

async fn build_image(state: &Path, report: &Report) -> Result<()> {
    let archive = image::ensure(&|line| report(line)).await?;
    report(&format!("{} holds {}:{}", archive.display(), image::NAME, image::TAG));
    if let Ok(cluster) = Cluster::attach(&state.join("cluster")) {
        cluster.load_image(&archive).await?;
        report("loaded it in the nodes of the demo");
    }
    Ok(())
}

fn default_state() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let states = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    Ok(states.context("neither XDG_STATE_HOME nor HOME is set; name a folder with --state")?.join("volume-dispatcher/demo"))
}
