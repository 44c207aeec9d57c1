//! What becomes of path operations, one decision at a time.

use jiff::SignedDuration;

use crate::domain::{OperationPhase, RECYCLE_ORDER, Reason};
use crate::plan::VerifiedSeen;
use crate::plan::operations::{CopySeen, DoneAtSource, OperationReport, OperationSeen, PoolContent, Targets};

use super::build::{NOW, at, key};
use super::operations_build::{DONE, OperationBuild, copy, on, position, push, verified};

fn behind(name: &str) -> CopySeen {
    CopySeen { position: Some(position(DONE - 1)), ..copy(name) }
}

fn unpublished(build: OperationBuild) -> OperationBuild {
    build.pool(|pool| pool.publisher = Err("web-source is on no node".to_owned()))
}

#[test]
fn an_operation_gets_its_node_before_it_is_ordered_to_be_done() {
    assert_eq!(push().words(), ["assign push to node-a"]);
    let labelled = push().but(|operation| operation.node = Some("node-a".into()));
    assert_eq!(labelled.words(), ["push is Running: OperationRunning, tell OperationRunning"]);
    assert_eq!(labelled.report().started, Some(at(NOW)));
    assert_eq!(push().begun(1).words(), [""; 0], "the agent is at it");
}

#[test]
fn what_can_come_is_waited_for_and_what_cannot_is_refused_at_once() {
    let pending = |reason: Reason| format!("push is Pending: {reason}");
    let failed = |reason: Reason| format!("push is Failed: {reason}, tell {reason}");
    let cases = [
        (push().world(|seen| seen.pools.clear()), pending(Reason::PoolNotFound)),
        (unpublished(push()), pending(Reason::SourceNotPublished)),
        (push().pool(|pool| pool.content = PoolContent::Still), failed(Reason::SourceNotLive)),
        (push().pool(|pool| pool.content = PoolContent::Fixed), failed(Reason::SourceNotLive)),
        (push().pool(|pool| pool.paused = true), failed(Reason::Paused)),
        (push().pool(|pool| pool.deleting = true), failed(Reason::Deleting)),
    ];
    for (build, word) in cases {
        assert_eq!(build.words(), [word]);
        let message = build.report().message;
        assert!(message.contains("web"), "{message:?} does not name the pool");
    }
}

#[test]
fn the_wait_for_the_source_ends_with_the_reason_that_was_waited_for() {
    let waiting = |seconds| unpublished(push()).told(OperationPhase::Pending, |told| told.since = at(NOW - seconds));
    assert_eq!(waiting(59).words(), ["push is Pending: SourceNotPublished"]);
    assert_eq!(waiting(60).words(), ["push is Failed: SourceNotPublished, tell SourceNotPublished"]);
    assert!(waiting(60).report().message.contains("web-source is on no node"));
}

#[test]
fn what_is_told_already_is_not_written_again() {
    let first = unpublished(push());
    let report = first.report();
    assert_eq!(first.but(|operation| operation.told = Some(report)).words(), [""; 0]);
}

#[test]
fn an_operation_follows_the_source_until_it_is_done_there() {
    let moved = |build: OperationBuild| build.pool(|pool| pool.publisher = Ok("node-b".into()));
    assert_eq!(moved(push().begun(1)).words(), ["assign push to node-b"]);
    assert_eq!(unpublished(push().begun(1)).words(), [""; 0], "nobody could do it");
    assert_eq!(
        moved(push().done(1)).copies([behind("web-0")]).words(),
        ["push is Running: "].map(|word| format!("{word}OperationRunning"))
    );
}

#[test]
fn what_the_source_refuses_fails_in_its_words() {
    let refused = DoneAtSource { result: Err("htdocs: there is no such path".to_owned()), paths: 0 };
    let build = push().begun(1).but(|operation| operation.at_source = Some(refused));
    assert_eq!(build.words(), ["push is Failed: OperationRefused, tell OperationRefused"]);
    assert_eq!(build.report().message, "htdocs: there is no such path");
}

#[test]
fn a_source_that_does_nothing_in_time_fails_the_operation() {
    let build = unpublished(push().begun(60));
    assert_eq!(build.words(), ["push is Failed: OperationTimedOut, tell OperationTimedOut"]);
    let message = build.report().message;
    assert!(message.contains("node-a") && message.contains("on no node"), "{message}");
}

#[test]
fn a_dry_run_is_over_when_the_source_has_listed() {
    let build = push().done(1).but(|operation| operation.dry_run = true).copies([behind("web-0")]);
    let report = build.report();
    assert_eq!((report.phase, report.targets), (OperationPhase::Complete, None));
    assert!(report.message.contains("2 paths"), "{}", report.message);
}

