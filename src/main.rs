//! Parses the command line, starts telemetry, and runs exactly one mode.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use kube::Client;
use volume_dispatcher::cli::{AgentArgs, Cli, Command, ControllerArgs, CrdsArgs, ExplainArgs};
use volume_dispatcher::clock::Clock;
use volume_dispatcher::ec2::aws::Aws;
use volume_dispatcher::ec2::pacing::Gate;
use volume_dispatcher::{agent, api, controller, explain, telemetry, yaml};

/// What ten thousand volumes took while they were learnt goes back to the system. See docs/decisions/0021-jemalloc.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("volume-dispatcher: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    telemetry::init(&cli.log, cli.log_format)?;
    if let Command::Crds(args) = &cli.command {
        return crds(args);
    }
    if let Command::Agent(_) = &cli.command {
        agent::drop_privileges().context("cannot drop capabilities; the agent must run as root in a privileged container")?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Controller(args) => run_controller(args).await,
            Command::Agent(args) => run_agent(args).await,
            Command::Explain(args) => run_explain(args).await,
            Command::Crds(args) => crds(&args),
        }
    })
}

async fn run_controller(args: ControllerArgs) -> anyhow::Result<()> {
    let gate = Gate::new(args.ec2.limits());
    let ec2 = Aws::connect(args.ec2.region.clone(), args.ec2.endpoint_url.clone(), gate.clone()).await;
    let client = Client::try_default().await.context("there is no way to the API server; run in a pod, or set KUBECONFIG")?;
    controller::run(client, (ec2, gate), Clock::default(), args.settings()).await
}

async fn run_explain(args: ExplainArgs) -> anyhow::Result<()> {
    let question = args.question();
    // The future is large, and this is called once.
    let text = Box::pin(explain::run(&question, async || {
        let cluster = args
            .cluster_name
            .clone()
            .context("--cluster-name is needed: the name that the controller has; or give a manifest with --from")?;
        let gate = Gate::new(question.limits.clone());
        Ok((Aws::connect(args.region.clone(), args.endpoint_url.clone(), gate).await, cluster))
    }));
    print_text(&text.await?)
}

async fn run_agent(args: AgentArgs) -> anyhow::Result<()> {
    let settings = args.settings();
    let client = Client::try_default().await.context("there is no way to the API server; run in a pod")?;
    let place = agent::Place::of_node(&client, &settings.node).await?;
    let region = args.ec2.region.clone().unwrap_or_else(|| place.region());
    let ec2 = Aws::connect(Some(region), args.ec2.endpoint_url.clone(), Gate::new(args.ec2.limits())).await;
    let place = place.with_limit(&ec2, &settings.cluster).await?;
    agent::run(client, ec2, place, settings).await
}

fn crds(args: &CrdsArgs) -> anyhow::Result<()> {
    for (file, definition) in api::definitions() {
        let text = yaml::to_string(&definition)?;
        match &args.write {
            Some(folder) => std::fs::write(folder.join(file), text).with_context(|| format!("cannot write {file}"))?,
            None => print_document(&text)?,
        }
    }
    Ok(())
}

fn print_document(text: &str) -> anyhow::Result<()> {
    print_text(&format!("---\n{text}"))
}

/// Ends quietly when the reader has seen enough.
fn print_text(text: &str) -> anyhow::Result<()> {
    match write!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
