//! From the live content part of custom resources to the values that plans are made of.

use jiff::SignedDuration;

use crate::api::volume_pool::{SyncMode, WhenSourceAway};
use crate::api::{CheckpointStatus, PublishSpec, SyncStatus, VerifiedStatus, VolumePool};
use crate::domain::{SyncPosition, quantity_bytes};
use crate::plan::{CheckpointSeen, PublishWanted, SyncSeen, VerifiedSeen};

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
    fn a_pool_follows_its_source_only_when_it_says_so() {
        assert_eq!(publish_wanted(&pool(serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}}))), None);
        let defaults = pool(serde_json::json!({"source": {"volumeID": "vol-0123456789abcdef0"}, "sync": {"mode": "Live"}}));
        let wanted = publish_wanted(&defaults).expect("it is live");
        assert_eq!((wanted.max_staleness_milliseconds, wanted.bandwidth_bytes_per_second), (5000, None));
    }
}
