//! The arguments of the program.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::verify::Level;
use crate::wire::{Address, TlsFiles, TlsSource};

/// Keeps many mounted copies of a directory identical to their source, at the cost of the change.
///
/// One process publishes the source; others subscribe with the copies that are mounted where they run. A copy shows each
/// file as it was or as it is, never half of it, and survives a crash at any moment.
#[derive(Parser, Debug)]
#[command(name = "treesync", version, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Say one JSON object a line on standard output, instead of text.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER_HELP: &str =
    "ADDR is unix:PATH (plain, guarded by the permissions of its directory) or HOST:PORT (mutual TLS: give --tls-cert, \
--tls-key and --tls-ca).

Exit codes:
  0  all is as it should be; also after SIGTERM or SIGINT
  1  it failed; the message names what and the way on
  2  the arguments are wrong
  3  the answer is no: a copy differs, or not every attached copy has the change yet

Example, on one machine:
  treesync publish /srv/www --listen unix:/run/treesync.sock
  treesync subscribe --from unix:/run/treesync.sock /mnt/a /mnt/b
  treesync push index.html --to unix:/run/treesync.sock
  treesync verify /mnt/a --against unix:/run/treesync.sock --level content";

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Follow a directory and tell subscribers of every change, until stopped.
    Publish(Publish),
    /// Keep copies in step with a source, until stopped.
    Subscribe(Subscribe),
    /// Look at a path of the source at once, and wait until every attached copy has what stands there.
    Push(Change),
    /// Remove a path with all below from the source, and wait until every attached copy has followed.
    Delete(Change),
    /// Make the source, and all that the publisher knows of it, durable: before a snapshot of its volume.
    Checkpoint(To),
    /// Have the publisher compare the whole source with what it knows.
    Rescan(To),
    /// Tell how a publisher and its copies are, or where a copy is.
    Status(Status),
    /// Compare a copy with its source, and repair it if asked.
    Verify(Verify),
}

/// How to trust the other end.
#[derive(Args, Clone, Debug)]
pub(super) struct Tls {
    /// Certificate that this end shows, PEM.
    #[arg(long = "tls-cert", value_name = "FILE", requires_all = ["key", "authority"])]
    certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long = "tls-key", value_name = "FILE", requires_all = ["certificate", "authority"])]
    key: Option<PathBuf>,
    /// Authorities by one of which the other end's certificate must be signed, PEM.
    #[arg(long = "tls-ca", value_name = "FILE", requires_all = ["certificate", "key"])]
    authority: Option<PathBuf>,
}

impl Tls {
    pub(super) fn source(self) -> Option<TlsSource> {
        let Self { certificate, key, authority } = self;
        Some(TlsFiles { certificate: certificate?, key: key?, authority: authority? }.into())
    }
}

/// What travels.
#[derive(Args, Clone, Debug)]
pub(super) struct Travel {
    /// Leave out what matches, with all below: a name at any depth (*.tmp), or a path from the root (cache/**).
    #[arg(long, value_name = "GLOB")]
    pub(super) exclude: Vec<String>,
    /// Let setuid and setgid of files through; otherwise they are cleared.
    #[arg(long)]
    pub(super) allow_setuid: bool,
    /// Let file capabilities through.
    #[arg(long)]
    pub(super) allow_capabilities: bool,
    /// Let extended attributes with this prefix through as well, such as security.selinux.
    #[arg(long = "xattr", value_name = "PREFIX")]
    pub(super) more_xattrs: Vec<String>,
}

#[derive(Args, Debug)]
pub(super) struct Publish {
    /// The root of the source; everything below it on the same filesystem.
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// Where to listen. Port 0 lets the kernel choose one; the first line of output names it.
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Address,
    #[command(flatten)]
    pub(super) travel: Travel,
    /// Compare the whole source from time to time instead of listening to the kernel.
    #[arg(long)]
    pub(super) poll: bool,
    /// The volume that the source is on now, such as the id of its EBS volume. Another one than at the last start means that
    /// the source is a clone, or was restored from a snapshot: a new epoch of its history begins.
    #[arg(long, value_name = "ID")]
    pub(super) volume: Option<String>,
    /// Bytes a second to all subscribers together, at most.
    #[arg(long, value_name = "BYTES")]
    pub(super) rate: Option<u64>,
    /// Bytes a second to each subscriber, that is each connection, at most.
    #[arg(long, value_name = "BYTES")]
    pub(super) subscriber_rate: Option<u64>,
    #[command(flatten)]
    pub(super) tls: Tls,
}

