//! Publishes one source of this node: follows its changes and serves them to the agents of other nodes.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::runtime::watcher;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};
use treesync::index::IndexOptions;
use treesync::model::Rules;
use treesync::publish::{OnVisible, Phase, PublishOptions, PublishStatus, Publisher};

use super::board::Publishing;
use super::listener::Listener;
use super::scene::Scene;
use super::tell::{News, of_source};
use super::wanted::{Publication, rules};
use crate::api::keys::LABEL_POOL;
use crate::domain::{ObjectKey, Reason, VolumeId};
use crate::k8s::watch::{Wakers, reflect};

/// How often the publisher is asked how it is. A position that is awaited is reported within 300 ms.
const LOOK: Duration = Duration::from_millis(100);
/// What happens to a source in this time is told together: a check finds drift in each of its steps.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Between two looks whether nobody uses a publisher any more.
const IN_USE: Duration = Duration::from_millis(20);
/// Bytes of recent batches that are kept in memory for each source. Four times what one message holds.
const RING_BYTES: usize = 16 * 1024 * 1024;

/// A source that is published.
pub(super) struct Published {
    publication: Publication,
    publisher: Arc<Publisher>,
    watching: JoinHandle<()>,
    /// Keeps the list of those who may follow.
    _holders: JoinSet<()>,
}

impl Published {
    /// Whether it does what is wanted now.
    pub(super) fn fits(&self, wanted: Option<&Publication>) -> bool {
        wanted == Some(&self.publication) && self.publisher.status().phase != Phase::Ended
    }

    /// Starts to publish; the board says why not.
    pub(super) async fn start(scene: &Scene, listener: &Listener, pool: &ObjectKey, publication: &Publication) -> Option<Self> {
        match Self::try_start(scene, listener, pool, publication).await {
            Ok(published) => Some(published),
            Err(error) => {
                failed(scene, pool, error);
                None
            }
        }
    }

    async fn try_start(scene: &Scene, listener: &Listener, pool: &ObjectKey, publication: &Publication) -> Result<Self, String> {
        let (metrics, key) = (scene.metrics.clone(), pool.clone());
        let on_visible: OnVisible = Arc::new(move |took| metrics.visible(&key.namespace, &key.name, took));
        let options = PublishOptions { on_visible: Some(on_visible), ..options(publication)? };
        if !scene.board.read().kept.contains_key(&publication.volume) {
            return Err(format!("{} was let go before it was published", publication.volume));
        }
        let path = publication.path.clone();
        let started = tokio::task::spawn_blocking(move || Publisher::start(&path, options)).await;
        let publisher = Arc::new(started.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?);
        let mut holders = JoinSet::new();
        let of_pool = watcher::Config::default().labels(&format!("{LABEL_POOL}={}", pool.name));
        let volumes = reflect(&mut holders, Api::namespaced(scene.client.clone(), &pool.namespace), of_pool, Wakers::default());
        let address = listener.open(pool, publisher.clone(), volumes);
        info!(%pool, address, position = %publisher.position(), index = publisher.status().index, "publishes");
        scene.publishers.announce(pool, &publisher, listener.sources());
        if !scene.board.read().kept.contains_key(&publication.volume) {
            // It was let go while it was opened, and who let it go saw no publisher.
            let late = publisher.clone();
            drop(tokio::task::spawn_blocking(move || late.let_go(Duration::ZERO)).await);
        }
        let words = format!("{} publishes the source at {address}, from {} on", scene.node, publisher.position());
        scene.tell(pool, News { is_warning: false, reason: Reason::SourcePublished, words, volume: None });
        let watching = tokio::spawn(watch(scene.clone(), pool.clone(), (publication.volume.clone(), publisher.clone()), address));
        Ok(Self { publication: publication.clone(), publisher, watching, _holders: holders })
    }

    /// Ends; when it returns nothing of the source is open any more, and its index is closed in order.
    pub(super) async fn end(self, listener: Option<&Listener>, pool: &ObjectKey) {
        self.watching.abort();
        drop(self.watching.await);
        if let Some(listener) = listener {
            listener.close(pool);
        }
        let mut publisher = self.publisher;
        // One that has ended has closed everything, whoever still has it.
        while publisher.status().phase != Phase::Ended {
            match Arc::try_unwrap(publisher) {
                Ok(unused) => {
                    drop(tokio::task::spawn_blocking(move || drop(unused)).await);
                    return;
                }
                // A stream or an order that is at its end.
                Err(used) => publisher = used,
            }
            tokio::time::sleep(IN_USE).await;
        }
    }
}

/// Says why a source is not published.
pub(super) fn failed(scene: &Scene, pool: &ObjectKey, error: String) {
    warn!(%pool, error, "the source is not published; it is tried again");
    let publishing = Publishing { error: Some(error), ..Publishing::default() };
    scene.board.change(|state| drop(state.publishing.insert(pool.clone(), publishing)));
}

fn options(publication: &Publication) -> Result<PublishOptions, String> {
    let rules = Rules::new(rules(&publication.exclude, &[])).map_err(|error| format!("spec.sync: {error}"))?;
    let index = IndexOptions { volume: Some(publication.volume.to_string()), ..IndexOptions::default() };
    let rate_bytes_per_second = publication.bandwidth_bytes_per_second;
    let device = publication.device_number;
    Ok(PublishOptions { rules, device, index, rate_bytes_per_second, ring_bytes: RING_BYTES, ..PublishOptions::default() })
}

/// Notes how the publisher is.
async fn watch(scene: Scene, pool: ObjectKey, (volume, publisher): (VolumeId, Arc<Publisher>), address: String) {
    let mut before = PublishStatus { scans: 0, drift_of_feed: 0, sent_bytes: 0, ..publisher.status() };
    let (mut told, mut told_at) = (before.clone(), Instant::now());
    loop {
        let status = publisher.status();
        scene.metrics.rescanned(&pool.namespace, &pool.name, status.scans.saturating_sub(before.scans));
        scene.metrics.drifted(&pool.namespace, &pool.name, status.drift_of_feed.saturating_sub(before.drift_of_feed));
        scene.metrics.sent(&pool.namespace, &pool.name, status.sent_bytes.saturating_sub(before.sent_bytes));
        if told_at.elapsed() >= TELL_EVERY {
            for news in of_source(&told, &status) {
                scene.tell(&pool, news);
            }
            (told, told_at) = (status.clone(), Instant::now());
        }
        before = status.clone();
        let error = status.end_reason.map(|reason| format!("the publisher has ended: {reason}")).or(status.stalled);
        let publishing = Publishing {
            position: Some(status.position),
            is_scanning: status.phase == Phase::Scanning,
            address: Some(address.clone()),
            error,
        };
        if !scene.board.read().kept.contains_key(&volume) {
            return;
        }
        let is_news = scene.board.read().publishing.get(&pool) != Some(&publishing);
        if is_news {
            scene.board.change(|state| drop(state.publishing.insert(pool.clone(), publishing)));
        }
        tokio::time::sleep(LOOK).await;
    }
}
