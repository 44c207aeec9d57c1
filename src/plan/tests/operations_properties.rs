//! What holds for every operation, whatever happens to its pool and to the volumes: receipts only grow, and it ends.

use proptest::prelude::*;

use crate::domain::{NodeName, OperationPhase, SyncPosition};
use crate::plan::operations::{CopySeen, DoneAtSource, OperatedPool, OperationReport, OperationSeen, OperationsSeen, PoolContent};
use crate::plan::{OperationAction, operations};

use super::build::{NOW, at, key};
use super::operations_build::{copy, position, push, verified};

/// Something that happens between two looks.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Time(i64),
    PoolGone,
    Pool(PoolContent, bool, bool),
    Publisher(Option<u8>),
    AgentDoes(bool),
    Copy(u8, Option<u64>),
    CopyGone(u8),
    Detached(u8),
    Answered(u8, u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let content = prop_oneof![8 => Just(PoolContent::Live), 1 => Just(PoolContent::Still), 1 => Just(PoolContent::Fixed)];
    prop_oneof![
        4 => (0..20_i64).prop_map(Happening::Time),
        1 => Just(Happening::PoolGone),
        1 => (content, prop::bool::weighted(0.1), prop::bool::weighted(0.1)).prop_map(|(content, paused, deleting)| Happening::Pool(content, paused, deleting)),
        2 => prop::option::weighted(0.8, 0..3_u8).prop_map(Happening::Publisher),
        3 => prop::bool::weighted(0.9).prop_map(Happening::AgentDoes),
        6 => (0..6_u8, prop::option::weighted(0.9, 5..15_u64)).prop_map(|(slot, own)| Happening::Copy(slot, own)),
        1 => (0..6_u8).prop_map(Happening::CopyGone),
        2 => (0..6_u8).prop_map(Happening::Detached),
        3 => (0..6_u8, prop_oneof![5 => Just(0_u64), 1 => 1..4_u64]).prop_map(|(slot, differences)| Happening::Answered(slot, differences)),
    ]
}

struct World {
    second: i64,
    operation: Option<OperationSeen>,
    pool: Option<OperatedPool>,
}

impl World {
    fn of_copy(&mut self, slot: u8, change: impl FnOnce(&mut CopySeen)) {
        let Some(pool) = &mut self.pool else { return };
        let key = key(&format!("web-{slot}"));
        if let Some(copy) = pool.copies.iter_mut().find(|copy| copy.key == key) {
            change(copy);
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Time(seconds) => self.second += seconds,
            Happening::PoolGone => self.pool = None,
            Happening::Pool(content, paused, deleting) => {
                if let Some(pool) = &mut self.pool {
                    (pool.content, pool.paused, pool.deleting) = (content, paused, deleting);
                }
            }
            Happening::Publisher(node) => {
                if let Some(pool) = &mut self.pool {
                    pool.publisher = node.map(|node| NodeName::new(format!("node-{node}"))).ok_or_else(|| "it is away".to_owned());
                }
            }
            Happening::AgentDoes(works) => {
                if let Some(operation) = self.operation.as_mut().filter(|operation| operation.phase() == OperationPhase::Running) {
                    let result: Result<SyncPosition, String> = if works { Ok(position(10)) } else { Err("no".to_owned()) };
                    operation.at_source.get_or_insert(DoneAtSource { result, paths: 1 });
                }
            }
            Happening::Copy(slot, own) => {
                let name = format!("web-{slot}");
                if let Some(pool) = self.pool.as_mut().filter(|pool| !pool.copies.iter().any(|copy| copy.key.name == name)) {
                    pool.copies.push(copy(&name));
                }
                self.of_copy(slot, |copy| (copy.mounted_on, copy.position) = (Some("node-a".into()), own.map(position)));
            }
            Happening::CopyGone(slot) => {
                if let Some(pool) = &mut self.pool {
                    pool.copies.retain(|copy| copy.key.name != format!("web-{slot}"));
                }
            }
            Happening::Detached(slot) => self.of_copy(slot, |copy| (copy.mounted_on, copy.position, copy.verified) = (None, None, None)),
            Happening::Answered(slot, differences) => self.of_copy(slot, |copy| {
                if let Some(id) = &copy.ordered {
                    copy.verified = Some(verified(id, differences));
                }
            }),
        }
    }

