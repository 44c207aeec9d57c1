//! From the live content part of custom resources to the values that plans are made of.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::volume_pool::{SyncMode, WhenSourceAway};
use crate::api::{CheckpointStatus, Content, PublishSpec, RefreshSpec, SyncStatus, VerifiedStatus, VolumePool};
use crate::domain::{NodeName, SyncPosition, quantity_bytes};
use crate::plan::{CheckpointSeen, ContentSeen, PublishWanted, RefreshSeen, RefreshWanted, SyncSeen, VerifiedSeen};

/// How the source of a pool is published; none for a pool that is not live. Who attaches it is known once its volume is.
pub fn publish_wanted(pool: &VolumePool) -> Option<PublishWanted> {
    let (sync, claims) = (&pool.spec.sync, &pool.spec.claims);
    (sync.mode == SyncMode::Live && pool.spec.source.snapshot_id.is_none()).then_some(())?;
    // The schema has checked both; what it let through by mistake is as strict as can be.
    let staleness: Option<SignedDuration> = claims.max_staleness.parse().ok();
    let milliseconds = staleness.and_then(|staleness| u64::try_from(staleness.as_millis()).ok()).unwrap_or(1);
    Some(PublishWanted {
        exclude: sync.exclude.clone(),
        preserve_on_copies: sync.preserve_on_copies.clone(),
        bandwidth_bytes_per_second: sync.bandwidth.as_deref().and_then(quantity_bytes).and_then(|bytes| u64::try_from(bytes).ok()),
        max_staleness_milliseconds: milliseconds,
        serves_alone: claims.when_source_away == WhenSourceAway::Serve,
        attached_by: None,
    })
}

/// How far ready volumes of a pool may fall behind; none for a pool that is not live, or says nothing of it.
pub fn refresh_wanted(pool: &VolumePool) -> Option<RefreshWanted> {
    let limits = pool.spec.sync.refresh.as_ref()?;
    publish_wanted(pool)?;
    // The schema has checked the length of time; what it let through by mistake is no limit.
    let max_age = limits.max_age.as_deref().and_then(|text| text.parse().ok());
    Some(RefreshWanted { max_age, max_generations: limits.max_generations })
}

/// What a volume was noted to have.
pub fn content_seen(content: &Content) -> ContentSeen {
    ContentSeen { position: position(&content.source, content.epoch, content.generation), time: content.time.as_ref().map(|time| time.0) }
}

/// The same as it is written.
pub fn content_noted(content: &ContentSeen) -> Content {
    let at = content.position.clone().unwrap_or_default();
    Content { source: at.source, epoch: at.epoch, generation: at.generation, time: content.time.map(Time) }
}

/// What a volume has by the last word of its agent; none when that says nothing.
pub fn content_reported(sync: &SyncStatus, before: Option<&Content>) -> Option<Content> {
    (!sync.source.is_empty()).then(|| Content {
        source: sync.source.clone(),
        epoch: sync.epoch,
        generation: sync.generation,
        time: sync.last_in_sync_time.clone().or_else(|| before?.time.clone()),
    })
}

/// The last refresh of a volume.
pub fn refresh_seen(refresh: &RefreshSpec) -> RefreshSeen {
    RefreshSeen {
        node: NodeName::new(refresh.node_name.as_str()),
        started: refresh.start_time.0,
        target: SyncPosition { source: refresh.source.clone(), epoch: refresh.epoch, generation: refresh.generation },
        failures: refresh.failures,
        ended: refresh.end_time.as_ref().map(|time| time.0),
        error: refresh.error.clone(),
    }
}

/// What agents are told at present.
pub fn publish_told(spec: &PublishSpec) -> PublishWanted {
    PublishWanted {
        exclude: spec.exclude.clone(),
        preserve_on_copies: spec.preserve_on_copies.clone(),
        bandwidth_bytes_per_second: spec.bandwidth_bytes_per_second,
        max_staleness_milliseconds: spec.max_staleness_milliseconds,
        serves_alone: spec.serves_alone,
        attached_by: spec.attached_by.clone(),
    }
}

/// What agents are to be told, the orders that they have kept.
pub fn publish_spec(wanted: &PublishWanted, before: Option<&PublishSpec>) -> PublishSpec {
    PublishSpec {
        exclude: wanted.exclude.clone(),
        preserve_on_copies: wanted.preserve_on_copies.clone(),
        bandwidth_bytes_per_second: wanted.bandwidth_bytes_per_second,
        max_staleness_milliseconds: wanted.max_staleness_milliseconds,
        serves_alone: wanted.serves_alone,
        attached_by: wanted.attached_by.clone(),
        checkpoint: before.and_then(|before| before.checkpoint),
    }
}

