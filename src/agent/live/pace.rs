//! When the position of a volume is written to its object: seldom, and at once when somebody waits for it. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Between two reports of a volume of which only the position changed. All agents together must not load the API server:
/// a thousand volumes make a hundred writes a second at most.
const POSITION_EVERY: Duration = Duration::from_secs(10);
/// Between two reports of a volume that changes its state all the time.
const STATE_EVERY: Duration = Duration::from_secs(5);
/// Changes of the state that are told at once before that counts: a source waits for a certificate, is compared, then published; a
/// copy hears why it has no source yet, catches up, then is in sync. Whoever makes a pool live waits for the last of them.
const STATES_AT_ONCE: u32 = 6;
/// Between two reports of a volume for which a receipt or an answer is awaited.
const AWAITED_EVERY: Duration = Duration::from_millis(200);

/// What changed since the last report.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum News {
    /// Nothing that anybody asks for.
    Nothing,
    /// Where the volume is.
    Position,
    /// How it is.
    State,
    /// The answer to an order.
    Answer,
}

/// When a volume was reported last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// When as many states as may be can be told at once again.
    rested: Option<Instant>,
}

impl Pace {
    /// A report was written, or tried.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.last = Some(now);
        let rested = self.rested.map_or(now, |rested| rested.max(now)) + STATE_EVERY;
        // Whatever was written for those who waited: the next state waits for one pause at most.
        self.rested = Some(rested.min(now + STATE_EVERY * STATES_AT_ONCE));
    }

    /// When the news are to be written: now, later, or never.
    pub(super) fn due(&self, now: Instant, news: News, is_awaited: bool) -> Option<Instant> {
        let every = match news {
            News::Nothing => return None,
            News::Answer => AWAITED_EVERY,
            News::Position | News::State if is_awaited => AWAITED_EVERY,
            News::State => return Some(self.state_due(now)),
            News::Position => POSITION_EVERY,
        };
        Some(self.last.map_or(now, |last| (last + every).max(now)))
    }

    fn state_due(&self, now: Instant) -> Instant {
        let earliest = self.last.map_or(now, |last| last + AWAITED_EVERY);
        let spared = self.rested.and_then(|rested| rested.checked_sub(STATE_EVERY * (STATES_AT_ONCE - 1)));
        earliest.max(spared.unwrap_or(now)).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many writes a minute of news every 20 ms brings.
    fn writes(news: News, is_awaited: bool) -> usize {
        let start = Instant::now();
        let (mut pace, mut writes) = (Pace::default(), 0);
        for step in 0..3000 {
            let now = start + Duration::from_millis(20) * step;
            if pace.due(now, news, is_awaited).is_some_and(|due| due <= now) {
                pace.wrote(now);
                writes += 1;
            }
        }
        writes
    }

    #[test]
    fn a_minute_of_changes_makes_few_writes_unless_somebody_waits() {
        assert_eq!(writes(News::Nothing, true), 0);
        assert_eq!(writes(News::Position, false), 6);
        assert_eq!(writes(News::State, false), 17, "six at once, then one each five seconds");
        assert_eq!(writes(News::Position, true), 300);
        assert_eq!(writes(News::State, true), 300);
    }

    #[test]
    fn the_first_report_and_an_answer_are_written_at_once() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due(now, News::Position, false), Some(now));
        pace.wrote(now);
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.due(later, News::Answer, false), Some(later));
    }

    #[test]
    fn a_volume_that_comes_to_rest_is_told_at_each_step_and_one_that_never_does_now_and_then() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        for told in [0, 200, 400, 600, 800, 1_000] {
            assert_eq!(pace.due(after(told), News::State, false), Some(after(told)));
            pace.wrote(after(told));
        }
        assert_eq!(pace.due(after(1_200), News::State, false), Some(after(5_000)));
        assert_eq!(pace.due(after(1_200), News::Position, false), Some(after(11_000)), "where it is can wait as before");
        assert_eq!(pace.due(after(60_000), News::State, false), Some(after(60_000)));
    }

    #[test]
    fn however_much_was_written_for_somebody_who_waited_the_next_state_is_told_soon() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for write in 0..300 {
            pace.wrote(start + AWAITED_EVERY * write);
        }
        let now = start + AWAITED_EVERY * 299;
        assert_eq!(pace.due(now, News::State, false), Some(now + STATE_EVERY));
    }

    #[test]
    fn a_position_that_is_awaited_is_written_within_300_milliseconds() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.wrote(now);
        let due = pace.due(now, News::Position, true).expect("it is news");
        assert!(due - now <= Duration::from_millis(300));
    }
}
