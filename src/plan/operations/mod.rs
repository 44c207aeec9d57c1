//! Path operations: whether one can begin, who does it at the source, which volumes have it, and when it is over.
//!
//! Every operation ends: it waits for the source for at most its time-out, runs for at most its time-out, and each end
//! has a reason. A receipt is the position that a volume reports, so nothing is asked of anybody but to follow.

mod receipts;
mod words;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{NodeName, ObjectKey, Operation, OperationPhase, Reason, SyncPosition, Uid, VerifyLevel};

use super::age;
use super::live::VerifiedSeen;

/// Everything that the operations depend on.
#[derive(Clone, Debug, Default)]
pub struct OperationsSeen {
    /// All operations, in any order.
    pub operations: Vec<OperationSeen>,
    /// The pools that they name and that exist.
    pub pools: BTreeMap<ObjectKey, OperatedPool>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct OperationSeen {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID, by which its comparisons are known.
    pub uid: Uid,
    /// The version that decisions were made on.
    pub resource_version: String,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Its pool.
    pub pool: ObjectKey,
    /// What is to be done.
    pub operation: Operation,
    /// The path, for push and delete.
    pub path: Option<String>,
    /// How closely volumes are compared afterwards.
    pub verify: Option<VerifyLevel>,
    /// Whether it only lists.
    pub dry_run: bool,
    /// How long it waits for the source, and then for the volumes.
    pub timeout: SignedDuration,
    /// How long it is kept after its end.
    pub ttl: SignedDuration,
    /// The node that shall do it.
    pub node: Option<NodeName>,
    /// What was published of it.
    pub told: Option<OperationReport>,
    /// What was done at the source.
    pub at_source: Option<DoneAtSource>,
}

/// What the agent of the source noted.
#[derive(Clone, Debug)]
pub struct DoneAtSource {
    /// A volume there has it; or why it was refused.
    pub result: Result<SyncPosition, String>,
    /// How many paths changed, or would.
    pub paths: u64,
}

/// What operations need to know of a pool.
#[derive(Clone, Debug)]
pub struct OperatedPool {
    /// Whether its content can change.
    pub content: PoolContent,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// The node that publishes its source; or why none does.
    pub publisher: Result<NodeName, String>,
    /// Its copies, in any order.
    pub copies: Vec<CopySeen>,
}

/// Whether the content of a pool's volumes can change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolContent {
    /// They follow a source.
    Live,
    /// They stay as they were filled, until the pool is told to be live.
    Still,
    /// Their source is a snapshot, which never changes.
    Fixed,
}

/// A copy, as far as operations are concerned.
#[derive(Clone, Debug)]
pub struct CopySeen {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The version that decisions were made on.
    pub resource_version: String,
    /// Whether it can be claimed now or later: not retired, not failed, not being deleted.
    pub is_of_use: bool,
    /// The node that has it mounted.
    pub mounted_on: Option<NodeName>,
    /// The position that it has, also after a loss of power.
    pub position: Option<SyncPosition>,
    /// What fails at present.
    pub error: Option<String>,
    /// The id of the comparison that is ordered.
    pub ordered: Option<String>,
    /// The last comparison that was made.
    pub verified: Option<VerifiedSeen>,
}

/// How an operation stands: all that the controller writes of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OperationReport {
    /// Where it is.
    pub phase: OperationPhase,
    /// Why, as a word.
    pub reason: String,
    /// Why, in words.
    pub message: String,
    /// When it was first looked at.
    pub since: Timestamp,
    /// When it was begun.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How many volumes have it, and cannot have it, of how many.
    pub targets: Option<Targets>,
    /// Volumes that have it; some of them when they are many.
    pub receipts: Vec<String>,
    /// Volumes that do not have it, and why; some of them when they are many.
    pub failures: Vec<(String, String)>,
}

/// Counts of volumes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Targets {
    /// Volumes that shall have it.
    pub total: usize,
    /// Volumes that have it.
    pub done: usize,
    /// Volumes that cannot have it.
    pub failed: usize,
}

