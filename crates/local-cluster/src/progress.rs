//! Progress lines with the time since the start.

use std::time::Instant;

/// Receives each progress line.
pub(crate) type Report = Box<dyn Fn(&str) + Send + Sync>;

/// Reports the steps of one `up` or `down`.
pub(crate) struct Steps {
    started: Instant,
    report: Report,
}

impl Steps {
    /// Starts the clock.
    pub(crate) fn new(report: Report) -> Self {
        Self { started: Instant::now(), report }
    }

    /// Reports `line` with the seconds since the start.
    pub(crate) fn say(&self, line: &str) {
        (self.report)(&format!("[{:5.1} s] {line}", self.started.elapsed().as_secs_f64()));
    }
}