#[derive(Args, Debug)]
pub(super) struct Subscribe {
    /// Where the publisher listens.
    #[arg(long, value_name = "ADDR")]
    pub(super) from: Address,
    /// The roots of the copies.
    #[arg(required = true, value_name = "DIR")]
    pub(super) directories: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) travel: Travel,
    /// Leave what matches alone on the copies: it is neither written nor removed there.
    #[arg(long = "preserve", value_name = "GLOB")]
    pub(super) preserve: Vec<String>,
    /// Take over directories with files in them, or copies of another source: they are made equal to this source.
    #[arg(long)]
    pub(super) adopt: bool,
    /// Tell of every path of a copy that another process changes, where the kernel says so.
    #[arg(long)]
    pub(super) watch_drift: bool,
    /// End when all copies are in sync.
    #[arg(long)]
    pub(super) once: bool,
    /// Where large files wait until all copies have them.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub(super) spool: PathBuf,
    #[command(flatten)]
    pub(super) tls: Tls,
}

#[derive(Args, Debug)]
pub(super) struct Change {
    /// A path, relative to the root of the source.
    #[arg(value_name = "PATH")]
    pub(super) path: PathBuf,
    /// Where the publisher listens.
    #[arg(long, value_name = "ADDR")]
    pub(super) to: Address,
    /// Only say what would change.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How long to wait for copies, in seconds; 0 does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=600))]
    pub(super) wait: u32,
    #[command(flatten)]
    pub(super) tls: Tls,
}

#[derive(Args, Debug)]
pub(super) struct To {
    /// Where the publisher listens.
    #[arg(long, value_name = "ADDR")]
    pub(super) to: Address,
    #[command(flatten)]
    pub(super) tls: Tls,
}

#[derive(Args, Debug)]
pub(super) struct Status {
    /// A publisher, or the root of a copy.
    #[arg(long, value_name = "ADDR|DIR")]
    pub(super) of: String,
    #[command(flatten)]
    pub(super) tls: Tls,
}

#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The root of the copy.
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
    /// Where the publisher listens.
    #[arg(long, value_name = "ADDR")]
    pub(super) against: Address,
    /// How closely to look.
    #[arg(long, value_enum, default_value_t = VerifyLevel::Metadata)]
    pub(super) level: VerifyLevel,
    /// Make the copy equal. Nobody may subscribe with it meanwhile.
    #[arg(long)]
    pub(super) repair: bool,
    /// Repair also a directory with files in it that is no copy yet, or a copy of another source: what is there now goes.
    #[arg(long, requires = "repair")]
    pub(super) adopt: bool,
    /// Keep in FILE, outside of the copy, which bytes were read: the same command goes on from there after an end. Gone
    /// when all is read.
    #[arg(long, value_name = "FILE")]
    pub(super) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(super) travel: Travel,
    /// What the copy keeps for itself, as for subscribe.
    #[arg(long = "preserve", value_name = "GLOB")]
    pub(super) preserve: Vec<String>,
    #[command(flatten)]
    pub(super) tls: Tls,
}

/// [`Level`], as an argument.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum VerifyLevel {
    /// Its marker alone.
    Marker,
    /// All but the bytes of files whose size and time agree.
    Metadata,
    /// Every byte.
    Content,
}

impl From<VerifyLevel> for Level {
    fn from(level: VerifyLevel) -> Self {
        match level {
            VerifyLevel::Marker => Self::Marker,
            VerifyLevel::Metadata => Self::Metadata,
            VerifyLevel::Content => Self::Content,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn half_of_the_tls_files_is_refused() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from([&["treesync"], arguments].concat());
        assert!(parse(&["checkpoint", "--to", "host:1", "--tls-cert", "c"]).is_err());
        assert!(parse(&["checkpoint", "--to", "host:1", "--tls-cert", "c", "--tls-key", "k", "--tls-ca", "a"]).is_ok());
        assert!(parse(&["checkpoint", "--to", "nowhere"]).is_err());
        assert!(parse(&["subscribe", "--from", "unix:/s"]).is_err(), "no copies");
    }
}