#[test]
fn an_operation_whose_pool_goes_away_fails() {
    assert_eq!(push().done(1).pool(|pool| pool.deleting = true).words(), ["push is Failed: Deleting, tell Deleting"]);
    assert_eq!(push().done(1).world(|seen| seen.pools.clear()).words(), ["push is Failed: PoolNotFound, tell PoolNotFound"]);
    assert_eq!(push().done(1).pool(|pool| pool.paused = true).report().phase, OperationPhase::Complete, "what is begun goes on");
}

#[test]
fn a_volume_has_it_once_its_durable_position_is_not_before_that_of_the_operation() {
    let elsewhere = crate::domain::SyncPosition { source: "another".to_owned(), ..position(DONE) };
    let later_epoch = crate::domain::SyncPosition { epoch: 2, ..position(1) };
    for (own, has) in [
        (Some(position(DONE)), true),
        (Some(position(DONE + 5)), true),
        (Some(later_epoch), true),
        (Some(position(DONE - 1)), false),
        (Some(elsewhere), false),
        (None, false),
    ] {
        let report = push().done(1).copies([CopySeen { position: own.clone(), ..copy("web-0") }]).report();
        assert_eq!(report.phase == OperationPhase::Complete, has, "{own:?}");
        assert_eq!(report.targets, Some(Targets { total: 1, done: usize::from(has), failed: 0 }), "{own:?}");
        assert_eq!(report.receipts.len(), usize::from(has), "{own:?}");
    }
}

#[test]
fn only_mounted_volumes_of_use_are_waited_for() {
    let detached = CopySeen { mounted_on: None, position: None, ..copy("web-1") };
    let retired = CopySeen { is_of_use: false, ..behind("web-2") };
    let report = push().done(1).copies([copy("web-0"), detached, retired]).report();
    assert_eq!((report.phase, report.targets), (OperationPhase::Complete, Some(Targets { total: 1, done: 1, failed: 0 })));
    let none = push().done(1).report();
    assert_eq!((none.phase, none.targets), (OperationPhase::Complete, Some(Targets::default())));
}

#[test]
fn a_receipt_stays_when_its_volume_is_detached() {
    let told = |told: &mut OperationReport| {
        told.started = Some(at(NOW - 1));
        told.receipts = vec!["web-0".to_owned()];
        told.targets = Some(Targets { total: 2, done: 1, failed: 0 });
    };
    let report = push().done(1).told(OperationPhase::Running, told).copies([copy("web-1")]).report();
    assert_eq!(report.receipts, ["web-0", "web-1"]);
    assert_eq!((report.phase, report.targets), (OperationPhase::Complete, Some(Targets { total: 2, done: 2, failed: 0 })));
}

#[test]
fn volumes_that_do_not_follow_in_time_are_named_with_what_is_wrong() {
    let broken = CopySeen { error: Some("no space left".to_owned()), ..behind("web-1") };
    let silent = CopySeen { position: None, ..copy("web-2") };
    let build = push().done(60).copies([copy("web-0"), broken, silent]);
    let report = build.report();
    assert_eq!((report.phase, report.reason.as_str()), (OperationPhase::Failed, "OperationTimedOut"));
    assert_eq!(report.targets, Some(Targets { total: 3, done: 1, failed: 2 }));
    assert!(report.message.contains("web-1, web-2") && report.message.contains("1m"), "{}", report.message);
    let [first, second] = report.failures.as_slice() else { panic!("{:?}", report.failures) };
    assert!(first.0 == "web-1" && first.1.contains("9 of 10") && first.1.contains("no space left"), "{first:?}");
    assert!(second.0 == "web-2" && second.1.contains("has not told"), "{second:?}");
}

#[test]
fn of_many_failures_twenty_are_named_and_all_are_counted() {
    let report = push().done(60).copies((0..50).map(|slot| behind(&format!("web-{slot}")))).report();
    assert_eq!((report.failures.len(), report.targets.map(|targets| targets.failed)), (20, Some(50)));
    assert!(report.message.contains("and 45 more"), "{}", report.message);
}

#[test]
fn of_more_volumes_than_a_status_can_name_all_are_counted() {
    let report = push().done(1).copies((0..1500).map(|slot| copy(&format!("web-{slot}")))).report();
    assert_eq!((report.receipts.len(), report.targets.map(|targets| targets.done)), (1000, Some(1500)));
}

