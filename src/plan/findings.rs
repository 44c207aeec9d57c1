//! The conditions of a pool: what holds, what does not, and the fix.

use crate::domain::Reason;

use super::capacity::{ZoneCount, Zones};
use super::observation::PoolSeen;
use super::refresh::{Course, course};
use super::report::{Condition, Finding};
use super::snapshots::Stock;
use super::source::Judged;
use super::volumes::Lives;
use super::{live, refresh};

/// All conditions; `Ready` last, since it repeats the first of the others that does not hold.
pub(super) fn of(seen: &PoolSeen, lives: &Lives<'_>, source: &Judged, (stock, zones): (&Stock, &Zones)) -> Vec<Finding> {
    let mut findings = vec![of_source(seen, source), of_snapshot(seen, source, stock), of_filling(seen, zones)];
    let in_sync = live::finding(seen, lives, source);
    // A mounted volume that is behind for a moment does not break the promise, nor does a source that no pod has; one that
    // nobody hears does.
    let silence = in_sync.iter().filter(|finding| !matches!(finding.reason, Reason::CatchingUp | Reason::CopyFailed | Reason::NotMounted));
    let ready = match findings.iter().chain(silence).find(|finding| !finding.holds) {
        Some(first) => Finding { condition: Condition::Ready, ..first.clone() },
        None => Finding::new(Condition::Ready, true, Reason::PoolReady, format!("{} volumes are ready", seen.pool.replicas)),
    };
    findings.extend(in_sync);
    findings.extend([of_failures((seen, lives), source, stock, zones), of_pause(seen), ready]);
    findings
}

fn of_source(seen: &PoolSeen, source: &Judged) -> Finding {
    match source {
        Ok(usable) if let Some(finding) = live::not_mounted(seen, &usable.id) => finding,
        Ok(usable) => Finding::new(Condition::SourceReady, true, Reason::AsWanted, format!("{} can be copied", usable.id)),
        Err(blocked) => Finding::new(Condition::SourceReady, false, blocked.reason, blocked.message.clone()),
    }
}

fn of_snapshot(seen: &PoolSeen, source: &Judged, stock: &Stock) -> Finding {
    let condition = Condition::SnapshotFresh;
    if let Some((reason, message)) = snapshot_trouble(seen, stock) {
        return Finding::new(condition, false, reason, message);
    }
    match (&stock.newest, stock.pending_percent) {
        (Some(origin), _) => {
            let message = format!("{} holds generation {}", origin.snapshot, origin.generation);
            Finding::new(condition, true, Reason::AsWanted, message)
        }
        (None, Some(percent)) => {
            let message = format!("the first snapshot is {percent} % stored; volumes are made when it is completed");
            Finding::new(condition, false, Reason::SnapshotPending, message)
        }
        (None, None) => match source {
            Ok(_) if seen.has_no_usable_zone() => {
                Finding::new(condition, false, Reason::ZoneHasNoNode, "no snapshot is taken while no zone of spec.zones has a node")
            }
            Ok(_) => Finding::new(condition, false, Reason::SnapshotPending, "the first snapshot is being asked for"),
            Err(blocked) => Finding::new(condition, false, blocked.reason, blocked.message.clone()),
        },
    }
}

/// What keeps the content from becoming newer.
fn snapshot_trouble(seen: &PoolSeen, stock: &Stock) -> Option<(Reason, String)> {
    if stock.failures > 0 {
        let meanwhile = stock.newest.as_ref().map(|origin| format!("; volumes are filled from generation {} meanwhile", origin.generation));
        let last = if stock.failures == 1 { "the last snapshot".to_owned() } else { format!("the last {} snapshots", stock.failures) };
        let meanwhile = meanwhile.unwrap_or_default();
        let message = format!("{last} failed in EC2 or were never made{meanwhile}; another is taken after a wait of one to five minutes");
        return Some((Reason::SnapshotFailed, message));
    }
    let fault = seen.pool.snapshots.schedule.as_ref().err()?;
    Some((Reason::InvalidSchedule, fault.clone()))
}

