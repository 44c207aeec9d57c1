//! What is measured of path operations. Labels are bounded: kinds and reasons.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper ends of the times that an operation takes: from what two watches and a write take, to the default time-out.
const BUCKETS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 300.0];

/// A path operation that ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct OperationLabels {
    /// Push, Delete or Sync.
    pub operation: &'static str,
    /// The reason of its end, one of a closed set.
    pub reason: &'static str,
}

/// All that is measured of path operations.
#[derive(Clone, Debug)]
pub struct OperationMetrics {
    ended: Family<OperationLabels, Counter>,
    seconds: Histogram,
}

impl OperationMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { ended: Family::default(), seconds: Histogram::new(BUCKETS) };
        registry.register("operations", "Path operations that ended, by kind and reason", metrics.ended.clone());
        let took = "Time from the start of a path operation until its end";
        registry.register_with_unit("operation", took, Unit::Seconds, metrics.seconds.clone());
        metrics
    }

    /// An operation ended, so long after it was started; none when it never was.
    pub fn ended(&self, operation: &'static str, reason: &'static str, seconds: Option<f64>) {
        self.ended.get_or_create(&OperationLabels { operation, reason }).inc();
        if let Some(seconds) = seconds {
            self.seconds.observe(seconds.max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;

    #[test]
    fn ends_are_counted_by_kind_and_reason() {
        let metrics = Metrics::default();
        metrics.operations().ended("Push", "OperationComplete", Some(0.2));
        metrics.operations().ended("Push", "Paused", None);
        let text = metrics.text();
        assert!(text.contains(r#"volume_dispatcher_operations_total{operation="Push",reason="Paused"} 1"#), "{text}");
        assert!(text.contains("volume_dispatcher_operation_seconds_count 1"), "{text}");
    }
}
