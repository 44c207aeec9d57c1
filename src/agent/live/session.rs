//! Keeps the copies of one pool on this node in step with their source, for as long as nothing about that changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use treesync::apply::CopyOptions;
use treesync::model::{Position, Rules};
use treesync::session::{self, Notice, Open, copy_at};
use treesync::wire::{Address, CallError, Client, Report, TlsSource};

use super::progress::{Heard, Link};
use super::public_file;
use super::scene::Scene;
use super::wanted::{Following, Target, rules};
use crate::domain::{ObjectKey, VolumeId};

/// How often the source is asked where it is: by this a claim knows how old its content can be at most.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The word of a publisher whose position has all that was written.
const FOLLOWING: &str = "following";
/// Longer is no answer.
const ANSWER: Duration = Duration::from_secs(3);

/// A session that runs.
pub(super) struct Session {
    following: Following,
    options: CopyOptions,
    running: session::Session,
    listening: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
}

impl Session {
    /// Whether it does what is wanted now.
    pub(super) fn fits(&self, wanted: Option<&Following>) -> bool {
        wanted == Some(&self.following) && !self.listening.is_finished()
    }

    /// Starts to follow. None while the source is not published, or this end has no certificate; the board says so.
    pub(super) fn start(scene: &Scene, pool: &ObjectKey, following: &Following) -> Option<Self> {
        let target = following.target.as_ref()?;
        match Self::try_start(scene, pool, following, target) {
            Ok(session) => {
                info!(%pool, address = target.address, copies = following.copies.len(), "follows");
                Some(session)
            }
            Err(problem) => {
                scene.board.change(|state| drop(state.links.insert(pool.clone(), Link::Broken(problem))));
                None
            }
        }
    }

    fn try_start(scene: &Scene, pool: &ObjectKey, following: &Following, target: &Target) -> Result<Self, String> {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let rules = Rules::new(rules(&following.exclude, &following.preserve_on_copies)).map_err(|error| format!("spec.sync: {error}"))?;
        // A volume of a pool is made of a snapshot of the source, so what it holds without a marker is to become the
        // source's; where the source was published before, its index is on the volume and tells what is there already.
        let options = CopyOptions { rules: Arc::new(rules), adopt: true, accept_clone: true, ..CopyOptions::default() };
        let copies = following.copies.iter();
        let copies: Vec<(String, Open)> = copies.map(|(id, path)| (id.to_string(), copy_at(path.clone(), options.clone()))).collect();
        let address: Address = target.address.parse().map_err(|error| format!("{error}"))?;
        let tls = scene.tls()?;
        let settings = session::Settings {
            address: address.clone(),
            server_name: Some(target.server_name.clone()),
            source: pool.to_string(),
            tls: Some(tls.clone()),
            session: format!("{}/{pool}/{}", scene.node, SESSIONS.fetch_add(1, Ordering::Relaxed)),
            copies,
            spool_directory: scene.spool.clone(),
            jitter: Box::new(|| f64::from(Timestamp::now().subsec_nanosecond().unsigned_abs()) / 1e9),
        };
        let (told, notices) = mpsc::unbounded_channel();
        let running = session::Session::start(settings, told).map_err(|error| error.to_string())?;
        let listening = tokio::spawn(listen(scene.clone(), pool.clone(), notices));
        let heartbeat = tokio::spawn(heartbeat(scene.clone(), pool.clone(), (address, target.server_name.clone()), tls));
        Ok(Self { following: following.clone(), options, running, listening, heartbeat })
    }

    /// Lets copies come and go, as long as nothing else changes.
    pub(super) async fn adapt(&mut self, scene: &Scene, wanted: &Following) {
        let same = Following { copies: self.following.copies.clone(), ..wanted.clone() };
        if same != self.following {
            return;
        }
        let gone: Vec<VolumeId> = self.following.copies.keys().filter(|id| !wanted.copies.contains_key(*id)).cloned().collect();
        for id in gone {
            match self.running.remove(id.as_str()).await {
                Ok(()) => drop(self.following.copies.remove(&id)),
                // The session then does not fit, and is ended.
                Err(error) => warn!(volume_id = %id, %error, "a copy does not leave its session"),
            }
        }
        for (id, path) in &wanted.copies {
            if self.following.copies.contains_key(id) {
                continue;
            }
            match self.running.add(id.as_str(), copy_at(path.clone(), self.options.clone())).await {
                Ok(()) => drop(self.following.copies.insert(id.clone(), path.clone())),
                Err(error) => warn!(volume_id = %id, node = %scene.node, %error, "a copy does not join the session"),
            }
        }
    }

