//! A simulator in this process and AWS's own client to it: the stage of the contract suite in `tests`.

mod admin;
mod answer;
mod hurry;

use std::net::SocketAddr;
use std::path::PathBuf;

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
        Self::serve(folder, options).await
    }

    /// One that lets in only the keys of a file, which is written into its folder.
    ///
    /// `file` is what the option `--credentials` of `ec2-sim serve` reads.
    pub async fn guarded(file: &str) -> Self {
        let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
        let credentials: PathBuf = folder.path().join("credentials.yaml");
        std::fs::write(&credentials, file).expect("the folder is new");
        let options = Options { credentials: Some(credentials), ..Options::for_tests(folder.path().join("account")) };
        Self::serve(folder, options).await
    }

    async fn serve(folder: TempDir, options: Options) -> Self {
        let admin_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let server = Server::start(Options { admin_listen, ..options }).await.expect("a simulator starts in a folder of its own");
        let ec2 = Client::from_conf(settings(&server.endpoint_url()).build());
        Self { server, folder, ec2 }
    }

    /// Lets something go wrong; `fault` is what the admin interface reads at `/_sim/faults`.
    pub async fn inject(&self, fault: &str) {
        self.admin("/_sim/faults", fault).await;
    }

    /// Puts the account's clock forward.
    pub async fn pass(&self, seconds: u64) {
        self.admin("/_sim/clock", &format!(r#"{{"advance_millis": {}}}"#, seconds * 1_000)).await;
    }

    async fn admin(&self, path: &'static str, body: &str) {
        let address = self.server.admin_addr().expect("every simulator here has an admin port");
        let body = body.to_owned();
        let asked = tokio::task::spawn_blocking(move || admin::post(address, path, &body)).await;
        asked.expect("a request does not panic").expect("the admin interface accepts what the tests ask for");
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

    /// A client with this access key and secret.
    pub fn client_of(&self, id: &str, secret: &str) -> Client {
        self.client(|settings| settings.credentials_provider(Credentials::new(id, secret, None, None, "simulator")))
    }

    /// A client that tries up to four times, as clients do unless told otherwise.
    pub fn patient(&self) -> Client {
        self.client(|settings| settings.retry_config(RetryConfig::standard().with_max_attempts(4)))
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
