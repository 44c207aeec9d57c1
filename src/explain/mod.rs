//! The plan of a pool in words and figures, for people and for reviews: carries nothing out, writes nothing.

mod manifest;
mod prices;
mod run;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::api::VolumePool;
use crate::domain::{CloudVolume, GiB, Zone};
use crate::ec2::pacing::Limits;
use crate::plan::{Action, PoolSeen, Rehearsal, Report, SourceSeen, rehearse};

pub use manifest::{Assumed, fault, pool_of, seen_of};
pub use prices::Prices;
pub use run::{Output, Question, run};

/// What exists of a pool, what would be done, and what that costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Namespace and name of the pool.
    pub pool: String,
    /// The whole in a sentence.
    pub summary: String,
    /// What there is now.
    pub exists: Exists,
    /// What would be done, in order.
    pub steps: Vec<Step>,
    /// Conditions that do not hold now, each with its reason and the fix where there is one.
    pub why_not_yet: Vec<Blocker>,
    /// Calls to EC2 that change something.
    pub calls: CallsNeeded,
    /// What a month costs; none when the list has no price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monthly_cost: Option<Cost>,
    /// What was taken for granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
}

/// What there is of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exists {
    /// Volumes by phase.
    pub volumes: BTreeMap<String, usize>,
    /// Snapshots.
    pub snapshots: usize,
}

/// Like effects of one round, joined.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its place in the order, from 1.
    pub number: usize,
    /// The round that it belongs to: it waits for all steps of earlier rounds.
    pub round: usize,
    /// The kind of effect.
    pub action: &'static str,
    /// How many of them.
    pub count: usize,
    /// What is done, in words.
    pub words: String,
    /// The action of EC2 that each of them calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<&'static str>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// The condition.
    pub condition: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// Whether it would still not hold when everything planned is done: then somebody must do something.
    pub lasts: bool,
}

/// Calls to EC2 that change something.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallsNeeded {
    /// All of them.
    pub total: usize,
    /// By action.
    pub by_action: BTreeMap<&'static str, usize>,
    /// Seconds that the rates of the account allow them in at best.
    pub at_least_seconds: u64,
}

/// What a month costs, as far as the list of prices knows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// The currency of the figures.
    pub currency: String,
    /// What exists now.
    pub now: f64,
    /// What would exist then.
    pub then: f64,
    /// The difference.
    pub difference: f64,
    /// Where the prices are from, and of when.
    pub prices: String,
}

/// Explains one pool, as it was seen at `now`.
pub fn explain(pool: &VolumePool, seen: &PoolSeen, now: Timestamp, prices: &Prices, limits: &Limits) -> Explanation {
    let rehearsal = rehearse(seen, now);
    let steps = steps(&rehearsal);
    let calls = calls(&rehearsal, limits);
    let monthly_cost = cost(pool, seen, &rehearsal, prices);
    let why_not_yet = blockers(&rehearsal.now, &rehearsal.then);
    let summary = summary(&steps, &why_not_yet, &calls, monthly_cost.as_ref());
    let assumed = rehearsal.is_cut.then(|| "only the first steps of many are shown".to_owned()).into_iter().collect();
    Explanation {
        pool: seen.pool.key.to_string(),
        summary,
        exists: exists(seen, &rehearsal.now),
        steps,
        why_not_yet,
        calls,
        monthly_cost,
        assumed,
    }
}

/// The summary of a pool that somebody must do something for; `None` for one that gets on by itself.
pub fn blocked_summary(pool: &VolumePool, seen: &PoolSeen, now: Timestamp) -> Option<String> {
    let explanation = explain(pool, seen, now, &Prices::embedded().ok()?, &Limits::default());
    explanation.why_not_yet.iter().any(|blocker| blocker.lasts).then_some(explanation.summary)
}

fn exists(seen: &PoolSeen, report: &Report) -> Exists {
    let mut volumes = BTreeMap::new();
    for life in report.volumes.values() {
        *volumes.entry(format!("{:?}", life.phase)).or_default() += 1;
    }
    Exists { volumes, snapshots: seen.snapshots.len() }
}

fn steps(rehearsal: &Rehearsal) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, round) in rehearsal.rounds.iter().enumerate() {
        let mut kinds: Vec<(String, Vec<&Action>)> = Vec::new();
        for action in round {
            let kind = text::kind(action);
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, actions)) => actions.push(action),
                None => kinds.push((kind, vec![action])),
            }
        }
        for (_, actions) in kinds {
            let number = steps.len() + 1;
            let first = actions[0];
            let words = text::words(first, actions.len());
            steps.push(Step { number, round: index + 1, action: first.name(), count: actions.len(), words, call: first.ec2_call() });
        }
    }
    steps
}