fn of_filling(seen: &PoolSeen, zones: &Zones) -> Finding {
    if let Some(finding) = of_nodeless_zones(zones, Condition::PoolFilled, false) {
        return finding;
    }
    let sum = |of: fn(&ZoneCount) -> u32| zones.values().map(of).sum::<u32>();
    let (ready, outdated) = (sum(|zone| zone.ready), sum(|zone| zone.outdated));
    let (behind, refreshing) = (sum(|zone| zone.behind), sum(|zone| zone.refreshing));
    let wanted = seen.pool.replicas;
    // A volume that is being refreshed keeps the promise: a claim that finds no other gets it.
    let lacking = zones.values().any(|zone| zone.stock() < zone.desired) || ready + refreshing < wanted;
    let surplus = zones.values().any(|zone| zone.stock() + zone.filling > zone.desired);
    match (lacking, surplus) {
        (true, _) => Finding::new(Condition::PoolFilled, false, Reason::Filling, format!("{ready} of {wanted} volumes are ready")),
        (false, _) if outdated > 0 => {
            let message = format!(
                "{ready} of {wanted} volumes are ready; {outdated} of them are out of date and are replaced, one at a time in each zone"
            );
            Finding::new(Condition::PoolFilled, true, Reason::Replacing, message)
        }
        (false, true) => {
            Finding::new(Condition::PoolFilled, true, Reason::Shrinking, format!("{ready} volumes are ready, {wanted} are wanted"))
        }
        (false, false) if behind + refreshing > 0 => {
            let obstacle = refresh::obstacle(seen, zones).map(|why| format!("; {why}")).unwrap_or_default();
            let message = format!(
                "{ready} of {wanted} volumes are ready and {refreshing} are being refreshed; {behind} more are further behind the source \
                 than the pool allows, and are refreshed one at a time in each zone{obstacle}"
            );
            Finding::new(Condition::PoolFilled, true, Reason::Refreshing, message)
        }
        (false, false) => Finding::new(Condition::PoolFilled, true, Reason::AsWanted, format!("{ready} of {wanted} volumes are ready")),
    }
}

fn of_nodeless_zones(zones: &Zones, condition: Condition, holds: bool) -> Option<Finding> {
    let nodeless: Vec<&str> = zones.iter().filter(|(_, zone)| !zone.has_node).map(|(name, _)| name.as_str()).collect();
    let names = nodeless.join(", ");
    let message = format!("spec.zones: no node is in {names}, so nothing is made there; add nodes or take the zone out of spec.zones");
    (!nodeless.is_empty()).then(|| Finding::new(condition, holds, Reason::ZoneHasNoNode, message))
}

fn of_failures((seen, lives): (&PoolSeen, &Lives<'_>), source: &Judged, stock: &Stock, zones: &Zones) -> Finding {
    let degraded = |reason, message: String| Finding::new(Condition::Degraded, true, reason, message);
    if let Err(blocked) = source {
        return degraded(blocked.reason, blocked.message.clone());
    }
    if let Some(finding) = of_nodeless_zones(zones, Condition::Degraded, true) {
        return finding;
    }
    if let Some((reason, message)) = snapshot_trouble(seen, stock) {
        return degraded(reason, message);
    }
    for volume in lives.iter().map(|life| life.volume) {
        if let Some(error) = &volume.recorded.error {
            return degraded(Reason::Ec2Failed, format!("{}: {error}", volume.key.name));
        }
        if let Some(error) = volume.recorded.modification.as_ref().and_then(|last| last.refusal.as_ref()) {
            return degraded(Reason::Ec2Failed, format!("{}: {error}", volume.key.name));
        }
        if let Some((node, error)) = volume.node.as_ref().and_then(|side| Some((&side.node, side.error.as_ref()?))) {
            return degraded(Reason::AgentFailed, format!("{} on node {node}: {error}", volume.key.name));
        }
        let is_wanted = || volume.is_refreshing() || course(seen, stock, volume, seen.observed) == Course::Refresh;
        let failed = volume.refresh.as_ref().filter(|last| last.failures > 0 && seen.pool.refresh.is_some() && is_wanted());
        if let Some(error) = failed.and_then(|last| last.error.as_ref()) {
            return degraded(Reason::RefreshFailed, format!("{} was not refreshed, and is later: {error}", volume.key.name));
        }
    }
    Finding::new(Condition::Degraded, false, Reason::AsWanted, "nothing fails")
}

fn of_pause(seen: &PoolSeen) -> Finding {
    if seen.pool.paused {
        let message = "spec.paused is true: nothing is changed in EC2; ready volumes can still be claimed";
        return Finding::new(Condition::Paused, true, Reason::Paused, message);
    }
    Finding::new(Condition::Paused, false, Reason::Active, "spec.paused is false")
}
