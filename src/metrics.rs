//! What is measured. Labels are bounded: actions, results, reasons, pools and zones, never volume ids.

mod live;
mod operations;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use live::{LiveMetrics, VerifiedLabels};
pub use operations::{OperationLabels, OperationMetrics};

/// Upper ends of the times that a volume takes to be filled, or refreshed: from a second, which EC2 needs at least, to an hour.
const FILL_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0];
/// Upper ends of the times that a pool is worked on.
const RECONCILE_BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

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
    /// desired, ready, refreshing, behind, filling, claimed or stale.
    pub state: &'static str,
}

/// A pool as a whole.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct PoolNameLabels {
    /// Namespace of the pool.
    pub namespace: String,
    /// Name of the pool.
    pub pool: String,
}

/// Why something is left.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ReasonLabels {
    /// One of a closed set.
    pub reason: &'static str,
}

/// How something ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ResultLabels {
    /// done, failed or stopped.
    pub result: &'static str,
}

/// The figures of one pool, which replace all that were told of it before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolFigures {
    /// Volumes by zone and state.
    pub volumes: BTreeMap<(String, &'static str), u32>,
    /// Seconds since the newest completed snapshot was started; none while there is none.
    pub snapshot_age_seconds: Option<i64>,
}

/// All metrics of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    effects: Family<EffectLabels, Counter>,
    volumes: Family<PoolLabels, Gauge>,
    snapshot_age: Family<PoolNameLabels, Gauge>,
    calls: Family<EffectLabels, Counter>,
    queued_effects: Gauge,
    busy_pools: Gauge,
    strays: Family<ReasonLabels, Gauge>,
    fill_seconds: Histogram,
    refreshes: Family<ResultLabels, Counter>,
    refresh_seconds: Histogram,
    reconcile_seconds: Histogram,
    live: LiveMetrics,
    operations: OperationMetrics,
    /// What was told of each pool, by namespace and name, to take it back.
    told: Arc<Mutex<HashMap<(String, String), PoolFigures>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("volume_dispatcher");
        let metrics = Self {
            registry: Arc::default(),
            effects: Family::default(),
            volumes: Family::default(),
            snapshot_age: Family::default(),
            calls: Family::default(),
            queued_effects: Gauge::default(),
            busy_pools: Gauge::default(),
            strays: Family::default(),
            fill_seconds: Histogram::new(FILL_BUCKETS),
            refreshes: Family::default(),
            refresh_seconds: Histogram::new(FILL_BUCKETS),
            reconcile_seconds: Histogram::new(RECONCILE_BUCKETS),
            live: LiveMetrics::register(&mut registry),
            operations: OperationMetrics::register(&mut registry),
            told: Arc::default(),
        };
        registry.register("effects", "Effects that were carried out, by action and result", metrics.effects.clone());
        registry.register("volumes", "Volumes of a pool, by zone and state", metrics.volumes.clone());
        let age = "Time since the newest completed snapshot of a pool was started";
        registry.register_with_unit("snapshot_age", age, Unit::Seconds, metrics.snapshot_age.clone());
        registry.register("ec2_calls", "Calls to EC2, by action and result; each page of a listing is one", metrics.calls.clone());
        registry.register("queued_effects", "Planned EC2 writes that wait for the rate of the account", metrics.queued_effects.clone());
        registry.register("busy_pools", "Pools whose effects are under way", metrics.busy_pools.clone());
        let strays = "Resources in EC2 with our tags that no object knows and that are left, by reason";
        registry.register("stray_resources", strays, metrics.strays.clone());
        let fill = "Time from the request for a volume until it was ready";
        registry.register_with_unit("volume_fill", fill, Unit::Seconds, metrics.fill_seconds.clone());
        registry.register("refreshes", "Refreshes of ready volumes that ended, by result", metrics.refreshes.clone());
        let refresh = "Time from the order to refresh a volume until it was taken off its node, whatever came of it";
        registry.register_with_unit("refresh", refresh, Unit::Seconds, metrics.refresh_seconds.clone());
        let reconcile = "Time that the effects of a pool took in one pass, and what was published of it";
        registry.register_with_unit("reconcile", reconcile, Unit::Seconds, metrics.reconcile_seconds.clone());
        Self { registry: Arc::new(registry), ..metrics }
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

    /// What is measured of live content.
    pub fn live(&self) -> &LiveMetrics {
        &self.live
    }

    /// What is measured of path operations.
    pub fn operations(&self) -> &OperationMetrics {
        &self.operations
    }

    /// Sets the figures of a pool; those that it no longer has go.
    pub fn pool(&self, namespace: &str, pool: &str, figures: PoolFigures) {
        let key = (namespace.to_owned(), pool.to_owned());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&key) == Some(&figures) {
            return;
        }
        if let Some(before) = told.get(&key) {
            self.take_back(&key, before, Some(&figures));
        }
        for ((zone, state), number) in &figures.volumes {
            self.volumes.get_or_create(&labels(&key, zone, state)).set(i64::from(*number));
        }
        if let Some(age) = figures.snapshot_age_seconds {
            self.snapshot_age.get_or_create(&name_labels(&key)).set(age);
        }
        told.insert(key, figures);
    }

    /// Takes back all that was told of pools for which `exists` says no.
    pub fn keep_pools(&self, exists: impl Fn(&str, &str) -> bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|key, figures| {
            let stays = exists(&key.0, &key.1);
            if !stays {
                self.take_back(key, figures, None);
            }
            stays
        });
    }

    fn take_back(&self, key: &(String, String), before: &PoolFigures, now: Option<&PoolFigures>) {
        for (zone, state) in before.volumes.keys() {
            if now.is_none_or(|now| !now.volumes.contains_key(&(zone.clone(), *state))) {
                self.volumes.remove(&labels(key, zone, state));
            }
        }
        if now.is_none_or(|now| now.snapshot_age_seconds.is_none()) {
            self.snapshot_age.remove(&name_labels(key));
        }
    }

    /// How many resources are left for each reason; a reason that is not named has none.
    pub fn strays(&self, counts: &BTreeMap<&'static str, i64>) {
        self.strays.clear();
        for (reason, count) in counts {
            self.strays.get_or_create(&ReasonLabels { reason }).set(*count);
        }
    }

    /// How many EC2 writes wait, and how many pools are worked on.
    pub fn queue(&self, effects: usize, pools: usize) {
        self.queued_effects.set(i64::try_from(effects).unwrap_or(i64::MAX));
        self.busy_pools.set(i64::try_from(pools).unwrap_or(i64::MAX));
    }

    /// A volume became ready so long after it was asked for.
    pub fn filled(&self, seconds: f64) {
        self.fill_seconds.observe(seconds.max(0.0));
    }

    /// The refresh of a volume ended after so long.
    pub fn refreshed(&self, result: &'static str, seconds: f64) {
        self.refreshes.get_or_create(&ResultLabels { result }).inc();
        self.refresh_seconds.observe(seconds.max(0.0));
    }

    /// A pool was worked on for so long.
    pub fn reconciled(&self, took: Duration) {
        self.reconcile_seconds.observe(took.as_secs_f64());
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

fn labels(key: &(String, String), zone: &str, state: &'static str) -> PoolLabels {
    PoolLabels { namespace: key.0.clone(), pool: key.1.clone(), zone: zone.to_owned(), state }
}

fn name_labels(key: &(String, String)) -> PoolNameLabels {
    PoolNameLabels { namespace: key.0.clone(), pool: key.1.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(zones: &[&str]) -> PoolFigures {
        let volumes = zones.iter().map(|zone| (((*zone).to_owned(), "ready"), 2)).collect();
        PoolFigures { volumes, snapshot_age_seconds: Some(60) }
    }

    #[test]
    fn the_figures_of_a_pool_that_is_gone_go() {
        let metrics = Metrics::default();
        metrics.pool("shop", "web", figures(&["a"]));
        metrics.pool("shop", "api", figures(&["a"]));
        assert_eq!(metrics.text().matches("pool=\"web\"").count(), 2, "{}", metrics.text());
        metrics.keep_pools(|_, pool| pool == "api");
        assert!(!metrics.text().contains("web") && metrics.text().contains("api"), "{}", metrics.text());
    }

    #[test]
    fn the_figures_of_a_zone_that_is_gone_go() {
        let metrics = Metrics::default();
        metrics.pool("shop", "web", figures(&["a", "b"]));
        metrics.pool("shop", "web", PoolFigures { snapshot_age_seconds: None, ..figures(&["b"]) });
        let text = metrics.text();
        assert!(text.contains("zone=\"b\"") && !text.contains("zone=\"a\"") && !text.contains("snapshot_age_seconds{"), "{text}");
    }

    #[test]
    fn units_are_in_the_names() {
        let metrics = Metrics::default();
        metrics.filled(3.0);
        metrics.reconciled(Duration::from_millis(2));
        let text = metrics.text();
        for name in ["volume_dispatcher_volume_fill_seconds_bucket", "volume_dispatcher_reconcile_seconds_bucket"] {
            assert!(text.contains(name), "{text}");
        }
    }
}