fn calls(rehearsal: &Rehearsal, limits: &Limits) -> CallsNeeded {
    let mut by_action: BTreeMap<&'static str, usize> = BTreeMap::new();
    for call in rehearsal.rounds.iter().flatten().filter_map(Action::ec2_call) {
        *by_action.entry(call).or_default() += 1;
    }
    let seconds = |(action, count): (&&'static str, &usize)| {
        let (limit, count) = (limits.ours(action), f64::from(u32::try_from(*count).unwrap_or(u32::MAX)));
        ((count - limit.burst) / limit.per_second).max(0.0)
    };
    let longest = by_action.iter().map(seconds).fold(0.0, f64::max);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of seconds")]
    let at_least_seconds = longest.ceil() as u64;
    CallsNeeded { total: by_action.values().sum(), by_action, at_least_seconds }
}

fn blockers(now: &Report, then: &Report) -> Vec<Blocker> {
    let is_bad = |finding: &crate::plan::Finding| finding.holds == (finding.condition.as_str() == "Degraded");
    let is_told = |finding: &&crate::plan::Finding| !matches!(finding.condition.as_str(), "Ready" | "Paused") && is_bad(finding);
    let lasts = |condition| then.findings.iter().any(|finding| finding.condition == condition && is_bad(finding));
    let blocker = |finding: &crate::plan::Finding| Blocker {
        condition: finding.condition.as_str(),
        reason: finding.reason.as_str(),
        message: finding.message.clone(),
        lasts: lasts(finding.condition),
    };
    let mut told: Vec<Blocker> = Vec::new();
    for blocker in now.findings.iter().filter(is_told).map(blocker) {
        // A cause that several conditions share is told once.
        if !told.iter().any(|known| known.message == blocker.message) {
            told.push(blocker);
        }
    }
    told
}

fn cost(pool: &VolumePool, seen: &PoolSeen, rehearsal: &Rehearsal, prices: &Prices) -> Option<Cost> {
    let zone = region_zone(seen)?;
    let source_size = match &seen.source {
        SourceSeen::Volume(volume) => volume.size,
        SourceSeen::Snapshot(snapshot) => snapshot.size,
        SourceSeen::Missing(_) | SourceSeen::Faulty(_) => GiB(0),
    };
    let of = |seen: &PoolSeen| -> Option<f64> {
        let clouds = seen.volumes.iter().filter_map(|volume| volume.cloud.as_ref());
        let volume = |cloud: &CloudVolume| prices.volume(&cloud.zone, &pool.spec.template, cloud.size);
        let volumes: f64 = clouds.map(volume).sum::<Option<f64>>()?;
        // Snapshots after the first hold what has changed since, which nobody knows before: the first counts in full.
        let snapshot = if seen.snapshots.is_empty() { 0.0 } else { prices.snapshot(&zone, source_size)? };
        Some(volumes + snapshot)
    };
    let (now, then) = (of(seen)?, of(&rehearsal.end)?);
    let cents = |figure: f64| (figure * 100.0).round() / 100.0;
    let prices_of = format!("{} as of {}; the first snapshot counts with the whole source, later ones not", prices.source, prices.date);
    Some(Cost { currency: prices.currency.clone(), now: cents(now), then: cents(then), difference: cents(then - now), prices: prices_of })
}

fn region_zone(seen: &PoolSeen) -> Option<Zone> {
    let of_source = if let SourceSeen::Volume(volume) = &seen.source { Some(volume.zone.clone()) } else { None };
    let of_nodes = seen.zones_with_nodes.first().cloned();
    seen.pool.zones.first().cloned().or(of_source).or(of_nodes)
}

fn summary(steps: &[Step], blockers: &[Blocker], calls: &CallsNeeded, cost: Option<&Cost>) -> String {
    let lasting: Vec<String> =
        blockers.iter().filter(|blocker| blocker.lasts).map(|blocker| format!("{}: {}", blocker.reason, blocker.message)).collect();
    let effects: Vec<&str> = steps.iter().filter(|step| step.call.is_some()).map(|step| step.words.as_str()).collect();
    let price = cost.map(|cost| format!(", about {:+.2} {} a month", cost.difference, cost.currency)).unwrap_or_default();
    let would = match effects.as_slice() {
        [] => "nothing is changed in EC2".to_owned(),
        few if few.len() <= 3 => format!("would {} ({} EC2 calls{price})", few.join(", then "), calls.total),
        many => format!("would {}, and {} more ({} EC2 calls{price})", many[..2].join(", then "), many.len() - 2, calls.total),
    };
    if lasting.is_empty() { would } else { format!("{would}; blocked by {}", lasting.join("; ")) }
}