/// One effect.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationAction {
    /// Name the node whose agent shall do it.
    Assign {
        /// The operation.
        operation: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The node.
        node: NodeName,
    },
    /// Order the agent of a copy to compare it with the source.
    Verify {
        /// The copy.
        volume: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// The order, by which the answer is known.
        id: String,
        /// How closely.
        level: VerifyLevel,
    },
    /// Write how an operation stands.
    Publish {
        /// The operation.
        operation: ObjectKey,
        /// The version that was judged.
        resource_version: String,
        /// What is written.
        report: OperationReport,
        /// The reason of the event, when the phase is another than before.
        news: Option<Reason>,
    },
    /// Delete an operation that ended long enough ago.
    Delete {
        /// The operation.
        operation: ObjectKey,
        /// Its UID.
        uid: Uid,
        /// The version that was judged.
        resource_version: String,
    },
}

/// Decides the next step of every operation.
pub fn operations(seen: &OperationsSeen, now: Timestamp) -> Vec<OperationAction> {
    let mut sorted: Vec<&OperationSeen> = seen.operations.iter().filter(|operation| !operation.deleting).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut actions = Vec::new();
    for operation in sorted {
        step(seen, operation, now, &mut actions);
    }
    actions
}

impl OperationSeen {
    /// Where it is.
    pub fn phase(&self) -> OperationPhase {
        self.told.as_ref().map(|told| told.phase).unwrap_or_default()
    }

    /// Whether nothing more will happen at the source or at volumes.
    fn is_over(&self) -> bool {
        matches!(self.phase(), OperationPhase::Complete | OperationPhase::Failed)
    }

    fn told(&self, now: Timestamp) -> OperationReport {
        self.told.clone().unwrap_or_else(|| OperationReport { since: now, ..OperationReport::default() })
    }

    /// The report of its end.
    fn ended(&self, phase: OperationPhase, reason: Reason, message: String, now: Timestamp) -> OperationReport {
        OperationReport { phase, ended: Some(now), ..self.report(reason, message, now) }
    }

    fn report(&self, reason: Reason, message: String, now: Timestamp) -> OperationReport {
        OperationReport { reason: reason.as_str().to_owned(), message, ..self.told(now) }
    }

    fn publish(&self, report: OperationReport, reason: Reason, actions: &mut Vec<OperationAction>) {
        if self.told.as_ref() != Some(&report) {
            let is_news = report.phase != OperationPhase::Pending && report.phase != self.phase();
            actions.push(OperationAction::Publish {
                operation: self.key.clone(),
                resource_version: self.resource_version.clone(),
                report,
                news: is_news.then_some(reason),
            });
        }
    }

    fn assign(&self, node: &NodeName) -> OperationAction {
        let (operation, resource_version) = (self.key.clone(), self.resource_version.clone());
        OperationAction::Assign { operation, resource_version, node: node.clone() }
    }
}

fn step(seen: &OperationsSeen, operation: &OperationSeen, now: Timestamp, actions: &mut Vec<OperationAction>) {
    let pool = seen.pools.get(&operation.pool);
    match operation.phase() {
        OperationPhase::Pending => begin(operation, pool, now, actions),
        OperationPhase::Running => run(seen, operation, pool, now, actions),
        OperationPhase::Complete | OperationPhase::Failed => keep(operation, pool, now, actions),
    }
}

/// Keeps an operation that is over for as long as its owner wants to look at it.
fn keep(operation: &OperationSeen, pool: Option<&OperatedPool>, now: Timestamp, actions: &mut Vec<OperationAction>) {
    let told = operation.told(now);
    match told.ended {
        // Somebody else wrote its end; from now on it is kept as long as any other.
        None => operation.publish(OperationReport { ended: Some(now), ..told }, Reason::OperationComplete, actions),
        Some(ended) if age(now, ended) >= operation.ttl => actions.push(OperationAction::Delete {
            operation: operation.key.clone(),
            uid: operation.uid.clone(),
            resource_version: operation.resource_version.clone(),
        }),
        Some(_) => {
            if let Some(pool) = pool {
                receipts::note_late(operation, pool, now, actions);
            }
        }
    }
}

