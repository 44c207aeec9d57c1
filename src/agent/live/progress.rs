//! What is known of one copy that follows a source, and how that is told. Pure.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use treesync::model::Position;

use crate::domain::SyncPosition;

/// Whether the source of a copy can be heard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Link {
    /// Nobody has tried yet.
    #[default]
    Untried,
    /// No agent publishes the source; why.
    Unpublished(String),
    /// A connection stands.
    Connected,
    /// There is no connection; why.
    Broken(String),
}

/// What a session tells of a copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    /// The copy is open, and here; none when it has no position yet.
    Opened(Option<Position>),
    /// Readers see this.
    Visible(Position),
    /// A loss of power takes nothing up to here.
    Durable(Position),
    /// The copy has all that the source has; durable.
    InSync(Position),
    /// The source is there at that instant.
    Newest(Position, Instant, Timestamp),
    /// The source is there, and compares itself with what it knows: what it has beside is not known.
    Scanning(Position),
    /// It could not go on; why.
    Failed(String),
}

/// How a copy is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    CatchingUp,
    InSync,
    Disconnected,
    Failed,
}

/// What is known of a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    pub(super) visible: Option<Position>,
    pub(super) durable: Option<Position>,
    newest: Option<Position>,
    /// The last instant at which the copy had all that the source had.
    pub(super) in_sync: Option<(Instant, Timestamp)>,
    pub(super) problem: Option<String>,
}

impl Progress {
    /// Takes in what is said of the copy and of its source.
    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Opened(position) => (self.visible, self.durable) = (position, position),
            Heard::Visible(position) => self.visible = Some(position),
            Heard::Durable(position) => self.durable = Some(position),
            Heard::Newest(position, instant, time) => {
                self.newest = Some(position);
                let has_all = |own: &Position| own.is_comparable_to(&position) && own.generation >= position.generation;
                if self.visible.as_ref().is_some_and(has_all) && self.problem.is_none() {
                    self.in_sync = Some((instant, time));
                }
            }
            Heard::Scanning(position) => self.newest = Some(position),
            Heard::InSync(position) => {
                (self.visible, self.durable) = (Some(position), Some(position));
                self.problem = None;
            }
            Heard::Failed(problem) => self.problem = Some(problem),
        }
    }

    /// How many generations are missing of what is known; none when the source or the copy has no position, or one of
    /// another history.
    pub(super) fn lag(&self) -> Option<u64> {
        let (newest, own) = (self.newest?, self.durable?);
        newest.is_comparable_to(&own).then(|| newest.generation.saturating_sub(own.generation))
    }

    /// Whether what readers see is at most so old.
    pub(super) fn is_fresh(&self, now: Instant, max_staleness: Duration) -> bool {
        self.in_sync.is_some_and(|(instant, _)| now.saturating_duration_since(instant) <= max_staleness)
    }

    /// Whether readers see all that a source has that rests there. A copy of a later epoch has followed a history that the source
    /// has lost.
    pub(super) fn has(&self, rest: &SyncPosition) -> bool {
        let own = self.visible.filter(|_| self.problem.is_none());
        let own = own.map(|own| SyncPosition { source: own.source.to_string(), epoch: own.epoch, generation: own.generation });
        own.is_some_and(|own| own.epoch == rest.epoch && own.is_at_least(rest))
    }

    /// How it is, in a word.
    pub(super) fn state(&self, link: &Link, now: Instant, max_staleness: Duration) -> State {
        match link {
            _ if self.problem.is_some() => State::Failed,
            Link::Connected if self.is_fresh(now, max_staleness) => State::InSync,
            Link::Connected | Link::Untried => State::CatchingUp,
            Link::Unpublished(_) | Link::Broken(_) => State::Disconnected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use treesync::model::SourceId;

    const LIMIT: Duration = Duration::from_secs(5);

    fn at(generation: u64) -> Position {
        Position { source: SourceId([1; 16]), epoch: 1, generation }
    }

    fn newest(generation: u64, now: Instant) -> Heard {
        Heard::Newest(at(generation), now, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn nobody_is_in_sync_with_a_source_that_compares_itself_with_its_index() {
        let now = Instant::now();
        let mut copy = Progress::default();
        copy.hear(Heard::InSync(at(4)));
        copy.hear(Heard::Scanning(at(4)));
        assert!(!copy.is_fresh(now, LIMIT), "what was written before the source was published may be missing");
        assert_eq!(copy.lag(), Some(0));
        copy.hear(newest(4, now));
        assert!(copy.is_fresh(now, LIMIT));
    }

    #[test]
    fn a_copy_is_in_sync_for_as_long_as_the_source_is_heard_where_the_copy_is() {
        let start = Instant::now();
        let mut copy = Progress::default();
        let after = |seconds| start + Duration::from_secs(seconds);
        let state = |copy: &Progress, link: &Link, seconds| copy.state(link, after(seconds), LIMIT);
        assert_eq!(state(&copy, &Link::Untried, 0), State::CatchingUp);
        copy.hear(Heard::Opened(Some(at(3))));
        copy.hear(newest(9, start));
        assert_eq!(state(&copy, &Link::Connected, 0), State::CatchingUp);
        copy.hear(Heard::Visible(at(9)));
        assert_eq!(state(&copy, &Link::Connected, 0), State::CatchingUp, "the source may be beyond by now");
        copy.hear(newest(9, start));
        assert_eq!(state(&copy, &Link::Connected, 5), State::InSync);
        assert_eq!(state(&copy, &Link::Connected, 6), State::CatchingUp, "nothing was heard for too long");
        assert_eq!(state(&copy, &Link::Broken("it is gone".to_owned()), 5), State::Disconnected);
        copy.hear(newest(10, after(5)));
        assert_eq!(state(&copy, &Link::Connected, 6), State::CatchingUp, "it lacks one");
    }

    #[test]
    fn a_problem_of_the_copy_lasts_until_it_is_in_sync_again() {
        let start = Instant::now();
        let mut copy = Progress::default();
        copy.hear(Heard::InSync(at(9)));
        copy.hear(Heard::Failed("no space left".to_owned()));
        copy.hear(Heard::Durable(at(10)));
        copy.hear(newest(10, start));
        assert_eq!(copy.state(&Link::Connected, start, LIMIT), State::Failed);
        assert!(!copy.is_fresh(start, LIMIT), "what it holds is in doubt");
        copy.hear(Heard::InSync(at(10)));
        copy.hear(newest(10, start));
        assert_eq!(copy.state(&Link::Connected, start, LIMIT), State::InSync);
    }

    #[test]
    fn the_lag_is_counted_in_one_history_only() {
        let now = Instant::now();
        let mut copy = Progress::default();
        assert_eq!(copy.lag(), None);
        copy.hear(Heard::Opened(Some(at(3))));
        copy.hear(newest(10, now));
        assert_eq!(copy.lag(), Some(7));
        copy.hear(Heard::InSync(at(12)));
        assert_eq!(copy.lag(), Some(0), "in sync at a newer one than was heard of");
        copy.hear(Heard::Newest(Position { epoch: 2, ..at(1) }, now, Timestamp::UNIX_EPOCH));
        assert_eq!(copy.lag(), None);
    }
}
