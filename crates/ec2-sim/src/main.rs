//! The `ec2-sim` program: parses the command line and does what it says.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    match ec2_sim::cli::Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            // Causes belong to the message; a backtrace would bury it. If standard
            // error is closed, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "ec2-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