/// How far a volume is with its source.
pub fn sync_seen(status: &SyncStatus) -> SyncSeen {
    SyncSeen {
        state: status.state,
        position: position(&status.source, status.epoch, status.generation),
        address: status.address.clone(),
        checkpoint: status.checkpoint.as_ref().map(|answer| checkpoint_seen(&status.source, answer)),
        verified: status.verified.as_ref().map(verified_seen),
        last_in_sync: status.last_in_sync_time.as_ref().map(|time| time.0),
        error: status.error.clone(),
    }
}

/// Where a volume or an operation is; none of a source that has no name.
pub fn position(source: &str, epoch: u64, generation: u64) -> Option<SyncPosition> {
    (!source.is_empty()).then(|| SyncPosition { source: source.to_owned(), epoch, generation })
}

fn checkpoint_seen(source: &str, answer: &CheckpointStatus) -> CheckpointSeen {
    let position = position(source, answer.epoch, answer.generation).filter(|_| answer.error.is_none());
    CheckpointSeen { number: answer.number, position }
}

fn verified_seen(answer: &VerifiedStatus) -> VerifiedSeen {
    VerifiedSeen { id: answer.id.clone(), differences: answer.differences, repaired: answer.repaired, error: answer.error.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(spec: serde_json::Value) -> VolumePool {
        VolumePool::new("web", serde_json::from_value(spec).expect("a spec"))
    }

    #[test]
    fn a_live_pool_says_how_its_source_is_published() {
        let live = pool(serde_json::json!({
            "source": {"volumeID": "vol-0123456789abcdef0"},
            "sync": {"mode": "Live", "exclude": ["*.tmp"], "bandwidth": "100Mi"},
            "claims": {"maxStaleness": "500ms", "whenSourceAway": "Serve"},
        }));
        let wanted = publish_wanted(&live).expect("it is live");
        assert_eq!((wanted.max_staleness_milliseconds, wanted.serves_alone), (500, true));
        assert_eq!((wanted.bandwidth_bytes_per_second, wanted.exclude.as_slice()), (Some(100 << 20), &["*.tmp".to_owned()][..]));
        let before = PublishSpec { checkpoint: Some(7), ..PublishSpec::default() };
        let spec = publish_spec(&wanted, Some(&before));
        assert_eq!((spec.checkpoint, publish_told(&spec)), (Some(7), wanted));
    }

    #[test]
    fn a_live_pool_says_how_far_its_ready_volumes_may_fall_behind() {
        let refreshing = |mode: &str| {
            let sync = serde_json::json!({"mode": mode, "refresh": {"maxAge": "1h", "maxGenerations": 5}});
            refresh_wanted(&pool(serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}, "sync": sync})))
        };
        let limits = RefreshWanted { max_age: Some(SignedDuration::from_hours(1)), max_generations: Some(5) };
        assert_eq!((refreshing("Live"), refreshing("None")), (Some(limits), None));
        let silent = pool(serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}, "sync": {"mode": "Live"}}));
        assert_eq!(refresh_wanted(&silent), None);
    }

    #[test]
    fn what_is_noted_is_the_position_and_when_it_was_the_newest() {
        let time = |second| Time(jiff::Timestamp::from_second(second).expect("it is in range"));
        let sync = SyncStatus { source: "a-b".to_owned(), epoch: 2, generation: 7, ..SyncStatus::default() };
        let before = Content { time: Some(time(5)), ..Content::default() };
        let noted = |sync: &SyncStatus| content_reported(sync, Some(&before)).expect("it has a position");
        assert_eq!((noted(&sync).generation, noted(&sync).time), (7, Some(time(5))), "it was not in sync since");
        let in_sync = SyncStatus { last_in_sync_time: Some(time(9)), ..sync.clone() };
        assert_eq!(noted(&in_sync).time, Some(time(9)));
        assert_eq!(content_reported(&SyncStatus::default(), Some(&before)), None, "an agent that knows nothing says nothing");
        assert_eq!(content_noted(&content_seen(&noted(&in_sync))), noted(&in_sync));
    }

    #[test]
    fn a_pool_follows_its_source_only_when_it_says_so() {
        assert_eq!(publish_wanted(&pool(serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}}))), None);
        let defaults = pool(serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}, "sync": {"mode": "Live"}}));
        let wanted = publish_wanted(&defaults).expect("it is live");
        assert_eq!((wanted.max_staleness_milliseconds, wanted.bandwidth_bytes_per_second), (5000, None));
    }
}
