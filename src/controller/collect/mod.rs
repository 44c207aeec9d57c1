//! The collector: gives resources whose objects are lost back to their pools, and deletes what a crash has left behind.

mod execute;
mod observe;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::domain::ObjectKey;
use crate::ec2::Ec2;
use crate::plan::strays::{LeftBecause, StrayAction, StrayPlan, strays};

use super::context::Context;
use super::supply::View;
use super::sweep::Sweep;

/// Effects of the collector in one pass: they are never urgent.
const EFFECTS_A_PASS: usize = 20;

/// What the collector remembers from sweep to sweep. Losing it costs a grace.
#[derive(Debug, Default)]
pub struct Collector {
    /// Since when nobody knows a resource, by its id.
    unknown_since: BTreeMap<String, Timestamp>,
    /// What was told of the resources that are left.
    told: BTreeMap<String, LeftBecause>,
    /// The sweep that was looked at last, and the pools that got something back by it.
    looked: Option<Timestamp>,
    adopting: BTreeSet<ObjectKey>,
}

/// What is to be done about strays in this pass.
#[derive(Debug, Default)]
pub struct Collection {
    /// Effects.
    pub actions: Vec<StrayAction>,
    /// Pools that get something back: nothing new is made for them before.
    pub adopting: BTreeSet<ObjectKey>,
}

impl Collector {
    /// Looks at a sweep, at each one once; pools wait for what they get back until the next.
    pub fn look<E>(&mut self, context: &Context<E>, view: &View, sweep: &Sweep) -> Collection {
        if self.looked.replace(sweep.started) == Some(sweep.started) {
            return Collection { actions: Vec::new(), adopting: self.adopting.clone() };
        }
        let seen = observe::strays(view, &context.cluster, sweep, &mut self.unknown_since);
        let StrayPlan { mut actions, left, adopting } = strays(&seen);
        self.tell(context, left);
        self.adopting.clone_from(&adopting);
        actions.truncate(EFFECTS_A_PASS);
        Collection { actions, adopting }
    }

    /// Says once of each resource that it is left, and why. One that is only young is not worth a word.
    fn tell<E>(&mut self, context: &Context<E>, left: BTreeMap<String, LeftBecause>) {
        for (id, why) in left.iter().filter(|(_, why)| **why != LeftBecause::Young) {
            if self.told.get(id) != Some(why) {
                warn!(resource = %id, reason = why.as_str(), "carries our tags and belongs to no object; it is left as it is");
            }
        }
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        for why in left.values() {
            *counts.entry(why.as_str()).or_default() += 1;
        }
        context.metrics.strays(&counts);
        self.told = left;
    }
}

/// Carries out what was decided; says whether anything was changed.
pub async fn carry_out<E: Ec2>(context: &Context<E>, actions: Vec<StrayAction>) -> bool {
    let mut changed = false;
    for action in actions {
        match execute::one(context, &action).await {
            Ok(true) => {
                info!(?action, "collected");
                changed = true;
            }
            Ok(false) => {}
            Err(error) => warn!(?action, %error, "the collector failed; it looks again at the next sweep"),
        }
    }
    changed
}
