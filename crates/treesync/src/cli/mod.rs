//! The program: its arguments, what it says, and how it ends.

mod arguments;
mod change;
mod copies;
mod output;
mod publish;
mod status;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Command};
use output::{Event, Output};

/// How a run that did not fail ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// All is as it should be.
    Good,
    /// The answer is no: copies differ, or not all of them have a change.
    Different,
}

/// Exit codes; they are in the help text as well.
const FAILED: u8 = 1;
const DIFFERENT: u8 = 3;

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    start_logging();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(obey(arguments.command, &output)));
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Different) => ExitCode::from(DIFFERENT),
        Err(error) => {
            output.say(&Event::Error { message: format!("{error:#}") });
            ExitCode::from(FAILED)
        }
    }
}

async fn obey(command: Command, output: &Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Publish(arguments) => publish::publish(arguments, output).await,
        Command::Subscribe(arguments) => copies::subscribe(arguments, output).await,
        Command::Push(arguments) => change::push(arguments, output).await,
        Command::Delete(arguments) => change::delete(arguments, output).await,
        Command::Checkpoint(arguments) => change::checkpoint(arguments, output).await,
        Command::Rescan(arguments) => change::rescan(arguments, output).await,
        Command::Status(arguments) => status::status(arguments, output).await,
        Command::Verify(arguments) => verify::verify(arguments, output).await,
    }
}

/// Ready when the process is asked to stop.
async fn asked_to_stop() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// What libraries say goes to standard error: warnings, or what RUST_LOG asks for.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