    /// Looks until nothing is left to do; returns what was published on the way.
    fn settle(&mut self) -> Vec<OperationReport> {
        let mut reports = Vec::new();
        for _ in 0..50 {
            let Some(operation) = self.operation.clone() else { return reports };
            let pools = self.pool.clone().map(|pool| (key("web"), pool)).into_iter().collect();
            let actions = operations(&OperationsSeen { operations: vec![operation], pools }, at(self.second));
            if actions.is_empty() {
                return reports;
            }
            for action in actions {
                self.done(action, &mut reports);
            }
        }
        panic!("the plan never comes to rest: {:?}", self.operation);
    }

    fn done(&mut self, action: OperationAction, reports: &mut Vec<OperationReport>) {
        let Some(operation) = &mut self.operation else { return };
        match action {
            OperationAction::Assign { node, .. } => operation.node = Some(node),
            OperationAction::Publish { report, .. } => {
                operation.told = Some(report.clone());
                reports.push(report);
            }
            OperationAction::Delete { .. } => self.operation = None,
            OperationAction::Verify { volume, id, .. } => {
                let pool = self.pool.as_mut().expect("only a pool that exists is compared");
                let copy = pool.copies.iter_mut().find(|copy| copy.key == volume).expect("only what exists is compared");
                assert!(copy.mounted_on.is_some(), "only what is mounted can be compared");
                copy.ordered = Some(id);
            }
        }
    }
}

fn rank(phase: OperationPhase) -> u8 {
    match phase {
        OperationPhase::Pending => 0,
        OperationPhase::Running => 1,
        OperationPhase::Complete | OperationPhase::Failed => 2,
    }
}

fn assert_onward(before: &OperationReport, after: &OperationReport) {
    assert!(rank(before.phase) <= rank(after.phase), "{before:?} {after:?}");
    if rank(before.phase) == 2 {
        assert_eq!((before.phase, before.ended), (after.phase, after.ended), "an end is final");
    }
    let (was, is) = (before.targets.unwrap_or_default(), after.targets.unwrap_or_default());
    assert!(was.done <= is.done && was.failed <= is.failed, "{before:?} {after:?}");
    assert!(before.receipts.iter().all(|name| after.receipts.contains(name)), "{before:?} {after:?}");
    assert!(is.done + is.failed <= is.total && after.receipts.len() <= is.done, "{after:?}");
    assert_eq!(before.since, after.since);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn receipts_only_grow_and_every_operation_ends(
        is_compared in any::<bool>(),
        happenings in prop::collection::vec(happening(), 0..60),
    ) {
        let first = if is_compared { push().compared(0) } else { push() };
        let operation = OperationSeen { told: None, node: None, at_source: None, ..first.operation().clone() };
        let pool = OperatedPool {
            content: PoolContent::Live, paused: false, deleting: false, publisher: Err("not yet".to_owned()), copies: Vec::new(),
        };
        let mut world = World { second: NOW, operation: Some(operation), pool: Some(pool) };
        let mut last: Option<OperationReport> = None;
        for happening in happenings.into_iter().map(Some).chain([None]) {
            match happening {
                Some(happening) => world.happens(happening),
                // Twice the time-out: once for the source, once for the volumes.
                None => (0..2).for_each(|_| { world.second += 60; world.settle(); }),
            }
            for report in world.settle() {
                if let Some(before) = &last {
                    assert_onward(before, &report);
                }
                last = Some(report);
            }
        }
        if let Some(operation) = &world.operation {
            prop_assert_eq!(rank(operation.phase()), 2, "{:?}", operation);
            prop_assert!(operation.told.as_ref().is_some_and(|told| told.ended.is_some() && !told.message.is_empty()));
        }
        world.second += 600;
        world.settle();
        prop_assert!(world.operation.is_none(), "it is cleared away");
    }
}