/// Why an operation cannot begin, and whether that can change by itself.
struct Bar {
    reason: Reason,
    message: String,
    lasts: bool,
}

fn bar(operation: &OperationSeen, pool: Option<&OperatedPool>) -> Result<NodeName, Bar> {
    let lasting = |reason, message| Err(Bar { reason, message, lasts: true });
    let name = &operation.pool.name;
    match pool {
        None => Err(Bar { reason: Reason::PoolNotFound, message: words::no_pool(&operation.pool), lasts: false }),
        Some(pool) if pool.deleting => lasting(Reason::Deleting, format!("pool {name} is being deleted")),
        Some(pool) if pool.content != PoolContent::Live => lasting(Reason::SourceNotLive, words::not_live(name, pool.content)),
        Some(pool) if pool.paused => lasting(Reason::Paused, words::paused(name)),
        Some(pool) => pool.publisher.clone().map_err(|why| Bar {
            reason: Reason::SourceNotPublished,
            message: format!("the source of pool {name} is not published: {why}"),
            lasts: false,
        }),
    }
}

/// Waits until the source is published, then has it done there: the label first, since the phase is the order.
fn begin(operation: &OperationSeen, pool: Option<&OperatedPool>, now: Timestamp, actions: &mut Vec<OperationAction>) {
    let waited = operation.told.as_ref().map_or(SignedDuration::ZERO, |told| age(now, told.since));
    match bar(operation, pool) {
        Ok(node) if operation.node.as_ref() != Some(&node) => actions.push(operation.assign(&node)),
        Ok(node) => {
            let report = operation.report(Reason::OperationRunning, words::at_source(operation, &node), now);
            let report = OperationReport { phase: OperationPhase::Running, started: Some(now), ..report };
            operation.publish(report, Reason::OperationRunning, actions);
        }
        Err(bar) if bar.lasts || waited >= operation.timeout => {
            let report = operation.ended(OperationPhase::Failed, bar.reason, bar.message, now);
            operation.publish(report, bar.reason, actions);
        }
        Err(bar) => {
            let report = operation.report(bar.reason, bar.message, now);
            operation.publish(report, bar.reason, actions);
        }
    }
}

/// Follows the source, which may move to another node before it has done it, and then the volumes.
fn run(seen: &OperationsSeen, operation: &OperationSeen, pool: Option<&OperatedPool>, now: Timestamp, actions: &mut Vec<OperationAction>) {
    let fail = |reason, message, actions: &mut Vec<OperationAction>| {
        operation.publish(operation.ended(OperationPhase::Failed, reason, message, now), reason, actions);
    };
    let Some(pool) = pool.filter(|pool| !pool.deleting) else {
        return match bar(operation, pool) {
            Ok(_) => {}
            Err(bar) => fail(bar.reason, bar.message, actions),
        };
    };
    let started = operation.told.as_ref().and_then(|told| told.started).unwrap_or(now);
    let is_late = age(now, started) >= operation.timeout;
    match &operation.at_source {
        None if is_late => fail(Reason::OperationTimedOut, words::source_late(operation, pool), actions),
        None => {
            if let Some(node) = pool.publisher.as_ref().ok().filter(|node| operation.node.as_ref() != Some(node)) {
                actions.push(operation.assign(node));
            }
        }
        Some(DoneAtSource { result: Err(error), .. }) => fail(Reason::OperationRefused, error.clone(), actions),
        Some(DoneAtSource { paths, .. }) if operation.dry_run => {
            let report = operation.ended(OperationPhase::Complete, Reason::OperationComplete, words::would(*paths), now);
            operation.publish(report, Reason::OperationComplete, actions);
        }
        Some(DoneAtSource { result: Ok(position), .. }) => {
            receipts::follow(seen, operation, (pool, position), (now, is_late), actions);
        }
    }
}
