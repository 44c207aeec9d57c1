//! The program `local-cluster`.

mod cli;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use local_cluster::{Cluster, ClusterSpec, Logs};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, Passed, Target};

#[tokio::main]
async fn main() -> ExitCode {
    // The Kubernetes client reports each try of the wait for an API server that is still starting as an error.
    let quiet = |_| EnvFilter::new("warn,kube_client=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(quiet);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("local-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    eprintln!("{line}");
}

fn state(target: Target) -> Result<PathBuf> {
    target.state.map_or_else(local_cluster::default_state, Ok)
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { target, nodes } => up(state(target)?, nodes.into()).await?,
        Command::Down { target, keep_logs } => {
            let logs = if keep_logs { Logs::Keep } else { Logs::Remove };
            if let Some(kept) = local_cluster::down(&state(target)?, logs, say).await? {
                println!("{}", kept.display());
            }
        }
        Command::Status { target } => return status(state(target)?).await,
        Command::Kubectl(passed) => return pass_on("kubectl", passed),
        Command::Helm(passed) => return pass_on("helm", passed),
        Command::LoadImage { target, file } => Cluster::attach(&state(target)?)?.load_image(file).await?,
        Command::Tools => println!("{}", local_cluster::ensure_tools(&say).await?.display()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the cluster; an interrupt takes down what was started until then.
async fn up(state: PathBuf, nodes: usize) -> Result<()> {
    let spec = ClusterSpec::numbered(state.clone(), nodes);
    let started = tokio::select! {
        started = Cluster::up(spec, say) => Some(started?),
        interrupt = tokio::signal::ctrl_c() => interrupt.map(|()| None).context("cannot wait for interrupts")?,
    };
    let Some(mut cluster) = started else {
        local_cluster::down(&state, Logs::Remove, say).await?;
        bail!("interrupted");
    };
    cluster.keep();
    Ok(())
}

async fn status(state: PathBuf) -> Result<ExitCode> {
    let (text, code) = describe(&state).await?;
    // The reader may have seen enough: that is no reason to panic, as `println!` would.
    std::io::stdout().write_all(text.as_bytes()).context("cannot print")?;
    Ok(code)
}

async fn describe(state: &Path) -> Result<(String, ExitCode)> {
    let remains = local_cluster::remains(state)?;
    if remains.is_empty() {
        let text = format!("stopped: nothing exists of a cluster in {}\n", state.display());
        return Ok((text, ExitCode::FAILURE));
    }
    let attached = Cluster::attach(state);
    let problem = match &attached {
        Ok(cluster) => cluster.problem().await,
        Err(error) => Some(format!("{error:#}")),
    };
    if let Some(problem) = problem {
        let list = remains.join("\n  ");
        let text = format!("broken: {problem}\n`up` repairs it, `down` removes what exists of it:\n  {list}\n");
        return Ok((text, ExitCode::FAILURE));
    }
    let cluster = attached?;
    let nodes: Vec<&str> = cluster.nodes().iter().map(|node| node.name.as_str()).collect();
    let text = format!(
        "healthy: nodes {}\nstate: {}\nlogs: {}\nnetwork namespace: {}\n",
        nodes.join(", "),
        cluster.state().display(),
        cluster.logs().display(),
        cluster.netns().display()
    );
    Ok((text, ExitCode::SUCCESS))
}

/// Becomes `name`, inside the cluster's network namespace.
fn pass_on(name: &str, passed: Passed) -> Result<ExitCode> {
    let cluster = Cluster::attach(&state(passed.target)?)?;
    let mut command = cluster.command_in_netns(cluster.tools().join(name));
    let error = command.args(passed.arguments).as_std_mut().exec();
    Err(error).with_context(|| format!("cannot run {name}"))
}
