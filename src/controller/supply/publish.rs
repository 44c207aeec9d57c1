//! Writes how a pool and its volumes stand: only what changed, only on the version that was judged.

use std::sync::Arc;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};
use kube::ResourceExt;

use crate::api::keys::{LABEL_NODE, LABEL_POOL, MANAGER_CONTROLLER};
use crate::api::pool_volume::ModificationStatus;
use crate::api::volume_pool::{SnapshotStatus, SourceStatus, SourceSync, ZoneStatus};
use crate::api::{CloudStatus, PoolVolume, VolumePool, VolumePoolStatus};
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::parse;
use crate::controller::volume_write::{set_watcher, store_status};
use crate::domain::{NodeName, Phase, Reason, SnapshotState, VolumeState};
use crate::ec2::Ec2;
use crate::explain::blocked_summary;
use crate::k8s::write::{Outcome, apply_status};
use crate::metrics::PoolFigures;
use crate::plan::{Condition, Finding, Modification, PoolSeen, Report, VolumeReport, VolumeSeen, generation_of, position_of};

/// Volumes whose status is written at the same time.
const CONCURRENCY: usize = 8;

/// What is to be written about one volume.
#[derive(Debug, PartialEq)]
enum News {
    /// The label by which agents select it.
    Watcher(Option<String>),
    /// Its phase and what EC2 says.
    Status(Phase, Box<CloudStatus>),
}

/// Whether anything differs from what is stored. A quiet pool costs no write and no task.
pub(super) fn is_news<E: Ec2>(context: &Context<E>, pool: &VolumePool, seen: &PoolSeen, report: &Report) -> bool {
    pool.status.as_ref() != Some(&status(pool, seen, report, context.clock.now())) || !news_of_volumes(context, seen, report).is_empty()
}

/// Publishes a pool and each of its volumes. A stale write is skipped: the newer version wakes us again.
pub(super) async fn pool<E: Ec2>(context: &Context<E>, pool: &VolumePool, seen: &PoolSeen, report: &Report) -> Result<(), Error> {
    let news = futures::stream::iter(news_of_volumes(context, seen, report));
    let written = news.map(|(volume, news)| write_volume(context, volume, news)).buffer_unordered(CONCURRENCY);
    let first_error = written.fold(Ok(()), async |all, one| all.and(one)).await;
    let status = status(pool, seen, report, context.clock.now());
    if pool.status.as_ref() != Some(&status) {
        let api = context.pools(&seen.pool.key.namespace);
        if apply_status(&api, MANAGER_CONTROLLER, pool, &status).await? == Outcome::Done {
            tell(context, pool, seen, report).await;
        }
    }
    first_error
}

/// Volumes that are still as they were judged, with what is to be written about them.
fn news_of_volumes<E: Ec2>(context: &Context<E>, seen: &PoolSeen, report: &Report) -> Vec<(Arc<PoolVolume>, News)> {
    let of_volume = |judged: &VolumeSeen| {
        let of_source = || report.source_volume.as_ref().filter(|(key, _)| *key == judged.key).map(|(_, life)| life);
        let (life, volume) = (report.volumes.get(&judged.key).or_else(of_source)?, context.stores.volume(&judged.key)?);
        let is_same = volume.resource_version().as_deref() == Some(judged.resource_version.as_str());
        is_same.then(|| news_of(&volume, life)).flatten().map(|news| (volume, news))
    };
    let source = seen.source_object.iter().map(|object| &object.volume);
    seen.volumes.iter().chain(source).filter_map(of_volume).collect()
}

fn news_of(volume: &PoolVolume, life: &VolumeReport) -> Option<News> {
    let watched_by = life.watched_by.as_ref().map(NodeName::as_str);
    if volume.labels().get(LABEL_NODE).map(String::as_str) != watched_by {
        return Some(News::Watcher(watched_by.map(str::to_owned)));
    }
    let stored = volume.status.clone().unwrap_or_default();
    let cloud = cloud_status(&stored.cloud.clone().unwrap_or_default(), life);
    let is_new = stored.phase != Some(life.phase) || stored.cloud.as_ref() != Some(&cloud);
    is_new.then(|| News::Status(life.phase, Box::new(cloud)))
}

async fn write_volume<E: Ec2>(context: &Context<E>, volume: Arc<PoolVolume>, news: News) -> Result<(), Error> {
    match news {
        News::Watcher(node) => set_watcher(context, &volume, node.as_deref()).await?,
        News::Status(phase, cloud) => {
            let stored = store_status(context, &volume, phase, *cloud).await?;
            if stored == Outcome::Done && phase == Phase::Ready {
                note_filled(context, &volume);
            }
            stored
        }
    };
    Ok(())
}

