//! What is measured. Labels are bounded: actions, results and pools, never volume ids.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A planned effect, or a call to EC2, and what became of it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct EffectLabels {
    /// The kind of effect, or the action of EC2.
    pub action: &'static str,
    /// Of an effect: done, stale, throttled or failed. Of a call: ok, throttled, `not_found`, denied, unreachable or refused.
    pub result: &'static str,
}

/// The volumes of a pool in one zone.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct PoolLabels {
    /// Namespace of the pool.
    pub namespace: String,
    /// Name of the pool.
    pub pool: String,
    /// The zone.
    pub zone: String,
    /// desired, ready, filling or claimed.
    pub state: &'static str,
}

/// All metrics of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Effects, by action and result.
    pub effects: Family<EffectLabels, Counter>,
    /// Volumes, by pool, zone and state.
    pub volumes: Family<PoolLabels, Gauge>,
    /// Calls to EC2, by action and result.
    pub calls: Family<EffectLabels, Counter>,
    /// EC2 writes that wait for the rate of the account.
    pub queued_effects: Gauge,
    /// Pools whose effects are under way.
    pub busy_pools: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("volume_dispatcher");
        let effects = Family::<EffectLabels, Counter>::default();
        let volumes = Family::<PoolLabels, Gauge>::default();
        registry.register("effects", "Effects that were carried out, by action and result", effects.clone());
        registry.register("volumes", "Volumes of a pool, by zone and state", volumes.clone());
        let (calls, queued_effects, busy_pools) = (Family::<EffectLabels, Counter>::default(), Gauge::default(), Gauge::default());
        registry.register("ec2_calls", "Calls to EC2, by action and result; each page of a listing is one", calls.clone());
        registry.register("queued_effects", "Planned EC2 writes that wait for the rate of the account", queued_effects.clone());
        registry.register("busy_pools", "Pools whose effects are under way", busy_pools.clone());
        Self { registry: Arc::new(registry), effects, volumes, calls, queued_effects, busy_pools }
    }
}

impl Metrics {
    /// Counts one effect.
    pub fn count(&self, action: &'static str, result: &'static str) {
        self.effects.get_or_create(&EffectLabels { action, result }).inc();
    }

    /// Counts one call to EC2.
    pub fn call(&self, action: &'static str, result: &'static str) {
        self.calls.get_or_create(&EffectLabels { action, result }).inc();
    }

    /// How many EC2 writes wait, and how many pools are worked on.
    pub fn queue(&self, effects: usize, pools: usize) {
        self.queued_effects.set(i64::try_from(effects).unwrap_or(i64::MAX));
        self.busy_pools.set(i64::try_from(pools).unwrap_or(i64::MAX));
    }

    /// The text that Prometheus reads, in the OpenMetrics format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}
