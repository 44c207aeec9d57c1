//! Which volumes have what an operation did.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::{NodeName, OperationPhase, RECYCLE_ORDER, Reason, SyncPosition, VerifyLevel};

use super::super::age;
use super::{CopySeen, OperatedPool, OperationAction, OperationReport, OperationSeen, OperationsSeen, Targets, words};

/// Comparisons of one node at a time: each reads a whole volume, which pods read too.
const VERIFIED_AT_ONCE: usize = 2;
/// Volumes that a status names as having it: a name has at most 63 bytes, and an object at most 1.5 MiB.
const RECEIPTS_TOLD: usize = 1000;
/// Volumes that a status names as not having it.
const FAILURES_TOLD: usize = 20;

/// Where one volume is.
enum Standing {
    /// It has it.
    Has,
    /// It never will.
    Fails(String),
    /// Not yet; what it waits for.
    Waits(String),
    /// It has it, and is to be compared.
    Unverified,
}

/// Collects the receipts of a running operation, orders comparisons, and ends it when nothing is left to wait for.
pub(super) fn follow(
    seen: &OperationsSeen,
    operation: &OperationSeen,
    (pool, position): (&OperatedPool, &SyncPosition),
    (now, is_late): (Timestamp, bool),
    actions: &mut Vec<OperationAction>,
) {
    let told = operation.told(now);
    let mut tally = Tally::of(&told);
    let mut room = Room::of(seen, pool);
    for copy in targets(pool) {
        if tally.has.contains(copy.key.name.as_str()) || tally.fails.contains_key(copy.key.name.as_str()) {
            continue;
        }
        match standing(operation, copy, position) {
            Standing::Has => drop(tally.has.insert(&copy.key.name)),
            Standing::Fails(why) => drop(tally.fails.insert(&copy.key.name, why)),
            Standing::Waits(why) => drop(tally.waits.insert(&copy.key.name, why)),
            Standing::Unverified => {
                tally.waits.insert(&copy.key.name, "it has it, and was not compared with the source".to_owned());
                if let Some(level) = operation.verify.filter(|_| !is_late && room.takes(seen, copy)) {
                    actions.push(verify(operation, copy, level));
                }
            }
        }
    }
    let (report, reason) = tally.report(operation, &told, now, is_late);
    operation.publish(report, reason, actions);
}

/// Adds the receipts of volumes that were attached after a completed operation, as long as its time lasts.
pub(super) fn note_late(operation: &OperationSeen, pool: &OperatedPool, now: Timestamp, actions: &mut Vec<OperationAction>) {
    let Some(told) = operation.told.as_ref().filter(|told| told.phase == OperationPhase::Complete && !operation.dry_run) else { return };
    let Some(Ok(position)) = operation.at_source.as_ref().map(|done| &done.result) else { return };
    if told.started.is_none_or(|started| age(now, started) >= operation.timeout) {
        return;
    }
    let has_it = |copy: &&CopySeen| copy.position.as_ref().is_some_and(|own| own.is_at_least(position));
    let late = targets(pool).into_iter().filter(has_it).filter(|copy| !told.receipts.contains(&copy.key.name));
    let receipts = named_too(told, late.map(|copy| copy.key.name.as_str()));
    let (before, more) = (told.targets.unwrap_or_default(), receipts.len() - told.receipts.len());
    let targets = Targets { total: before.total + more, done: before.done + more, ..before };
    let report = OperationReport { targets: Some(targets), message: words::complete(targets.done), receipts, ..told.clone() };
    operation.publish(report, Reason::OperationComplete, actions);
}

/// The names that were told, and these, as long as there is room for them; in order.
fn named_too<'a>(told: &OperationReport, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: BTreeSet<&str> = told.receipts.iter().map(String::as_str).collect();
    for name in names {
        if all.len() < RECEIPTS_TOLD {
            all.insert(name);
        }
    }
    all.into_iter().map(str::to_owned).collect()
}

/// Copies that pods may see.
fn targets(pool: &OperatedPool) -> Vec<&CopySeen> {
    let is_recycled = |copy: &CopySeen| copy.ordered.as_ref().is_some_and(|id| id.starts_with(RECYCLE_ORDER));
    let is_target = |copy: &&CopySeen| copy.is_of_use && copy.mounted_on.is_some() && !is_recycled(copy);
    let mut targets: Vec<&CopySeen> = pool.copies.iter().filter(is_target).collect();
    targets.sort_by(|a, b| a.key.cmp(&b.key));
    targets
}

