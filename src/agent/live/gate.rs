//! Whether a claim may be published: a pod never sees content that is older than its pool allows. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::progress::{Link, Progress};
use crate::domain::SyncPosition;

/// How long a source is silent before it counts as away: some heartbeats may be lost, and an agent that restarts is back sooner.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// What a pool promises to its claims.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Promise {
    /// How old content may be when a claim is published.
    pub(super) max_staleness: Duration,
    /// Whether a claim is served what the copy has while nobody publishes the source.
    pub(super) serves_alone: bool,
}

/// What a claim is judged by beside its copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) promise: Promise,
    /// Where the source is while no pod has it: it cannot change, so that whoever has all of that is fresh.
    pub(super) rests_at: Option<&'a SyncPosition>,
}

/// Says yes, or what is waited for, in words for the pod's events. `is_torn` tells whether the copy is between two
/// states of the source; that is never served.
pub(super) fn may_publish(
    now: Instant,
    copy: &Progress,
    link: &Link,
    Terms { promise, rests_at }: Terms<'_>,
    is_torn: impl FnOnce() -> bool,
) -> Result<(), String> {
    let rest = rests_at.filter(|_| matches!(link, Link::Unpublished(_)));
    if rest.is_some_and(|rest| copy.has(rest)) {
        return Ok(());
    }
    if copy.is_fresh(now, promise.max_staleness) {
        return Ok(());
    }
    let is_silent = rest.is_some() || !copy.is_fresh(now, promise.max_staleness.max(AWAY_AFTER));
    let is_alone = is_silent && matches!(link, Link::Unpublished(_) | Link::Broken(_));
    if promise.serves_alone && is_alone && !is_torn() {
        return Ok(());
    }
    Err(if rest.is_some() { waits_for_a_mount(copy, promise) } else { waits_for(copy, link, promise) })
}

const FIX: &str = "; with spec.claims.whenSourceAway: Serve the pool would hand out what it has";

fn waits_for_a_mount(copy: &Progress, promise: Promise) -> String {
    let what = copy.problem.as_ref().map_or_else(
        || "it lacks changes that its source had last".to_owned(),
        |problem| format!("it cannot follow its source: {problem}"),
    );
    let fix = if promise.serves_alone { "" } else { FIX };
    format!("{what}, and no pod has the source mounted, so that no node publishes it; it catches up when a pod mounts the source{fix}")
}

fn waits_for(copy: &Progress, link: &Link, promise: Promise) -> String {
    if let Some(problem) = &copy.problem {
        return format!("it cannot follow its source: {problem}");
    }
    let fix = if promise.serves_alone { "" } else { FIX };
    match link {
        Link::Unpublished(why) => format!("its source is not published: {why}{fix}"),
        Link::Broken(why) => format!("its source cannot be reached: {why}{fix}"),
        Link::Untried => "it begins to follow its source".to_owned(),
        Link::Connected => {
            let behind =
                copy.lag().map_or_else(|| "it is compared with its source".to_owned(), |lag| format!("it is {lag} changes behind"));
            format!("{behind} and may be at most {} ms old", promise.max_staleness.as_millis())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::Heard;
    use super::*;
    use jiff::Timestamp;
    use treesync::model::{Position, SourceId};

    const PROMISE: Promise = Promise { max_staleness: Duration::from_secs(5), serves_alone: false };
    const WAITS: Terms<'_> = Terms { promise: PROMISE, rests_at: None };
    const SERVES: Terms<'_> = Terms { promise: Promise { serves_alone: true, ..PROMISE }, rests_at: None };

    fn at(generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch: 1, generation }
    }

    fn broken() -> Link {
        Link::Broken("connection refused".to_owned())
    }

    #[test]
    fn a_copy_that_was_in_sync_just_now_is_published_and_an_older_one_is_not() {
        let start = Instant::now();
        let mut copy = Progress::default();
        copy.hear(Heard::InSync(at(1)));
        copy.hear(Heard::Newest(at(1), start, Timestamp::UNIX_EPOCH));
        let judge = |millis| may_publish(start + Duration::from_millis(millis), &copy, &Link::Connected, WAITS, || false);
        assert_eq!(judge(5000), Ok(()));
        let words = judge(5001).expect_err("it is too old");
        assert!(words.contains("0 changes behind") && words.contains("5000 ms"), "{words}");
    }

    #[test]
    fn a_copy_without_its_source_is_published_only_when_the_pool_says_so() {
        let (now, copy) = (Instant::now(), Progress::default());
        let words = may_publish(now, &copy, &broken(), WAITS, || false).expect_err("the pool waits");
        assert!(words.contains("connection refused") && words.contains("whenSourceAway: Serve"), "{words}");
        assert_eq!(may_publish(now, &copy, &broken(), SERVES, || false), Ok(()));
        assert_eq!(may_publish(now, &copy, &Link::Unpublished("no node".to_owned()), SERVES, || false), Ok(()));
    }

    #[test]
    fn serving_alone_needs_a_source_that_is_away_and_a_copy_that_is_whole() {
        let (now, copy) = (Instant::now(), Progress::default());
        assert!(may_publish(now, &copy, &Link::Untried, SERVES, || false).is_err(), "nobody has tried to reach the source");
        assert!(may_publish(now, &copy, &Link::Connected, SERVES, || false).is_err(), "the source is there");
        assert!(may_publish(now, &copy, &broken(), SERVES, || true).is_err(), "half of it is of another generation");
    }

    #[test]
    fn a_source_that_misses_some_heartbeats_is_not_away() {
        let start = Instant::now();
        let mut copy = Progress::default();
        copy.hear(Heard::InSync(at(1)));
        copy.hear(Heard::Newest(at(1), start, Timestamp::UNIX_EPOCH));
        let judge = |seconds| may_publish(start + Duration::from_secs(seconds), &copy, &broken(), SERVES, || false);
        assert!(judge(6).is_err(), "its agent may have been restarted, and is back in a moment");
        assert_eq!(judge(11), Ok(()));
    }

    #[test]
    fn a_copy_of_a_source_that_nobody_has_is_fresh_when_it_has_its_last_position() {
        let (now, away) = (Instant::now(), Link::Unpublished("no pod has it".to_owned()));
        let rest = SyncPosition { source: at(7).source.to_string(), epoch: 1, generation: 7 };
        let judge = |copy: &Progress, terms| may_publish(now, copy, &away, Terms { rests_at: Some(&rest), ..terms }, || false);
        let mut copy = Progress::default();
        copy.hear(Heard::Opened(Some(at(7))));
        assert_eq!(judge(&copy, WAITS), Ok(()));
        copy.hear(Heard::Opened(Some(at(6))));
        let words = judge(&copy, WAITS).expect_err("a change is missing");
        assert!(words.contains("no pod has the source mounted") && words.contains("whenSourceAway: Serve"), "{words}");
        assert_eq!(judge(&copy, SERVES), Ok(()));
        copy.hear(Heard::Opened(Some(at(7))));
        assert!(may_publish(now, &copy, &away, WAITS, || false).is_err(), "it is not known where the source is");
        let moves = may_publish(now, &copy, &Link::Connected, Terms { rests_at: Some(&rest), ..WAITS }, || false);
        assert!(moves.is_err(), "it is published again, and may have changed");
    }

    #[test]
    fn the_words_name_the_problem_of_the_copy_first() {
        let mut copy = Progress::default();
        copy.hear(Heard::Failed("no space left".to_owned()));
        let words = may_publish(Instant::now(), &copy, &Link::Connected, WAITS, || false).expect_err("it failed");
        assert!(words.contains("no space left"), "{words}");
    }
}
