//! What is measured of sources and of the copies that follow them, on one node. Labels are bounded: pools and results.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::PoolNameLabels;

/// Upper ends of the times until readers see a change: some tens of milliseconds on an idle node, up to a minute where a copy
/// fails and is tried again.
const VISIBLE_BUCKETS: [f64; 12] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 5.0, 15.0, 60.0];

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
    visible: Family<PoolNameLabels, Histogram, fn() -> Histogram>,
    sent: Family<PoolNameLabels, Counter>,
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
            visible: Family::new_with_constructor(|| Histogram::new(VISIBLE_BUCKETS)),
            sent: Family::default(),
            rescans: Family::default(),
            drift: Family::default(),
            verified: Family::default(),
            told: Arc::default(),
        };
        let lag = "Generations that the copy on this node which is farthest behind lacks of its source";
        registry.register("live_lag_generations", lag, metrics.lag.clone());
        let visible = "From the telling of a change, on the node of the source, until that node knows that the readers of a copy see it";
        registry.register_with_unit("live_visible", visible, Unit::Seconds, metrics.visible.clone());
        let sent = "Changes and files of a source that this node sent to copies; once for all copies of a node";
        registry.register_with_unit("live_sent", sent, Unit::Bytes, metrics.sent.clone());
        registry.register("live_rescans", "Whole comparisons of a source with its index", metrics.rescans.clone());
        registry.register("live_drift", "Paths that differed from their source though nobody had told", metrics.drift.clone());
        registry.register("live_verified", "Verifications of volumes, by result", metrics.verified.clone());
        metrics
    }

    /// The copy on this node that is farthest behind lacks so many generations.
    pub fn lag(&self, namespace: &str, pool: &str, generations: u64) {
        self.lag.get_or_create(&self.told(namespace, pool)).set(i64::try_from(generations).unwrap_or(i64::MAX));
    }

    /// The readers of a copy see a change that was told so long ago.
    pub fn visible(&self, namespace: &str, pool: &str, took: Duration) {
        self.visible.get_or_create(&self.told(namespace, pool)).observe(took.as_secs_f64());
    }

    /// So many bytes more of a source were sent.
    pub fn sent(&self, namespace: &str, pool: &str, bytes: u64) {
        self.sent.get_or_create(&self.told(namespace, pool)).inc_by(bytes);
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
        self.visible.remove(&labels);
        self.sent.remove(&labels);
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
    use std::time::Duration;

    use super::super::Metrics;

    #[test]
    fn what_was_told_of_a_pool_goes_with_it() {
        let metrics = Metrics::default();
        let live = metrics.live();
        for pool in ["web", "api"] {
            live.lag("shop", pool, 3);
            live.rescanned("shop", pool, 1);
            live.drifted("shop", pool, 2);
            live.visible("shop", pool, Duration::from_millis(30));
            live.sent("shop", pool, 1000);
            live.verified("shop", pool, "repaired");
        }
        let text = metrics.text();
        assert!(text.contains(r#"live_verified_total{namespace="shop",pool="web",result="repaired"} 1"#), "{text}");
        assert!(text.contains(r#"live_visible_seconds_bucket{le="0.05",namespace="shop",pool="web"} 1"#), "{text}");
        assert!(text.contains(r#"live_sent_bytes_total{namespace="shop",pool="web"} 1000"#), "{text}");
        live.keep_pools(|_, pool| pool == "api");
        let text = metrics.text();
        assert!(!text.contains("web") && text.contains(r#"live_drift_total{namespace="shop",pool="api"} 2"#), "{text}");
    }
}
