//! What the agent says of a live pool in events: who publishes its source, that all of it was compared, and what had drifted.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tracing::debug;
use treesync::publish::{Detection, PublishStatus};

use super::scene::Scene;
use crate::api::{PoolVolume, VolumePool};
use crate::domain::{ObjectKey, Reason};

/// Something to say.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct News {
    pub(super) is_warning: bool,
    pub(super) reason: Reason,
    pub(super) words: String,
    /// The volume that it is about, if not the source.
    pub(super) volume: Option<ObjectKey>,
}

impl Scene {
    /// Says something of a pool of which this node has a volume. Returns at once; what cannot be written is lost.
    pub(super) fn tell(&self, pool: &ObjectKey, news: News) {
        let kept = self.board.read().kept.values().find(|kept| kept.pool == *pool).map(|kept| kept.pool_uid.clone());
        let Some(uid) = kept else { return };
        let (recorder, object) = (self.recorder.clone(), reference::<VolumePool>(pool, Some(uid)));
        tokio::spawn(async move {
            let event = Event {
                type_: if news.is_warning { EventType::Warning } else { EventType::Normal },
                reason: news.reason.to_string(),
                note: Some(news.words),
                action: news.reason.to_string(),
                // Events of one kind within six minutes are one event, but not those about another object.
                secondary: news.volume.map(|volume| reference::<PoolVolume>(&volume, None)),
            };
            if let Err(error) = recorder.publish(&event, &object).await {
                debug!(%error, "an event was not written");
            }
        });
    }
}

fn reference<K: Resource<DynamicType = ()>>(object: &ObjectKey, uid: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: Some(object.namespace.clone()),
        name: Some(object.name.clone()),
        uid,
        ..ObjectReference::default()
    }
}

/// What happened to a source between two looks. The comparison at the start belongs to it, and so do those of a source whose
/// kernel tells nothing.
pub(super) fn of_source(before: &PublishStatus, now: &PublishStatus) -> Vec<News> {
    let mut news = Vec::new();
    if now.scans > before.scans.max(1) && now.detection == Detection::Fanotify {
        let is_warning = now.overflows > before.overflows;
        let why = if is_warning { "the kernel lost events of its changes" } else { "that was ordered, or had to be made sure" };
        let words = format!("the whole source was compared with its index: {why}");
        news.push(News { is_warning, reason: Reason::SourceCompared, words, volume: None });
    }
    let drift = now.drift_of_feed.saturating_sub(before.drift_of_feed);
    if drift > 0 {
        let words = format!("{drift} paths of the source had changed though nobody had told; they are on their way now");
        news.push(News { is_warning: true, reason: Reason::DriftFound, words, volume: None });
    }
    news
}

#[cfg(test)]
mod tests {
    use super::*;
    use treesync::model::{Position, SourceId};
    use treesync::publish::Phase;

    fn status(scans: u64, overflows: u64, drift_of_feed: u64) -> PublishStatus {
        PublishStatus {
            position: Position { source: SourceId([1; 16]), epoch: 1, generation: 1 },
            phase: Phase::Following,
            detection: Detection::Fanotify,
            index: "clean",
            entries: 1,
            floor: 0,
            durable_generation: 1,
            events: 0,
            overflows,
            scans,
            drift_of_feed,
            skipped: 0,
            unreadable: 0,
            hot: 0,
            subscribers: 0,
            sent_bytes: 0,
            last_error: None,
            stalled: None,
            end_reason: None,
        }
    }

    fn told(before: &PublishStatus, now: &PublishStatus) -> Vec<(bool, Reason)> {
        of_source(before, now).into_iter().map(|news| (news.is_warning, news.reason)).collect()
    }

    #[test]
    fn a_comparison_is_told_unless_it_is_that_of_the_start() {
        assert_eq!(told(&status(0, 0, 0), &status(1, 0, 0)), []);
        assert_eq!(told(&status(1, 0, 0), &status(1, 0, 0)), []);
        assert_eq!(told(&status(0, 0, 0), &status(2, 0, 0)), [(false, Reason::SourceCompared)], "that of the start, and another");
        assert_eq!(told(&status(1, 0, 0), &status(2, 0, 0)), [(false, Reason::SourceCompared)]);
        assert_eq!(told(&status(1, 0, 0), &status(2, 1, 0)), [(true, Reason::SourceCompared)], "events were lost");
    }

    #[test]
    fn a_source_whose_kernel_tells_nothing_is_compared_all_the_time_and_silently() {
        let polled = |scans| PublishStatus { detection: Detection::Poll { reason: "no".to_owned() }, ..status(scans, 0, 0) };
        assert_eq!(told(&polled(4), &polled(5)), []);
    }

    #[test]
    fn drift_is_told_with_its_number() {
        let news = of_source(&status(1, 0, 2), &status(1, 0, 5));
        assert_eq!(news.len(), 1);
        assert!(news[0].is_warning && news[0].reason == Reason::DriftFound && news[0].words.starts_with("3 paths"), "{news:?}");
    }

    #[test]
    fn events_are_of_the_pool_itself() {
        let object = reference::<VolumePool>(&ObjectKey::new("shop", "web"), Some("uid-1".to_owned()));
        assert_eq!((object.kind.as_deref(), object.uid.as_deref()), (Some("VolumePool"), Some("uid-1")));
        assert_eq!(object.api_version.as_deref(), Some("volumedispatcher.io/v1alpha1"));
    }
}
