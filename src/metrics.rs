//! What is measured. Labels are bounded: actions, results and pools, never volume ids.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A planned effect and what became of it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct EffectLabels {
    /// The kind of effect.
    pub action: &'static str,
    /// done, stale or failed.
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
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("volume_dispatcher");
        let effects = Family::<EffectLabels, Counter>::default();
        let volumes = Family::<PoolLabels, Gauge>::default();
        registry.register("effects", "Effects that were carried out, by action and result", effects.clone());
        registry.register("volumes", "Volumes of a pool, by zone and state", volumes.clone());
        Self { registry: Arc::new(registry), effects, volumes }
    }
}

impl Metrics {
    /// Counts one effect.
    pub fn count(&self, action: &'static str, result: &'static str) {
        self.effects.get_or_create(&EffectLabels { action, result }).inc();
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
