//! What is measured of sources and of the copies that follow them, on one node. Labels are bounded: pools and results.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::PoolNameLabels;

/// A verification of a volume, and what came of it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct VerifiedLabels {
    /// Namespace of the pool.
    pub namespace: String,
    /// Name of the pool.
    pub pool: String,
    /// equal, repaired, different or failed.
    pub result: &'static str,
}

/// All that is measured of live content.
#[derive(Clone, Debug)]
pub struct LiveMetrics {
    lag: Family<PoolNameLabels, Gauge>,
    rescans: Family<PoolNameLabels, Counter>,
    drift: Family<PoolNameLabels, Counter>,
    verified: Family<VerifiedLabels, Counter>,
    /// Pools of which something was told, to take it back.
    told: Arc<Mutex<HashSet<(String, String)>>>,
}

impl LiveMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            lag: Family::default(),
            rescans: Family::default(),
            drift: Family::default(),
            verified: Family::default(),
            told: Arc::default(),
        };
        let lag = "Generations that the copy on this node which is farthest behind lacks of its source";
        registry.register("live_lag_generations", lag, metrics.lag.clone());
        registry.register("live_rescans", "Whole comparisons of a source with its index", metrics.rescans.clone());
        registry.register("live_drift", "Paths that differed from their source though nobody had told", metrics.drift.clone());
        registry.register("live_verified", "Verifications of volumes, by result", metrics.verified.clone());
        metrics
    }

    /// The copy on this node that is farthest behind lacks so many generations.
    pub fn lag(&self, namespace: &str, pool: &str, generations: u64) {
        self.lag.get_or_create(&self.told(namespace, pool)).set(i64::try_from(generations).unwrap_or(i64::MAX));
    }

    /// A source was compared with its index so many times more.
    pub fn rescanned(&self, namespace: &str, pool: &str, times: u64) {
        self.rescans.get_or_create(&self.told(namespace, pool)).inc_by(times);
    }

    /// So many paths more were found that had drifted.
    pub fn drifted(&self, namespace: &str, pool: &str, paths: u64) {
        self.drift.get_or_create(&self.told(namespace, pool)).inc_by(paths);
    }

    /// A volume was verified.
    pub fn verified(&self, namespace: &str, pool: &str, result: &'static str) {
        let PoolNameLabels { namespace, pool } = self.told(namespace, pool);
        self.verified.get_or_create(&VerifiedLabels { namespace, pool, result }).inc();
    }

    /// Takes back all that was told of pools for which `is_here` says no.
    pub fn keep_pools(&self, is_here: impl Fn(&str, &str) -> bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(namespace, pool)| {
            let stays = is_here(namespace, pool);
            if !stays {
                self.forget(namespace, pool);
            }
            stays
        });
    }

    fn forget(&self, namespace: &str, pool: &str) {
        let labels = labels(namespace, pool);
        self.lag.remove(&labels);
        self.rescans.remove(&labels);
        self.drift.remove(&labels);
        for result in ["equal", "repaired", "different", "failed"] {
            self.verified.remove(&VerifiedLabels { namespace: namespace.to_owned(), pool: pool.to_owned(), result });
        }
    }

    fn told(&self, namespace: &str, pool: &str) -> PoolNameLabels {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((namespace.to_owned(), pool.to_owned()));
        labels(namespace, pool)
    }
}

fn labels(namespace: &str, pool: &str) -> PoolNameLabels {
    PoolNameLabels { namespace: namespace.to_owned(), pool: pool.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;

    #[test]
    fn what_was_told_of_a_pool_goes_with_it() {
        let metrics = Metrics::default();
        let live = metrics.live();
        for pool in ["web", "api"] {
            live.lag("shop", pool, 3);
            live.rescanned("shop", pool, 1);
            live.drifted("shop", pool, 2);
            live.verified("shop", pool, "repaired");
        }
        let text = metrics.text();
        assert!(text.contains(r#"live_verified_total{namespace="shop",pool="web",result="repaired"} 1"#), "{text}");
        live.keep_pools(|_, pool| pool == "api");
        let text = metrics.text();
        assert!(!text.contains("web") && text.contains(r#"live_drift_total{namespace="shop",pool="api"} 2"#), "{text}");
    }
}