#[test]
fn volumes_are_compared_two_at_a_time_on_each_node() {
    let build = push().compared(1).copies(["web-0", "web-1", "web-2"].map(copy)).copies([on("node-b", "web-3"), behind("web-4")]);
    let orders: Vec<String> = build.words().into_iter().filter(|word| word.starts_with("verify")).collect();
    assert_eq!(orders, ["web-0", "web-1", "web-3"].map(|name| format!("verify {name} for uid-push Content")));
    let busy = CopySeen { ordered: Some("uid-push".to_owned()), ..copy("web-0") };
    let build = push().compared(1).copies([busy, copy("web-1"), copy("web-2")]);
    assert_eq!(build.words()[0], "verify web-1 for uid-push Content");
    assert_eq!(build.report().targets, Some(Targets { total: 3, done: 0, failed: 0 }));
}

#[test]
fn a_comparison_that_somebody_else_waits_for_is_not_replaced() {
    let other = OperationSeen { uid: "uid-other".into(), key: key("other"), ..push().compared(1).operation().clone() };
    let ordered = |id: &str| CopySeen { ordered: Some(id.to_owned()), ..copy("web-0") };
    let orders = |build: OperationBuild| build.words().iter().filter(|word| word.starts_with("verify web-0 for uid-push")).count();
    let with_other = || push().compared(1).world(|seen| seen.operations.push(other.clone()));
    assert_eq!(orders(with_other().copies([ordered("uid-other")])), 0);
    let answered = CopySeen { verified: Some(verified("uid-other", 0)), ..ordered("uid-other") };
    assert_eq!(orders(with_other().copies([answered])), 1);
    assert_eq!(orders(push().compared(1).copies([ordered("uid-of-one-that-is-gone")])), 1);
    assert_eq!(orders(push().compared(1).copies([ordered(&format!("{RECYCLE_ORDER}claim"))])), 0);
}

#[test]
fn a_comparison_decides_whether_a_volume_has_it() {
    let answered = |verified: VerifiedSeen| CopySeen { ordered: Some("uid-push".to_owned()), verified: Some(verified), ..copy("web-0") };
    let phase_and_reason = |copy| {
        let report = push().compared(1).copies([copy]).report();
        (report.phase, report.reason, report.failures)
    };
    let (phase, reason, failures) = phase_and_reason(answered(verified("uid-push", 0)));
    assert_eq!((phase, reason.as_str(), failures.len()), (OperationPhase::Complete, "OperationComplete", 0));
    let (phase, reason, failures) = phase_and_reason(answered(verified("uid-push", 3)));
    assert_eq!((phase, reason.as_str()), (OperationPhase::Failed, "VolumesDiffer"));
    assert!(failures[0].0 == "web-0" && failures[0].1.contains("3 paths"), "{failures:?}");
    let unanswerable = VerifiedSeen { error: Some("no connection".to_owned()), ..verified("uid-push", 0) };
    let (_, reason, failures) = phase_and_reason(answered(unanswerable));
    assert!(reason == "VolumesDiffer" && failures[0].1.contains("no connection"), "{failures:?}");
}

#[test]
fn volumes_that_are_attached_after_the_end_are_counted_while_the_time_lasts() {
    let complete = |seconds| {
        push().done(1).told(OperationPhase::Complete, |told| {
            (told.started, told.ended) = (Some(at(NOW - seconds)), Some(at(NOW - seconds)));
            told.receipts = vec!["web-0".to_owned()];
            told.targets = Some(Targets { total: 1, done: 1, failed: 0 });
            told.message = "1 volume has it".to_owned();
            told.reason = "OperationComplete".to_owned();
        })
    };
    let copies = || [copy("web-0"), copy("web-1"), behind("web-2")];
    let report = complete(59).copies(copies()).report();
    assert_eq!((report.phase, report.targets), (OperationPhase::Complete, Some(Targets { total: 2, done: 2, failed: 0 })));
    assert_eq!(report.receipts, ["web-0", "web-1"]);
    assert_eq!(complete(59).words(), [""; 0], "nothing is new");
    assert_eq!(complete(60).copies(copies()).words(), [""; 0], "its time is over");
}

#[test]
fn an_operation_that_is_over_is_kept_as_long_as_it_says() {
    for phase in [OperationPhase::Complete, OperationPhase::Failed] {
        let ended = |seconds| push().done(1).told(phase, |told| told.ended = Some(at(NOW - seconds)));
        assert_eq!(ended(599).words(), [""; 0]);
        assert_eq!(ended(600).words(), ["delete push"]);
        assert_eq!(ended(600).but(|operation| operation.deleting = true).words(), [""; 0]);
        assert_eq!(ended(-5).but(|operation| operation.ttl = SignedDuration::from_secs(1)).words(), [""; 0], "clocks disagree");
    }
}
