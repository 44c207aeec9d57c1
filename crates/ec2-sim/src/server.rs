//! The simulator as a whole, to be started and stopped: listener, driver, data folder.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin;
use crate::clock::Clock;
use crate::connection::{Cut, CuttableListener};
use crate::disk::Disk;
use crate::error::Error;
use crate::iam::Credentials;
use crate::imds;
use crate::rule_changes;
use crate::script::Script;
use crate::shell::Shell;
use crate::store::{Store, Stored};
use crate::wire;
use crate::world::{ApiError, Profile, Settings, World};

/// How to run a simulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The folder of the state file and the images; made when missing. One simulator at a time.
    pub data: PathBuf,
    /// Such as `us-east-1`.
    pub region: String,
    /// How long things take.
    pub profile: Profile,
    /// Whether volumes are files and attachments devices. Needs root.
    pub data_plane: bool,
    /// Where ids come from, for a new account; one of its own when missing. Two accounts with one
    /// seed give the same ids to the same calls.
    pub seed: Option<u64>,
    /// Where the admin interface listens, which can change what clients see; nowhere when missing.
    pub admin_listen: Option<SocketAddr>,
    /// The address of the instances' metadata services, each on a port of its own; none when missing.
    pub imds: Option<IpAddr>,
    /// The file of faults that happen by the clock or by the count of calls; none without it.
    pub faults: Option<PathBuf>,
    /// The file of rules that differ from those of the profile; none without it.
    pub rules: Option<PathBuf>,
    /// The file of access keys and their policies; without one every request is let in, signed or not.
    pub credentials: Option<PathBuf>,
}

impl Options {
    /// A simulator for tests: a free port, us-east-1, no latency, no data plane.
    pub fn for_tests(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: data.into(),
            region: "us-east-1".to_owned(),
            profile: Profile::Instant,
            data_plane: false,
            seed: None,
            admin_listen: None,
            imds: None,
            faults: None,
            rules: None,
            credentials: None,
        }
    }
}

/// A running simulator.
///
/// Dropping it without [`Server::shutdown`] stops it too, at the next await
/// point of its tasks; the state file is whole either way.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    shell: Arc<Shell>,
    stop_listeners: watch::Sender<bool>,
    stop_driver: watch::Sender<bool>,
    /// EC2, the admin interface, the metadata services.
    listeners: JoinSet<()>,
    driver: JoinHandle<Result<(), Error>>,
}

/// How long a shutdown waits for calls that are being answered.
const LAST_CALLS: Duration = Duration::from_secs(5);

impl Server {
    /// Starts a simulator on its data folder, with the account as an earlier run left it.
    ///
    /// On return it answers calls. Attached volumes get their devices back at once
    /// after that.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let opened = options.clone();
        let shell = match tokio::task::spawn_blocking(move || open(&opened)).await {
            Ok(shell) => Arc::new(shell?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        perform(&shell, &options).await?;
        // Every address is taken before anything is answered.
        let (socket, address) = bind(options.listen).await?;
        let admin = match options.admin_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let (stop_driver, driver_stop) = watch::channel(false);
        let (stop_listeners, stop) = watch::channel(false);
        let moved = Arc::clone(&shell);
        let driver = tokio::spawn(async move { moved.drive(driver_stop).await });
        let mut listeners = JoinSet::new();
        let ec2 = wire::router(Arc::clone(&shell)).into_make_service_with_connect_info::<Cut>();
        listeners.spawn(ended(axum::serve(CuttableListener(socket), ec2).with_graceful_shutdown(told(stop.clone())).into_future()));
        let admin_address = admin.as_ref().map(|(_, address)| *address);
        if let Some((socket, _)) = admin {
            let admin = admin::router(Arc::clone(&shell));
            listeners.spawn(ended(axum::serve(socket, admin).with_graceful_shutdown(told(stop.clone())).into_future()));
        }
        if let Some(ip) = options.imds {
            listeners.spawn(imds::serve(Arc::clone(&shell), ip, stop));
        }
        Ok(Self { address, admin_address, shell, stop_listeners, stop_driver, listeners, driver })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin interface listens, when it does.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// The endpoint URL to give to an AWS client.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops: answers what has been asked, finishes what the data plane is at, stores the state.
    ///
    /// Attached devices stay, as an outage of EC2 does not detach volumes.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        self.stop_listeners.send_replace(true);
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_CALLS, ended).await.is_err() {
            self.listeners.abort_all();
        }
        // The driver goes last: a call may be waiting for its snapshot to be cloned.
        self.stop_driver.send_replace(true);
        let driven = self.driver.await;
        let shell = Arc::clone(&self.shell);
        if let Err(panic) = tokio::task::spawn_blocking(move || shell.close()).await {
            std::panic::resume_unwind(panic.into_panic());
        }
        match driven {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = |source| Error::Listen { address, source };
    let socket = TcpListener::bind(address).await.map_err(listen)?;
    let bound = socket.local_addr().map_err(listen)?;
    Ok((socket, bound))
}

/// Until everything is to stop. A dropped server is told so like one that is shut down.
async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The end of a listener, which only breaks with the machine.
async fn ended(serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "a listener broke");
    }
}

async fn perform(shell: &Shell, options: &Options) -> Result<(), Error> {
    let Some(file) = &options.faults else { return Ok(()) };
    let unfit = |error: ApiError| Error::Faults { path: file.clone(), problem: error.to_string() };
    shell.perform(Script::load(file)?).await.map_err(unfit)
}

fn open(options: &Options) -> Result<Shell, Error> {
    // Before the folder is touched: a mistake in the file changes nothing.
    let credentials = options.credentials.as_deref().map(Credentials::load).transpose()?;
    if let Some(found) = &credentials {
        tracing::info!(access_keys = found.count(), "signatures and policies are checked");
    } else {
        tracing::info!("no credentials file: every request is let in, signed or not");
    }
    let rules = options.rules.as_deref().map(rule_changes::load).transpose()?;
    let store = Store::open(&options.data)?;
    let new = || Stored {
        world: World::new(Settings { region: options.region.clone(), profile: options.profile, seed: options.seed.unwrap_or_else(seed) }),
        ahead_ms: 0,
    };
    let Stored { mut world, ahead_ms } = store.load()?.unwrap_or_else(new);
    world.configure(&options.region, options.profile);
    if let Some(wanted) = rules {
        let changed = rule_changes::changed(world.rules(), &wanted)?;
        world.set_rules(changed);
    }
    world.distrust_devices();
    world.track_changes();
    let disk = options.data_plane.then(|| Disk::open(&options.data)).transpose()?;
    if let Some(disk) = &disk {
        disk.remove_strays(&world)?;
    }
    Ok(Shell::new(world, store, disk, credentials, Clock::ahead_by(ahead_ms)))
}

/// A seed of its own for each new account, so that the ids of two folders differ.
pub(crate) fn seed() -> u64 {
    let now = Timestamp::now().as_nanosecond().to_le_bytes();
    let mut low = [0; 8];
    low.copy_from_slice(&now[..8]);
    u64::from_le_bytes(low)
}
