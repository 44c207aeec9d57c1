//! The command line: serve, down, gc, report, import-volume.

mod folder;
mod import;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Options, Profile, Server};
use import::ImportVolume;

/// A simulator of AWS EC2 for work with EBS volumes.
///
/// AWS SDKs, boto3 and the AWS CLI use it unchanged: give them its address as the
/// endpoint URL, and any credentials. Volumes are sparse files, snapshots are
/// clones of them, and an attached volume is a real block device.
#[derive(Debug, Parser)]
#[command(name = "ec2-sim", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the simulator until SIGTERM or Ctrl-C.
    ///
    /// The account is kept in the data folder and is there again at the next start.
    /// Stopping detaches nothing, as an outage of EC2 does not: use `down` for that.
    #[command(after_help = "Example:\n  \
        ec2-sim serve --data-dir /tmp/ec2 &\n  \
        export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1\n  \
        aws --endpoint-url http://127.0.0.1:4599 ec2 create-volume --size 1 \\\n    \
          --volume-type gp3 --availability-zone us-east-1a")]
    Serve(Serve),
    /// Remove every loop device of a data folder, also after a crash.
    ///
    /// Only the images and the state file stay. Refuses, without changing anything,
    /// while a simulator runs on the folder or a device is mounted.
    Down {
        /// The data folder.
        #[arg(long = "data-dir", visible_alias = "data", value_name = "FOLDER")]
        data: PathBuf,
        /// Unmount what is mounted first (lazily, in every mount namespace).
        #[arg(long)]
        force: bool,
    },
    /// Find what a dead simulator left in a data folder and no account wants.
    ///
    /// Loop devices and their mounts, half-made files, images of no volume or snapshot, device
    /// trees of no instance. It only lists them, unless told to delete. Images on an XFS of their
    /// own are mounted to be looked at, and unmounted after that when nothing is attached. Refuses
    /// while a simulator runs on the folder, and when the state file is damaged. Needs root.
    Gc {
        /// The data folder.
        #[arg(long = "data-dir", visible_alias = "data", value_name = "FOLDER")]
        data: PathBuf,
        /// Remove what was found.
        #[arg(long, conflicts_with = "dry_run")]
        delete: bool,
        /// Only list; this is what happens without --delete too.
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a volume that is filled with the content of a folder, and print its id. Needs root.
    #[command(after_help = "Examples:\n  \
        ec2-sim import-volume --from ./images --fs xfs --data-dir /tmp/ec2 --tag Name=source\n  \
        ec2-sim import-volume --from ./images --fs ext4 --admin 127.0.0.1:4598 --size-gib 20")]
    ImportVolume(ImportVolume),
    /// Print what the account holds, what was called, and whether it is in order; exit with 1 when not.
    ///
    /// Reads only, so it may run beside a simulator.
    #[command(visible_alias = "audit")]
    Report {
        /// The data folder.
        #[arg(long = "data-dir", visible_alias = "data", value_name = "FOLDER")]
        data: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Tell volumes, snapshots and instances by the value of this tag, as their owner.
        #[arg(long, value_name = "KEY")]
        owner_tag: Option<String>,
        /// An owner that still exists; repeat it for each. What is tagged with another owner is listed as ownerless.
        #[arg(long = "owner", value_name = "VALUE", requires = "owner_tag")]
        owners: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:4599")]
    listen: SocketAddr,
    /// Folder of the state file and the images; made when missing.
    #[arg(long = "data-dir", visible_alias = "data", value_name = "FOLDER")]
    data: PathBuf,
    /// Region; it has the zones a, b and c.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// How long things take.
    #[arg(long, value_enum, default_value = "fast")]
    profile: Profile,
    /// Where the ids of a new account come from: the same seed and calls give the same ids.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Address of the admin interface, which can put the clock forward and let things go wrong; none without it.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Loopback address of the instances' metadata services, such as 127.0.0.1; none without it.
    ///
    /// Each running instance has a port of its own, which `/_sim/instances` lists. Clients take
    /// it as `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    #[arg(long, value_name = "IP")]
    imds: Option<IpAddr>,
    /// Serve without files and devices, and without root.
    #[arg(long)]
    no_data: bool,
    /// File of faults that happen by the clock or by the count of calls, in YAML or JSON.
    ///
    ///   faults:
    ///   - inject: {fault: reply-lost, calls: {action: CreateVolume}, times: 1}
    ///   - at_millis: 30000
    ///     inject: {fault: instance-dies, instance_id: i-0123456789abcdef0}
    ///   - after_calls: {action: AttachVolume, count: 3}
    ///     inject: {fault: error, calls: {action: AttachVolume}, times: 2, code: InternalError}
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    faults: Option<PathBuf>,
    /// File of rules that differ from those of the profile, in YAML or JSON; `/_sim/rules` shows them all.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// File of access keys and their policies, in YAML or JSON. Without it any credentials will do.
    ///
    /// With it a request must be signed by one of the keys (`AuthFailure`), and the key's policies
    /// must allow it (`UnauthorizedOperation`). A policy is a document of IAM, or the path of a file
    /// that holds one, beside this file:
    ///
    ///   access-keys:
    ///   - access-key-id: AKIAIOSFODNN7EXAMPLE
    ///     secret-access-key: secret
    ///     user: driver
    ///     policies: [driver-policy.json]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    credentials: Option<PathBuf>,
    /// What to log to standard error, such as `info` or `ec2_sim=debug`.
    #[arg(long, env = "EC2_SIM_LOG", default_value = "info")]
    log: String,
}

impl Cli {
    /// Does what the command line asks for.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(arguments) => serve(arguments).await,
            Command::Down { data, force } => folder::down(&data, force),
            Command::Gc { data, delete, dry_run: _ } => folder::gc(&data, delete),
            Command::ImportVolume(arguments) => arguments.run().await,
            Command::Report { data, json, owner_tag, owners } => folder::report(&data, json, owner_tag.as_deref(), owners),
        }
    }
}

async fn serve(arguments: Serve) -> anyhow::Result<ExitCode> {
    let filter =
        tracing_subscriber::EnvFilter::try_new(&arguments.log).with_context(|| format!("--log {} is not a filter", arguments.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    // Asked for before the ready line, so that whoever reads it may send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(Options {
        listen: arguments.listen,
        data: arguments.data,
        region: arguments.region,
        profile: arguments.profile,
        data_plane: !arguments.no_data,
        seed: arguments.seed,
        admin_listen: arguments.admin_listen,
        imds: arguments.imds,
        faults: arguments.faults,
        rules: arguments.rules,
        credentials: arguments.credentials,
    })
    .await?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", server.endpoint_url())?;
    if let Some(address) = server.admin_addr() {
        writeln!(out, "admin on http://{address}")?;
    }
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.shutdown().await?;
    Ok(ExitCode::SUCCESS)
}