    /// Ends; when it returns no copy is open any more.
    pub(super) async fn end(self) {
        self.heartbeat.abort();
        if let Err(error) = self.running.stop().await {
            warn!(%error, "a session did not end in order");
        }
        drop(self.listening.await);
    }
}

/// Notes what the session tells, and writes the public file of each copy whose readers see something new.
async fn listen(scene: Scene, pool: ObjectKey, mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(first) = notices.recv().await {
        let mut seen = BTreeMap::new();
        note(&scene, first, &mut seen);
        while let Ok(next) = notices.try_recv() {
            note(&scene, next, &mut seen);
        }
        let (pool, scene) = (pool.to_string(), scene.clone());
        let written = tokio::task::spawn_blocking(move || {
            for (volume, position) in seen {
                scene.board.work_on(&volume, |kept| {
                    if let Err(error) = public_file::write(&kept.path, &pool, &position, Timestamp::now()) {
                        warn!(volume_id = %volume, %error, "the public file of a copy was not written");
                    }
                });
            }
        });
        drop(written.await);
    }
}

fn note(scene: &Scene, notice: Notice, seen: &mut BTreeMap<VolumeId, Position>) {
    let (copy, heard) = match notice {
        Notice::Opened { copy, position } => (copy, Heard::Opened(position)),
        Notice::Visible { copy, position } => (copy, Heard::Visible(position)),
        Notice::Durable { copy, position } => (copy, Heard::Durable(position)),
        Notice::InSync { copy, position } => (copy, Heard::InSync(position)),
        Notice::Behind { copy, problem, .. } => {
            warn!(volume_id = copy, problem, "a copy stays behind and is tried again");
            (copy, Heard::Failed(problem))
        }
        // The heartbeat knows it sooner, and only copies that pods may write are watched for drift.
        Notice::Connected { .. } | Notice::Disconnected { .. } | Notice::Drifted { .. } => return,
    };
    let volume = VolumeId::new(copy);
    if let Heard::Visible(position) | Heard::InSync(position) | Heard::Opened(Some(position)) = &heard {
        seen.insert(volume.clone(), *position);
    }
    scene.board.hear(&volume, heard);
}

/// Asks the source where it is, again and again, so that what copies hold is known to be fresh or not.
async fn heartbeat(scene: Scene, pool: ObjectKey, (address, server_name): (Address, String), tls: TlsSource) {
    let mut client = None;
    loop {
        let asked = (Instant::now(), Timestamp::now());
        let answer = tokio::time::timeout(ANSWER, ask(&mut client, (&address, &server_name), &pool, &tls)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(CallError::Failed { address: address.clone(), problem: "it does not answer".to_owned() }));
        match answer {
            Ok(status) => {
                scene.board.change(|state| {
                    state.links.insert(pool.clone(), Link::Connected);
                    let heard = heard_of_source(&status, asked);
                    state.hear_of_source(&pool, &heard);
                });
            }
            Err(error) => {
                client = None;
                debug!(%pool, %error, "the source is not heard");
                scene.board.change(|state| drop(state.links.insert(pool.clone(), Link::Broken(error.to_string()))));
            }
        }
        tokio::time::sleep_until(asked.0 + HEARTBEAT).await;
    }
}

/// What an answer of the source says of the copies. While it compares itself with its index, what was written before it was
/// published may be missing from its position, so that nobody is in sync with it.
fn heard_of_source(status: &Report, asked: (Instant, Timestamp)) -> Heard {
    if status.state == FOLLOWING { Heard::Newest(status.position, asked.0, asked.1) } else { Heard::Scanning(status.position) }
}

async fn ask(
    client: &mut Option<Client>,
    (address, server_name): (&Address, &str),
    pool: &ObjectKey,
    tls: &TlsSource,
) -> Result<Report, CallError> {
    let connected = match client.take() {
        Some(client) => client,
        None => Client::connect_named(address, Some(server_name), &pool.to_string(), Some(tls)).await?,
    };
    let status = connected.status().await?;
    *client = Some(connected);
    Ok(status)
}
