//! Builders of what operations see.

use jiff::SignedDuration;

use crate::domain::{NodeName, Operation, OperationPhase, SyncPosition, Uid, VerifyLevel};
use crate::plan::operations::{CopySeen, DoneAtSource, OperatedPool, OperationReport, OperationSeen, OperationsSeen, PoolContent};
use crate::plan::{OperationAction, VerifiedSeen, operations};

use super::build::{NOW, at, key};

/// The sync generation at which the source has done an operation.
pub(super) const DONE: u64 = 10;

pub(super) fn position(generation: u64) -> SyncPosition {
    SyncPosition { source: "the-source".to_owned(), epoch: 1, generation }
}

/// A mounted copy on `node-a` that has everything.
pub(super) fn copy(name: &str) -> CopySeen {
    CopySeen {
        key: key(name),
        resource_version: "3".to_owned(),
        is_of_use: true,
        mounted_on: Some("node-a".into()),
        position: Some(position(DONE)),
        error: None,
        ordered: None,
        verified: None,
    }
}

pub(super) fn verified(id: &str, differences: u64) -> VerifiedSeen {
    VerifiedSeen { id: id.to_owned(), differences, repaired: false, error: None }
}

/// A push of `htdocs` to the live pool `web`, which `node-a` publishes, made just now and not looked at.
#[derive(Clone)]
pub(super) struct OperationBuild {
    operation: OperationSeen,
    seen: OperationsSeen,
}

pub(super) fn push() -> OperationBuild {
    let operation = OperationSeen {
        key: key("push"),
        uid: Uid::new("uid-push"),
        resource_version: "1".to_owned(),
        deleting: false,
        pool: key("web"),
        operation: Operation::Push,
        path: Some("htdocs".to_owned()),
        verify: None,
        dry_run: false,
        timeout: SignedDuration::from_secs(60),
        ttl: SignedDuration::from_secs(600),
        node: None,
        told: None,
        at_source: None,
    };
    let pool =
        OperatedPool { content: PoolContent::Live, paused: false, deleting: false, publisher: Ok("node-a".into()), copies: Vec::new() };
    OperationBuild { operation, seen: OperationsSeen { operations: Vec::new(), pools: [(key("web"), pool)].into() } }
}

impl OperationBuild {
    pub(super) fn but(mut self, change: impl FnOnce(&mut OperationSeen)) -> Self {
        change(&mut self.operation);
        self
    }

    pub(super) fn pool(mut self, change: impl FnOnce(&mut OperatedPool)) -> Self {
        self.seen.pools.entry(key("web")).and_modify(change);
        self
    }

    pub(super) fn world(mut self, change: impl FnOnce(&mut OperationsSeen)) -> Self {
        change(&mut self.seen);
        self
    }

    pub(super) fn copies(self, copies: impl IntoIterator<Item = CopySeen>) -> Self {
        self.pool(|pool| pool.copies.extend(copies))
    }

    pub(super) fn told(self, phase: OperationPhase, change: impl FnOnce(&mut OperationReport)) -> Self {
        self.but(|operation| {
            let mut told = OperationReport { phase, since: at(NOW), ..OperationReport::default() };
            change(&mut told);
            operation.told = Some(told);
        })
    }

    /// Begun so many seconds ago on `node-a`, which has not done it.
    pub(super) fn begun(self, seconds: i64) -> Self {
        self.told(OperationPhase::Running, |told| told.started = Some(at(NOW - seconds))).but(|operation| {
            operation.node = Some("node-a".into());
        })
    }

    /// Begun, and done at the source.
    pub(super) fn done(self, seconds: i64) -> Self {
        self.begun(seconds).but(|operation| operation.at_source = Some(DoneAtSource { result: Ok(position(DONE)), paths: 2 }))
    }

    /// `Sync` with a comparison of all bytes, done at the source.
    pub(super) fn compared(self, seconds: i64) -> Self {
        self.done(seconds).but(|operation| {
            (operation.operation, operation.path) = (Operation::Sync, None);
            operation.verify = Some(VerifyLevel::Content);
        })
    }

    pub(super) fn plan(&self) -> Vec<OperationAction> {
        self.plan_at(NOW)
    }

    pub(super) fn plan_at(&self, second: i64) -> Vec<OperationAction> {
        let mut seen = self.seen.clone();
        seen.operations.insert(0, self.operation.clone());
        operations(&seen, at(second))
    }

    /// The report that is published.
    #[track_caller]
    pub(super) fn report(&self) -> OperationReport {
        let published = |action| if let OperationAction::Publish { report, .. } = action { Some(report) } else { None };
        self.plan().into_iter().find_map(published).unwrap_or_else(|| panic!("nothing is published: {:?}", self.plan()))
    }

    pub(super) fn words(&self) -> Vec<String> {
        self.plan().iter().map(operation_word).collect()
    }

    pub(super) fn operation(&self) -> &OperationSeen {
        &self.operation
    }
}

/// An action in a few words.
pub(super) fn operation_word(action: &OperationAction) -> String {
    match action {
        OperationAction::Assign { operation, node, .. } => format!("assign {} to {node}", operation.name),
        OperationAction::Verify { volume, id, level, .. } => format!("verify {} for {id} {level:?}", volume.name),
        OperationAction::Publish { operation, report, news, .. } => {
            let news = news.map_or_else(String::new, |reason| format!(", tell {reason}"));
            format!("{} is {:?}: {}{news}", operation.name, report.phase, report.reason)
        }
        OperationAction::Delete { operation, .. } => format!("delete {}", operation.name),
    }
}

pub(super) fn on(node: &str, name: &str) -> CopySeen {
    CopySeen { mounted_on: Some(NodeName::new(node)), ..copy(name) }
}
