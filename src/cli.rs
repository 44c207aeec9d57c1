//! The command line: the only file that names a flag or an environment variable.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::agent::{self, DeviceTree, SyncSettings};
use crate::controller;
use crate::domain::{GiB, NodeName};
use crate::ec2::pacing::{Limits, Raised};
use crate::explain;
use crate::telemetry::LogFormat;

/// Keeps pools of filled, identical EBS volumes ready for pods.
#[derive(Debug, Parser)]
#[command(name = "volume-dispatcher", version, about, long_about = None)]
pub struct Cli {
    /// What is logged, as tracing directives. Example: info,volume_dispatcher=debug.
    #[arg(long, global = true, env = "LOG", default_value = "info")]
    pub log: String,
    /// How log lines look.
    #[arg(long, global = true, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The modes of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep pools filled and claims served. One replica leads; the others wait.
    Controller(ControllerArgs),
    /// Attach, mount and hand out volumes on this node.
    Agent(AgentArgs),
    /// Say what would be done for a pool, in which order, why not yet, and what it costs. Changes nothing.
    Explain(ExplainArgs),
    /// Print the custom resource definitions, or write them to a folder.
    Crds(CrdsArgs),
}

/// Where EC2 is and whose resources are ours.
#[derive(Args, Debug)]
pub struct Ec2Args {
    /// Name of this cluster, in the tag of everything we make in EC2. No two clusters of an account may share it.
    #[arg(long, env = "CLUSTER_NAME")]
    pub cluster_name: String,
    /// AWS region. Default: as the AWS SDK finds it; for an agent, the region of its node.
    #[arg(long, env = "AWS_REGION")]
    pub region: Option<String>,
    /// Where EC2 is, when it is not the region's own endpoint.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub endpoint_url: Option<String>,
    /// A rate that AWS has raised for the account, as <action>=<burst>/<calls a second>; may be given more than once.
    /// Default: the documented rates. Example: CreateVolume=200/10.
    #[arg(long = "ec2-rate", env = "EC2_RATES", value_delimiter = ',', value_name = "ACTION=BURST/RATE")]
    pub rates: Vec<Raised>,
}

impl Ec2Args {
    /// The rates that calls are kept below.
    pub fn limits(&self) -> Limits {
        Limits::raised(self.rates.iter().cloned())
    }
}

/// Arguments of the controller.
#[derive(Args, Debug)]
pub struct ControllerArgs {
    /// EC2.
    #[command(flatten)]
    pub ec2: Ec2Args,
    /// Namespace of the leader Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "volume-dispatcher")]
    pub namespace: String,
    /// Name of this replica, unique among them.
    #[arg(long, env = "POD_NAME")]
    pub identity: String,
    /// Address of health and metrics.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
}

/// Arguments of the agent.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// EC2.
    #[command(flatten)]
    pub ec2: Ec2Args,
    /// Name of the node.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// The kubelet's folder; must be the same path in the container as on the node.
    #[arg(long, env = "KUBELET_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,
    /// The folder below which volumes are mounted; must be the same path in the container as on the node.
    #[arg(long, env = "STATE_DIR", default_value = "/var/lib/volume-dispatcher")]
    pub state_dir: PathBuf,
    /// Where device nodes are.
    #[arg(long, env = "DEV_DIR", default_value = "/dev")]
    pub dev_dir: PathBuf,
    /// Where the kernel describes devices.
    #[arg(long, env = "SYS_DIR", default_value = "/sys")]
    pub sys_dir: PathBuf,
    /// Address of health and metrics.
    #[arg(long, env = "ADMIN_ADDRESS", default_value = "0.0.0.0:8081")]
    pub admin_address: SocketAddr,
    /// Where sources of live pools are published to other agents, by mutual TLS.
    #[arg(long, env = "SYNC_ADDRESS", default_value = "0.0.0.0:8082")]
    pub sync_address: SocketAddr,
    /// The address by which other nodes reach this agent. Default: none, it publishes nothing.
    #[arg(long, env = "POD_IP")]
    pub pod_ip: Option<IpAddr>,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Name of the pool. Default: all pools.
    pub pool: Option<String>,
    /// Namespace of the pool. Default: all namespaces.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// How it is printed.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: explain::Output,
    /// Explain the pools of this manifest, or of standard input with -, without a cluster and without EC2.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// With --from: the size of the source, which a manifest does not tell. Example: 100Gi.
    #[arg(long, default_value = "20Gi", value_parser = size)]
    pub source_size: GiB,
    /// A list of prices in place of the one in the program; src/explain/prices.yaml shows the format.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Name of this cluster, as the controller has it. Needed without --from.
    #[arg(long, env = "CLUSTER_NAME")]
    pub cluster_name: Option<String>,
    /// AWS region. Default: as the AWS SDK finds it.
    #[arg(long, env = "AWS_REGION")]
    pub region: Option<String>,
    /// Where EC2 is, when it is not the region's own endpoint.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    pub endpoint_url: Option<String>,
    /// A rate that AWS has raised for the account, as for the controller.
    #[arg(long = "ec2-rate", env = "EC2_RATES", value_delimiter = ',', value_name = "ACTION=BURST/RATE")]
    pub rates: Vec<Raised>,
}

fn size(text: &str) -> Result<GiB, String> {
    GiB::from_quantity(text).ok_or_else(|| format!("{text:?} is no size such as 20Gi"))
}

impl ExplainArgs {
    /// What is asked.
    pub fn question(&self) -> explain::Question {
        explain::Question {
            pool: self.pool.clone(),
            namespace: self.namespace.clone(),
            from: self.from.clone(),
            prices: self.prices.clone(),
            source_size: self.source_size,
            output: self.output,
            limits: Limits::raised(self.rates.iter().cloned()),
        }
    }
}

/// Arguments of `crds`.
#[derive(Args, Debug)]
pub struct CrdsArgs {
    /// Write one file a definition into this folder instead of printing.
    #[arg(long)]
    pub write: Option<PathBuf>,
}

impl ControllerArgs {
    /// What the controller is told.
    pub fn settings(&self) -> controller::Settings {
        controller::Settings {
            cluster: self.ec2.cluster_name.clone(),
            namespace: self.namespace.clone(),
            identity: self.identity.clone(),
            admin_address: self.admin_address,
        }
    }
}

impl AgentArgs {
    /// What the agent is told.
    pub fn settings(&self) -> agent::Settings {
        agent::Settings {
            node: NodeName::new(self.node_name.as_str()),
            kubelet: self.kubelet_dir.clone(),
            state: self.state_dir.clone(),
            devices: DeviceTree { dev: self.dev_dir.clone(), sys: self.sys_dir.clone() },
            cluster: self.ec2.cluster_name.clone(),
            admin_address: self.admin_address,
            sync: SyncSettings { listen: self.sync_address, advertised: self.pod_ip },
        }
    }
}
