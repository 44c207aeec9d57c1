//! Compares one copy of this node with its source, as ordered, and answers on the board.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};
use treesync::apply::CopyOptions;
use treesync::model::Rules;
use treesync::session::{Verdict, Verifier};
use treesync::verify::Level;
use treesync::wire::{Address, Client};

use super::crew::Command;
use super::names::server_name;
use super::public_file;
use super::scene::Scene;
use super::tell::News;
use super::wanted::{Kept, SourceSeen, rules};
use crate::api::{VerifiedStatus, VerifyLevel, VerifySpec};
use crate::domain::{RECYCLE_ORDER, Reason, VolumeId};

/// How often a comparison that fails, or finds differences that it does not mend, is made: changes that are under way
/// look like differences.
const TRIES: u32 = 3;
/// Between two of these.
const PAUSE: Duration = Duration::from_secs(2);

/// Waits for a source that is published: the order stays open until it is. Ends without an answer when a volume that is only
/// compared is let go.
pub(super) async fn perform(scene: &Scene, crew: &mpsc::UnboundedSender<Command>, id: &VolumeId, order: &VerifySpec) {
    let found = {
        let state = scene.board.read();
        let kept = state.kept.get(id).filter(|kept| !kept.is_source).cloned();
        kept.and_then(|kept| Some((state.sources.get(&kept.pool)?.clone(), kept)))
    };
    let Some((source, kept)) = found.filter(|(source, _)| source.published.is_some()) else { return };
    if order.repair {
        // A repair must be the only one that works on the copy.
        scene.board.change(|state| state.withheld.extend([id.clone()]));
        settle(crew).await;
    }
    let result = tokio::select! {
        result = attempts(scene, &source, &kept, order) => Some(result),
        // A comparison of terabytes holds up no pod that ends: it is made where the volume is mounted next.
        () = scene.board.forgotten(id), if !order.repair => None,
    };
    if order.repair {
        scene.board.change(|state| state.withheld.retain(|other| other != id));
        settle(crew).await;
    }
    let Some(result) = result else {
        info!(volume = %kept.object, id = order.id, "a comparison ended early, since the volume is unmounted");
        return;
    };
    answer(scene, id, &kept, order, result);
}

async fn attempts(scene: &Scene, source: &SourceSeen, kept: &Kept, order: &VerifySpec) -> Result<Verdict, String> {
    let mut result = attempt(scene, source, kept, order).await;
    for _ in 1..TRIES {
        if result.as_ref().is_ok_and(|verdict| verdict.differences == 0 || verdict.is_repaired) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        result = attempt(scene, source, kept, order).await;
    }
    result
}

async fn settle(crew: &mpsc::UnboundedSender<Command>) {
    let (done, settled) = oneshot::channel();
    crew.send(Command::Settle(done)).ok();
    // Without a crew nobody has the copy.
    settled.await.ok();
}

/// With a repair, what no comparison sees goes first: a volume that is mended may be given to others.
async fn attempt(scene: &Scene, source: &SourceSeen, kept: &Kept, order: &VerifySpec) -> Result<Verdict, String> {
    if order.repair {
        let path = kept.path.clone();
        let cleared = tokio::task::spawn_blocking(move || public_file::clear(&path)).await.map_err(|error| error.to_string())?;
        cleared.map_err(|error| format!("{} cannot be cleared: {error}", kept.path.display()))?;
    }
    verify(scene, source, kept, order).await
}

async fn verify(scene: &Scene, source: &SourceSeen, kept: &Kept, order: &VerifySpec) -> Result<Verdict, String> {
    let (node, address) = source.published.as_ref().ok_or("the source is not published")?;
    let address: Address = address.parse().map_err(|error| format!("{error}"))?;
    let tls = scene.tls()?;
    let rules = Rules::new(rules(&source.exclude, &source.preserve_on_copies)).map_err(|error| error.to_string())?;
    let options = CopyOptions { rules: Arc::new(rules), adopt: true, accept_clone: true, ..CopyOptions::default() };
    let level = match order.level {
        VerifyLevel::Metadata => Level::Metadata,
        VerifyLevel::Content => Level::Content,
    };
    let client = Client::connect_named(&address, Some(&server_name(node)), &kept.pool.to_string(), Some(&tls)).await;
    let client = client.map_err(|error| error.to_string())?;
    let verifier = Verifier { directory: kept.path.clone(), options, level, progress: None };
    let (findings, mut found) = mpsc::unbounded_channel();
    let verifying = verifier.run(&client, order.repair, findings);
    let telling = async {
        while let Some(finding) = found.recv().await {
            info!(volume = %kept.object, path = %finding.path, difference = %finding.difference, "differs from its source");
        }
    };
    let (verdict, ()) = tokio::join!(verifying, telling);
    verdict.map_err(|error| error.to_string())
}

fn answer(scene: &Scene, id: &VolumeId, kept: &Kept, order: &VerifySpec, result: Result<Verdict, String>) {
    let word = match &result {
        Ok(verdict) if verdict.differences == 0 => "equal",
        Ok(verdict) if verdict.is_repaired => "repaired",
        Ok(_) => "different",
        Err(error) => {
            warn!(volume = %kept.object, error, "the volume could not be verified");
            "failed"
        }
    };
    let (namespace, pool) = (&kept.pool.namespace, &kept.pool.name);
    scene.metrics.verified(namespace, pool, word);
    scene.metrics.drifted(namespace, pool, result.as_ref().map_or(0, |verdict| verdict.differences));
    info!(volume = %kept.object, id = order.id, result = word, "verified");
    if ["repaired", "different"].contains(&word) && !order.id.starts_with(RECYCLE_ORDER) {
        let number = result.as_ref().map_or(0, |verdict| verdict.differences);
        let mended = if word == "repaired" { "mended" } else { "left as they are" };
        let words = format!("the volume {} differed from the source in {number} paths, which were {mended}", kept.object.name);
        let volume = Some(kept.object.clone());
        scene.tell(&kept.pool, News { is_warning: true, reason: Reason::DriftFound, words, volume });
    }
    let verified = VerifiedStatus {
        id: order.id.clone(),
        level: order.level,
        generation: result.as_ref().map_or(0, |verdict| verdict.source.generation),
        differences: result.as_ref().map_or(0, |verdict| verdict.differences),
        repaired: result.as_ref().is_ok_and(|verdict| verdict.is_repaired),
        completion_time: Time(Timestamp::now()),
        error: result.err(),
    };
    scene.board.change(|state| state.answers.entry(id.clone()).or_default().verified = Some(verified));
}