fn standing(operation: &OperationSeen, copy: &CopySeen, position: &SyncPosition) -> Standing {
    if !copy.position.as_ref().is_some_and(|own| own.is_at_least(position)) {
        return Standing::Waits(words::behind(copy, position));
    }
    let id = operation.uid.as_str();
    if operation.verify.is_none() {
        return Standing::Has;
    }
    match copy.verified.as_ref().filter(|verified| verified.id == id) {
        Some(verified) if verified.error.is_some() => {
            Standing::Fails(format!("it could not be compared: {}", verified.error.as_deref().unwrap_or_default()))
        }
        Some(verified) if verified.differences > 0 && !verified.repaired => {
            Standing::Fails(format!("{} paths differ from the source; the log of the agent names them", verified.differences))
        }
        Some(_) => Standing::Has,
        None if copy.ordered.as_deref() == Some(id) => Standing::Waits("it is being compared with the source".to_owned()),
        None => Standing::Unverified,
    }
}

fn verify(operation: &OperationSeen, copy: &CopySeen, level: VerifyLevel) -> OperationAction {
    OperationAction::Verify {
        volume: copy.key.clone(),
        resource_version: copy.resource_version.clone(),
        id: operation.uid.to_string(),
        level,
    }
}

/// How many more comparisons each node may begin.
struct Room<'a> {
    open: BTreeMap<&'a NodeName, usize>,
}

impl<'a> Room<'a> {
    fn of(seen: &OperationsSeen, pool: &'a OperatedPool) -> Self {
        let mut open = BTreeMap::new();
        let compared = targets(pool).into_iter().filter(|copy| is_awaited(seen, copy));
        for node in compared.filter_map(|copy| copy.mounted_on.as_ref()) {
            *open.entry(node).or_default() += 1;
        }
        Self { open }
    }

    /// Takes a place on the node of a copy, when there is one and nobody waits for another answer of the copy.
    fn takes(&mut self, seen: &OperationsSeen, copy: &'a CopySeen) -> bool {
        let Some(node) = copy.mounted_on.as_ref().filter(|_| !is_awaited(seen, copy)) else { return false };
        let open = self.open.entry(node).or_default();
        let has_room = *open < VERIFIED_AT_ONCE;
        *open += usize::from(has_room);
        has_room
    }
}

/// Whether somebody waits for a comparison of the copy. One that an operation ordered which is over is of no use.
fn is_awaited(seen: &OperationsSeen, copy: &CopySeen) -> bool {
    let answered = copy.verified.as_ref().map(|verified| verified.id.as_str());
    let Some(id) = copy.ordered.as_deref().filter(|id| answered != Some(id)) else { return false };
    id.starts_with(RECYCLE_ORDER) || seen.operations.iter().any(|operation| operation.uid.as_str() == id && !operation.is_over())
}

/// Names of volumes by how they stand.
struct Tally<'a> {
    has: BTreeSet<&'a str>,
    fails: BTreeMap<&'a str, String>,
    waits: BTreeMap<&'a str, String>,
    /// How many had it before, of which not all may be named.
    done: usize,
    failed: usize,
}

impl<'a> Tally<'a> {
    /// What was told stays: a volume that had it may be detached now, and one that was compared may have been written since.
    fn of(told: &'a OperationReport) -> Self {
        let before = told.targets.unwrap_or_default();
        Self {
            has: told.receipts.iter().map(String::as_str).collect(),
            fails: told.failures.iter().map(|(name, why)| (name.as_str(), why.clone())).collect(),
            waits: BTreeMap::new(),
            done: before.done,
            failed: before.failed,
        }
    }

    fn report(mut self, operation: &OperationSeen, told: &OperationReport, now: Timestamp, is_late: bool) -> (OperationReport, Reason) {
        let (phase, reason) = match (self.waits.is_empty(), self.fails.is_empty()) {
            (true, true) => (OperationPhase::Complete, Reason::OperationComplete),
            (true, false) => (OperationPhase::Failed, Reason::VolumesDiffer),
            (false, _) if is_late => (OperationPhase::Failed, Reason::OperationTimedOut),
            (false, _) => (OperationPhase::Running, Reason::OperationRunning),
        };
        let waiting = self.waits.len();
        if phase == OperationPhase::Failed {
            self.fails.append(&mut self.waits);
        }
        let done = self.done.max(self.has.len());
        let failed = self.failed.max(self.fails.len());
        let targets = Targets { total: done + failed + self.waits.len(), done, failed };
        let names: Vec<&str> = self.fails.keys().copied().collect();
        let message = match phase {
            OperationPhase::Complete => words::complete(done),
            OperationPhase::Failed if waiting > 0 => words::timed_out(operation, targets, &names),
            OperationPhase::Failed => words::differ(targets, &names),
            _ => words::running(targets),
        };
        let report = OperationReport {
            phase,
            reason: reason.as_str().to_owned(),
            message,
            ended: (phase != OperationPhase::Running).then_some(now),
            targets: Some(targets),
            receipts: named_too(told, self.has.into_iter()),
            failures: self.fails.into_iter().take(FAILURES_TOLD).map(|(name, why)| (name.to_owned(), why)).collect(),
            ..told.clone()
        };
        (report, reason)
    }
}