/// Measures the time to fill, at the first time that a volume is ready.
fn note_filled<E>(context: &Context<E>, volume: &PoolVolume) {
    let Some(status) = &volume.status else { return };
    let was_filling = matches!(status.phase, None | Some(Phase::Pending | Phase::Creating | Phase::Initializing));
    let requested = status.cloud.as_ref().and_then(|cloud| cloud.requested_time.as_ref());
    if let Some(requested) = requested.filter(|_| was_filling) {
        context.metrics.filled(context.clock.now().duration_since(requested.0).as_secs_f64());
    }
}

fn cloud_status(stored: &CloudStatus, life: &VolumeReport) -> CloudStatus {
    let works = life.volume.is_some();
    CloudStatus {
        volume_id: life.volume.as_ref().map(ToString::to_string),
        state: state(stored, life),
        initialized_percent: life.initialized_percent,
        requested_time: stored.requested_time.clone(),
        missing_since: life.missing_since.map(Time),
        modification: life.modification.as_ref().map(modification_status),
        denied_since: stored.denied_since.clone(),
        error: stored.error.clone().filter(|_| !works),
    }
}

fn modification_status(last: &Modification) -> ModificationStatus {
    ModificationStatus { requested_time: Time(last.requested), state: last.state, error: last.refusal.clone() }
}

/// What EC2 shows, or showed last. A volume never comes back from its deletion, so an older answer is not believed.
fn state(stored: &CloudStatus, life: &VolumeReport) -> Option<String> {
    let known = stored.state.clone();
    match life.state {
        Some(VolumeState::Deleted) | None => known,
        _ if known.as_deref() == Some(parse::STATE_DELETING) => known,
        Some(state) => Some(state_text(state).to_owned()),
    }
}

fn state_text(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Creating => "creating",
        VolumeState::Available => "available",
        VolumeState::InUse => "in-use",
        VolumeState::Deleting => parse::STATE_DELETING,
        VolumeState::Deleted => "deleted",
        VolumeState::Error => "error",
        VolumeState::Unknown => "unknown",
    }
}

/// The status as it is written when nothing changes any more.
#[cfg(test)]
pub(super) fn settled(pool: &VolumePool, seen: &PoolSeen, report: &Report, now: Timestamp) -> VolumePoolStatus {
    status(pool, seen, report, now)
}

fn status(pool: &VolumePool, seen: &PoolSeen, report: &Report, now: Timestamp) -> VolumePoolStatus {
    let stored = pool.status.clone().unwrap_or_default();
    let zone = |(name, zone): (&crate::domain::Zone, &crate::plan::report::ZoneReport)| ZoneStatus {
        name: name.to_string(),
        desired: zone.desired,
        ready: zone.ready,
        claimed: zone.claimed,
    };
    let claimed = seen.volumes.iter().filter(|volume| volume.claim.is_some()).count();
    let ready = report.volumes.values().filter(|life| life.phase == Phase::Ready).count();
    let names: Vec<&str> = report.zones.keys().map(crate::domain::Zone::as_str).collect();
    let newest = report.newest.as_ref();
    let newest_snapshot = report.snapshots.iter().find(|snapshot| newest.is_some_and(|origin| origin.snapshot == snapshot.id));
    VolumePoolStatus {
        conditions: conditions(&stored.conditions, &report.findings, pool.metadata.generation, now),
        observed_generation: pool.metadata.generation,
        replicas: count(ready),
        selector: format!("{LABEL_POOL}={}", pool.name_any()),
        claimed: count(claimed),
        filling: report.zones.values().map(|zone| zone.filling).sum(),
        total: count(seen.volumes.len()),
        zones: report.zones.iter().map(zone).collect(),
        zone_names: names.join(","),
        source: source_status(stored.source, seen, report),
        snapshots: report.snapshots.iter().map(snapshot_status).collect(),
        last_snapshot_time: newest_snapshot.and_then(|snapshot| snapshot.started).map(Time),
        next_snapshot_time: report.next_snapshot.map(Time),
        denied_since: stored.denied_since,
        snapshot_intent: stored.snapshot_intent,
        checkpoint_order: stored.checkpoint_order,
    }
}

/// What is known of the source stays while it cannot be used: another one must not take its place.
fn source_status(stored: Option<SourceStatus>, seen: &PoolSeen, report: &Report) -> Option<SourceStatus> {
    let known_generation = stored.as_ref().map_or(0, |known| known.generation);
    let generation = report.newest.as_ref().map_or(known_generation, |origin| origin.generation);
    let known_filesystem = stored.as_ref().and_then(|known| known.filesystem.clone());
    let found = report.source.as_ref().map(|source| SourceStatus {
        id: source.id.clone(),
        zone: source.zone.as_ref().map(ToString::to_string),
        size_gib: source.size_gib,
        filesystem: source.filesystem.clone().or(known_filesystem),
        generation,
        sync: None,
    });
    let known = found.or_else(|| stored.map(|known| SourceStatus { generation, ..known }))?;
    Some(SourceStatus { sync: source_sync(seen), ..known })
}

