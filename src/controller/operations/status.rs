//! The controller's part of `status` of a PathOperation, from and to what the plan says.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Resource;

use crate::api::path_operation::{PathOperationStatus, TargetCounts, TargetFailure};
use crate::api::{PathOperation, path_operation::OperationPhase};
use crate::plan::operations::{OperationReport, Targets};

/// The condition that is true once every volume has it.
const COMPLETE: &str = "Complete";
/// The condition that is true once it is known that not every volume will have it.
const FAILED: &str = "Failed";

/// What was published; none before the first time.
pub(super) fn report(status: &PathOperationStatus) -> Option<OperationReport> {
    let phase = status.phase?;
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let (complete, failed) = (condition(COMPLETE), condition(FAILED));
    let since = [complete, failed].into_iter().flatten().map(|condition| condition.last_transition_time.0).min();
    let number = |count: u32| count as usize;
    Some(OperationReport {
        phase,
        reason: complete.map(|condition| condition.reason.clone()).unwrap_or_default(),
        message: complete.map(|condition| condition.message.clone()).unwrap_or_default(),
        since: since.unwrap_or_default(),
        started: status.start_time.as_ref().map(|time| time.0),
        ended: status.completion_time.as_ref().map(|time| time.0),
        targets: status.targets.as_ref().map(|targets| Targets {
            total: number(targets.total),
            done: number(targets.done),
            failed: number(targets.failed),
        }),
        receipts: status.receipts.clone(),
        failures: status.failures.iter().map(|failure| (failure.volume.clone(), failure.reason.clone())).collect(),
    })
}

/// What is published. `source` is left to the agent.
pub(super) fn status(operation: &PathOperation, report: &OperationReport) -> PathOperationStatus {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let condition = |kind: &str, holds: bool| condition(operation, report, kind, holds);
    PathOperationStatus {
        observed_generation: operation.meta().generation,
        phase: Some(report.phase),
        conditions: vec![
            condition(COMPLETE, report.phase == OperationPhase::Complete),
            condition(FAILED, report.phase == OperationPhase::Failed),
        ],
        targets: report.targets.map(|targets| TargetCounts {
            total: number(targets.total),
            done: number(targets.done),
            failed: number(targets.failed),
        }),
        receipts: report.receipts.clone(),
        failures: report.failures.iter().map(|(volume, reason)| TargetFailure { volume: volume.clone(), reason: reason.clone() }).collect(),
        start_time: report.started.map(Time),
        completion_time: report.ended.map(Time),
        source: None,
    }
}

fn condition(operation: &PathOperation, report: &OperationReport, kind: &str, holds: bool) -> Condition {
    let changed: Timestamp = if holds { report.ended.unwrap_or(report.since) } else { report.since };
    Condition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: report.reason.clone(),
        message: report.message.clone(),
        observed_generation: operation.meta().generation,
        last_transition_time: Time(changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_back_the_same() {
        let operation = PathOperation::new(
            "push",
            serde_json::from_value(serde_json::json!({"poolRef": {"name": "web"}, "operation": "Sync"})).expect("a spec"),
        );
        let at = |second| Timestamp::from_second(second).expect("a time");
        for phase in [OperationPhase::Pending, OperationPhase::Running, OperationPhase::Complete, OperationPhase::Failed] {
            let is_over = matches!(phase, OperationPhase::Complete | OperationPhase::Failed);
            let told = OperationReport {
                phase,
                reason: "OperationRunning".to_owned(),
                message: "1 of 3 volumes have it".to_owned(),
                since: at(10),
                started: (phase != OperationPhase::Pending).then(|| at(11)),
                ended: is_over.then(|| at(12)),
                targets: Some(Targets { total: 3, done: 1, failed: 1 }),
                receipts: vec!["web-0".to_owned()],
                failures: vec![("web-1".to_owned(), "it differs".to_owned())],
            };
            let status = status(&operation, &told);
            assert_eq!(report(&status), Some(told));
            assert_eq!(status.conditions.iter().filter(|condition| condition.status == "True").count(), usize::from(is_over));
        }
        assert_eq!(report(&PathOperationStatus::default()), None);
    }
}
