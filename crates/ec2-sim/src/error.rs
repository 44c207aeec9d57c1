//! What can go wrong outside the simulated account: files, devices, the listener.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the simulator itself, never an answer of the simulated EC2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file, folder or device failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A program that the data plane needs failed.
    #[error("`{command}` failed: {message}")]
    Command {
        /// The program and its arguments.
        command: String,
        /// What it said.
        message: String,
    },
    /// The state file holds something else than a state. It is never overwritten.
    #[error(
        "the state file {} is damaged: {what}; it was left as it is: put a copy of it back, or move it away to begin with an empty account",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        what: String,
    },
    /// The state file is of a format that this version does not know. It is never overwritten.
    #[error(
        "the state file {} has format {version}, and this ec2-sim reads formats up to {newest}: use the newer ec2-sim that wrote it, or another data folder",
        path.display()
    )]
    StateVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
        /// The newest format that is understood.
        newest: u32,
    },
    /// The file of access keys cannot be used.
    #[error("the credentials file {}: {problem}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the access key and the policy.
        problem: String,
    },
    /// The script of faults cannot be used.
    #[error("the faults file {}: {problem}", path.display())]
    Faults {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with the number of the fault.
        problem: String,
    },
    /// The rules cannot be changed so.
    #[error("the rules: {0}")]
    Rules(String),
    /// A volume cannot be imported.
    #[error("the volume cannot be imported: {0}")]
    Import(String),
    /// The account cannot be written down.
    #[error("the account cannot be made JSON: {0}")]
    Unwritable(serde_json::Error),
    /// Another simulator works on the same folder.
    #[error("the data folder {} is in use by a running simulator", .0.display())]
    InUse(PathBuf),
    /// The simulator has been shut down.
    #[error("the simulator has been shut down")]
    Stopped,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The data plane needs rights that the process does not have.
    #[error("the data plane needs root, for loop devices and device nodes; run as root, or without it (--no-data)")]
    NotRoot,
}

/// Says what was tried, for an I/O error.
pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { doing, path, source }
}
