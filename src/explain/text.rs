//! An explanation as people read it.

use std::fmt::Write as _;

use crate::plan::Action;

use super::Explanation;

/// What makes effects of one kind, so that a hundred alike are one line.
pub(super) fn kind(action: &Action) -> String {
    match action {
        Action::CreatePoolVolume(new) => format!("object {} {} {}", new.zone, new.size, new.origin.snapshot),
        Action::ModifyVolume { change, .. } => format!("modify {change:?}"),
        Action::CreateVolume(request) => format!("volume {} {} {}", request.zone, request.size, request.origin.snapshot),
        Action::CreateSnapshot { generation, .. } => format!("snapshot {generation}"),
        Action::BeginRefresh { node, .. } => format!("refresh on {node}"),
        other => other.name().to_owned(),
    }
}

/// What so many effects of one kind do.
pub(super) fn words(action: &Action, count: usize) -> String {
    let some = |one: &str, many: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {many}") };
    let volumes = some("volume", "volumes");
    match action {
        Action::AddPoolFinalizer => "guard the pool with a finalizer".to_owned(),
        Action::RemovePoolFinalizer => "let the pool go".to_owned(),
        Action::CreateSnapshot { volume, generation, .. } => format!("take a snapshot of {volume}, generation {generation}"),
        Action::OrderCheckpoint { number, .. } => format!("have the agent of the source make checkpoint {number}"),
        Action::DeleteSnapshot(_) => format!("delete {}", some("snapshot", "snapshots")),
        Action::CreatePoolVolume(new) => {
            format!("make the {} of {volumes} in {}", if count == 1 { "object" } else { "objects" }, new.zone)
        }
        Action::CreateVolume(request) => {
            let origin = &request.origin;
            format!("make {volumes} of {} in {} from {}, generation {}", request.size, request.zone, origin.snapshot, origin.generation)
        }
        Action::ModifyVolume { change, .. } => {
            let settings = &change.settings;
            let figure = |name: &str, figure: Option<u32>| figure.map(|figure| format!(", {figure} {name}")).unwrap_or_default();
            let speed = format!("{}{}", figure("IOPS", settings.iops), figure("MiB/s", settings.throughput));
            format!("change {volumes} in place to {} of {}{speed}", settings.volume_type, change.size)
        }
        Action::TagVolume { .. } => format!("set tags of {volumes}"),
        Action::RecordSize { .. } => format!("write down the new size of {volumes}"),
        Action::CreateSourceObject(new) => format!("make the object of the source {}", new.volume),
        Action::Publish { .. } => "tell the agents how the source is published".to_owned(),
        Action::AssignSource { node, .. } => format!("have {node} attach and publish the source"),
        Action::BeginRefresh { node, .. } => format!("have {node} bring {volumes} up to the source"),
        Action::EndRefresh { .. } => format!("take {volumes} off the nodes that refreshed them"),
        Action::Unassign(_) => format!("take {volumes} off their nodes"),
        Action::ForgetNode { .. } => format!("forget the lost nodes of {volumes}"),
        Action::DeletePoolVolume { .. } => format!("mark {volumes} for deletion"),
        Action::DeleteVolume { .. } => format!("delete {volumes}"),
        Action::RemoveVolumeFinalizer(_) => format!("let the objects of {volumes} go"),
    }
}

/// The whole explanation.
pub(super) fn render(explanation: &Explanation) -> String {
    let mut text = format!("{}: {}\n", explanation.pool, explanation.summary);
    let exists = &explanation.exists;
    let volumes: Vec<String> = exists.volumes.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let volumes = if volumes.is_empty() { "no volumes".to_owned() } else { format!("volumes: {}", volumes.join(", ")) };
    line(&mut text, "exists", &format!("{volumes}; snapshots: {}", exists.snapshots));
    let mut round = 1;
    for step in &explanation.steps {
        let then = if step.round == round { "" } else { "when that is done: " };
        round = step.round;
        let call = step.call.map(|call| format!(" ({} {call})", step.count)).unwrap_or_default();
        line(&mut text, "would do", &format!("{}. {then}{}{call}", step.number, step.words));
    }
    for blocker in &explanation.why_not_yet {
        let until = if blocker.lasts { "needs you" } else { "not yet" };
        line(&mut text, until, &format!("{}: {}: {}", blocker.condition, blocker.reason, blocker.message));
    }
    let calls = &explanation.calls;
    line(&mut text, "EC2 calls", &format!("{} that change something, in {} s at best", calls.total, calls.at_least_seconds));
    match &explanation.monthly_cost {
        Some(cost) => {
            let (now, then, currency) = (cost.now, cost.then, &cost.currency);
            line(&mut text, "a month", &format!("{now:.2} {currency} now, {then:.2} then, {:+.2}; {}", cost.difference, cost.prices));
        }
        None => line(&mut text, "a month", "unknown: the list of prices does not know the region or type; give one with --prices"),
    }
    for assumption in &explanation.assumed {
        line(&mut text, "assumed", assumption);
    }
    text
}

fn line(text: &mut String, head: &str, words: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "  {head:<10} {words}");
}
