//! Runs short external programs and turns their failures into errors that show what they wrote.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Where the programs that we call are looked for: root's usual path, whatever the caller's is.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that would send requests for the cluster's own addresses elsewhere.
pub(crate) const PROXY_VARIABLES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"];

/// Runs `argv` to its end and returns its standard output.
///
/// # Errors
/// When it cannot start or fails; the error has the command and its standard error.
pub(crate) fn run(argv: &[&str]) -> Result<String> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).env("PATH", PATH).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", argv[0]))?;
    checked(&argv.join(" "), &output)
}

/// As [`run`], for programs that take long enough to be waited for without holding the thread.
/// Dropping the future kills the program.
pub(crate) async fn run_async(mut command: tokio::process::Command) -> Result<String> {
    let shown = describe(command.as_std());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    checked(&shown, &output.with_context(|| format!("cannot run {shown}"))?)
}

fn describe(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn checked(shown: &str, output: &Output) -> Result<String> {
    if !output.status.success() {
        let written = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, written.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_command_and_what_it_wrote() {
        let message = run(&["sh", "-c", "echo broken >&2; exit 3"]).unwrap_err().to_string();
        assert!(message.contains("broken") && message.contains('3'), "{message}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let message = format!("{:#}", run(&["no-such-program"]).unwrap_err());
        assert!(message.contains("no-such-program"), "{message}");
    }
}
