//! A simulator in this process and AWS's own client to it: the stage of the contract suite in `tests`.

mod answer;
mod hurry;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{BehaviorVersion, Builder, Config, Credentials, Region, StalledStreamProtectionConfig};
use ec2_sim::{Options, Profile, Server};
use tempfile::TempDir;

pub use answer::{code, status_and_code};
pub use hurry::Hurry;

/// The region of every simulator here.
pub const REGION: &str = "us-east-1";

/// A simulator without a data plane, stopped when dropped.
#[derive(Debug)]
pub struct Simulator {
    server: Server,
    folder: TempDir,
    /// A client that asks once: what it is answered is what the simulator said.
    pub ec2: Client,
}

impl Simulator {
    /// One in which every change is done as soon as anybody looks.
    pub async fn start() -> Self {
        Self::with(Profile::Instant).await
    }

    /// One with the latencies of this profile.
    pub async fn with(profile: Profile) -> Self {
        let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
        Self::on(folder, profile).await
    }

    async fn on(folder: TempDir, profile: Profile) -> Self {
        let options = Options { profile, ..Options::for_tests(folder.path()) };
        let server = Server::start(options).await.expect("a simulator starts in a folder of its own");
        let ec2 = Client::from_conf(settings(&server.endpoint_url()).build());
        Self { server, folder, ec2 }
    }

    /// The same account in a new process, as far as its clients can tell.
    pub async fn restart(self, profile: Profile) -> Self {
        self.server.shutdown().await.expect("what was stored can be stored again");
        Self::on(self.folder, profile).await
    }

    /// A client with other settings.
    pub fn client(&self, change: impl FnOnce(Builder) -> Builder) -> Client {
        Client::from_conf(change(settings(&self.server.endpoint_url())).build())
    }

    /// Where it listens, as a URL.
    pub fn endpoint_url(&self) -> String {
        self.server.endpoint_url()
    }
}

/// No second attempts, no limits of time, and pauses that are a hundredth of what the SDK asks for.
fn settings(endpoint_url: &str) -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint_url)
        .credentials_provider(Credentials::new("simulator", "simulator", None, None, "simulator"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .sleep_impl(Hurry)
}