/// Who publishes the source, and where; none while nobody is told to.
fn source_sync(seen: &PoolSeen) -> Option<SourceSync> {
    let volume = &seen.source_object.as_ref()?.volume;
    let node = volume.node_name.as_ref()?;
    let sync = volume.node.as_ref().filter(|side| side.node == node.as_str()).and_then(|side| side.sync.as_ref());
    Some(SourceSync {
        node: node.to_string(),
        address: sync.and_then(|sync| sync.address.clone()),
        epoch: sync.and_then(|sync| sync.position.as_ref()).map_or(0, |position| position.epoch),
    })
}

fn snapshot_status(snapshot: &crate::domain::CloudSnapshot) -> SnapshotStatus {
    let state = match snapshot.state {
        SnapshotState::Pending => "pending",
        SnapshotState::Completed => "completed",
        SnapshotState::Error => "error",
        SnapshotState::Unknown => "unknown",
    };
    SnapshotStatus {
        id: snapshot.id.to_string(),
        generation: generation_of(snapshot),
        state: state.to_owned(),
        progress_percent: snapshot.progress_percent,
        position: position_of(snapshot).map(|position| position.to_string()),
        start_time: snapshot.started.map(Time),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Conditions keep the time of their last change of status. Ready comes first, since people read it first.
fn conditions(stored: &[ApiCondition], findings: &[Finding], spec_generation: Option<i64>, now: Timestamp) -> Vec<ApiCondition> {
    let condition = |finding: &Finding| {
        let status = if finding.holds { "True" } else { "False" };
        let before = stored.iter().find(|condition| condition.type_ == finding.condition.as_str() && condition.status == status);
        ApiCondition {
            type_: finding.condition.as_str().to_owned(),
            status: status.to_owned(),
            reason: finding.reason.to_string(),
            message: finding.message.clone(),
            observed_generation: spec_generation,
            last_transition_time: before.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        }
    };
    let mut ordered: Vec<&Finding> = findings.iter().collect();
    ordered.sort_by_key(|finding| finding.condition);
    ordered.into_iter().map(condition).collect()
}

/// One event when the readiness of the pool gets another reason. What blocks it is told as `explain` tells it.
async fn tell<E: Ec2>(context: &Context<E>, pool: &VolumePool, seen: &PoolSeen, report: &Report) {
    let stored = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let told = [Condition::Ready, Condition::Degraded, Condition::InSync];
    for finding in report.findings.iter().filter(|finding| told.contains(&finding.condition)) {
        let before = stored.iter().find(|condition| condition.type_ == finding.condition.as_str());
        let is_news = before.is_none_or(|before| before.reason != finding.reason.as_str() || (before.status == "True") != finding.holds);
        let is_warning = is_trouble(finding);
        let is_shown = is_warning || finding.condition == Condition::Ready && finding.holds;
        if is_news && is_shown {
            let blocked = if finding.condition == Condition::Degraded { blocked_summary(pool, seen, context.clock.now()) } else { None };
            let message = blocked.as_ref().unwrap_or(&finding.message);
            context.say(&Context::<E>::reference(pool), is_warning, finding.reason, message).await;
        }
    }
}

/// Whether somebody should look at it. That mounted volumes are behind for a moment, or a source on its way, is daily life.
fn is_trouble(finding: &Finding) -> bool {
    let troubles = [Reason::SourceInUse, Reason::NoNodeForSource, Reason::SourceFailed, Reason::CopyFailed];
    match finding.condition {
        Condition::Degraded => finding.holds,
        Condition::InSync => !finding.holds && troubles.contains(&finding.reason),
        _ => false,
    }
}

/// Sets the figures of a pool.
pub(super) fn measure<E: Ec2>(context: &Context<E>, seen: &PoolSeen, report: &Report) {
    let mut figures = PoolFigures::default();
    let newest = report.newest.as_ref().map_or(0, |origin| origin.generation);
    for (zone, counts) in &report.zones {
        let is_stale = |volume: &&VolumeSeen| {
            let is_ready = report.volumes.get(&volume.key).is_some_and(|life| life.phase == Phase::Ready);
            volume.zone == *zone && is_ready && volume.origin.generation < newest
        };
        let stale = count(seen.volumes.iter().filter(is_stale).count());
        let states = [
            ("desired", counts.desired),
            ("ready", counts.ready),
            ("refreshing", counts.refreshing),
            ("behind", counts.behind),
            ("filling", counts.filling),
            ("claimed", counts.claimed),
            ("stale", stale),
        ];
        figures.volumes.extend(states.map(|(state, number)| ((zone.to_string(), state), number)));
    }
    let snapshot = report.snapshots.iter().find(|snapshot| report.newest.as_ref().is_some_and(|origin| origin.snapshot == snapshot.id));
    let started = snapshot.and_then(|snapshot| snapshot.started);
    figures.snapshot_age_seconds = started.map(|started| context.clock.now().duration_since(started).as_secs());
    context.metrics.pool(&seen.pool.key.namespace, &seen.pool.key.name, figures);
}
