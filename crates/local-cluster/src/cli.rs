//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs a real Kubernetes on this machine, for tests and demonstrations.
///
/// Everything lives in one network namespace and one state folder, so several clusters can run side by side and
/// nothing is left when one is taken down. Root is needed. The programs are built from source when they are used for
/// the first time, which takes several minutes and needs Go 1.26.
#[derive(Debug, Parser)]
#[command(name = "local-cluster", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which cluster is meant.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The folder that holds everything of the cluster; keep its path short
    ///
    /// Sockets below it may have paths of 107 bytes at most. Defaults to `volume-dispatcher/local-cluster` below
    /// `$XDG_STATE_HOME` or `~/.local/state`.
    #[arg(long, env = "LOCAL_CLUSTER_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a cluster, or use the healthy one that runs already
    ///
    /// A broken cluster is removed and started anew.
    Up {
        /// Which cluster.
        #[command(flatten)]
        target: Target,
        /// The number of nodes, named node1, node2, …
        #[arg(long, default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=200))]
        nodes: u8,
    },
    /// Stop the cluster and remove everything of it, whatever state it is in
    Down {
        /// Which cluster.
        #[command(flatten)]
        target: Target,
        /// Move the logs to a folder beside the state folder instead of removing them
        #[arg(long)]
        keep_logs: bool,
    },
    /// Say whether the cluster is healthy; the exit code is 0 only then
    Status {
        /// Which cluster.
        #[command(flatten)]
        target: Target,
    },
    /// Run kubectl with all rights on the cluster
    Kubectl(Passed),
    /// Run helm with all rights on the cluster
    Helm(Passed),
    /// Import the images of a docker-archive (a tar file) into every node
    LoadImage {
        /// Which cluster.
        #[command(flatten)]
        target: Target,
        /// The archive, for example of `docker save` or `buildah push … docker-archive:FILE:NAME`
        file: PathBuf,
    },
    /// Build the programs that are missing and print their folder
    ///
    /// They are kept in `LOCAL_CLUSTER_TOOLS`, or else in `volume-dispatcher/tools` below `$XDG_CACHE_HOME` or
    /// `~/.cache`. `LOCAL_CLUSTER_MODULES` names another folder with the Go modules to build.
    Tools,
}

/// Arguments that go to another program as they are.
#[derive(Debug, Args)]
pub(crate) struct Passed {
    /// Which cluster. An option of this name must come before the program's own arguments.
    #[command(flatten)]
    pub(crate) target: Target,
    /// The program's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_after_kubectl_go_to_kubectl() {
        let line = ["local-cluster", "kubectl", "--state", "/s", "get", "pods", "-o", "json", "--state", "x"];
        let Command::Kubectl(passed) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(passed.target.state, Some("/s".into()));
        assert_eq!(passed.arguments, ["get", "pods", "-o", "json", "--state", "x"]);
    }

    #[test]
    fn zero_nodes_are_refused() {
        Cli::try_parse_from(["local-cluster", "up", "--nodes", "0"]).unwrap_err();
        Cli::try_parse_from(["local-cluster", "up", "--nodes", "201"]).unwrap_err();
    }
}
