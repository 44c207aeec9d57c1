//! Actions and findings in a few words, so that a table of expectations can be read.

use crate::domain::Reason;
use crate::plan::{Action, Condition, DemandAction, Finding, Plan, RefreshEnd, SnapshotContent, VolumeChange};

/// Each action in a few words, in the order of the plan.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(word).collect()
}

pub(super) fn word(action: &Action) -> String {
    match action {
        Action::AddPoolFinalizer => "guard the pool".to_owned(),
        Action::RemovePoolFinalizer => "let the pool go".to_owned(),
        Action::CreateSnapshot { volume, generation, content: SnapshotContent::Unknown } => format!("snapshot {volume} as {generation}"),
        Action::CreateSnapshot { volume, generation, content: SnapshotContent::Checkpoint(position) } => {
            format!("snapshot {volume} as {generation} at {position}")
        }
        Action::CreateSnapshot { volume, generation, content: SnapshotContent::Crash { least, .. } } => {
            let least = least.as_ref().map_or_else(String::new, |least| format!(", at least {least}"));
            format!("snapshot {volume} as {generation} without a checkpoint{least}")
        }
        Action::OrderCheckpoint { key, number, .. } => format!("order checkpoint {number} of {}", key.name),
        Action::DeleteSnapshot(proof) => format!("delete {}", proof.id()),
        Action::CreatePoolVolume(new) if new.attempt > 0 => format!("add {} in {}, attempt {}", new.slot, new.zone, new.attempt),
        Action::CreatePoolVolume(new) => format!("add {} in {}", new.slot, new.zone),
        Action::ModifyVolume { key, change, .. } => {
            let VolumeChange { size, settings } = change;
            let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            format!("modify {} to {size} {} {} {}", key.name, settings.volume_type, number(settings.iops), number(settings.throughput))
        }
        Action::TagVolume { key, tags, .. } => format!("tag {} {tags:?}", key.name),
        Action::RecordSize { key, size, .. } => format!("record {size} of {}", key.name),
        Action::CreateVolume(request) => format!("create {}", request.key.name),
        Action::CreateSourceObject(new) => format!("make the object of {}", new.volume),
        Action::Publish { key, .. } => format!("tell how {} is published", key.name),
        Action::AssignSource { key, node, .. } => format!("assign {} to {node}", key.name),
        Action::BeginRefresh { key, node, target, .. } => format!("refresh {} on {node} up to {}", key.name, target.generation),
        Action::EndRefresh { key, end: RefreshEnd::Done, .. } => format!("{} is refreshed", key.name),
        Action::EndRefresh { key, end: RefreshEnd::Failed(why), .. } => format!("{} is not refreshed: {why}", key.name),
        Action::EndRefresh { key, end: RefreshEnd::Stopped(why), .. } => format!("stop refreshing {}: {why}", key.name),
        Action::Unassign(key) => format!("unassign {}", key.name),
        Action::ForgetNode { key, .. } => format!("forget the node of {}", key.name),
        Action::DeletePoolVolume { key, .. } => format!("drop {}", key.name),
        Action::DeleteVolume { key, proof } => format!("delete {} of {}", proof.id(), key.name),
        Action::RemoveVolumeFinalizer(key) => format!("let {} go", key.name),
    }
}

/// Each demand action in a few words, in the order of the plan.
pub(super) fn demand_words(actions: &[DemandAction]) -> Vec<String> {
    actions.iter().map(demand_word).collect()
}

fn demand_word(action: &DemandAction) -> String {
    let on = |node: &Option<crate::domain::NodeName>| node.as_ref().map_or_else(String::new, |node| format!(" on {node}"));
    match action {
        DemandAction::Reserve { volume, claim, node, .. } => format!("reserve {} for {}{}", volume.name, claim.name, on(node)),
        DemandAction::CreateForClaim { pool, slot, zone, claim, node, .. } => {
            format!("make {}-{slot} in {zone} for {}{}", pool.name, claim.name, on(node))
        }
        DemandAction::CreatePv { volume, claim, retain, .. } => {
            format!("{}pv of {} for {}", if *retain { "retained " } else { "" }, volume.name, claim.name)
        }
        DemandAction::Assign { volume, node, .. } => format!("assign {} to {node}", volume.name),
        DemandAction::Unassign { volume, .. } => format!("unassign {}", volume.name),
        DemandAction::CutRefresh { volume, why, .. } => format!("cut the refresh of {}: {why}", volume.name),
        DemandAction::Free { volume, unless_pv, retire, .. } => {
            let unless = unless_pv.as_ref().map_or_else(String::new, |name| format!(" unless {name}"));
            format!("free {}{unless}{}", volume.name, if *retire { " and retire it" } else { "" })
        }
        DemandAction::Restore { volume, id, .. } => format!("restore {} by {id}", volume.name),
        DemandAction::Restored { volume, mended, .. } => format!("{} is restored, {mended} mended", volume.name),
        DemandAction::GiveUp { volume, why, .. } => format!("give {} up: {why}", volume.name),
        DemandAction::Discard { volume, .. } => format!("discard {}", volume.name),
        DemandAction::DeletePv(name) => format!("delete {name}"),
        DemandAction::Reschedule(claim) => format!("reschedule {}", claim.name),
        DemandAction::Tell { claim, reason, .. } => format!("tell {}: {reason}", claim.name),
    }
}

/// The finding of a condition. Every plan of a pool that is not being deleted has each condition once.
pub(super) fn finding(plan: &Plan, condition: Condition) -> &Finding {
    let mut found = plan.report.findings.iter().filter(|finding| finding.condition == condition);
    let first = found.next().unwrap();
    assert!(found.next().is_none(), "{condition:?} is there twice");
    first
}

/// Asserts a condition, its reason, and that its message has all the words a user needs.
#[track_caller]
pub(super) fn assert_finding(plan: &Plan, condition: Condition, holds: bool, reason: Reason, message_has: &[&str]) {
    let finding = finding(plan, condition);
    assert_eq!((finding.holds, finding.reason), (holds, reason), "{finding:?}");
    for part in message_has {
        assert!(finding.message.contains(part), "{part:?} is not in {:?}", finding.message);
    }
}
