//! `LockSnapshot`, `UnlockSnapshot`, `DescribeLockedSnapshots`.
//!
//! Source: API reference of the three; EBS User Guide, "Amazon EBS snapshot lock".

use jiff::{SignedDuration, Timestamp};

use super::describe::PAGES;
use crate::world::model::{LockMode, Snapshot, SnapshotLock, SnapshotPhase};
use crate::world::queries::filters::{self, Filterable};
use crate::world::queries::pages::page;
use crate::world::{ApiError, Describe, LockSnapshot, Page, World};

/// Hours.
const COOL_OFF: std::ops::RangeInclusive<i64> = 1..=72;
/// Days.
const DURATION: std::ops::RangeInclusive<i64> = 1..=36_500;
const DAY_HOURS: i64 = 24;

impl World {
    pub(in crate::world) fn lock_snapshot(&mut self, now: Timestamp, request: &LockSnapshot) -> Result<SnapshotLock, ApiError> {
        let snapshot = self.snapshot(&request.snapshot_id)?;
        let former = snapshot.lock.clone().filter(|lock| lock.holds(now));
        let completed = match snapshot.phase {
            SnapshotPhase::Completed { .. } => Some(now),
            SnapshotPhase::Pending { .. } => None,
            SnapshotPhase::Error => return Err(ApiError::state(format!("Snapshot '{}' is in invalid state - error", snapshot.id))),
        };
        let mode = mode(&request.mode)?;
        let cool_off_hours = cool_off(request, mode)?;
        let (duration_days, named_end) = term(request, now)?;
        let lock = SnapshotLock {
            mode,
            created: former.as_ref().map_or(now, |lock| lock.created),
            started: completed,
            duration_days,
            named_end,
            cool_off_hours,
            cool_off_until: cool_off_hours.and_then(|hours| now.checked_add(SignedDuration::from_hours(i64::from(hours))).ok()),
        };
        if let Some(former) = &former {
            check_change(former, &lock, now)?;
        }
        self.snapshot_mut(&request.snapshot_id)?.lock = Some(lock.clone());
        Ok(lock)
    }

    pub(in crate::world) fn unlock_snapshot(&mut self, now: Timestamp, id: &str) -> Result<(), ApiError> {
        let snapshot = self.snapshot(id)?;
        match snapshot.lock.as_ref().filter(|lock| lock.holds(now)) {
            None => Err(ApiError::state(format!("The snapshot '{id}' is not locked."))),
            Some(lock) if lock.is_final(now) => Err(not_permitted(format!(
                "The snapshot '{id}' is locked in compliance mode and its cooling-off period is over: it cannot be unlocked."
            ))),
            Some(_) => {
                self.snapshot_mut(id)?.lock = None;
                Ok(())
            }
        }
    }

    pub(in crate::world) fn describe_locked_snapshots(
        &self,
        now: Timestamp,
        request: &Describe,
    ) -> Result<Page<(String, SnapshotLock)>, ApiError> {
        filters::check::<LockView<'_>>(&request.filters)?;
        for id in &request.ids {
            self.snapshot(id)?;
        }
        let locked = self.snapshots_seen(&request.ids, &[]).into_iter().filter_map(|snapshot| LockView::of(snapshot, now));
        let matching = locked.filter(|view| filters::matches(view, &request.filters));
        Ok(page(matching, |view| view.snapshot_id, request, PAGES)?.map(|view| (view.snapshot_id.to_owned(), view.lock.clone())))
    }
}

fn mode(name: &str) -> Result<LockMode, ApiError> {
    match name {
        "governance" => Ok(LockMode::Governance),
        "compliance" => Ok(LockMode::Compliance),
        other => {
            Err(ApiError::invalid_value(format!("Value ({other}) for parameter LockMode is invalid. Expected: governance, compliance")))
        }
    }
}

fn cool_off(request: &LockSnapshot, mode: LockMode) -> Result<Option<u32>, ApiError> {
    let Some(hours) = request.cool_off_hours else { return Ok(None) };
    if mode == LockMode::Governance {
        return Err(ApiError::combination("The parameter CoolOffPeriod cannot be used with LockMode governance"));
    }
    in_range(hours, COOL_OFF, "CoolOffPeriod").map(Some)
}

/// The length of the lock in days, and its end where the request names one.
fn term(request: &LockSnapshot, now: Timestamp) -> Result<(u32, Option<Timestamp>), ApiError> {
    match (request.duration_days, &request.expires) {
        (Some(days), None) => Ok((in_range(days, DURATION, "LockDuration")?, None)),
        (None, Some(text)) => {
            let end: Timestamp = text.parse().map_err(|_| {
                ApiError::invalid_value(format!("Invalid value '{text}' for parameter ExpirationDate: it must be YYYY-MM-DDThh:mm:ss.sssZ"))
            })?;
            let days = end.duration_since(now).as_hours() / DAY_HOURS;
            // User guide: at least one day from now.
            if days < *DURATION.start() {
                return Err(ApiError::invalid_value(format!(
                    "Value ({text}) for parameter ExpirationDate is invalid. It must be at least one day from now."
                )));
            }
            Ok((in_range(days, DURATION, "ExpirationDate")?, Some(end)))
        }
        (None, None) => Err(ApiError::new("MissingParameter", "The request must contain the parameter LockDuration or ExpirationDate")),
        (Some(_), Some(_)) => Err(ApiError::combination("Only one of LockDuration and ExpirationDate can be specified")),
    }
}

fn in_range(number: i64, range: std::ops::RangeInclusive<i64>, parameter: &str) -> Result<u32, ApiError> {
    if range.contains(&number) {
        return Ok(u32::try_from(number).unwrap_or(u32::MAX));
    }
    Err(ApiError::invalid_value(format!(
        "Value ({number}) for parameter {parameter} is invalid. It must be between {} and {}.",
        range.start(),
        range.end()
    )))
}

/// What may become of a lock that holds: a final one only grows.
fn check_change(former: &SnapshotLock, lock: &SnapshotLock, now: Timestamp) -> Result<(), ApiError> {
    if !former.is_final(now) {
        return Ok(());
    }
    if lock.mode == LockMode::Governance {
        return Err(not_permitted("A lock in compliance mode cannot be changed to governance mode after its cooling-off period."));
    }
    if lock.cool_off_hours.is_some() {
        return Err(ApiError::combination("The parameter CoolOffPeriod cannot be used once the cooling-off period is over"));
    }
    if lock.expires() < former.expires() {
        return Err(not_permitted("A lock in compliance mode cannot be shortened after its cooling-off period."));
    }
    Ok(())
}

fn not_permitted(message: impl Into<String>) -> ApiError {
    ApiError::new("OperationNotPermitted", message)
}

/// A locked snapshot, with the filters it has as such.
struct LockView<'a> {
    snapshot_id: &'a str,
    lock: &'a SnapshotLock,
    now: Timestamp,
}

impl<'a> LockView<'a> {
    fn of(snapshot: &'a Snapshot, now: Timestamp) -> Option<Self> {
        Some(Self { snapshot_id: &snapshot.id, lock: snapshot.lock.as_ref()?, now })
    }
}

impl Filterable for LockView<'_> {
    const NAMES: &'static [&'static str] = &["lock-state"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "lock-state" => vec![self.lock.state(self.now).to_owned()],
            _ => Vec::new(),
        }
    }
}
